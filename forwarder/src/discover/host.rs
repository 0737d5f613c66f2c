//! Files of the host, by a configured path or pattern.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use glob::{MatchOptions, Pattern, PatternError};

/// A path, or a pattern with `*`, `?`, `[…]` and `**`.
#[derive(Debug, Clone)]
pub struct HostPattern {
    text: String,
    pattern: Pattern,
    wildcard: bool,
    without: Vec<Pattern>,
}

/// `*` and `?` match neither a slash nor a leading dot.
const OPTIONS: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: true,
};

impl HostPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// A pattern that is not one.
    pub fn new(text: &str) -> Result<Self, PatternError> {
        let pattern = Pattern::new(text)?;
        let wildcard = text.contains(['*', '?', '[']);
        Ok(Self { text: text.to_owned(), pattern, wildcard, without: Vec::new() })
    }

    /// The same, but for the paths that these match.
    #[must_use]
    pub fn without(self, without: Vec<Pattern>) -> Self {
        Self { without, ..self }
    }

    /// Whether a path is one of its files, where it is there.
    #[must_use]
    pub fn matches(&self, path: &Path) -> bool {
        let named = match self.wildcard {
            true => self.pattern.matches_path_with(path, OPTIONS),
            false => path == Path::new(&self.text),
        };
        named && !self.leaves_out(path)
    }

    fn leaves_out(&self, path: &Path) -> bool {
        self.without.iter().any(|pattern| pattern.matches_path_with(path, OPTIONS))
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it may match files that nobody named: among those, binary ones are passed over.
    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        self.wildcard
    }

    /// The files that match now. What cannot be read matches nothing and is tried again.
    #[must_use]
    pub fn files(&self) -> BTreeSet<PathBuf> {
        if !self.wildcard {
            let path = PathBuf::from(&self.text);
            let is_there = path.symlink_metadata().is_ok() && !self.leaves_out(&path);
            return is_there.then_some(path).into_iter().collect();
        }
        glob::glob_with(&self.text, OPTIONS)
            .map(|paths| {
                let paths = paths.filter_map(Result::ok);
                paths.filter(|path| !self.leaves_out(path) && !path.is_dir()).collect()
            })
            .unwrap_or_default()
    }

    /// The directories to watch: the one that the pattern's fixed part names, and those of the files.
    #[must_use]
    pub fn directories(&self, files: &BTreeSet<PathBuf>) -> BTreeSet<PathBuf> {
        let fixed: PathBuf = Path::new(&self.text)
            .components()
            .take_while(|part| !part.as_os_str().to_string_lossy().contains(['*', '?', '[']))
            .collect();
        let fixed = if self.wildcard { Some(fixed.as_path()) } else { fixed.parent() };
        let parents = files.iter().filter_map(|file| file.parent());
        parents.chain(fixed).map(Path::to_path_buf).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_files_and_name_directories() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        for name in ["a.log", "b.log", ".hidden.log", "a.log.1"] {
            std::fs::write(at(name), "x").unwrap();
        }
        std::fs::create_dir(at("dir.log")).unwrap();
        let pattern = HostPattern::new(at("*.log").to_str().unwrap()).unwrap();
        assert!(pattern.is_wildcard());
        assert_eq!(pattern.files().into_iter().collect::<Vec<_>>(), [at("a.log"), at("b.log")]);
        assert_eq!(pattern.directories(&pattern.files()).into_iter().next().unwrap(), root.path());
        let single = HostPattern::new(at("none.log").to_str().unwrap()).unwrap();
        assert!(single.files().is_empty());
        assert_eq!(single.directories(&single.files()).into_iter().next().unwrap(), root.path());
        assert!(HostPattern::new("/var/log/[").is_err());
        let without = pattern.without(vec![Pattern::new(at("b*").to_str().unwrap()).unwrap()]);
        assert_eq!(without.files().into_iter().collect::<Vec<_>>(), [at("a.log")]);
        assert!(without.matches(&at("a.log")) && !without.matches(&at("b.log")));
        assert!(!without.matches(&at("dir/a.log")) && !without.matches(&at("a.log.1")));
    }
}
