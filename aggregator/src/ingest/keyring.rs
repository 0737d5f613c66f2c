//! What is demanded now: the newest files that were right. A holder; [`Keyring::keep`] is the loop that looks at them.
//!
//! A file that is missing, half written or wrong changes nothing: what was read before stays in use, and that is said.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::metrics::Metrics;
use super::security::{Contents, Demands, Security, SecurityError};

/// How soon a new file is in use. They are a few KiB, and reading them needs no trust in times of change.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

pub(super) struct Keyring {
    security: Security,
    held: Mutex<Held>,
    metrics: Metrics,
}

#[derive(Default)]
struct Held {
    contents: Option<Contents>,
    demands: Option<Arc<Demands>>,
    trouble: Option<String>,
}

impl Keyring {
    /// Empty: it has to be [`Self::open`]ed before anybody is let in.
    pub(super) fn new(security: Security, metrics: Metrics) -> Self {
        Self { security, held: Mutex::default(), metrics }
    }

    pub(super) fn security(&self) -> &Security {
        &self.security
    }

    /// Reads the files for the first time.
    pub(super) fn open(&self) -> Result<(), SecurityError> {
        let contents = Contents::read(&self.security)?;
        let demands = self.security.demands(&contents)?;
        self.hold(contents, demands);
        Ok(())
    }

    /// None until it was opened.
    pub(super) fn demands(&self) -> Option<Arc<Demands>> {
        self.lock().demands.clone()
    }

    /// Why the files in use are not those on the disk, in a sentence.
    pub(super) fn trouble(&self) -> Option<String> {
        self.lock().trouble.clone()
    }

    /// Looks at the files, for ever.
    pub(super) async fn keep(self: Arc<Self>) -> Infallible {
        let mut ticks = tokio::time::interval(LOOK_INTERVAL);
        loop {
            ticks.tick().await;
            let keyring = Arc::clone(&self);
            if let Err(error) = tokio::task::spawn_blocking(move || keyring.look()).await {
                tracing::error!(%error, "look at the files of certificates and tokens");
            }
        }
    }

    /// Takes new files into use if they are right.
    pub(super) fn look(&self) {
        let read = Contents::read(&self.security).and_then(|contents| {
            if self.lock().contents.as_ref() == Some(&contents) {
                return Ok(None);
            }
            let demands = self.security.demands(&contents)?;
            Ok(Some((contents, demands)))
        });
        match read {
            Ok(Some((contents, demands))) => {
                self.hold(contents, demands);
                tracing::info!("new certificates or tokens are in use");
            }
            Ok(None) => self.trouble_is(None),
            Err(error) => self.trouble_is(Some(format!("{error}; what was read before is in use"))),
        }
    }

    fn hold(&self, contents: Contents, demands: Demands) {
        let mut held = self.lock();
        held.contents = Some(contents);
        held.demands = Some(Arc::new(demands));
        drop(held);
        self.trouble_is(None);
    }

    fn trouble_is(&self, trouble: Option<String>) {
        self.metrics.security_files_current.set(i64::from(trouble.is_none()));
        let mut held = self.lock();
        // Said once: somebody may need hours to mend it.
        if let Some(reason) = trouble.as_ref().filter(|_| held.trouble != trouble) {
            tracing::warn!(reason, "certificates or tokens are not as they should be");
        }
        held.trouble = trouble;
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
