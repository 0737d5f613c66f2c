//! What passes between the tailing thread and the session: batches one way, acknowledgements the other.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use naru_proto::frame::Writer;
use naru_proto::ids::FileId;
use naru_proto::wire;
use rustix::event::{EventfdFlags, eventfd};
use tokio::sync::{mpsc, watch};

/// Batches that wait for the session; the window bounds what is in flight, this only keeps the pipe full.
const OUTBOUND: usize = 2;
/// Acknowledgements that wait for the tailing thread.
const ACKED: usize = 64;
/// Messages of declared losses that an aggregator has, likewise.
const TOLD: usize = 64;

/// What the session is to send.
#[derive(Debug)]
pub enum Outbound {
    /// Kept until it is acknowledged.
    Batch(wire::Batch),
    /// Sent when a stream is up, and again until an aggregator has it; the number is the tailing thread's name for it.
    Gap(u64, wire::Gap),
    /// Sent when a stream is up; of each file the newest matters.
    Status(wire::Status),
}

/// By the number of a batch, what of it an aggregator will never take: everything else of it is acknowledged.
pub type Apart = BTreeMap<u64, SetApart>;

/// What of a batch an aggregator will never take.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SetApart {
    /// Compressed, as it is kept.
    pub bytes: usize,
    /// The aggregator's.
    pub reason: String,
    /// Whose it is; never empty.
    pub refused: Vec<Refused>,
}

/// The first record of a file in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Whose file.
    pub writer: Writer,
    /// Which.
    pub file: FileId,
    /// Of the record's first byte.
    pub offset: u64,
}

/// The tailing thread's end.
pub struct TailEnd {
    /// Full while the session is behind.
    pub outbound: mpsc::Sender<Outbound>,
    /// Numbers of batches.
    pub acked: mpsc::Receiver<Vec<u64>>,
    /// Numbers of declared losses that an aggregator has.
    pub told: mpsc::Receiver<Vec<u64>>,
    /// What was set apart.
    pub apart: watch::Receiver<Apart>,
    /// The aggregator's policy, since a stream said one.
    pub policy: watch::Receiver<Option<wire::Policy>>,
    /// Becomes readable when something was acknowledged or the process shall stop.
    pub wake: Wake,
}

/// The session's end.
pub struct SessionEnd {
    /// Closed when nothing more will come.
    pub outbound: mpsc::Receiver<Outbound>,
    /// Numbers of batches.
    pub acked: mpsc::Sender<Vec<u64>>,
    /// Numbers of declared losses that an aggregator has.
    pub told: mpsc::Sender<Vec<u64>>,
    /// See [`TailEnd::apart`].
    pub apart: watch::Sender<Apart>,
    /// See [`TailEnd::policy`].
    pub policy: watch::Sender<Option<wire::Policy>>,
    /// See [`TailEnd::wake`].
    pub wake: Wake,
}

/// Makes both ends.
///
/// # Errors
/// Out of descriptors.
pub fn pair() -> io::Result<(TailEnd, SessionEnd)> {
    let (outbound_sender, outbound) = mpsc::channel(OUTBOUND);
    let (acked, acked_receiver) = mpsc::channel(ACKED);
    let (told, told_receiver) = mpsc::channel(TOLD);
    let (apart, apart_receiver) = watch::channel(Apart::new());
    let (policy, policy_receiver) = watch::channel(None);
    let wake = Wake::new()?;
    let tail = TailEnd {
        outbound: outbound_sender,
        acked: acked_receiver,
        told: told_receiver,
        apart: apart_receiver,
        policy: policy_receiver,
        wake: wake.clone(),
    };
    Ok((tail, SessionEnd { outbound, acked, told, apart, policy, wake }))
}

/// Wakes a thread that polls a descriptor.
#[derive(Debug, Clone)]
pub struct Wake {
    descriptor: Arc<OwnedFd>,
}

impl Wake {
    fn new() -> io::Result<Self> {
        let descriptor = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        Ok(Self { descriptor: Arc::new(descriptor) })
    }

    /// Makes the descriptor readable.
    pub fn wake(&self) {
        // It fails only when the counter is full, and then the descriptor is readable already.
        rustix::io::write(&self.descriptor, &1_u64.to_ne_bytes()).ok();
    }

    /// Makes it unreadable until the next wake.
    pub fn clear(&self) {
        rustix::io::read(&self.descriptor, &mut [0; 8]).ok();
    }

    /// To poll.
    #[must_use]
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}
