//! A session: what one stream's client may say, and when. Pure: a message in, the next step out.
//!
//! Hello comes first and once. Batch numbers grow; a number that was refused may come again. A client that breaks this
//! cannot be answered so that it understands, so its stream ends with a status; a bad *batch* is refused and the stream
//! goes on.

use std::collections::BTreeSet;

use naru_proto::limits::NAME_MAX_BYTES;
use naru_proto::wire::{self, client_message::Kind};
use thiserror::Error;
use tonic::Status;

/// Refused numbers that may come again: more than a client can have unanswered, so none that it waits for is forgotten.
const REFUSED_MAX: usize = 256;
/// Capabilities are words, and few.
const CAPABILITIES_MAX: usize = 64;

/// The state of one stream.
#[derive(Debug)]
pub(super) struct Session {
    cluster: String,
    greeted: bool,
    draining: bool,
    last_number: Option<u64>,
    refused: BTreeSet<u64>,
}

/// What to do about a message.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    /// Answer with Welcome; the stream is this node's.
    Welcome(wire::Hello),
    /// Admit, check and hand over.
    Take(wire::Batch),
    /// Refuse with DRAINING.
    RefuseDraining(u64),
    /// Count and report.
    Gap(wire::Gap),
    /// Count.
    Status(wire::Status),
    /// A newer client's.
    Unknown,
}

/// How a client broke the protocol: the stream ends.
#[derive(Debug, Error, PartialEq, Eq)]
pub(super) enum Breach {
    #[error("the first message is not Hello")]
    NoHello,
    #[error("Hello came twice")]
    SecondHello,
    #[error("{0} is empty or too long")]
    BadName(&'static str),
    #[error("this aggregator is of the cluster {ours:?}, the forwarder of {theirs:?}")]
    WrongCluster { ours: String, theirs: String },
    #[error("batch {number} came after {last}")]
    BadNumber { number: u64, last: u64 },
}

impl Breach {
    /// The label under which it is counted.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::NoHello => "no_hello",
            Self::SecondHello => "second_hello",
            Self::BadName(_) => "bad_name",
            Self::WrongCluster { .. } => "wrong_cluster",
            Self::BadNumber { .. } => "bad_number",
        }
    }

    /// What the client is told.
    pub(super) fn status(&self) -> Status {
        match self {
            Self::WrongCluster { .. } | Self::NoHello => {
                Status::failed_precondition(self.to_string())
            }
            Self::SecondHello | Self::BadName(_) | Self::BadNumber { .. } => {
                Status::invalid_argument(self.to_string())
            }
        }
    }
}

impl Session {
    pub(super) fn new(cluster: &str) -> Self {
        Self {
            cluster: cluster.to_owned(),
            greeted: false,
            draining: false,
            last_number: None,
            refused: BTreeSet::new(),
        }
    }

    /// Takes no new batches from here on.
    pub(super) fn drain(&mut self) {
        self.draining = true;
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining
    }

    /// A batch was refused: its number may come again.
    pub(super) fn refused(&mut self, number: u64) {
        self.refused.insert(number);
        if self.refused.len() > REFUSED_MAX {
            self.refused.pop_first();
        }
    }

    pub(super) fn step(&mut self, message: wire::ClientMessage) -> Result<Step, Breach> {
        let kind = match message.kind {
            Some(Kind::Hello(hello)) => return self.greet(hello),
            _ if !self.greeted => return Err(Breach::NoHello),
            Some(kind) => kind,
            None => return Ok(Step::Unknown),
        };
        match kind {
            Kind::Hello(_) => Err(Breach::SecondHello),
            Kind::Batch(batch) => {
                self.number(batch.number)?;
                if self.draining {
                    return Ok(Step::RefuseDraining(batch.number));
                }
                Ok(Step::Take(batch))
            }
            Kind::Gap(gap) => Ok(Step::Gap(gap)),
            Kind::Status(status) => Ok(Step::Status(status)),
        }
    }

    fn greet(&mut self, hello: wire::Hello) -> Result<Step, Breach> {
        if self.greeted {
            return Err(Breach::SecondHello);
        }
        if hello.node.is_empty() || hello.node.len() > NAME_MAX_BYTES {
            return Err(Breach::BadName("node"));
        }
        if hello.version.len() > NAME_MAX_BYTES || hello.cluster.len() > NAME_MAX_BYTES {
            return Err(Breach::BadName("version or cluster"));
        }
        let too_long = |capability: &String| capability.len() > NAME_MAX_BYTES;
        if hello.capabilities.len() > CAPABILITIES_MAX || hello.capabilities.iter().any(too_long) {
            return Err(Breach::BadName("capabilities"));
        }
        if hello.cluster != self.cluster {
            let ours = self.cluster.clone();
            return Err(Breach::WrongCluster { ours, theirs: hello.cluster });
        }
        self.greeted = true;
        Ok(Step::Welcome(hello))
    }

    fn number(&mut self, number: u64) -> Result<(), Breach> {
        match self.last_number {
            Some(last) if number <= last => {
                if self.refused.remove(&number) {
                    return Ok(());
                }
                Err(Breach::BadNumber { number, last })
            }
            Some(_) | None => {
                self.last_number = Some(number);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(node: &str, cluster: &str) -> Kind {
        Kind::Hello(wire::Hello {
            node: node.into(),
            cluster: cluster.into(),
            ..wire::Hello::default()
        })
    }

    fn batch(number: u64) -> Kind {
        Kind::Batch(wire::Batch { number, ..wire::Batch::default() })
    }

    fn steps(kinds: Vec<Kind>) -> Result<Step, Breach> {
        let mut session = Session::new("default");
        let mut last = Ok(Step::Unknown);
        for kind in kinds {
            assert!(last.is_ok(), "{last:?}");
            last = session.step(wire::ClientMessage { kind: Some(kind) });
        }
        last
    }

    #[test]
    fn hello_comes_first_and_once() {
        assert!(matches!(steps(vec![hello("n", "default")]), Ok(Step::Welcome(_))));
        assert_eq!(steps(vec![batch(1)]), Err(Breach::NoHello));
        assert_eq!(steps(vec![Kind::Gap(wire::Gap::default())]), Err(Breach::NoHello));
        let mut session = Session::new("default");
        assert_eq!(session.step(wire::ClientMessage { kind: None }), Err(Breach::NoHello));
        let twice = vec![hello("n", "default"), hello("n", "default")];
        assert_eq!(steps(twice), Err(Breach::SecondHello));
        assert_eq!(steps(vec![hello("", "default")]), Err(Breach::BadName("node")));
        let long = "n".repeat(NAME_MAX_BYTES + 1);
        assert_eq!(steps(vec![hello(&long, "default")]), Err(Breach::BadName("node")));
        let wrong = Breach::WrongCluster { ours: "default".into(), theirs: "other".into() };
        assert_eq!(steps(vec![hello("n", "other")]), Err(wrong));
    }

    #[test]
    fn numbers_grow_but_for_what_was_refused() {
        let mut session = Session::new("default");
        let send = |session: &mut Session, kind| {
            session.step(wire::ClientMessage { kind: Some(kind) }).map(drop)
        };
        assert_eq!(send(&mut session, hello("n", "default")), Ok(()));
        for number in [0, 5, 6, u64::MAX] {
            assert_eq!(send(&mut session, batch(number)), Ok(()));
        }
        let bad = Err(Breach::BadNumber { number: 5, last: u64::MAX });
        assert_eq!(send(&mut session, batch(5)), bad);
        session.refused(5);
        assert_eq!(send(&mut session, batch(5)), Ok(()));
        assert_eq!(send(&mut session, batch(5)), bad, "only once for each refusal");
    }

    #[test]
    fn a_draining_session_takes_nothing_new() {
        let mut session = Session::new("default");
        let send =
            |session: &mut Session, kind| session.step(wire::ClientMessage { kind: Some(kind) });
        assert!(send(&mut session, hello("n", "default")).is_ok());
        session.drain();
        assert_eq!(send(&mut session, batch(1)), Ok(Step::RefuseDraining(1)));
        let gap = wire::Gap { start: 4, ..wire::Gap::default() };
        assert_eq!(send(&mut session, Kind::Gap(gap.clone())), Ok(Step::Gap(gap)));
        assert_eq!(session.step(wire::ClientMessage { kind: None }), Ok(Step::Unknown));
    }
}
