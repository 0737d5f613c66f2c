//! Log files of the host.

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::wrong::Wrong;
use crate::discover::host::HostPattern;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFiles {
    /// For people: what these files are.
    name: Spanned<String>,
    /// An absolute path, or a pattern with `*`, `?`, `[…]` and `**`.
    path: Spanned<String>,
}

impl RawFiles {
    pub(super) fn checked(self) -> Result<HostPattern, Wrong> {
        if self.name.value.is_empty() {
            return Err(Wrong::new("name", &self.name, "is empty"));
        }
        let path = &self.path.value;
        if !path.starts_with('/') {
            return Err(Wrong::new("path", &self.path, format!("{path:?} is not absolute")));
        }
        HostPattern::new(path)
            .map_err(|error| Wrong::new("path", &self.path, format!("{path:?}: {}", error.msg)))
    }
}
