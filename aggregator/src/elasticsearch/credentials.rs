//! The `Authorization` header, from files that may change.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::HeaderValue;
use thiserror::Error;

use super::settings::Credentials;

/// How often a file is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Why there is no header.
#[derive(Debug, Error)]
pub(super) enum CredentialsError {
    #[error("read {path}: {source}")]
    Read { path: String, source: io::Error },
    #[error("{path} holds characters that a header cannot have, or nothing")]
    Characters { path: String },
}

/// The header as it is now.
#[derive(Debug)]
pub(super) struct Authorization {
    credentials: Credentials,
    cached: Mutex<Option<Cached>>,
}

#[derive(Debug)]
struct Cached {
    header: HeaderValue,
    modified: Option<SystemTime>,
    looked: Instant,
}

impl Authorization {
    pub(super) fn new(credentials: Credentials) -> Self {
        Self { credentials, cached: Mutex::new(None) }
    }

    /// The header; None when none is sent. A file that was changed is read again, one that vanished is not missed.
    pub(super) fn header(&self, now: Instant) -> Result<Option<HeaderValue>, CredentialsError> {
        let path = match &self.credentials {
            Credentials::None => return Ok(None),
            Credentials::Basic { password_file: path, .. }
            | Credentials::ApiKey { file: path }
            | Credentials::Bearer { file: path } => path,
        };
        let mut cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = cached.as_mut() {
            if now.saturating_duration_since(known.looked) < LOOK {
                return Ok(Some(known.header.clone()));
            }
            known.looked = now;
            let modified = modified(path);
            if modified.is_none() || modified == known.modified {
                return Ok(Some(known.header.clone()));
            }
        }
        let modified = modified(path);
        let header = self.read(path)?;
        *cached = Some(Cached { header: header.clone(), modified, looked: now });
        Ok(Some(header))
    }

    fn read(&self, path: &Path) -> Result<HeaderValue, CredentialsError> {
        let name = path.display().to_string();
        let text = fs::read_to_string(path)
            .map_err(|source| CredentialsError::Read { path: name.clone(), source })?;
        let secret = text.trim_end_matches(['\n', '\r']);
        let value = match &self.credentials {
            Credentials::Basic { user, .. } => {
                format!("Basic {}", STANDARD.encode(format!("{user}:{secret}")))
            }
            Credentials::Bearer { .. } => format!("Bearer {}", secret.trim()),
            Credentials::ApiKey { .. } | Credentials::None => format!("ApiKey {}", secret.trim()),
        };
        let wrong = CredentialsError::Characters { path: name };
        if secret.is_empty() {
            return Err(wrong);
        }
        let mut header = HeaderValue::from_str(&value).map_err(|_| wrong)?;
        header.set_sensitive(true);
        Ok(header)
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_file_is_read_again_and_a_vanished_one_is_not_missed() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("password");
        let of = Authorization::new(Credentials::Basic {
            user: "elastic".into(),
            password_file: file.clone(),
        });
        let now = Instant::now();
        assert!(of.header(now).unwrap_err().to_string().contains("password"));
        let write = |text: &str, age_s: u64| {
            fs::write(&file, text).unwrap();
            let time = SystemTime::now() - Duration::from_secs(age_s);
            fs::File::options().write(true).open(&file).unwrap().set_modified(time).unwrap();
        };
        let header = |after_ms| {
            let header = of.header(now + Duration::from_millis(after_ms)).unwrap().unwrap();
            assert!(header.is_sensitive());
            header.to_str().unwrap().to_owned()
        };
        write("changeme\n", 100);
        assert_eq!(header(0), "Basic ZWxhc3RpYzpjaGFuZ2VtZQ==");
        write("other", 50);
        assert_eq!(header(500), "Basic ZWxhc3RpYzpjaGFuZ2VtZQ==", "looked at once a second");
        assert_eq!(header(1100), "Basic ZWxhc3RpYzpvdGhlcg==");
        fs::remove_file(&file).unwrap();
        assert_eq!(header(2200), "Basic ZWxhc3RpYzpvdGhlcg==");
    }

    #[test]
    fn keys_and_tokens_are_sent_as_they_are() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let of = Authorization::new(Credentials::ApiKey { file: file.path().into() });
        let now = Instant::now();
        assert!(matches!(of.header(now), Err(CredentialsError::Characters { .. })));
        fs::write(file.path(), "aWQ6a2V5\n").unwrap();
        assert_eq!(of.header(now).unwrap().unwrap().to_str().unwrap(), "ApiKey aWQ6a2V5");
        let of = Authorization::new(Credentials::Bearer { file: file.path().into() });
        assert_eq!(of.header(now).unwrap().unwrap().to_str().unwrap(), "Bearer aWQ6a2V5");
        let none = Authorization::new(Credentials::None);
        assert!(none.header(now).unwrap().is_none());
    }
}
