//! From what the file says to a configuration: every value is checked, and values against each other. Pure.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_saphyr::Spanned;

use super::given::{Given, NamedFiles, Place, Section, Wrong};
use super::raw::{
    RawConfig, RawExclude, RawForwarders, RawListen, RawParked, RawQueue, RawRetain, RawTls, Text,
};
use super::text::{self, Environment};
use super::{Config, LogFormat};
use crate::deliver::ParkedConfig;
use crate::ingest::{Authentication, Excluded, Security, TlsFiles};
use crate::queue::Retain;

/// A segment of the queue; with less there is no room for one.
const QUEUE_MIN_BYTES: u64 = 64 << 20;
/// The largest record and its reason.
const LETTERS_MIN_BYTES: u64 = 1 << 20;
/// Less is hardly meant, and nothing looks more often.
const AGE_MIN: Duration = Duration::from_secs(60);
/// An index that has to be made first takes documents within a second; for longer than 10 minutes nobody wants to wait.
const PARKED_AFTER: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(600);

/// Checks everything; says which files are named, which are not looked at.
pub(super) fn check(
    raw: RawConfig,
    environment: Environment<'_>,
    files: &mut NamedFiles,
) -> Result<Config, Wrong> {
    let top = Section { place: Place::Line(1), environment };
    let cluster = top.overridable("cluster", raw.cluster, "NARU_CLUSTER", "default");
    cluster.within(!cluster.text.is_empty(), "a name")?;
    let data_dir =
        top.overridable("data_dir", raw.data_dir, "NARU_DATA_DIR", "/var/lib/naru-aggregator");
    let absolute = |text: &str| Some(PathBuf::from(text)).filter(|path| path.is_absolute());
    let data_dir = data_dir.parsed(absolute, "an absolute path")?;
    let mut forwarders = raw.forwarders;
    let exclude = forwarders.as_mut().and_then(|raw| raw.value.exclude.take());
    let excluded = exclude.unwrap_or_default().into_iter().map(check_exclude);
    let excluded = excluded.collect::<Result<_, _>>()?;
    let (listen, security) = check_listen(raw.listen, forwarders, environment, files)?;
    let (section, RawQueue { max_bytes, retain, parked }) = Section::open(raw.queue, environment);
    let queue = section.value("queue.max_bytes", max_bytes, "20GiB");
    queue.within(queue.bytes()? >= QUEUE_MIN_BYTES, "at least 64MiB")?;
    let retain = check_retain(retain, environment)?;
    let parked = check_parked(parked, environment, &data_dir)?;
    let (section, letters) = Section::open(raw.dead_letters, environment);
    let letters_age = check_age(&section, "dead_letters.age", letters.age)?;
    let letters = section.value("dead_letters.max_bytes", letters.max_bytes, "1GiB");
    letters.within(letters.bytes()? >= LETTERS_MIN_BYTES, "at least 1MiB")?;
    let http = top.overridable("http", raw.http, "NARU_HTTP", "127.0.0.1:7480");
    let (section, log) = Section::open(raw.log, environment);
    let format = section.overridable("log.format", log.format, "NARU_LOG_FORMAT", "text");
    Ok(Config {
        cluster: cluster.text,
        data_dir,
        listen,
        security,
        excluded,
        queue_max_bytes: queue.bytes()?,
        retain,
        parked,
        letters_max_bytes: letters.bytes()?,
        letters_max_age: letters_age,
        elasticsearch: super::elasticsearch::check(raw.elasticsearch, environment, files)?,
        http: http.address()?,
        log: format.parsed(LogFormat::of, "text or json")?,
    })
}

fn check_retain(
    raw: Option<Spanned<RawRetain>>,
    environment: Environment<'_>,
) -> Result<Retain, Wrong> {
    const AGE: &str = "queue.retain.age";
    let (section, raw) = Section::open(raw, environment);
    let max_bytes = section.value("queue.retain.bytes", raw.bytes, "0").bytes()?;
    if max_bytes == 0 {
        section.unheeded(AGE, raw.age.clone(), "queue.retain.bytes")?;
    }
    Ok(Retain { max_bytes, max_age: check_age(&section, AGE, raw.age)? })
}

fn check_age(
    section: &Section<'_>,
    key: &'static str,
    raw: Option<Text>,
) -> Result<Option<Duration>, Wrong> {
    let Some(given) = section.given(key, raw) else { return Ok(None) };
    let age = given.parsed(text::duration, "a duration such as 72h")?;
    given.within(age >= AGE_MIN, "at least 1m")?;
    Ok(Some(age))
}

fn check_parked(
    raw: Option<Spanned<RawParked>>,
    environment: Environment<'_>,
    data_dir: &Path,
) -> Result<ParkedConfig, Wrong> {
    let (section, raw) = Section::open(raw, environment);
    let mut parked = ParkedConfig::new(data_dir.join("parked"));
    let all = section.value("queue.parked.max_bytes", raw.max_bytes, "4GiB");
    parked.max_bytes = all.bytes()?;
    all.within(parked.max_bytes >= QUEUE_MIN_BYTES, "at least 64MiB")?;
    let one = section.value("queue.parked.index_max_bytes", raw.index_max_bytes, "2GiB");
    parked.index_max_bytes = one.bytes()?;
    one.within(parked.index_max_bytes >= QUEUE_MIN_BYTES, "at least 64MiB")?;
    let after = section.value("queue.parked.after", raw.after, "30s");
    parked.after = after.parsed(text::duration, "a duration such as 30s")?;
    after.within(PARKED_AFTER.contains(&parked.after), "from 1s to 10m")?;
    Ok(parked)
}

fn check_exclude(raw: Spanned<RawExclude>) -> Result<Excluded, Wrong> {
    const KEY: &str = "forwarders.exclude";
    let wrong = |reason: &str| Wrong { place: Place::of(&raw), key: KEY, reason: reason.into() };
    let RawExclude { namespace, pod, container } = &raw.value;
    let text = |part: &Option<Text>| part.as_ref().map(|part| part.value.clone());
    let (namespace, pod, container) = (text(namespace), text(pod), text(container));
    let namespace = namespace.ok_or_else(|| wrong("an item needs a namespace"))?;
    if [Some(&namespace), pod.as_ref(), container.as_ref()].contains(&Some(&String::new())) {
        return Err(wrong("a name is empty"));
    }
    if container.is_some() && pod.is_none() {
        return Err(wrong("a container needs its pod"));
    }
    let (pod, container) = (pod.unwrap_or_default(), container.unwrap_or_default());
    Ok(Excluded { namespace, pod, container })
}

fn check_listen(
    raw: Option<Spanned<RawListen>>,
    forwarders: Option<Spanned<RawForwarders>>,
    environment: Environment<'_>,
    files: &mut NamedFiles,
) -> Result<(SocketAddr, Security), Wrong> {
    let (section, raw) = Section::open(raw, environment);
    let given =
        section.overridable("listen.address", raw.address, "NARU_LISTEN_ADDRESS", "0.0.0.0:7443");
    let address = given.address()?;
    let plaintext = raw.plaintext.is_some_and(|raw| raw.value);
    let is_guarded = plaintext || address.ip().is_loopback();
    let tls = raw.tls.map(|raw| check_tls(raw, environment, files)).transpose()?;
    if tls.is_none() && !is_guarded {
        return Err(given.wrong(format!(
            "{address} is not loopback: give listen.tls, or allow plain text by plaintext: true"
        )));
    }
    let (section, raw) = Section::open(forwarders, environment);
    let given = section.value("forwarders.authentication", raw.authentication, "token");
    match given.text.as_str() {
        "certificate" if tls.is_none() => Err(given.wrong("certificate needs listen.tls")),
        "none" if !is_guarded => Err(given.wrong(format!(
            "none would let anybody send to {address}: listen on loopback, or set listen.plaintext: true"
        ))),
        _ => {
            let authentication =
                check_authentication(&section, &given, raw.token, raw.ca, files)?;
            Ok((address, Security { tls, authentication, plaintext }))
        }
    }
}

fn check_tls(
    raw: Spanned<RawTls>,
    environment: Environment<'_>,
    files: &mut NamedFiles,
) -> Result<TlsFiles, Wrong> {
    let (section, raw) = Section::open(Some(raw), environment);
    Ok(TlsFiles {
        certificate: files.add(&section.needed("listen.tls.certificate", raw.certificate)?)?,
        key: files.add(&section.needed("listen.tls.key", raw.key)?)?,
    })
}

fn check_authentication(
    section: &Section<'_>,
    given: &Given,
    token: Option<Text>,
    ca: Option<Text>,
    files: &mut NamedFiles,
) -> Result<Authentication, Wrong> {
    const TOKEN: &str = "forwarders.token";
    const CA: &str = "forwarders.ca";
    if given.text != "token" {
        section.unheeded(TOKEN, token.clone(), "authentication: token")?;
    }
    if given.text != "certificate" {
        section.unheeded(CA, ca.clone(), "authentication: certificate")?;
    }
    match given.text.as_str() {
        "token" => {
            let token = section
                .given(TOKEN, token)
                .ok_or_else(|| section.missing(TOKEN, "is missing: authentication is token"))?;
            Ok(Authentication::Token { file: files.add(&token)? })
        }
        "certificate" => {
            let ca = section
                .given(CA, ca)
                .ok_or_else(|| section.missing(CA, "is missing: authentication is certificate"))?;
            Ok(Authentication::Certificate { ca: files.add(&ca)? })
        }
        "none" => Ok(Authentication::None),
        other => Err(given.wrong(format!("{other:?} is not token, certificate or none"))),
    }
}
