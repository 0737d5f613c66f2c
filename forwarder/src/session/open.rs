//! Opening a stream: a round over the addresses, each tried once, until one says Welcome.

use std::net::SocketAddr;

use naru_proto::wire::ingest_client::IngestClient;
use naru_proto::wire::{
    ClientMessage, Hello, ServerMessage, Welcome, client_message, server_message,
};
use naru_proto::{capabilities, limits};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Status, Streaming};

use super::{Session, Stream, TRANSPORT_QUEUE, WELCOME_TIMEOUT};
use crate::chance;
use crate::connect::{self, Connected, Place};

/// Addresses that a sentence about a failed round names; the others are counted.
const NAMED_MAX: usize = 3;

/// An open stream, what comes from it, and from where.
pub(super) type Opened = (Stream, Streaming<ServerMessage>, SocketAddr);

impl Session {
    /// Tries every address once, `avoid` last; None when none of them takes a stream, and then that is said.
    pub(super) async fn open(&mut self, avoid: Option<SocketAddr>) -> Option<Opened> {
        self.refresh_credentials();
        let places = match self.connector.resolve().await {
            Ok(places) => places,
            Err(error) => {
                self.not_connected(sentence(&error));
                return None;
            }
        };
        let mut failures = Vec::new();
        for place in connect::order(places, avoid, chance::fraction) {
            match self.open_at(&place).await {
                Ok(opened) => {
                    tracing::info!(address = %place.address, "connected");
                    self.metrics.streams_opened.inc();
                    self.health.connected(place.address);
                    return Some(opened);
                }
                Err(reason) => failures.push(reason),
            }
        }
        self.not_connected(together(failures));
        None
    }

    /// Connects, says Hello and waits for Welcome; a sentence when that fails.
    async fn open_at(&self, place: &Place) -> Result<Opened, String> {
        let address = place.address;
        let connected = self.connector.connect(place).await.map_err(|error| sentence(&error))?;
        let Connected { channel, token } = connected;
        let (outgoing, messages) = mpsc::channel(TRANSPORT_QUEUE);
        let hello = ClientMessage { kind: Some(client_message::Kind::Hello(self.hello())) };
        // It is empty, and its other end is here.
        outgoing.try_send(hello).map_err(|error| error.to_string())?;
        let mut request = Request::new(ReceiverStream::new(messages));
        if let Some(token) = token {
            request.metadata_mut().insert("authorization", token);
        }
        let client = IngestClient::new(channel);
        let mut client = client.max_decoding_message_size(limits::MESSAGE_MAX_BYTES);
        match timeout(WELCOME_TIMEOUT, welcomed(&mut client, request)).await {
            Ok(Ok((welcome, inbound))) => {
                let credit = welcome.credit_batches;
                Ok((Stream::new(outgoing, credit), inbound, address))
            }
            Ok(Err(status)) => Err(refusal(address, &status)),
            Err(_) => Err(format!("{address} does not answer")),
        }
    }

    fn refresh_credentials(&mut self) {
        let trouble = self
            .connector
            .refresh()
            .err()
            .map(|error| format!("{}: {error}; what was read before is in use", error.key));
        self.metrics.credentials_current.set(i64::from(trouble.is_none()));
        if self.health.credentials(trouble.clone())
            && let Some(reason) = trouble
        {
            tracing::warn!(reason, "certificates or the token are not as they should be");
        }
    }

    /// Said once until the reason changes: an outage may last for hours.
    fn not_connected(&self, reason: String) {
        self.metrics.rounds_failed.inc();
        if self.health.disconnected(reason.clone()) {
            tracing::warn!(%reason, "no aggregator; log files are read on when there is one");
        }
    }

    fn hello(&self) -> Hello {
        Hello {
            node: self.introduction.node.clone(),
            cluster: self.introduction.cluster.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            capabilities: vec![capabilities::POLICY.to_owned()],
            limits: Some(limits::announced()),
        }
    }
}

async fn welcomed(
    client: &mut IngestClient<tonic::transport::Channel>,
    request: Request<ReceiverStream<ClientMessage>>,
) -> Result<(Welcome, Streaming<ServerMessage>), Status> {
    let mut inbound = client.ship(request).await?.into_inner();
    match inbound.message().await? {
        Some(ServerMessage { kind: Some(server_message::Kind::Welcome(welcome)) }) => {
            Ok((welcome, inbound))
        }
        _ => Err(Status::failed_precondition("no Welcome; is this an aggregator?")),
    }
}

/// What a status instead of a Welcome means.
fn refusal(address: SocketAddr, status: &Status) -> String {
    match status.code() {
        Code::Unauthenticated | Code::PermissionDenied => {
            format!("{address} refuses this forwarder: {}", status.message())
        }
        _ => format!("{address} answers: {}", said(status)),
    }
}

/// A status and what caused it in one line.
pub(super) fn said(status: &Status) -> String {
    match std::error::Error::source(status) {
        Some(cause) => format!("{}: {}", status.message(), sentence(cause)),
        None => status.message().to_owned(),
    }
}

/// The failures of a round in one sentence, the same for the same failures in whatever order.
fn together(mut failures: Vec<String>) -> String {
    failures.sort();
    failures.dedup();
    let more = failures.len().saturating_sub(NAMED_MAX);
    failures.truncate(NAMED_MAX);
    let mut sentence = failures.join("; ");
    if more > 0 {
        sentence.push_str(&format!("; and {more} more"));
    }
    sentence
}

/// An error and its causes in one line, each said once.
fn sentence(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_is_told_in_one_sentence_whatever_its_order() {
        let failures = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        let check = |texts: &[&str], expected| assert_eq!(together(failures(texts)), expected);
        check(&["a: no"], "a: no");
        check(&["b: no", "a: no"], "a: no; b: no");
        check(&["a: no", "b: no"], "a: no; b: no");
        check(&["e", "d", "c", "b", "a", "a"], "a; b; c; and 2 more");
    }

    #[test]
    fn a_refusal_says_who_refuses_and_why() {
        let address = "10.0.0.1:7443".parse().unwrap();
        let said = refusal(address, &Status::unauthenticated("the token is wrong"));
        assert_eq!(said, "10.0.0.1:7443 refuses this forwarder: the token is wrong");
        let said = refusal(address, &Status::unavailable("too many streams"));
        assert_eq!(said, "10.0.0.1:7443 answers: too many streams");
    }
}
