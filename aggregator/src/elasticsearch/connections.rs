//! The connections to the hosts, and the certificates that they are made with, from files that may change. A holder.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use thiserror::Error;

use super::settings::{ClientCertificate, Settings};
use super::trouble::causes;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection that nobody uses is closed; the next one asks for the name's addresses anew.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Why there is no client.
#[derive(Debug, Error)]
pub enum ClientError {
    /// A file cannot be read.
    #[error("read the certificates {path}: {source}")]
    Read {
        /// Which.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// The library cannot be set up, or does not take the certificates.
    #[error("set up the HTTP client: {0}")]
    Setup(String),
}

#[derive(Debug)]
pub(super) struct Connections {
    files: Files,
    made: Mutex<Made>,
}

#[derive(Debug)]
struct Files {
    ca: Option<PathBuf>,
    certificate: Option<ClientCertificate>,
}

#[derive(Debug)]
struct Made {
    client: reqwest::Client,
    /// When the files were changed that it was made with, or could not be.
    modified: [Option<SystemTime>; 3],
    looked: Instant,
}

impl Connections {
    pub(super) fn new(settings: &Settings) -> Result<Self, ClientError> {
        let files = Files { ca: settings.ca.clone(), certificate: settings.certificate.clone() };
        let modified = files.modified();
        let made = Made { client: files.client()?, modified, looked: Instant::now() };
        Ok(Self { files, made: Mutex::new(made) })
    }

    /// With the certificates as they are now; while changed ones are no good, with the old ones.
    pub(super) fn client(&self, now: Instant) -> reqwest::Client {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_duration_since(made.looked) >= LOOK {
            made.looked = now;
            let modified = self.files.modified();
            // A file that is missing for a moment is being replaced.
            if modified != made.modified && self.files.are_there(&modified) {
                made.modified = modified;
                match self.files.client() {
                    Ok(client) => {
                        made.client = client;
                        tracing::info!("the certificates for Elasticsearch were read again");
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the old certificates for Elasticsearch are kept");
                    }
                }
            }
        }
        made.client.clone()
    }
}

impl Files {
    fn paths(&self) -> [Option<&Path>; 3] {
        let certificate = self.certificate.as_ref();
        [
            self.ca.as_deref(),
            certificate.map(|files| files.certificate.as_path()),
            certificate.map(|files| files.key.as_path()),
        ]
    }

    fn modified(&self) -> [Option<SystemTime>; 3] {
        self.paths().map(|path| std::fs::metadata(path?).and_then(|file| file.modified()).ok())
    }

    fn are_there(&self, modified: &[Option<SystemTime>; 3]) -> bool {
        self.paths().iter().zip(modified).all(|(path, time)| path.is_some() == time.is_some())
    }

    fn client(&self) -> Result<reqwest::Client, ClientError> {
        let mut builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .http1_only()
            .no_proxy()
            // A redirect would send the credentials elsewhere.
            .redirect(reqwest::redirect::Policy::none());
        if let Some(path) = &self.ca {
            let name = path.display().to_string();
            let certificates = reqwest::Certificate::from_pem_bundle(&read(path)?)
                .map_err(|error| ClientError::Setup(format!("{name}: {}", causes(&error))))?;
            if certificates.is_empty() {
                return Err(ClientError::Setup(format!("{name} holds no certificate")));
            }
            builder = builder.tls_certs_only(certificates);
        }
        if let Some(ClientCertificate { certificate, key }) = &self.certificate {
            let name = format!("{} and {}", certificate.display(), key.display());
            let pem = [read(certificate)?, b"\n".to_vec(), read(key)?].concat();
            let identity = reqwest::Identity::from_pem(&pem)
                .map_err(|error| ClientError::Setup(format!("{name}: {}", causes(&error))))?;
            builder = builder.identity(identity);
        }
        builder.build().map_err(|error| ClientError::Setup(causes(&error)))
    }
}

fn read(path: &Path) -> Result<Vec<u8>, ClientError> {
    let failed = |source| ClientError::Read { path: path.display().to_string(), source };
    std::fs::read(path).map_err(failed)
}
