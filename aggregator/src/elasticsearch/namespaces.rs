//! Which namespaces have indices of their own: the first that come, up to a limit; all others share one. A holder.
//!
//! A namespace must keep its index: a line that is sent again would be a second document in another one. So the names are
//! written to a file, durably, before the first document of a namespace is made. Each aggregator has its own file: when there
//! are more namespaces than the limit, two aggregators may disagree about the last ones.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Kubernetes' limit: a label of DNS.
pub const NAMESPACE_MAX_BYTES: usize = 63;

/// Where documents of a namespace go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// The pattern does not ask for namespaces.
    Any,
    /// They are of a file on the host.
    Host,
    /// To an index of its own, by its number.
    Own(u16),
    /// To the one of all that have none.
    Overflow,
}

/// See the module. A clone is the same one.
#[derive(Debug, Clone)]
pub struct Namespaces {
    known: Arc<Mutex<Known>>,
}

#[derive(Debug)]
struct Known {
    names: Vec<String>,
    numbers: HashMap<String, u16>,
    most: usize,
    file: Option<PathBuf>,
    is_full_said: bool,
}

impl Namespaces {
    /// At most `most`, and forgotten when it is dropped.
    #[must_use]
    pub fn new(most: usize) -> Self {
        let (names, numbers) = Default::default();
        let known = Known { names, numbers, most, file: None, is_full_said: false };
        Self { known: Arc::new(Mutex::new(known)) }
    }

    /// Those of a file, which need not exist, and at most `most` in all.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn open(file: &Path, most: usize) -> io::Result<Self> {
        let namespaces = Self::new(most);
        let mut known = namespaces.known.lock().unwrap_or_else(PoisonError::into_inner);
        let text = match fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error),
        };
        // A last line without its newline was cut off, and no document of it was made.
        let (whole, cut) = text.split_at(text.rfind('\n').map_or(0, |newline| newline + 1));
        if !cut.is_empty() {
            OpenOptions::new().write(true).open(file)?.set_len(whole.len() as u64)?;
        }
        for name in whole.lines().filter(|name| is_name(name)) {
            known.add(name);
        }
        known.file = Some(file.to_owned());
        drop(known);
        Ok(namespaces)
    }

    /// Where its documents go, for ever.
    #[must_use]
    pub fn place(&self, namespace: &str) -> Place {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = known.numbers.get(namespace) {
            return Place::Own(*number);
        }
        if !is_name(namespace) {
            return Place::Overflow;
        }
        if known.names.len() >= known.most {
            if !std::mem::replace(&mut known.is_full_said, true) {
                tracing::warn!(
                    namespace,
                    limit = known.most,
                    "more namespaces than elasticsearch.max_namespaces: this and further ones share an index"
                );
            }
            return Place::Overflow;
        }
        if let Err(error) = known.keep(namespace) {
            // It has its index all the same: only after a restart, and with too many namespaces, it might not.
            tracing::warn!(namespace, %error, "cannot write down that the namespace has an index");
        }
        Place::Own(known.add(namespace))
    }

    /// The name of one by its number.
    #[must_use]
    pub fn name(&self, number: u16) -> String {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.names.get(usize::from(number)).cloned().unwrap_or_default()
    }
}

impl Known {
    fn add(&mut self, name: &str) -> u16 {
        // The limit is far below what the number holds.
        let number = u16::try_from(self.names.len()).unwrap_or(u16::MAX);
        let number = *self.numbers.entry(name.to_owned()).or_insert(number);
        if usize::from(number) == self.names.len() {
            self.names.push(name.to_owned());
        }
        number
    }

    fn keep(&self, name: &str) -> io::Result<()> {
        let Some(path) = &self.file else { return Ok(()) };
        let is_new = !path.exists();
        let mut file = OpenOptions::new().append(true).create(true).open(path)?;
        file.write_all(format!("{name}\n").as_bytes())?;
        file.sync_data()?;
        match path.parent() {
            Some(directory) if is_new => File::open(directory)?.sync_all(),
            _ => Ok(()),
        }
    }
}

/// A label of DNS, as Kubernetes names namespaces.
fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=NAMESPACE_MAX_BYTES).contains(&text.len()) && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_ones_keep_their_places_over_restarts() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("namespaces");
        let open = |most| Namespaces::open(&file, most).unwrap();
        let namespaces = open(2);
        assert_eq!(namespaces.place("shop"), Place::Own(0));
        assert_eq!(namespaces.place("pay"), Place::Own(1));
        assert_eq!(namespaces.place("shop"), Place::Own(0));
        assert_eq!(namespaces.place("late"), Place::Overflow);
        let again = open(2);
        assert_eq!(again.place("late"), Place::Overflow, "it came too late before, too");
        assert_eq!((again.place("pay"), again.name(1)), (Place::Own(1), "pay".to_owned()));
        // A lower limit takes no index away, a higher one gives more.
        assert_eq!(open(1).place("pay"), Place::Own(1));
        assert_eq!(open(3).place("late"), Place::Own(2));
    }

    #[test]
    fn what_was_cut_off_or_is_no_name_is_passed_over() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("namespaces");
        fs::write(&file, "shop\nNo Name\npa").unwrap();
        let namespaces = Namespaces::open(&file, 5).unwrap();
        assert_eq!(namespaces.place("pay"), Place::Own(1));
        for odd in ["", "Shop", "a/b", "..", &"a".repeat(64)] {
            assert_eq!(namespaces.place(odd), Place::Overflow, "{odd:?}");
        }
    }

    #[test]
    fn a_namespace_after_one_that_was_cut_off_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("namespaces");
        fs::write(&file, "shop\npa").unwrap();
        assert_eq!(Namespaces::open(&file, 5).unwrap().place("zoo"), Place::Own(1));
        assert_eq!(Namespaces::open(&file, 5).unwrap().place("zoo"), Place::Own(1));
    }

    #[test]
    fn a_disk_that_takes_nothing_stops_no_document() {
        let directory = tempfile::tempdir().unwrap();
        let gone = directory.path().join("gone").join("namespaces");
        assert_eq!(Namespaces::open(&gone, 5).unwrap().place("shop"), Place::Own(0));
    }
}
