//! Log files of the host.

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::wrong::Wrong;
use crate::discover::host::HostPattern;

/// Log files of the host that the configuration names together.
#[derive(Debug, Clone)]
pub struct Input {
    /// For people: what these files are.
    pub name: String,
    /// Where they are.
    pub pattern: HostPattern,
}

impl From<HostPattern> for Input {
    /// Everything else as it is by default.
    fn from(pattern: HostPattern) -> Self {
        Self { name: pattern.as_str().to_owned(), pattern }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFiles {
    /// For people: what these files are.
    name: Spanned<String>,
    /// An absolute path, or a pattern with `*`, `?`, `[…]` and `**`.
    path: Spanned<String>,
}

impl RawFiles {
    pub(super) fn checked(self) -> Result<Input, Wrong> {
        if self.name.value.is_empty() {
            return Err(Wrong::new("name", &self.name, "is empty"));
        }
        let path = &self.path.value;
        if !path.starts_with('/') {
            return Err(Wrong::new("path", &self.path, format!("{path:?} is not absolute")));
        }
        let pattern = HostPattern::new(path)
            .map_err(|error| Wrong::new("path", &self.path, format!("{path:?}: {}", error.msg)))?;
        Ok(Input { name: self.name.value, ..Input::from(pattern) })
    }
}
