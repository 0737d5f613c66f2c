//! What a server says it is, and whether documents can be sent to it. Pure.

use super::answer;
use super::template::Server;

/// How much of an answer is quoted.
const QUOTED_CHARS: usize = 200;

/// What follows from the answer to `GET /`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Greeting {
    /// It says what it is.
    Known(Server),
    /// It is one, and does not say which: `GET /_nodes/_local` may.
    Reticent,
    /// It is not one, or too old, or does not let us in; in a sentence.
    No(String),
}

/// Reads the answer to `GET /`.
#[must_use]
pub fn of(status: u16, body: &[u8]) -> Greeting {
    if let Some(server) = Server::read(body) {
        return of_server(server);
    }
    match status {
        401 => Greeting::No(denied(status, body)),
        300..=399 => Greeting::No(format!(
            "GET / is answered {status}, a redirection, which is not followed: give the URL that it leads to"
        )),
        500.. => Greeting::No(format!("GET / is answered {status}: {}", quoted(body))),
        // Under a path that is not its own it takes the path for an index.
        404 if answer::failure(body)
            .is_some_and(|error| error.kind == "index_not_found_exception") =>
        {
            Greeting::No(format!(
                "Elasticsearch does not know the path of the URL in elasticsearch.hosts (404): {}",
                quoted(body)
            ))
        }
        // A user with rights to indices alone, a service that keeps to itself, a distribution without this answer.
        _ if is_object(body) => Greeting::Reticent,
        _ => Greeting::No(format!(
            "what answers is not Elasticsearch: GET / is answered {status} with {}: is the URL in elasticsearch.hosts \
             right, and its path?",
            what_it_is(body)
        )),
    }
}

/// Reads the answer to `GET /_nodes/_local`; what is not told is taken for what everything of these days takes.
#[must_use]
pub fn of_nodes(body: &[u8]) -> Greeting {
    of_server(Server::read_nodes(body).unwrap_or_else(Server::unnamed))
}

/// Why credentials do not suffice.
#[must_use]
pub fn denied(status: u16, body: &[u8]) -> String {
    format!("the credentials are refused ({status}): {}", quoted(body))
}

/// What an answer says, short.
#[must_use]
pub fn quoted(body: &[u8]) -> String {
    answer::failure(body).map_or_else(
        || String::from_utf8_lossy(body).chars().take(QUOTED_CHARS).collect(),
        |error| error.to_string(),
    )
}

fn of_server(server: Server) -> Greeting {
    match server.refusal() {
        Some(refusal) => Greeting::No(refusal),
        None => Greeting::Known(server),
    }
}

fn is_object(body: &[u8]) -> bool {
    serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(body).is_ok()
}

fn what_it_is(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let text = text.trim();
    if text.is_empty() {
        "nothing".to_owned()
    } else if text.starts_with('<') {
        "a page of HTML".to_owned()
    } else {
        format!("{:?}", text.chars().take(QUOTED_CHARS).collect::<String>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EIGHT: &str = r#"{"version":{"number":"8.17.2","build_flavor":"default"}}"#;

    #[test]
    fn each_answer_has_one_clear_sentence() {
        let check = |status, body: &str, expected: &str| match of(status, body.as_bytes()) {
            Greeting::Known(server) => assert_eq!(server.to_string(), expected),
            Greeting::Reticent => assert_eq!("reticent", expected, "{status} {body}"),
            Greeting::No(reason) => {
                assert!(!reason.contains('\n'), "{reason}");
                assert!(reason.contains(expected), "{status} {body}: {reason}");
            }
        };
        check(200, EIGHT, "elasticsearch 8.17.2");
        check(
            200,
            r#"{"version":{"number":"2.19.1","distribution":"opensearch"}}"#,
            "opensearch 2.19.1",
        );
        check(200, r#"{"version":{"number":"6.8.23"}}"#, "Elasticsearch 6.8.23 is too old");
        check(200, r#"{"version":{"number":"5.6.0"}}"#, "Elasticsearch 5.6.0 is too old");
        check(200, "{}", "reticent");
        let security = r#"{"error":{"type":"security_exception","reason":"unable to authenticate user [naru]"},"status":401}"#;
        check(401, security, "the credentials are refused (401): security_exception: unable to");
        check(401, "", "the credentials are refused (401)");
        check(403, &security.replace("401", "403"), "reticent");
        check(
            405,
            r#"{"error":"Incorrect HTTP method for uri [/], allowed: [POST]","status":405}"#,
            "reticent",
        );
        check(
            200,
            "<!DOCTYPE html>\n<html>",
            "not Elasticsearch: GET / is answered 200 with a page of HTML",
        );
        check(404, "<html>nginx</html>", "answered 404 with a page of HTML: is the URL");
        check(404, "404 page not found\n", "answered 404 with \"404 page not found\"");
        check(404, "", "answered 404 with nothing");
        let path = r#"{"error":{"type":"index_not_found_exception","reason":"no such index [logs]"},"status":404}"#;
        check(404, path, "does not know the path of the URL");
        check(301, "", "a redirection");
        check(502, "<html>Bad Gateway</html>", "answered 502");
        check(503, "", "answered 503");
    }

    #[test]
    fn the_nodes_say_it_where_the_root_does_not() {
        let of = |body: &str| of_nodes(body.as_bytes());
        let nodes = |version: &str| {
            format!(
                "{{\"nodes\":{{\"a\":{{\"version\":{version:?},\"build_flavor\":\"default\"}}}}}}"
            )
        };
        let Greeting::Known(server) = of(&nodes("8.17.2")) else { panic!() };
        assert_eq!(server.to_string(), "elasticsearch 8.17.2");
        assert!(matches!(of(&nodes("6.8.0")), Greeting::No(_)));
        for body in ["{}", "<html>", r#"{"error":{"type":"security_exception"},"status":403}"#] {
            assert_eq!(of(body), Greeting::Known(Server::unnamed()), "{body}");
        }
    }
}
