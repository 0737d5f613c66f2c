//! Where to send, and how each end knows the other.

use std::path::PathBuf;

use rustls::pki_types::ServerName;
use serde::Deserialize;
use serde_saphyr::Spanned;

use super::wrong::{Text, Wrong};
use super::{Environment, text};
use crate::connect::{self, Target};
use crate::credentials::{CredentialFiles, IdentityFiles, TlsFiles};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAggregator {
    /// `host:port`, or several with commas between; each name may resolve to several addresses.
    address: Spanned<String>,
    /// Allows log lines to cross a network unencrypted. Default: false; loopback is always allowed.
    plaintext: Option<bool>,
    /// How connections are protected. Default: not at all.
    tls: Option<Spanned<RawTls>>,
    /// A file with the token that aggregators ask for.
    token: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTls {
    /// A PEM file: who signs aggregators' certificates. Nobody else is trusted.
    ca: Option<Spanned<String>>,
    /// A PEM file: this node's certificate, where aggregators ask for one.
    certificate: Option<Spanned<String>>,
    /// A PEM file: its private key.
    key: Option<Spanned<String>>,
    /// The name in aggregators' certificates. Default: the host of the address.
    server_name: Option<Spanned<String>>,
}

/// The files that credentials are read from, each with its place: reading them all says which is wrong.
type Named = Vec<Text>;

impl RawAggregator {
    pub(super) fn checked(self, environment: Environment<'_>) -> Result<Target, Wrong> {
        let found = Some(self.address);
        let address = text("NARU_AGGREGATOR_ADDRESS", "address", found, environment)
            .unwrap_or_else(|| Text::default_of("address", ""));
        let addresses: Vec<String> =
            address.value.split(',').map(|one| one.trim().to_owned()).collect();
        for one in &addresses {
            let port = one.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
            if port.is_none() || connect::host_of(one).is_empty() {
                return Err(address.wrong(format!("{one:?} is not host:port")));
            }
        }
        let mut named = Named::new();
        let (tls, server_name) =
            self.tls.map(|tls| checked_tls(tls, &mut named)).transpose()?.unzip();
        let server_name = server_name.flatten();
        if tls.is_some() && server_name.is_none() {
            for host in addresses.iter().map(|one| connect::host_of(one)) {
                // No certificate could be for it.
                ServerName::try_from(host.as_str())
                    .map_err(|error| address.wrong(format!("{host:?}: {error}")))?;
            }
        }
        let token = self.token.map(|token| file("token", token, &mut named));
        let credentials = CredentialFiles { tls, token };
        credentials.read().map_err(|error| {
            let at = named.into_iter().find(|text| text.key == error.key);
            at.unwrap_or_else(|| Text::default_of(error.key, "")).wrong(error.to_string())
        })?;
        let plaintext = self.plaintext.unwrap_or(false);
        Ok(Target { addresses, plaintext, server_name, credentials })
    }
}

fn checked_tls(
    raw: Spanned<RawTls>,
    named: &mut Named,
) -> Result<(TlsFiles, Option<ServerName<'static>>), Wrong> {
    let reason = "needs ca: only what it signed is trusted, not the system's CAs";
    let without_ca = Wrong::new("tls", &raw, reason);
    let raw = raw.value;
    let Some(ca) = raw.ca else { return Err(without_ca) };
    let identity = match (raw.certificate, raw.key) {
        (Some(certificate), Some(key)) => Some(IdentityFiles {
            certificate: file("certificate", certificate, named),
            key: file("key", key, named),
        }),
        (None, None) => None,
        (Some(certificate), None) => {
            return Err(Wrong::new("certificate", &certificate, "needs key"));
        }
        (None, Some(key)) => return Err(Wrong::new("key", &key, "needs certificate")),
    };
    let server_name = raw.server_name.map(|name| {
        ServerName::try_from(name.value.clone())
            .map_err(|error| Wrong::new("server_name", &name, format!("{:?}: {error}", name.value)))
    });
    Ok((TlsFiles { ca: file("ca", ca, named), identity }, server_name.transpose()?))
}

fn file(key: &'static str, found: Spanned<String>, named: &mut Named) -> PathBuf {
    let path = PathBuf::from(&found.value);
    named.push(Text::new(key, found));
    path
}
