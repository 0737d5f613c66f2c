//! Files, right and wrong.

use rcgen::{CertificateParams, KeyPair};

use super::*;

/// A certificate of its own, and its key, in PEM.
fn pair() -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::default().self_signed(&key).unwrap();
    (certificate.pem(), key.serialize_pem())
}

#[test]
fn the_file_that_is_wrong_is_named_and_its_key() {
    let (certificate, secret) = pair();
    let check = |name: &str, text: Option<&str>, expected: &str| {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        for (name, text) in
            [("ca", &*certificate), ("certificate", &certificate), ("key", &secret), ("token", "a")]
        {
            fs::write(path(name), text).unwrap();
        }
        match text {
            Some(text) => fs::write(path(name), text).unwrap(),
            None => fs::remove_file(path(name)).unwrap(),
        }
        let identity = IdentityFiles { certificate: path("certificate"), key: path("key") };
        let tls = TlsFiles { ca: path("ca"), identity: Some(identity) };
        let files = CredentialFiles { tls: Some(tls), token: Some(path("token")) };
        match files.read() {
            Ok(read) => {
                assert_eq!(expected, "");
                assert_eq!(format!("{read:?}"), "tls: true, token: true", "nothing is told");
            }
            Err(error) => {
                assert_eq!((error.key, &error.path), (name, &path(name)));
                assert!(error.to_string().contains(expected), "{error}");
                assert!(!expected.is_empty() && !error.to_string().contains('\n'), "{error}");
            }
        }
    };
    check("token", Some(" secret \n"), "");
    for name in ["ca", "certificate", "key", "token"] {
        check(name, None, "No such file");
    }
    for (name, what) in
        [("ca", "certificate"), ("certificate", "certificate"), ("key", "private key")]
    {
        check(name, Some("rubbish"), &format!("no readable {what} in PEM"));
        check(name, Some("-----BEGIN CERTIFICATE-----\nAAAA\n"), &format!("no readable {what}"));
    }
    check("certificate", Some(&pair().0), "KeyMismatch");
    for token in ["", "\n", "a b", "gehe\u{ed}m", "two\nlines"] {
        check("token", Some(token), "no token");
    }
}

#[test]
fn a_token_is_sent_as_a_bearer_and_shown_to_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    fs::write(&file, "secret\n").unwrap();
    let read = CredentialFiles { tls: None, token: Some(file) }.read().unwrap();
    let token = read.token.unwrap();
    assert_eq!(token.to_str().unwrap(), "Bearer secret");
    assert!(token.is_sensitive() && !format!("{token:?}").contains("secret"));
}
