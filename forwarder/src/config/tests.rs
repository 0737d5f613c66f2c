//! What is wrong is named by file, line and key.

use rustls::pki_types::ServerName;

use super::containers::PODS_PATH;
use super::*;
use crate::discover::ContainerDirectory;

fn environment(name: &str) -> Option<String> {
    (name == "NODE_NAME").then(|| "node-7".to_owned())
}

fn check(text: &str, expected: Result<(), &[&str]>) {
    match (Config::parse("f.yaml", text, &environment), expected) {
        (Ok(_), Ok(())) => {}
        (Err(error), Err(parts)) => {
            let error = error.to_string();
            assert!(!error.contains('\n'), "{error}");
            for part in parts {
                assert!(error.contains(part), "{error:?} does not contain {part:?}");
            }
        }
        (found, _) => panic!("{text:?}: {found:?}"),
    }
}

#[test]
fn errors_name_file_line_and_key() {
    check("aggregator: {address: localhost:7443}\n", Ok(()));
    check("aggregator:\n  address: localhost:7443\nclustre: a\n", Err(&["f.yaml:3:", "clustre"]));
    check("aggregator:\n  adress: localhost:7443\n", Err(&["f.yaml:2:", "adress"]));
    check("cluster: a\n", Err(&["f.yaml:1:", "aggregator"]));
    check("aggregator: {address: a:1}\nfiles: 3\n", Err(&["f.yaml:2:"]));
    check("aggregator: {address: a:1}\nhttp: here\n", Err(&["f.yaml:2:", "http"]));
    check("aggregator:\n  address: nowhere\n", Err(&["f.yaml:2:", "address", "nowhere"]));
    check("aggregator: {address: \"${NOPE}\"}\n", Err(&["f.yaml:1:", "NOPE"]));
    check("\naggregator: {address: a:1}\ndata_dir: x\n", Err(&["f.yaml:3:", "data_dir"]));
    check("aggregator: {address: a:1\n", Err(&["f.yaml:"]));
    let files = "aggregator: {address: a:1}\nfiles:\n  - {name: k, path: /var/[}\n";
    check(files, Err(&["f.yaml:3:"]));
    check(
        "aggregator: {address: a:1}\nfiles:\n  - name: k\n    path: v\n",
        Err(&["f.yaml:4:", "path"]),
    );
    let third = "aggregator: {address: a:1}\ncontainers: {path: /p}\nfiles:\n  - {name: a, path: /a}\n  \
                 - {name: b, path: /b}\n  - name: c\n    path: c\n";
    check(third, Err(&["f.yaml:7: path: \"c\" is not absolute"]));
    check(
        "aggregator: {address: a:1}\ncontainers:\n  path: p\n",
        Err(&["f.yaml:3: path: p is not"]),
    );
}

#[test]
fn a_wrong_variable_of_the_environment_is_named() {
    let environment = |name: &str| (name == "NARU_HTTP").then(|| "here".to_owned());
    let error = Config::parse("f.yaml", "aggregator: {address: a:1}\n", &environment).unwrap_err();
    assert_eq!(error.to_string(), "f.yaml: NARU_HTTP: \"here\" is not ip:port");
}

#[test]
fn the_documented_example_is_valid() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples/forwarder.yaml");
    let config = Config::load(&path, &environment).unwrap();
    assert_eq!(config.files.len(), 1);
    // What is commented out is the default.
    let text = std::fs::read_to_string(&path).unwrap();
    let uncommented: String = text
        .lines()
        .map(|line| line.strip_prefix("# ").filter(|l| l.contains(':')).unwrap_or(line))
        .filter(|line| !line.trim_start().starts_with('#') || !line.contains(": "))
        .map(|line| format!("{line}\n"))
        .collect();
    for default in ["data_dir: /var/lib/naru-forwarder", "http: 127.0.0.1:7481"] {
        assert!(uncommented.contains(default), "{uncommented}");
    }
    assert_eq!(config.data_dir, Path::new(DATA_DIR));
    assert_eq!(config.http.unwrap().to_string(), HTTP);
}

#[test]
fn the_environment_fills_in() {
    let text = "aggregator: {address: \"${NODE_NAME}:7443\"}\ncluster: a$$b\n";
    let config = Config::parse("f", text, &environment).unwrap();
    assert_eq!(config.aggregator.addresses, ["node-7:7443"]);
    assert_eq!(config.cluster, "a$b");
    assert_eq!(config.node, "node-7");
    assert_eq!(config.containers.unwrap().path, Path::new(PODS_PATH));
}

#[test]
fn an_aggregator_is_reached_as_the_file_says() {
    let target = |aggregator: &str| {
        let text = format!("aggregator: {{{aggregator}}}\n");
        Config::parse("f.yaml", &text, &environment).unwrap().aggregator
    };
    assert_eq!(target("address: a:1"), Target::plain("a:1".into()));
    let several = target("address: \"a:1, 10.0.0.1:2,[::1]:3\", plaintext: true");
    assert_eq!(several.addresses, ["a:1", "10.0.0.1:2", "[::1]:3"]);
    assert!(several.plaintext);

    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::default().self_signed(&key).unwrap();
    std::fs::write(path("pem"), certificate.pem()).unwrap();
    std::fs::write(path("key"), key.serialize_pem()).unwrap();
    std::fs::write(path("token"), "secret\n").unwrap();
    let (pem, key, token) = (path("pem"), path("key"), path("token"));
    let all = format!(
        "address: a:1, token: {token}, \
         tls: {{ca: {pem}, certificate: {pem}, key: {key}, server_name: b}}"
    );
    let found = target(&all);
    assert_eq!(found.credentials.token, Some(token.clone().into()));
    assert_eq!(found.server_name, Some(ServerName::try_from("b").unwrap()));
    assert_eq!(found.credentials.tls.unwrap().identity.unwrap().key, Path::new(&key));

    let wrong = |lines: &str, parts: &[&str]| {
        check(&format!("aggregator:\n  address: a:1\n{lines}"), Err(parts));
    };
    wrong("  token: /nowhere\n", &["f.yaml:3: token: /nowhere: No such file"]);
    wrong("  tls: {}\n", &["f.yaml:3: tls: needs ca", "not the system's"]);
    wrong("  tls:\n    ca: /nowhere\n", &["f.yaml:4: ca: /nowhere: No such file"]);
    wrong(&format!("  tls:\n    ca: {token}\n"), &["f.yaml:4: ca: ", "no readable certificate"]);
    let tls = format!("  tls:\n    ca: {pem}\n");
    wrong(&format!("{tls}    certificate: {pem}\n"), &["f.yaml:5: certificate: needs key"]);
    wrong(&format!("{tls}    key: {key}\n"), &["f.yaml:5: key: needs certificate"]);
    let pair = format!("{tls}    certificate: {pem}\n    key: {pem}\n");
    wrong(&pair, &["f.yaml:6: key: ", "no readable private key"]);
    wrong(&format!("{tls}    server_name: \"a b\"\n"), &["f.yaml:5: server_name: \"a b\""]);
    wrong(&format!("{tls}    system: true\n"), &["f.yaml:5:", "system"]);
    check("aggregator:\n  address: a:1,b\n", Err(&["f.yaml:2:", "\"b\" is not host:port"]));
    check("aggregator:\n  address: :1\n", Err(&["f.yaml:2:", "\":1\" is not host:port"]));
    check("aggregator:\n  address: \"a:1,\"\n", Err(&["f.yaml:2:", "is not host:port"]));
}

#[test]
fn b23_presets_are_the_host_files_of_the_replaced_daemon_set() {
    let files = |text: &str| {
        let text = format!("aggregator: {{address: a:1}}\nfiles:\n{text}");
        Config::parse("f.yaml", &text, &environment).unwrap().files
    };
    let named = |files: &[Input]| -> Vec<(String, String)> {
        files.iter().map(|f| (f.name.clone(), f.pattern.as_str().to_owned())).collect()
    };
    let all = files("  - {preset: all}\n");
    let expected: Vec<_> =
        preset::PRESETS.iter().map(|p| (p.name.to_owned(), p.path.to_owned())).collect();
    assert_eq!(named(&all), expected);
    let two = files("  - {preset: kubelet}\n  - {preset: salt, path: /srv/minion, name: s}\n");
    let expected = [("kubelet", "/var/log/kubelet.log"), ("s", "/srv/minion")];
    assert_eq!(named(&two), expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    assert_eq!(two[0].preset.unwrap().multiline, Some("klog"));
    let wrong = |item: &str, parts: &[&str]| {
        check(
            &format!("aggregator: {{address: a:1}}\nfiles:\n  - {{preset: etcd}}\n  - {item}\n"),
            Err(parts),
        );
    };
    wrong(
        "{preset: kublet}",
        &["f.yaml:4: preset: there is no preset \"kublet\"; there are all, salt,"],
    );
    wrong("{preset: all, path: /a}", &["f.yaml:4: path: cannot be that of all"]);
    wrong("{name: a}", &["f.yaml:4: path: is missing"]);
    wrong("{path: /a}", &["f.yaml:4: name: is missing"]);
    wrong("{preset: salt, exclude: [a]}", &["f.yaml:4: exclude: \"a\" is not absolute"]);
}

#[test]
fn b19_own_logs_and_those_that_are_named_are_excluded() {
    let excluded = |containers: &str, environment: Environment<'_>, pod: &str| {
        let text = format!("aggregator: {{address: a:1}}\ncontainers: {{{containers}}}\n");
        let containers = Config::parse("f.yaml", &text, environment).unwrap().containers.unwrap();
        let directory = ContainerDirectory { pod: pod.into(), container: "c".into() };
        containers.exclude.excludes(&containers.path, &directory)
    };
    let pod = |name: &str| match name {
        "POD_NAMESPACE" => Some("logs".to_owned()),
        "POD_NAME" => Some("shipper-1".to_owned()),
        _ => None,
    };
    for own in ["naru_naru-forwarder-x2x_u", "logs_naru-aggregator-0_u"] {
        assert!(excluded("", &|_| None, own), "{own}");
        assert!(!excluded("exclude_own: false", &|_| None, own), "{own}");
    }
    assert!(excluded("", &pod, "logs_naru-aggregator-0_u"));
    assert!(excluded("", &pod, "logs_shipper-1_u"));
    assert!(!excluded("", &pod, "shop_naru-aggregator-0_u"));
    assert!(!excluded("", &pod, "logs_web_u"));
    assert!(excluded("exclude: [{namespace: s*, pod: web-*}]", &pod, "shop_web-1_u"));
    assert!(!excluded("exclude: [{namespace: s*, pod: web-*}]", &pod, "shop_db-1_u"));
    assert!(excluded("exclude: [{path: /var/log/pods/shop_*}]", &pod, "shop_db-1_u"));
    let wrong = |item: &str, parts: &[&str]| {
        let text = format!(
            "aggregator: {{address: a:1}}\ncontainers:\n  exclude:\n  - {{pod: a}}\n  - {item}\n"
        );
        check(&text, Err(parts));
    };
    wrong("{pod: \"[\"}", &["f.yaml:5: pod: \"[\":"]);
    wrong("{}", &["f.yaml:5: exclude: an exclusion needs"]);
    wrong("{pdo: a}", &["f.yaml:5:", "pdo"]);
}

#[test]
fn b20_an_age_and_a_time_are_read() {
    let parsed = [
        ("24h", Some(Since::Age(std::time::Duration::from_secs(86_400)))),
        ("90s", Some(Since::Age(std::time::Duration::from_secs(90)))),
        ("1970-01-01T00:00:01Z", Some(Since::Time(1_000_000_000))),
        ("24", None),
        ("h", None),
        ("", None),
        ("yesterday", None),
        ("1한", None),
        ("99999999999999999999d", None),
    ];
    for (text, expected) in parsed {
        assert_eq!(Since::parse(text), expected, "{text}");
    }
    check("aggregator: {address: a:1}\nsince: 3 days\n", Err(&["f.yaml:2: since: \"3 days\""]));
    let pos_file = "aggregator: {address: a:1}\ncontainers:\n  pos_file: fluentd.pos\n";
    check(pos_file, Err(&["f.yaml:3: pos_file: \"fluentd.pos\" is not absolute"]));
}
