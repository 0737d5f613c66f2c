//! Files, right and wrong, at the start and later.

use std::time::SystemTime;

use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;

use super::super::keyring::Keyring;
use super::super::metrics::Metrics;
use super::*;

/// A certificate of its own, and its key, in PEM.
fn pair() -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["aggregator".to_owned()]).unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

struct Files(TempDir);

impl Files {
    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    fn security(&self, authentication: Authentication) -> Security {
        let path = |name: &str| self.0.path().join(name);
        let tls = TlsFiles { certificate: path("certificate"), key: path("key") };
        Security { tls: Some(tls), authentication, plaintext: false }
    }
}

fn files() -> Files {
    let files = Files(tempfile::tempdir().unwrap());
    let (certificate, key) = pair();
    files.write("certificate", &certificate);
    files.write("key", &key);
    files
}

#[test]
fn a_start_names_the_file_that_is_wrong() {
    let check = |change: &dyn Fn(&Files),
                 authentication: fn(PathBuf) -> Authentication,
                 parts: &[&str]| {
        let files = files();
        let extra = files.write("extra", &pair().0);
        change(&files);
        match files.security(authentication(extra)).check() {
            Ok(()) => assert!(parts.is_empty(), "{parts:?}"),
            Err(error) => {
                let error = error.to_string();
                assert!(!parts.is_empty() && !error.contains('\n'), "{error}");
                parts.iter().for_each(|part| assert!(error.contains(part), "{error:?}: {part:?}"));
            }
        }
    };
    let none = |_| Authentication::None;
    let token = |file| Authentication::Token { file };
    let certificate = |ca| Authentication::Certificate { ca };
    check(&|_| (), none, &[]);
    check(&|_| (), certificate, &[]);
    check(&|f| drop(f.write("extra", "secret\n")), token, &[]);
    let gone =
        |name: &'static str| move |f: &Files| fs::remove_file(f.0.path().join(name)).unwrap();
    check(&gone("certificate"), none, &["/certificate", "No such file"]);
    check(&gone("key"), none, &["/key", "No such file"]);
    check(&gone("extra"), token, &["/extra", "No such file"]);
    check(
        &|f| drop(f.write("certificate", "rubbish")),
        none,
        &["/certificate", "no readable certificate"],
    );
    check(&|f| drop(f.write("key", "")), none, &["/key", "no readable private key"]);
    check(&|f| drop(f.write("key", &pair().1)), none, &["/certificate", "KeyMismatch"]);
    check(&|f| drop(f.write("extra", " \n")), token, &["/extra", "no token"]);
    check(&|f| drop(f.write("extra", "")), certificate, &["/extra", "no readable certificate"]);
    let files = files();
    let ca = files.write("ca", &pair().0);
    let without_tls = Security { tls: None, ..files.security(Authentication::Certificate { ca }) };
    assert!(matches!(without_tls.check(), Err(SecurityError::CertificateWithoutTls)));
}

#[test]
fn what_is_open_stays_on_loopback_unless_it_is_asked_for() {
    let files = files();
    let token = || Authentication::Token { file: "t".into() };
    let check = |security: &Security, address: &str, allowed| {
        assert_eq!(
            security.allows(address.parse().unwrap()).is_ok(),
            allowed,
            "{security:?} {address}"
        );
    };
    let open = files.security(Authentication::None);
    let closed = files.security(token());
    let plain = Security { tls: None, ..files.security(token()) };
    for loopback in ["127.0.0.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
        for security in [&open, &closed, &plain, &Security::loopback()] {
            check(security, loopback, true);
        }
    }
    for network in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1"] {
        check(&closed, network, true);
        for security in [open.clone(), plain.clone(), Security::loopback()] {
            check(&security, network, false);
            check(&Security { plaintext: true, ..security }, network, true);
        }
    }
}

#[test]
fn new_files_are_taken_into_use_and_broken_ones_are_not() {
    let files = files();
    let file = files.write("token", "first");
    let metrics = Metrics::default();
    let keyring = Keyring::new(files.security(Authentication::Token { file }), metrics.clone());
    assert!(keyring.demands().is_none(), "nobody is let in before the files are read");
    keyring.open().unwrap();
    let in_use = || keyring.demands().unwrap();
    let first = in_use();
    keyring.look();
    assert!(Arc::ptr_eq(&first, &in_use()), "nothing changed");
    assert_eq!((keyring.trouble(), metrics.security_files_current.get()), (None, 1));

    for broken in ["-----BEGIN CERTIFICATE-----\nAAAA", &pair().0] {
        files.write("certificate", broken);
        keyring.look();
        assert!(Arc::ptr_eq(&first, &in_use()), "what was right stays in use");
        let trouble = keyring.trouble().unwrap();
        assert!(trouble.contains("/certificate") && trouble.contains("in use"), "{trouble}");
        assert_eq!(metrics.security_files_current.get(), 0);
    }
    let (certificate, key) = pair();
    files.write("certificate", &certificate);
    files.write("key", &key);
    // The time of a file says nothing: clocks are set, and secrets are unpacked with old dates.
    let key = fs::File::options().write(true).open(files.0.path().join("key")).unwrap();
    key.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    keyring.look();
    assert!(!Arc::ptr_eq(&first, &in_use()));
    assert_eq!((keyring.trouble(), metrics.security_files_current.get()), (None, 1));
    let second = in_use();
    fs::remove_file(files.0.path().join("token")).unwrap();
    keyring.look();
    assert!(Arc::ptr_eq(&second, &in_use()) && keyring.trouble().unwrap().contains("/token"));
    files.write("token", "first");
    keyring.look();
    assert!(Arc::ptr_eq(&second, &in_use()) && keyring.trouble().is_none());
}
