//! Who a client is: the decision, from what it presented. Pure.

use std::fmt;

use subtle::{Choice, ConstantTimeEq};
use thiserror::Error;
use tonic::Status;
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::der::asn1::{Ia5StringRef, PrintableStringRef, Utf8StringRef};
use x509_cert::der::oid::db::rfc4519::COMMON_NAME;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// What stands before a token.
const BEARER: &str = "Bearer ";

/// What is demanded of a client.
#[derive(Debug, Clone)]
pub(super) enum Rule {
    Nothing,
    Token(Secrets),
    Certificate,
}

/// The tokens that are taken.
#[derive(Clone)]
pub(super) struct Secrets(Vec<Vec<u8>>);

impl Secrets {
    /// One a line; None when there is none, or a line that no client could send.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        let secrets: Vec<_> = lines.filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect();
        let sendable = secrets.iter().flatten().all(u8::is_ascii_graphic);
        (sendable && !secrets.is_empty()).then_some(Self(secrets))
    }

    /// In a time that says nothing about how much of a token was right.
    fn contain(&self, token: &str) -> bool {
        let none = Choice::from(0);
        let found =
            self.0.iter().fold(none, |found, secret| found | secret.ct_eq(token.as_bytes()));
        found.into()
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} secrets", self.0.len())
    }
}

/// Which nodes a client may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Nodes {
    /// It is the one that it says it is.
    Any,
    /// One of those that its certificate names.
    Named(Vec<String>),
}

/// Why a client may not send.
#[derive(Debug, Error, PartialEq, Eq)]
pub(super) enum Denied {
    #[error("a token is needed here, and none was sent")]
    NoToken,
    #[error("the token is not one of this aggregator's")]
    WrongToken,
    #[error("a client certificate is needed here, and none was presented")]
    NoCertificate,
    #[error("the client certificate names no node")]
    NoName,
    #[error("the client certificate is of {}, not of the node {claimed:?}", .names.join(", "))]
    WrongNode { claimed: String, names: Vec<String> },
}

impl Denied {
    /// The label under which it is counted.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::NoToken => "no_token",
            Self::WrongToken => "wrong_token",
            Self::NoCertificate => "no_certificate",
            Self::NoName => "no_name",
            Self::WrongNode { .. } => "wrong_node",
        }
    }

    /// What the client is told.
    pub(super) fn status(&self) -> Status {
        match self {
            Self::NoToken | Self::WrongToken | Self::NoCertificate => {
                Status::unauthenticated(self.to_string())
            }
            Self::NoName | Self::WrongNode { .. } => Status::permission_denied(self.to_string()),
        }
    }
}

/// The decision, before anything was said: from the `authorization` of the request and the names in the certificate that
/// the handshake verified, if there was one.
pub(super) fn decide(
    rule: &Rule,
    authorization: Option<&str>,
    certified: Option<&[String]>,
) -> Result<Nodes, Denied> {
    match rule {
        Rule::Nothing => Ok(Nodes::Any),
        Rule::Token(secrets) => match authorization.and_then(|text| text.strip_prefix(BEARER)) {
            None => Err(Denied::NoToken),
            Some(token) if secrets.contain(token.trim()) => Ok(Nodes::Any),
            Some(_) => Err(Denied::WrongToken),
        },
        Rule::Certificate => match certified {
            None => Err(Denied::NoCertificate),
            Some([]) => Err(Denied::NoName),
            Some(names) => Ok(Nodes::Named(names.to_vec())),
        },
    }
}

impl Nodes {
    /// Whether it may be the node that its Hello names.
    pub(super) fn allow(&self, node: &str) -> Result<(), Denied> {
        match self {
            Self::Any => Ok(()),
            Self::Named(names) if names.iter().any(|name| name == node) => Ok(()),
            Self::Named(names) => {
                Err(Denied::WrongNode { claimed: node.to_owned(), names: names.clone() })
            }
        }
    }
}

/// The names in a certificate, as nodes are called: the subject's common name and the DNS names, none of them a pattern.
pub(super) fn names(certificate: &[u8]) -> Vec<String> {
    let Ok(certificate) = Certificate::from_der(certificate) else { return Vec::new() };
    let certificate = certificate.tbs_certificate();
    let mut names: Vec<String> = certificate
        .subject()
        .iter()
        .filter(|attribute| attribute.oid == COMMON_NAME)
        .filter_map(|attribute| {
            let value = &attribute.value;
            None.or_else(|| value.decode_as::<Utf8StringRef<'_>>().ok().map(|s| s.as_str()))
                .or_else(|| value.decode_as::<PrintableStringRef<'_>>().ok().map(|s| s.as_str()))
                .or_else(|| value.decode_as::<Ia5StringRef<'_>>().ok().map(|s| s.as_str()))
                .map(str::to_owned)
        })
        .collect();
    if let Ok(Some((_, SubjectAltName(alternatives)))) = certificate.get_extension() {
        names.extend(alternatives.iter().filter_map(|name| match name {
            GeneralName::DnsName(name) => Some(name.as_str().to_owned()),
            _ => None,
        }));
    }
    names.retain(|name| !name.is_empty() && !name.contains('*'));
    names.dedup();
    names
}

#[cfg(test)]
mod tests;
