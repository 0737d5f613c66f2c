//! What a server is asked before it gets documents: what it is, to take the template, to make an index.

use std::time::Duration;

use crate::elasticsearch::Settings;
use crate::elasticsearch::answer::{self, ItemError};
use crate::elasticsearch::client::{Answer, Body, Client, Method};
use crate::elasticsearch::template::Server;

const PREPARE_TIMEOUT: Duration = Duration::from_secs(30);

/// Asks what the server is and puts the template.
pub(super) async fn prepare(client: &Client, settings: &Settings) -> Result<(), String> {
    let ask = |method, path: String, body: Option<String>| async move {
        let body = body.map(Body::json);
        client.send(method, &path, body, PREPARE_TIMEOUT).await.map_err(|e| e.to_string())
    };
    let answer = ask(Method::GET, "/".to_owned(), None).await?;
    if answer.status == 401 {
        return Err(denied(&answer));
    }
    let server = match Server::read(&answer.body) {
        Some(server) => server,
        // A proxy, a service, or a user with rights to indices alone may not say what it is; everything of these days takes what 8 takes.
        None if (200..500).contains(&answer.status) => Server::unnamed(),
        None => return Err(format!("GET / was answered {}", answer.status)),
    };
    if let Some(refusal) = server.refusal() {
        return Err(refusal);
    }
    if !settings.template {
        return Ok(());
    }
    let (path, body) = server.template(&settings.index_prefix);
    let answer = ask(Method::PUT, path.clone(), Some(body)).await?;
    match answer.status {
        200..=299 => {
            tracing::info!(server = %server, template = path, "ready to deliver");
            Ok(())
        }
        401 | 403 => Err(denied(&answer)),
        status => Err(format!("PUT {path} was answered {status}: {}", said(&answer))),
    }
}

/// Where indices are not made by themselves.
pub(super) async fn create(client: &Client, name: &str) {
    let made = client.send(Method::PUT, &format!("/{name}"), None, PREPARE_TIMEOUT).await;
    match made {
        // 400: another one made it.
        Ok(Answer { status: 200..=299 | 400, .. }) => {}
        Ok(answer) => {
            tracing::warn!(index = name, status = answer.status, "cannot make the index")
        }
        Err(error) => tracing::warn!(index = name, %error, "cannot make the index"),
    }
}

pub(super) fn denied(answer: &Answer) -> String {
    format!("the credentials are refused ({}): {}", answer.status, said(answer))
}

/// What an answer says, short.
pub(super) fn said(answer: &Answer) -> String {
    let error: Option<ItemError> = answer::failure(&answer.body);
    error.map_or_else(
        || String::from_utf8_lossy(answer.body.get(..200).unwrap_or(&answer.body)).into_owned(),
        |error| error.to_string(),
    )
}
