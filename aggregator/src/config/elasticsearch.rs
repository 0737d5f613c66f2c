//! The section about Elasticsearch, checked. Pure.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde_saphyr::Spanned;

use super::given::{Given, NamedFiles, Place, Section, Wrong};
use super::raw::{RawElasticsearch, RawTemplate, Text};
use super::text::{self, Environment};
use crate::elasticsearch::{
    ClientCertificate, Credentials, Gzip, Host, IndexPattern, Settings, Template,
};

/// Less makes a request of every batch; Elasticsearch itself refuses more than 100 MB.
const BULK_BYTES: RangeInclusive<u64> = 1 << 20..=64 << 20;
/// Each may have `bulk_bytes` in memory.
const CONCURRENCY: RangeInclusive<u64> = 1..=32;
const REQUEST_TIMEOUT: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(600);
/// A node of Elasticsearch takes 1,000 shards by default.
const MAX_NAMESPACES: RangeInclusive<u64> = 1..=1000;

pub(super) fn check(
    raw: Option<Spanned<RawElasticsearch>>,
    environment: Environment<'_>,
    files: &mut NamedFiles,
) -> Result<Settings, Wrong> {
    let (section, mut raw) = Section::open(raw, environment);
    let mut settings = Settings::new(check_hosts(&section, raw.hosts.take())?);
    settings.credentials = check_credentials(&section, &mut raw, files)?;
    settings.certificate = check_certificate(&section, &mut raw, &settings.hosts, files)?;
    if let Some(ca) = section.given("elasticsearch.ca", raw.ca.take()) {
        only_https(&ca, &settings.hosts)?;
        settings.ca = Some(files.add(&ca)?);
    }
    let index = section.value("elasticsearch.index", raw.index, "logstash-%Y.%m.%d");
    settings.index = IndexPattern::parse(&index.text)
        .map_err(|reason| index.wrong(format!("{:?} {reason}", index.text)))?;
    let namespaces = section.value("elasticsearch.max_namespaces", raw.max_namespaces, "100");
    settings.max_namespaces = whole(&namespaces, &MAX_NAMESPACES, "a number from 1 to 1000")?;
    let bulk = section.value("elasticsearch.bulk_bytes", raw.bulk_bytes, "8MiB");
    bulk.within(BULK_BYTES.contains(&bulk.bytes()?), "from 1MiB to 64MiB")?;
    settings.bulk_bytes = bulk.parsed(|_| bulk.bytes().ok()?.try_into().ok(), "a size")?;
    let concurrency = section.value("elasticsearch.concurrency", raw.concurrency, "4");
    settings.concurrency = whole(&concurrency, &CONCURRENCY, "a number from 1 to 32")?;
    let gzip = section.value("elasticsearch.gzip", raw.gzip, "auto");
    settings.gzip = gzip.parsed(gzip_of, "auto, on or off")?;
    let timeout = section.value("elasticsearch.request_timeout", raw.request_timeout, "60s");
    settings.request_timeout = timeout.parsed(text::duration, "a duration such as 60s")?;
    timeout.within(REQUEST_TIMEOUT.contains(&settings.request_timeout), "from 1s to 10m")?;
    if let Some(template) = raw.template {
        settings.template = check_template(&section, template, files)?;
    }
    Ok(settings)
}

fn whole(given: &Given, bounds: &RangeInclusive<u64>, what: &str) -> Result<usize, Wrong> {
    let within = |text: &str| text::whole(text).filter(|number| bounds.contains(number));
    given.parsed(|text| within(text)?.try_into().ok(), what)
}

fn gzip_of(text: &str) -> Option<Gzip> {
    match text {
        "auto" => Some(Gzip::Auto),
        "on" | "true" => Some(Gzip::On),
        "off" | "false" => Some(Gzip::Off),
        _ => None,
    }
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

/// One of the ways to say who one is in a request, or none.
fn check_credentials(
    section: &Section<'_>,
    raw: &mut RawElasticsearch,
    files: &mut NamedFiles,
) -> Result<Credentials, Wrong> {
    let user = section.given("elasticsearch.user", raw.user.take());
    let password = section.given("elasticsearch.password_file", raw.password_file.take());
    let api_key = section.given("elasticsearch.api_key_file", raw.api_key_file.take());
    let token = section.given("elasticsearch.token_file", raw.token_file.take());
    let other = user.as_ref().or(password.as_ref());
    if let (Some(given), Some(other)) = (&token, other.or(api_key.as_ref())) {
        return Err(given.wrong(format!("is instead of {}: give one", other.key)));
    }
    if let (Some(given), Some(other)) = (&api_key, other) {
        return Err(given.wrong(format!("is instead of {}: give one", other.key)));
    }
    if let Some(file) = token {
        return Ok(Credentials::Bearer { file: files.add(&file)? });
    }
    if let Some(file) = api_key {
        return Ok(Credentials::ApiKey { file: files.add(&file)? });
    }
    match (user, password) {
        (None, None) => Ok(Credentials::None),
        (Some(user), Some(password)) => {
            user.within(!user.text.is_empty() && !user.text.contains(':'), "a user's name")?;
            Ok(Credentials::Basic { user: user.text, password_file: files.add(&password)? })
        }
        (Some(user), None) => Err(user.wrong("needs elasticsearch.password_file")),
        (None, Some(password)) => Err(password.wrong("needs elasticsearch.user")),
    }
}

fn check_certificate(
    section: &Section<'_>,
    raw: &mut RawElasticsearch,
    hosts: &[Host],
    files: &mut NamedFiles,
) -> Result<Option<ClientCertificate>, Wrong> {
    let certificate = section.given("elasticsearch.certificate", raw.certificate.take());
    let key = section.given("elasticsearch.key", raw.key.take());
    match (certificate, key) {
        (None, None) => Ok(None),
        (Some(certificate), Some(key)) => {
            only_https(&certificate, hosts)?;
            let (certificate, key) = (files.add(&certificate)?, files.add(&key)?);
            Ok(Some(ClientCertificate { certificate, key }))
        }
        (Some(certificate), None) => Err(certificate.wrong("needs elasticsearch.key")),
        (None, Some(key)) => Err(key.wrong("needs elasticsearch.certificate")),
    }
}

fn only_https(given: &Given, hosts: &[Host]) -> Result<(), Wrong> {
    if hosts.iter().any(Host::is_https) {
        Ok(())
    } else {
        Err(given.wrong("is only for https:// hosts"))
    }
}

fn check_template(
    section: &Section<'_>,
    raw: Spanned<RawTemplate>,
    files: &mut NamedFiles,
) -> Result<Template, Wrong> {
    const KEY: &str = "elasticsearch.template";
    let place = Place::of(&raw);
    match raw.value {
        RawTemplate::File(file) => {
            let file = section.given("elasticsearch.template.file", Some(file));
            let file = file.ok_or_else(|| section.missing(KEY, "names no file"))?;
            Ok(Template::File(files.add(&file)?))
        }
        RawTemplate::Word(word) => match word.as_str() {
            "on" => Ok(Template::On),
            "off" => Ok(Template::Off),
            _ => {
                let reason = format!("{word:?} is not on, off or {{file: FILE}}");
                Err(Wrong { place, key: KEY, reason })
            }
        },
    }
}

/// What holds of it, a line a key.
pub(super) fn effective(settings: &Settings) -> Vec<(&'static str, String)> {
    let path = |path: &std::path::Path| path.display().to_string();
    let hosts: Vec<_> = settings.hosts.iter().map(Host::as_str).collect();
    let mut lines = vec![
        ("elasticsearch.hosts", hosts.join(" ")),
        ("elasticsearch.index", settings.index.as_str().to_owned()),
    ];
    if settings.index.is_by_namespace() {
        lines.push(("elasticsearch.max_namespaces", settings.max_namespaces.to_string()));
    }
    match &settings.credentials {
        Credentials::None => {}
        Credentials::Basic { user, password_file } => {
            lines.push(("elasticsearch.user", user.clone()));
            lines.push(("elasticsearch.password_file", path(password_file)));
        }
        Credentials::ApiKey { file } => lines.push(("elasticsearch.api_key_file", path(file))),
        Credentials::Bearer { file } => lines.push(("elasticsearch.token_file", path(file))),
    }
    if let Some(ClientCertificate { certificate, key }) = &settings.certificate {
        lines.push(("elasticsearch.certificate", path(certificate)));
        lines.push(("elasticsearch.key", path(key)));
    }
    lines.extend(settings.ca.as_deref().map(|ca| ("elasticsearch.ca", path(ca))));
    let gzip = match settings.gzip {
        Gzip::Auto => "auto",
        Gzip::On => "on",
        Gzip::Off => "off",
    };
    let template = match &settings.template {
        Template::On => "on".to_owned(),
        Template::Off => "off".to_owned(),
        Template::File(file) => path(file),
    };
    lines.extend([
        ("elasticsearch.bulk_bytes", settings.bulk_bytes.to_string()),
        ("elasticsearch.concurrency", settings.concurrency.to_string()),
        ("elasticsearch.gzip", gzip.to_owned()),
        ("elasticsearch.request_timeout", format!("{}ms", settings.request_timeout.as_millis())),
        ("elasticsearch.template", template),
    ]);
    lines
}
