//! The order of a round, names, and what is refused without a connection.

use super::*;

fn places(addresses: &[&str]) -> Vec<Place> {
    let place = |text: &&str| Place { address: text.parse().unwrap(), host: host_of(text) };
    addresses.iter().map(place).collect()
}

#[test]
fn a_round_is_in_random_order_and_has_every_address_once() {
    let all = places(&["10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1"]);
    let mut firsts = std::collections::BTreeSet::new();
    for step in 0..100 {
        let mut number = f64::from(step) / 100.0;
        let chance = || {
            number = (number * 7.0 + 0.31) % 1.0;
            number
        };
        let mut ordered = order(all.clone(), Some(all[1].address), chance);
        assert_eq!(ordered.last(), Some(&all[1]), "what is avoided comes last");
        firsts.insert(ordered[0].clone());
        ordered.sort();
        assert_eq!(ordered, all);
    }
    assert_eq!(firsts.len(), 2, "both others come first at times");
    assert_eq!(order(all[..1].to_vec(), Some(all[0].address), || 0.5), all[..1]);
    assert_eq!(order(Vec::new(), None, || 0.999_999), []);
}

#[test]
fn the_host_of_an_address_is_what_its_certificate_must_name() {
    let check = |address, host| assert_eq!(host_of(address), host);
    check("naru-aggregator.naru:7443", "naru-aggregator.naru");
    check("10.0.0.1:7443", "10.0.0.1");
    check("[::1]:7443", "::1");
}

#[tokio::test]
async fn nothing_crosses_a_network_in_plain_text_unless_it_is_asked_for() {
    let connector = Connector::new(Target::plain("10.255.255.1:1".into())).unwrap();
    let place = &places(&["10.255.255.1:1"])[0];
    let refused = connector.connect(place).await.err().unwrap();
    assert!(matches!(refused, ConnectError::Plaintext(_)), "{refused}");
    for loopback in ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"] {
        assert!(is_loopback(loopback.parse().unwrap()), "{loopback}");
    }
    for other in ["0.0.0.0", "::", "10.0.0.1", "::ffff:10.0.0.1"] {
        assert!(!is_loopback(other.parse().unwrap()), "{other}");
    }
}

#[tokio::test]
async fn a_name_that_does_not_resolve_hides_no_address_that_does() {
    let target = |addresses: &[&str]| Target {
        addresses: addresses.iter().map(|&address| address.to_owned()).collect(),
        ..Target::plain(String::new())
    };
    let resolve = async |addresses| {
        let connector = Connector::new(target(addresses)).unwrap();
        let found = connector.resolve().await;
        found.map(|found| found.iter().map(|p| p.address.to_string()).collect::<Vec<_>>())
    };
    let found = resolve(&["127.0.0.1:2", "nowhere.invalid:1", "127.0.0.1:1", "127.0.0.1:2"]).await;
    assert_eq!(found.unwrap(), ["127.0.0.1:1", "127.0.0.1:2"]);
    let failed = resolve(&["nowhere.invalid:1"]).await.unwrap_err();
    assert!(failed.to_string().contains("resolve nowhere.invalid:1"), "{failed}");
}
