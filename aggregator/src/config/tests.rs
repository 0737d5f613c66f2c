//! Tests of the configuration: what is wrong is said with its place, what is documented is what holds.

mod reference;

use std::fs;

use super::raw::{Key, RawConfig, Value};
use super::*;
use crate::elasticsearch::{ClientCertificate, Credentials, Gzip, Host};

const GOOD: &str = "\
listen: {address: 127.0.0.1:7443}
forwarders: {authentication: none}
elasticsearch:
  hosts: [http://localhost:9200]
";

fn nothing(_: &str) -> Option<String> {
    None
}

fn parse(text: &str) -> Config {
    Config::parse("f.yaml", text, &nothing).unwrap().0
}

/// Parts of the error's sentence, which begins with the first.
#[track_caller]
fn check(text: &str, parts: &[&str]) {
    let error = Config::parse("f.yaml", text, &nothing).map(|_| ()).unwrap_err().to_string();
    assert!(!error.contains('\n'), "one sentence: {error}");
    assert!(error.starts_with(parts[0]), "{error:?} does not begin with {:?}", parts[0]);
    for part in parts {
        assert!(error.contains(part), "{error:?} does not contain {part:?}");
    }
}

/// An error in what is appended to a good text.
#[track_caller]
fn check_more(more: &str, parts: &[&str]) {
    check(&format!("{GOOD}{more}\n"), parts);
}

#[test]
fn errors_name_file_line_and_key() {
    parse(GOOD);
    check("", &["f.yaml:1:"]);
    check("cluster: a\n", &["f.yaml:1: listen.address: 0.0.0.0:7443 is not loopback"]);
    check("- a\n", &["f.yaml:1:"]);
    check_more("clustre: a", &["f.yaml:5:", "unknown field `clustre`, expected one of cluster"]);
    check_more("  host: [a]", &["f.yaml:5:", "host"]);
    check_more("  hosts: [http://a]", &["f.yaml:5:", "hosts"]);
    check_more("cluster: \"\"", &["f.yaml:5: cluster: \"\" is not a name"]);
    check_more("cluster: [a]", &["f.yaml:5:"]);
    check_more("cluster: \"${NOPE}\"", &["f.yaml:5:", "NOPE"]);
    check_more("data_dir: data", &["f.yaml:5: data_dir: \"data\" is not an absolute path"]);
    check_more(
        "queue: {max_bytes: 20 gigs}",
        &["f.yaml:5: queue.max_bytes: \"20 gigs\" is not a size"],
    );
    check_more(
        "queue:\n  max_bytes: 1MiB",
        &["f.yaml:6: queue.max_bytes: \"1MiB\" is not at least 64MiB"],
    );
    check_more("queue: 20GiB", &["f.yaml:5:"]);
    check_more("dead_letters: {max_bytes: 1}", &["f.yaml:5: dead_letters.max_bytes:"]);
    check_more("http: 7480", &["f.yaml:5: http: \"7480\" is not ip:port"]);
    check_more("http: localhost:7480", &["f.yaml:5: http:"]);
    check_more("log: {format: xml}", &["f.yaml:5: log.format: \"xml\" is not text or json"]);
    check_more("log: {level: debug}", &["f.yaml:5:", "level"]);
    check_more("cluster: \"unclosed", &["f.yaml:"]);
}

#[test]
fn who_may_connect_is_checked() {
    let check = |listen: &str, forwarders: &str, parts: &[&str]| {
        let text = format!(
            "elasticsearch: {{hosts: [http://a]}}\nlisten: {{{listen}}}\nforwarders: {{{forwarders}}}\n"
        );
        match parts {
            [] => drop(parse(&text)),
            parts => check(&text, parts),
        }
    };
    let (local, open) = ("address: 127.0.0.1:7443", "address: 0.0.0.0:7443");
    let tls = "address: 0.0.0.0:7443, tls: {certificate: /c, key: /k}";
    check(local, "authentication: none", &[]);
    check("address: \"[::1]:7443\"", "authentication: none", &[]);
    check(tls, "token: /t", &[]);
    check(local, "authentication: none, exclude: [{namespace: a}, {namespace: b, pod: c}]", &[]);
    let exclude = |item: &str| format!("authentication: none, exclude: [{{{item}}}]");
    check(local, &exclude("pod: a"), &["f.yaml:3: forwarders.exclude: an item needs a namespace"]);
    check(local, &exclude("namespace: \"\""), &["f.yaml:3: forwarders.exclude: a name is empty"]);
    check(local, &exclude("namespace: a, container: b"), &["f.yaml:3: ", "needs its pod"]);
    check(local, &exclude("namespaces: a"), &["f.yaml:3: ", "namespaces"]);
    check(tls, "authentication: certificate, ca: /ca", &[]);
    check("plaintext: true", "authentication: none", &[]);
    check(open, "token: /t", &["f.yaml:2: listen.address: 0.0.0.0:7443 is not loopback"]);
    check(tls, "authentication: none", &["f.yaml:3: forwarders.authentication: none"]);
    check(tls, "", &["f.yaml:3: forwarders.token: is missing"]);
    check(tls, "token: \"\"", &["f.yaml:3: forwarders.token: is empty"]);
    check(tls, "authentication: certificate", &["f.yaml:3: forwarders.ca: is missing"]);
    check(tls, "authentication: oidc", &["f.yaml:3: forwarders.authentication: \"oidc\" is not"]);
    check(tls, "token: /t, ca: /ca", &["f.yaml:3: forwarders.ca: is only for"]);
    check(local, "authentication: none, token: /t", &["f.yaml:3: forwarders.token: is only for"]);
    check(local, "authentication: certificate, ca: /a", &["f.yaml:3: forwarders.authentication: "]);
    check("tls: {certificate: /c}", "", &["f.yaml:2: listen.tls.key: is missing"]);
    check("tls: {key: /k}", "", &["f.yaml:2: listen.tls.certificate: is missing"]);
    check("address: 0.0.0.0", "", &["f.yaml:2: listen.address: \"0.0.0.0\" is not ip:port"]);
    check("plaintext: maybe", "", &["f.yaml:2:"]);
}

#[test]
fn elasticsearch_is_checked() {
    let check = |more: &str, parts: &[&str]| {
        check(&GOOD.replace("[http://localhost:9200]", more), parts);
    };
    let hosts = "[http://a]\n  ";
    check("[]", &["f.yaml:4: elasticsearch.hosts: is missing"]);
    check("http://a", &["f.yaml:4:"]);
    check("[\"a:9200\"]", &["f.yaml:4: elasticsearch.hosts: \"a:9200\" is not an http:// or"]);
    check("\n  - http://a\n  - ftp://b", &["f.yaml:6: elasticsearch.hosts: \"ftp://b\""]);
    check("[http://u:secret@a]", &["f.yaml:4: elasticsearch.hosts: holds credentials"]);
    for (more, parts) in [
        ("user: elastic", &["f.yaml:5: elasticsearch.user: needs elasticsearch.password_file"][..]),
        ("password_file: /p", &["f.yaml:5: elasticsearch.password_file: needs elasticsearch.user"]),
        (
            "user: a\n  password_file: /p\n  api_key_file: /k",
            &["f.yaml:7: elasticsearch.api_key_file"],
        ),
        (
            "token_file: /t\n  user: a",
            &["f.yaml:5: elasticsearch.token_file: is instead of elasticsearch.user: "],
        ),
        (
            "api_key_file: /k\n  token_file: /t",
            &["f.yaml:6: elasticsearch.token_file: is instead of elasticsearch.api_key_file"],
        ),
        (
            "password_file: /p\n  api_key_file: /k",
            &["f.yaml:6: elasticsearch.api_key_file: is instead of elasticsearch.password_file"],
        ),
        ("certificate: /c", &["f.yaml:5: elasticsearch.certificate: needs elasticsearch.key"]),
        ("key: /k", &["f.yaml:5: elasticsearch.key: needs elasticsearch.certificate"]),
        (
            "certificate: /c\n  key: /k",
            &["f.yaml:5: elasticsearch.certificate: is only for https:// hosts"],
        ),
        ("ca: /ca", &["f.yaml:5: elasticsearch.ca: is only for https:// hosts"]),
        ("index: logs", &["f.yaml:5: elasticsearch.index: \"logs\" has no date: give %Y.%m,"]),
        (
            "index: \"l-{label:app}-%Y.%m.%d\"",
            &["f.yaml:5: elasticsearch.index:", "labels are not known to the aggregator yet"],
        ),
        ("index: \"-%Y.%m.%d\"", &["f.yaml:5: elasticsearch.index:"]),
        (
            "max_namespaces: 0",
            &["f.yaml:5: elasticsearch.max_namespaces: \"0\" is not a number from 1 to 1000"],
        ),
        (
            "template: maybe",
            &["f.yaml:5: elasticsearch.template: \"maybe\" is not on, off or {file: FILE}"],
        ),
        ("template: {file: \"\"}", &["f.yaml:5: elasticsearch.template.file: is empty"]),
        ("template: {path: /t}", &["f.yaml:5:", "path"]),
        ("template: {}", &["f.yaml:5:", "file"]),
        ("template: [a]", &["f.yaml:5:"]),
        ("bulk_bytes: 65MiB", &["f.yaml:5: elasticsearch.bulk_bytes: \"65MiB\" is not from 1MiB"]),
        ("bulk_bytes: 1000", &["f.yaml:5: elasticsearch.bulk_bytes:"]),
        ("concurrency: 0", &["f.yaml:5: elasticsearch.concurrency: \"0\" is not a number from 1"]),
        ("concurrency: 33", &["f.yaml:5: elasticsearch.concurrency:"]),
        ("request_timeout: 60", &["f.yaml:5: elasticsearch.request_timeout:", "such as 60s"]),
        ("request_timeout: 2h", &["f.yaml:5: elasticsearch.request_timeout:", "1s to 10m"]),
        ("gzip: perhaps", &["f.yaml:5: elasticsearch.gzip: \"perhaps\" is not auto, on or off"]),
    ] {
        check(&format!("{hosts}{more}"), parts);
    }
}

#[test]
fn what_is_said_about_elasticsearch_is_what_holds() {
    let settings = |more: &str| {
        let text = GOOD.replace("http://localhost:9200", "https://a/es/");
        parse(&format!("{text}  {more}\n")).elasticsearch
    };
    let file = || PathBuf::from("/f");
    let user = settings("user: a\n  password_file: /f").credentials;
    assert_eq!(user, Credentials::Basic { user: "a".to_owned(), password_file: file() });
    assert_eq!(settings("api_key_file: /f").credentials, Credentials::ApiKey { file: file() });
    let both = settings("token_file: /f\n  certificate: /f\n  key: /f\n  ca: /f");
    assert_eq!(both.credentials, Credentials::Bearer { file: file() });
    assert_eq!(both.certificate, Some(ClientCertificate { certificate: file(), key: file() }));
    assert_eq!(both.ca, Some(file()));
    assert_eq!(both.hosts[0].as_str(), "https://a/es");
    for (more, gzip) in [
        ("cluster: a", Gzip::Auto),
        ("gzip: auto", Gzip::Auto),
        ("gzip: on", Gzip::On),
        ("gzip: true", Gzip::On),
        ("gzip: off", Gzip::Off),
        ("gzip: false", Gzip::Off),
    ] {
        let more = more.strip_prefix("cluster").map_or(more, |_| "bulk_bytes: 8MiB");
        assert_eq!(settings(more).gzip, gzip, "{more}");
    }
    for (more, template) in [
        ("template: on", Template::On),
        ("template: true", Template::On),
        ("template: off", Template::Off),
        ("template: false", Template::Off),
        ("template: {file: /f}", Template::File(file())),
        ("template:\n    file: /f", Template::File(file())),
    ] {
        assert_eq!(settings(more).template, template, "{more}");
    }
    let by_namespace = settings("index: \"l-{namespace}-%Y.%m\"\n  max_namespaces: 7");
    assert!(by_namespace.index.is_by_namespace());
    assert_eq!(by_namespace.max_namespaces, 7);
}

#[test]
fn a_template_of_ones_own_is_looked_at_by_a_load() {
    let dir = tempfile::tempdir().unwrap();
    let (path, template) = (dir.path().join("f.yaml"), dir.path().join("t.json"));
    fs::write(&path, format!("{GOOD}  template: {{file: {}}}\n", template.display())).unwrap();
    let load = |text: &str| {
        fs::write(&template, text).unwrap();
        Config::load(&path, &nothing).map(drop).map_err(|error| error.to_string())
    };
    load(r#"{"index_patterns": ["logstash-*"]}"#).unwrap();
    let place =
        format!("{}:5: elasticsearch.template.file: {}:", path.display(), template.display());
    let error = load("{\n  \"index_patterns\": [\"logstash-*\"],\n}").unwrap_err();
    assert!(error.starts_with(&format!("{place}3: is no index template: ")), "{error}");
    let error = load("{\n  \"index_patterns\": [\"logs-*\"]\n}").unwrap_err();
    assert!(
        error.starts_with(&format!("{place}2: ")) && error.contains("not for logstash-2026"),
        "{error}"
    );
}

#[test]
fn a_secret_in_a_url_is_not_repeated() {
    let text = GOOD.replace("localhost", "user:hunter2@localhost");
    let error = Config::parse("f", &text, &nothing).map(|_| ()).unwrap_err().to_string();
    assert!(!error.contains("hunter2"), "{error}");
}

#[test]
fn the_environment_overrides_and_fills_in() {
    let environment = |name: &str| {
        let value = match name {
            "NARU_CLUSTER" => "blue",
            "NARU_HTTP" => "127.0.0.1:1",
            "NARU_DATA_DIR" => "/d",
            "NARU_LISTEN_ADDRESS" => "127.0.0.1:2",
            "NARU_LOG_FORMAT" => "json",
            "NARU_ELASTICSEARCH_HOSTS" => "http://b, http://c/",
            "PREFIX" => "shop",
            _ => return None,
        };
        Some(value.to_owned())
    };
    let text = format!("{GOOD}  index: ${{PREFIX}}-%Y.%m.%d\ncluster: green\nhttp: 127.0.0.1:9\n");
    let config = Config::parse("f", &text, &environment).unwrap().0;
    assert_eq!(config.cluster, "blue");
    assert_eq!(config.http.to_string(), "127.0.0.1:1");
    assert_eq!(config.data_dir, Path::new("/d"));
    assert_eq!(config.listen.to_string(), "127.0.0.1:2");
    assert_eq!(config.log, LogFormat::Json);
    assert_eq!(config.elasticsearch.index.as_str(), "shop-%Y.%m.%d");
    let hosts: Vec<_> = config.elasticsearch.hosts.iter().map(Host::as_str).collect();
    assert_eq!(hosts, ["http://b", "http://c"]);
    let bad = |name: &str| (name == "NARU_HTTP").then(|| "here".to_owned());
    let error = Config::parse("f", GOOD, &bad).map(|_| ()).unwrap_err().to_string();
    assert_eq!(error, "f: http, from NARU_HTTP: \"here\" is not ip:port");
}

#[test]
fn files_are_looked_at_by_a_load_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f.yaml");
    let secret = dir.path().join("token");
    let load = |text: &str| {
        fs::write(&path, text).unwrap();
        let name = format!("{}:", path.display());
        let loaded = Config::load(&path, &nothing);
        loaded.map_err(|error| error.to_string().strip_prefix(&name).unwrap().to_owned())
    };
    let text = GOOD.replace("authentication: none", &format!("token: {}", secret.display()));
    let error = load(&text).unwrap_err();
    assert!(error.starts_with("2: forwarders.token: "), "{error}");
    assert!(error.contains("cannot be read"), "{error}");
    fs::create_dir(&secret).unwrap();
    let error = load(&text).unwrap_err();
    assert!(error.ends_with("is not a file"), "{error}");
    fs::remove_dir(&secret).unwrap();
    fs::write(&secret, "").unwrap();
    let error = load(&text).unwrap_err();
    assert!(error.starts_with("2: forwarders.token: ") && error.contains("no token"), "{error}");
    fs::write(&secret, "hunter2\n").unwrap();
    let config = load(&text).unwrap();
    let effective = config.effective();
    assert!(effective.iter().all(|(_, value)| !value.contains("hunter2")), "{effective:?}");
    let missing = Config::load(&dir.path().join("none.yaml"), &nothing).unwrap_err().to_string();
    assert!(missing.contains("none.yaml: No such file"), "{missing}");
}
