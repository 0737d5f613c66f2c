//! What a server is asked before it gets documents: what it is, to take the template, to make an index.
//!
//! Each of several aggregators does it; what they put is the same, so it does not matter who is last.

use std::time::Duration;

use crate::elasticsearch::client::{Answer, Body, Client, Method};
use crate::elasticsearch::greeting::{self, Greeting, quoted};
use crate::elasticsearch::own_template::path_of;
use crate::elasticsearch::template::Server;
use crate::elasticsearch::{Settings, Template};

const PREPARE_TIMEOUT: Duration = Duration::from_secs(30);

/// Asks what the server is and puts the template.
pub(super) async fn prepare(client: &Client, settings: &Settings) -> Result<(), String> {
    client.look_up().await;
    let server = greet(client).await?;
    let (path, body) = match &settings.template {
        Template::Off => return Ok(()),
        Template::On => server.template(&settings.index.wildcard()),
        Template::File(file) => {
            // It is small, and read as seldom as the server comes back.
            let text = std::fs::read_to_string(file).map_err(|error| {
                format!("the template {} cannot be read: {error}", file.display())
            })?;
            let path = path_of(&text, &settings.index.example())
                .map_err(|wrong| format!("{}:{}: {}", file.display(), wrong.line, wrong.reason))?;
            (path, text)
        }
    };
    let answer = ask(client, Method::PUT, &path, Some(body)).await?;
    match answer.status {
        200..=299 => {
            tracing::info!(server = %server, template = path, "ready to deliver");
            Ok(())
        }
        401 | 403 => Err(denied(&answer)),
        status => Err(format!("PUT {path} was answered {status}: {}", said(&answer))),
    }
}

async fn greet(client: &Client) -> Result<Server, String> {
    let answer = ask(client, Method::GET, "/", None).await?;
    let greeting = match greeting::of(answer.status, &answer.body) {
        Greeting::Reticent => {
            let path = "/_nodes/_local?filter_path=nodes.*.version,nodes.*.build_flavor";
            let answer = ask(client, Method::GET, path, None).await?;
            greeting::of_nodes(&answer.body)
        }
        greeting => greeting,
    };
    match greeting {
        Greeting::Known(server) => Ok(server),
        Greeting::Reticent => Ok(Server::unnamed()),
        Greeting::No(reason) => Err(reason),
    }
}

async fn ask(
    client: &Client,
    method: Method,
    path: &str,
    body: Option<String>,
) -> Result<Answer, String> {
    let body = body.map(Body::json);
    client.send(method, path, body, PREPARE_TIMEOUT).await.map_err(|error| error.to_string())
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
    greeting::denied(answer.status, &answer.body)
}

/// What an answer says, short.
pub(super) fn said(answer: &Answer) -> String {
    quoted(&answer.body)
}
