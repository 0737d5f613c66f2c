//! From what the file says to a configuration: every value is checked, and values against each other. Pure.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use serde_saphyr::Spanned;

use super::given::{Given, NamedFiles, Place, Section, Wrong};
use super::raw::{RawConfig, RawElasticsearch, RawExclude, RawForwarders, RawListen, RawTls, Text};
use super::text::{self, Environment};
use super::{Config, LogFormat};
use crate::elasticsearch::{Credentials, Host, Settings};
use crate::ingest::{Authentication, Excluded, Security, TlsFiles};

/// A segment of the queue; with less there is no room for one.
const QUEUE_MIN_BYTES: u64 = 64 << 20;
/// The largest record and its reason.
const LETTERS_MIN_BYTES: u64 = 1 << 20;
/// Less makes a request of every batch; Elasticsearch itself refuses more than 100 MB.
const BULK_BYTES: RangeInclusive<u64> = 1 << 20..=64 << 20;
/// Each may have `bulk_bytes` in memory.
const CONCURRENCY: RangeInclusive<u64> = 1..=32;
const REQUEST_TIMEOUT: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(600);
/// What comes after the prefix of the index.
const INDEX_DATE: &str = "-%Y.%m.%d";
/// Elasticsearch's limit is 255 with the date.
const INDEX_PREFIX_MAX_BYTES: usize = 240;

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
    let (section, queue) = Section::open(raw.queue, environment);
    let queue = section.value("queue.max_bytes", queue.max_bytes, "20GiB");
    queue.within(queue.bytes()? >= QUEUE_MIN_BYTES, "at least 64MiB")?;
    let (section, letters) = Section::open(raw.dead_letters, environment);
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
        letters_max_bytes: letters.bytes()?,
        elasticsearch: check_elasticsearch(raw.elasticsearch, environment, files)?,
        http: http.address()?,
        log: format.parsed(LogFormat::of, "text or json")?,
    })
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

fn check_elasticsearch(
    raw: Option<Spanned<RawElasticsearch>>,
    environment: Environment<'_>,
    files: &mut NamedFiles,
) -> Result<Settings, Wrong> {
    let (section, raw) = Section::open(raw, environment);
    let mut settings = Settings::new(check_hosts(&section, raw.hosts)?);
    settings.credentials =
        check_credentials(&section, raw.user, raw.password_file, raw.api_key_file, files)?;
    if let Some(ca) = section.given("elasticsearch.ca", raw.ca) {
        if !settings.hosts.iter().any(Host::is_https) {
            return Err(ca.wrong("is only for https:// hosts"));
        }
        settings.ca = Some(files.add(&ca)?);
    }
    let index = section.value("elasticsearch.index", raw.index, "logstash-%Y.%m.%d");
    settings.index_prefix = check_index(&index)?;
    let bulk = section.value("elasticsearch.bulk_bytes", raw.bulk_bytes, "8MiB");
    bulk.within(BULK_BYTES.contains(&bulk.bytes()?), "from 1MiB to 64MiB")?;
    settings.bulk_bytes = bulk.parsed(|_| bulk.bytes().ok()?.try_into().ok(), "a size")?;
    let concurrency = section.value("elasticsearch.concurrency", raw.concurrency, "4");
    let in_flight = |text: &str| {
        text::whole(text).filter(|number| CONCURRENCY.contains(number))?.try_into().ok()
    };
    settings.concurrency = concurrency.parsed(in_flight, "a number from 1 to 32")?;
    settings.gzip = raw.gzip.is_some_and(|raw| raw.value);
    let timeout = section.value("elasticsearch.request_timeout", raw.request_timeout, "60s");
    settings.request_timeout = timeout.parsed(text::duration, "a duration such as 60s")?;
    timeout.within(REQUEST_TIMEOUT.contains(&settings.request_timeout), "from 1s to 10m")?;
    settings.template = raw.template.is_none_or(|raw| raw.value);
    Ok(settings)
}

fn check_hosts(section: &Section<'_>, raw: Option<Vec<Text>>) -> Result<Vec<Host>, Wrong> {
    const KEY: &str = "elasticsearch.hosts";
    const VARIABLE: &str = "NARU_ELASTICSEARCH_HOSTS";
    let given: Vec<Given> = match (section.environment)(VARIABLE) {
        Some(text) => {
            let given = |host: &str| Given {
                key: KEY,
                text: host.trim().to_owned(),
                place: Place::Variable(VARIABLE),
            };
            text.split(',').map(given).collect()
        }
        None => {
            let raw = raw.into_iter().flatten();
            raw.filter_map(|host| section.given(KEY, Some(host))).collect()
        }
    };
    if given.is_empty() {
        return Err(section.missing(KEY, "is missing: give at least one URL"));
    }
    let host = |given: &Given| {
        // A URL that holds a password is not repeated.
        Host::parse(&given.text).map_err(|reason| match given.text.contains('@') {
            true => given.wrong(reason),
            false => given.wrong(format!("{:?} {reason}", given.text)),
        })
    };
    given.iter().map(host).collect()
}

fn check_credentials(
    section: &Section<'_>,
    user: Option<Text>,
    password_file: Option<Text>,
    api_key_file: Option<Text>,
    files: &mut NamedFiles,
) -> Result<Credentials, Wrong> {
    let user = section.given("elasticsearch.user", user);
    let password = section.given("elasticsearch.password_file", password_file);
    let api_key = section.given("elasticsearch.api_key_file", api_key_file);
    match (user, password, api_key) {
        (None, None, None) => Ok(Credentials::None),
        (None, None, Some(file)) => Ok(Credentials::ApiKey { file: files.add(&file)? }),
        (Some(user), Some(password), None) => {
            user.within(!user.text.is_empty() && !user.text.contains(':'), "a user's name")?;
            Ok(Credentials::Basic { user: user.text, password_file: files.add(&password)? })
        }
        (Some(user), None, None) => Err(user.wrong("needs elasticsearch.password_file")),
        (None, Some(password), None) => Err(password.wrong("needs elasticsearch.user")),
        (_, _, Some(file)) => Err(file.wrong("is instead of user and password_file: give one")),
    }
}

/// The prefix of a daily index. Any other pattern would make a line that is sent again a second document.
fn check_index(index: &Given) -> Result<String, Wrong> {
    let prefix = index.text.strip_suffix(INDEX_DATE).ok_or_else(|| {
        index.wrong(format!(
            "{:?} is not PREFIX{INDEX_DATE}: ids are unique within a daily index only",
            index.text
        ))
    })?;
    let is_allowed =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
    let begins = prefix.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    let is_name =
        begins && prefix.bytes().all(is_allowed) && prefix.len() <= INDEX_PREFIX_MAX_BYTES;
    if !is_name {
        return Err(index.wrong(format!(
            "{prefix:?} is no prefix of an index: a-z, 0-9, - _ and . only, a letter or digit first"
        )));
    }
    Ok(prefix.to_owned())
}
