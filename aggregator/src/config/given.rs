//! A value with the place it was given at, so that whatever is wrong with it can be found. Pure.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde_saphyr::Spanned;

use super::raw::Text;
use super::text::{self, Environment};

/// Where a value was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In the file, counted from 1.
    Line(u64),
    /// In the environment.
    Variable(&'static str),
}

impl Place {
    pub(super) fn of<T>(value: &Spanned<T>) -> Self {
        Self::Line(value.referenced.line())
    }
}

/// A value that is wrong.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) place: Place,
    pub(super) key: &'static str,
    pub(super) reason: String,
}

/// A file that a value names.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NamedFile {
    pub(super) place: Place,
    pub(super) key: &'static str,
    pub(super) path: PathBuf,
}

/// A value, and where it was given.
#[derive(Debug, Clone)]
pub(super) struct Given {
    pub(super) key: &'static str,
    pub(super) text: String,
    pub(super) place: Place,
}

impl Given {
    pub(super) fn wrong(&self, reason: impl Into<String>) -> Wrong {
        Wrong { place: self.place, key: self.key, reason: reason.into() }
    }

    pub(super) fn parsed<T>(
        &self,
        parse: impl FnOnce(&str) -> Option<T>,
        what: &str,
    ) -> Result<T, Wrong> {
        parse(&self.text).ok_or_else(|| self.wrong(format!("{:?} is not {what}", self.text)))
    }

    pub(super) fn address(&self) -> Result<SocketAddr, Wrong> {
        self.parsed(|text| text.parse().ok(), "ip:port")
    }

    pub(super) fn bytes(&self) -> Result<u64, Wrong> {
        self.parsed(text::bytes, "a size such as 8MiB")
    }

    /// That it is within bounds, which `bounds` names.
    pub(super) fn within(&self, holds: bool, bounds: &str) -> Result<(), Wrong> {
        if holds { Ok(()) } else { Err(self.wrong(format!("{:?} is not {bounds}", self.text))) }
    }
}

/// Takes values of one section.
#[derive(Clone, Copy)]
pub(super) struct Section<'a> {
    pub(super) place: Place,
    pub(super) environment: Environment<'a>,
}

impl<'a> Section<'a> {
    /// A section, and how to take its values; one that is left out has none.
    pub(super) fn open<T: Default>(
        raw: Option<Spanned<T>>,
        environment: Environment<'a>,
    ) -> (Self, T) {
        let place = raw.as_ref().map_or(Place::Line(1), Place::of);
        let values = raw.map(|raw| raw.value).unwrap_or_default();
        (Self { place, environment }, values)
    }

    /// What the file says, or else the default.
    pub(super) fn value(&self, key: &'static str, raw: Option<Text>, default: &str) -> Given {
        self.given(key, raw).unwrap_or_else(|| Given {
            key,
            text: default.to_owned(),
            place: self.place,
        })
    }

    /// What the environment says, or else the file, or else the default.
    pub(super) fn overridable(
        &self,
        key: &'static str,
        raw: Option<Text>,
        variable: &'static str,
        default: &str,
    ) -> Given {
        match (self.environment)(variable) {
            Some(text) => Given { key, text, place: Place::Variable(variable) },
            None => self.value(key, raw, default),
        }
    }

    /// What the file says.
    pub(super) fn given(&self, key: &'static str, raw: Option<Text>) -> Option<Given> {
        raw.map(|raw| Given { key, place: Place::of(&raw), text: raw.value })
    }

    /// What the file has to say.
    pub(super) fn needed(&self, key: &'static str, raw: Option<Text>) -> Result<Given, Wrong> {
        self.given(key, raw).ok_or_else(|| self.missing(key, "is missing"))
    }

    /// An error at the section, since the key is not there.
    pub(super) fn missing(&self, key: &'static str, reason: &str) -> Wrong {
        Wrong { place: self.place, key, reason: reason.to_owned() }
    }

    /// That a key which would not be heeded is not there.
    pub(super) fn unheeded(
        &self,
        key: &'static str,
        raw: Option<Text>,
        only_for: &str,
    ) -> Result<(), Wrong> {
        match self.given(key, raw) {
            None => Ok(()),
            Some(given) => Err(given.wrong(format!("is only for {only_for}"))),
        }
    }
}

/// Files that values name, to be looked at before anything is started.
#[derive(Debug, Default)]
pub(super) struct NamedFiles(pub(super) Vec<NamedFile>);

impl NamedFiles {
    /// Remembers the file that a value names.
    pub(super) fn add(&mut self, given: &Given) -> Result<PathBuf, Wrong> {
        if given.text.is_empty() {
            return Err(given.wrong("is empty"));
        }
        let path = PathBuf::from(&given.text);
        self.0.push(NamedFile { place: given.place, key: given.key, path: path.clone() });
        Ok(path)
    }
}
