//! Log files of the host.

use std::sync::Arc;

use glob::Pattern;
use serde::Deserialize;
use serde_saphyr::Spanned;

use super::multiline;
use super::preset::{self, Preset};
use super::wrong::Wrong;
use crate::cut::Rule;
use crate::discover::host::HostPattern;

/// Log files of the host that the configuration names together.
#[derive(Debug, Clone)]
pub struct Input {
    /// For people: what these files are.
    pub name: String,
    /// Where they are.
    pub pattern: HostPattern,
    /// The preset that they are by.
    pub preset: Option<&'static Preset>,
    /// How their lines are joined; None: every line is a record.
    pub multiline: Option<Arc<Rule>>,
    /// Where the Fluentd that is replaced has written down how far it has read them.
    pub pos_file: Option<HostPattern>,
}

impl From<HostPattern> for Input {
    /// Everything else as it is by default.
    fn from(pattern: HostPattern) -> Self {
        let name = pattern.as_str().to_owned();
        Self { name, pattern, preset: None, multiline: None, pos_file: None }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFiles {
    /// A host file that is known by name, or `all` of them: gives name, path and how lines are joined.
    preset: Option<Spanned<String>>,
    /// For people: what these files are. Default: the preset's.
    name: Option<Spanned<String>>,
    /// An absolute path, or a pattern with `*`, `?`, `[…]` and `**`. Default: the preset's.
    path: Option<Spanned<String>>,
    /// The `pos_file` of the Fluentd that is replaced, or a pattern of several.
    pos_file: Option<Spanned<String>>,
    /// Patterns of paths that are not read although `path` matches them.
    exclude: Option<Vec<Spanned<String>>>,
    /// The built-in rule that joins their lines into records, or `none`. Default: the preset's, or none.
    multiline: Option<Spanned<String>>,
    /// Instead: a regular expression; a line that it matches begins a record.
    start_pattern: Option<Spanned<String>>,
}

impl RawFiles {
    pub(super) fn checked(raw: Spanned<Self>) -> Result<Vec<Input>, Wrong> {
        let missing = |key| Err(Wrong::new(key, &raw, "is missing"));
        let files = &raw.value;
        let exclude =
            files.exclude.iter().flatten().map(exclusion).collect::<Result<Vec<_>, _>>()?;
        let pos_file = files.pos_file.as_ref().map(|path| pattern("pos_file", path)).transpose()?;
        let given =
            multiline::checked("multiline", files.multiline.as_ref(), files.start_pattern.as_ref());
        let given = given.transpose()?;
        let input = |name: &str, pattern: HostPattern, preset: Option<&'static Preset>| {
            let of_preset = preset.and_then(|preset| Rule::preset(preset.multiline?).ok());
            Input {
                name: files.name.as_ref().map_or(name, |name| &name.value).to_owned(),
                pattern: pattern.without(exclude.clone()),
                preset,
                multiline: given.clone().unwrap_or(of_preset),
                pos_file: pos_file.clone(),
            }
        };
        if let Some(name) = files.name.as_ref().filter(|name| name.value.is_empty()) {
            return Err(Wrong::new("name", name, "is empty"));
        }
        let path = files.path.as_ref().map(|path| pattern("path", path)).transpose()?;
        let Some(wanted) = &files.preset else {
            return match (&files.name, path) {
                (None, _) => missing("name"),
                (_, None) => missing("path"),
                (Some(name), Some(path)) => Ok(vec![input(&name.value, path, None)]),
            };
        };
        let presets =
            preset::named(&wanted.value).map_err(|reason| Wrong::new("preset", wanted, reason))?;
        match (presets, &files.path, &files.name) {
            ([_], ..) => {}
            (_, Some(path), _) => return Err(Wrong::new("path", path, "cannot be that of all")),
            (_, _, Some(name)) => return Err(Wrong::new("name", name, "cannot be that of all")),
            (_, None, None) => {}
        }
        let inputs = presets.iter().map(|preset| {
            let pattern = path.clone().map_or_else(|| HostPattern::new(preset.path), Ok);
            let pattern = pattern.map_err(|error| Wrong::new("preset", wanted, error.msg))?;
            Ok(input(preset.name, pattern, Some(preset)))
        });
        inputs.collect()
    }
}

pub(super) fn pattern(key: &'static str, found: &Spanned<String>) -> Result<HostPattern, Wrong> {
    absolute(key, found)?;
    let path = &found.value;
    HostPattern::new(path)
        .map_err(|error| Wrong::new(key, found, format!("{path:?}: {}", error.msg)))
}

fn exclusion(found: &Spanned<String>) -> Result<Pattern, Wrong> {
    absolute("exclude", found)?;
    let path = &found.value;
    Pattern::new(path)
        .map_err(|error| Wrong::new("exclude", found, format!("{path:?}: {}", error.msg)))
}

fn absolute(key: &'static str, found: &Spanned<String>) -> Result<(), Wrong> {
    match found.value.starts_with('/') {
        true => Ok(()),
        false => Err(Wrong::new(key, found, format!("{:?} is not absolute", found.value))),
    }
}
