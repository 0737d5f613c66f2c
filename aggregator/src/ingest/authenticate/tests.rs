//! The decision, as a table, and the names in certificates.

use rcgen::{CertificateParams, DnType, DnValue, KeyPair};

use super::*;

fn secrets(text: &str) -> Option<Secrets> {
    Secrets::parse(text.as_bytes())
}

#[test]
fn who_may_send_is_decided_by_what_is_presented() {
    let token = || Rule::Token(secrets("old-secret\r\n\n  new-secret\n").unwrap());
    let check = |rule: Rule, authorization: Option<&str>, certified: Option<&[&str]>, expected| {
        let certified: Option<Vec<String>> =
            certified.map(|names| names.iter().map(|&name| name.to_owned()).collect());
        let decided = decide(&rule, authorization, certified.as_deref());
        assert_eq!(decided, expected, "{rule:?} {authorization:?} {certified:?}");
    };
    let named = |names: &[&str]| Nodes::Named(names.iter().map(|&n| n.to_owned()).collect());
    check(Rule::Nothing, None, None, Ok(Nodes::Any));
    check(Rule::Nothing, Some("Bearer x"), None, Ok(Nodes::Any));

    check(token(), Some("Bearer old-secret"), None, Ok(Nodes::Any));
    check(token(), Some("Bearer new-secret"), None, Ok(Nodes::Any));
    check(token(), None, None, Err(Denied::NoToken));
    check(token(), None, Some(&["node-1"]), Err(Denied::NoToken));
    for none in ["", "old-secret", "Basic old-secret", "bearer old-secret"] {
        check(token(), Some(none), None, Err(Denied::NoToken));
    }
    for wrong in ["", "old-secre", "old-secret2", "OLD-SECRET", "old-secret new-secret"] {
        check(token(), Some(&format!("Bearer {wrong}")), None, Err(Denied::WrongToken));
    }

    check(Rule::Certificate, None, Some(&["a", "b"]), Ok(named(&["a", "b"])));
    check(Rule::Certificate, None, Some(&[]), Err(Denied::NoName));
    check(Rule::Certificate, Some("Bearer old-secret"), None, Err(Denied::NoCertificate));
}

#[test]
fn a_client_is_a_node_that_its_certificate_names() {
    let nodes = Nodes::Named(vec!["node-1".into(), "node-1.example".into()]);
    assert_eq!(nodes.allow("node-1"), Ok(()));
    assert_eq!(nodes.allow("node-1.example"), Ok(()));
    assert_eq!(Nodes::Any.allow("node-7"), Ok(()));
    for other in ["node-2", "node-1 ", "Node-1", "node-1.example.", ""] {
        let denied = nodes.allow(other).unwrap_err();
        assert_eq!(denied.label(), "wrong_node");
        assert!(denied.to_string().contains("node-1, node-1.example"), "{denied}");
        assert_eq!(denied.status().code(), tonic::Code::PermissionDenied);
    }
    assert_eq!(Denied::WrongToken.status().code(), tonic::Code::Unauthenticated);
}

#[test]
fn a_token_is_what_a_client_can_send() {
    for none in ["", "\n \r\n", "a b", "gehe\u{ed}m", "tab\there"] {
        assert!(secrets(none).is_none(), "{none:?}");
    }
    let one = secrets("hidden").unwrap();
    assert!(one.contain("hidden") && !one.contain("hidde"));
    assert_eq!(format!("{one:?}"), "1 secrets");
}

#[test]
fn the_names_in_a_certificate_are_its_common_name_and_its_dns_names() {
    let key = KeyPair::generate().unwrap();
    let check = |common: Option<DnValue>, dns: &[&str], expected: &[&str]| {
        let dns: Vec<String> = dns.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(dns).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        if let Some(common) = common {
            params.distinguished_name.push(DnType::CommonName, common);
        }
        params.distinguished_name.push(DnType::OrganizationName, "not-a-node");
        let certificate = params.self_signed(&key).unwrap();
        assert_eq!(names(certificate.der()), expected);
    };
    let utf8 = |name: &str| Some(DnValue::Utf8String(name.into()));
    let printable = Some(DnValue::PrintableString("node-3".try_into().unwrap()));
    check(utf8("node-1"), &[], &["node-1"]);
    check(utf8("node-1"), &["node-1", "node-2"], &["node-1", "node-2"]);
    check(printable, &[], &["node-3"]);
    check(None, &["node-2", "10.0.0.1"], &["node-2"]);
    check(None, &[], &[]);
    check(utf8("*.nodes"), &["*.nodes", "node-1"], &["node-1"]);
    assert_eq!(names(b"not a certificate"), Vec::<String>::new());
}
