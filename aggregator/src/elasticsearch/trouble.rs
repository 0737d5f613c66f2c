//! Why a request has no answer, in a sentence that says what to look at. Pure.

/// What the library says, and what it means. The first that is in the text holds.
const MEANINGS: [(&str, &str); 13] = [
    ("InvalidContentType", "it does not speak TLS: is its URL http://?"),
    // Of another authority that has the same name.
    (
        "BadSignature",
        "its certificate is not signed by an authority that is trusted: see elasticsearch.ca",
    ),
    (
        "UnknownIssuer",
        "its certificate is not signed by an authority that is trusted: see elasticsearch.ca",
    ),
    ("not valid for name", "its certificate is for another name than the URL has"),
    ("NotValidForName", "its certificate is for another name than the URL has"),
    ("expired", "its certificate has expired"),
    (
        "CertificateRequired",
        "it asks for a client certificate: give elasticsearch.certificate and key",
    ),
    (
        "certificate required",
        "it asks for a client certificate: give elasticsearch.certificate and key",
    ),
    (
        "BadCertificate",
        "it asks for a client certificate, and does not take what it gets: see elasticsearch.certificate",
    ),
    (
        "CertificateUnknown",
        "it does not take the client certificate: see elasticsearch.certificate",
    ),
    ("UnknownCA", "it does not take the client certificate: see elasticsearch.certificate"),
    ("failed to lookup address", "the name cannot be resolved"),
    (
        "connection closed before message completed",
        "it closes the connection without an answer: is its URL https://?",
    ),
];

/// An error of a request: what it means, and its causes.
pub(super) fn sentence(error: &reqwest::Error) -> String {
    if error.is_timeout() && !error.is_connect() {
        return "no answer in time".to_owned();
    }
    explained(&causes(error))
}

/// The causes of an error, without the URL, which the caller names.
pub(super) fn causes(error: &reqwest::Error) -> String {
    let mut causes = Vec::<String>::new();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let text = error.to_string();
        if !causes.iter().any(|known| known.contains(&text)) {
            causes.push(text);
        }
        cause = error.source();
    }
    if causes.is_empty() { "the request failed".to_owned() } else { causes.join(": ") }
}

fn explained(causes: &str) -> String {
    match MEANINGS.iter().find(|(text, _)| causes.contains(text)) {
        Some((_, meaning)) => format!("{meaning} ({causes})"),
        None => causes.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_explained_and_what_is_said_is_kept() {
        let check = |causes: &str, meaning: &str| {
            let found = explained(causes);
            assert!(found.contains(causes), "{found}");
            assert!(found.contains(meaning), "{found}");
        };
        check(
            "client error (Connect): received corrupt message of type InvalidContentType",
            "http://?",
        );
        check("invalid peer certificate: UnknownIssuer", "elasticsearch.ca");
        check("invalid peer certificate: BadSignature", "elasticsearch.ca");
        check("invalid peer certificate: certificate not valid for name \"a\"", "another name");
        check("invalid peer certificate: certificate expired: verification time", "has expired");
        check("received fatal alert: CertificateRequired", "elasticsearch.certificate");
        check("dns error: failed to lookup address information", "cannot be resolved");
        check("connection closed before message completed", "https://?");
        assert_eq!(
            explained("Connection refused (os error 111)"),
            "Connection refused (os error 111)"
        );
    }
}
