//! The bytes that each release puts on the wire. They are never changed, only added to: an aggregator may be newer than its
//! forwarders, and a queue older than both. `UPDATE=1` writes those that are missing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

use std::path::PathBuf;

use bytes::Bytes;
use naru_proto::body::BodyWriter;
use naru_proto::frame::{Container, Ends, Extent, Flags, Format, Frame, IoStream, Source, Writer};
use naru_proto::ids::FileId;
use naru_proto::{batch, limits, wire};
use prost::Message;
use zstd_safe::DCtx;

fn source() -> Source {
    let container = Container {
        namespace: "shop".into(),
        pod: "web-0".into(),
        pod_uid: "7c1f".into(),
        container: "web".into(),
        restart: 3,
    };
    Source { node: "node-1".into(), writer: Writer::Container(container) }
}

fn lines() -> Frame {
    let bytes = Bytes::from_static(
        b"2026-11-22T09:30:00.1+09:00 stdout F one\n2026-11-22T09:30:00.2+09:00 stderr F two\n",
    );
    Frame {
        source: source(),
        format: Format::Cri,
        extents: vec![Extent { file: FileId([7; 12]), start: 4096, length: bytes.len() as u64 }],
        ends: Ends::Lines,
        id_time_ns: None,
        read_time_ns: Some(1_795_307_400_120_000_000),
        iostream: None,
        line_start: None,
        container_id: "c0ffee".into(),
        flags: Flags::default(),
        bytes,
    }
}

fn continued() -> Frame {
    let bytes = Bytes::from_static(b"the rest of a long line\n");
    let extent = |file, start, length| Extent { file: FileId([file; 12]), start, length };
    Frame {
        extents: vec![extent(7, 983_040, 20), extent(8, 0, 4)],
        ends: Ends::One,
        id_time_ns: Some(1_795_307_400_100_000_000),
        iostream: Some(IoStream::Stderr),
        line_start: Some(0),
        flags: Flags { incomplete: true, continued: true, malformed: false },
        bytes,
        ..lines()
    }
}

fn lengths() -> Frame {
    let bytes = Bytes::from_static(b"plain\ntwo lines\nof one record\n");
    let writer = Writer::HostFile { path: "/var/log/syslog".into() };
    Frame {
        source: Source { node: "node-1".into(), writer },
        format: Format::Plain,
        extents: vec![Extent { file: FileId([9; 12]), start: 0, length: bytes.len() as u64 }],
        ends: Ends::Lengths(vec![6, 24]),
        flags: Flags { malformed: true, ..Flags::default() },
        bytes,
        ..lines()
    }
}

fn batch_of(frames: &[Frame]) -> wire::Batch {
    let mut writer = BodyWriter::default();
    for frame in frames {
        let mut header = wire::Frame::from(frame.clone());
        let bytes = std::mem::take(&mut header.bytes);
        writer.push(&header, &bytes);
    }
    let raw_bytes = writer.raw_bytes() as u32;
    let body = Bytes::from(writer.finish());
    let records = frames.iter().map(|frame| frame.record_count() as u32).sum();
    wire::Batch { number: 1, crc32c: crc32c::crc32c(&body), records, raw_bytes, body }
}

fn client(kind: wire::client_message::Kind) -> Vec<u8> {
    wire::ClientMessage { kind: Some(kind) }.encode_to_vec()
}

fn server(kind: wire::server_message::Kind) -> Vec<u8> {
    wire::ServerMessage { kind: Some(kind) }.encode_to_vec()
}

fn golden(name: &str) -> Vec<u8> {
    std::fs::read(path(name)).unwrap_or_else(|error| panic!("{name}: {error}; UPDATE=1 writes it"))
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata").join(name)
}

/// Writes what is missing when asked to, and compares.
fn check(name: &str, encoded: &[u8]) {
    if std::env::var_os("UPDATE").is_some() && !path(name).exists() {
        std::fs::write(path(name), encoded).unwrap();
    }
    assert_eq!(golden(name), encoded, "{name}");
}

#[test]
fn messages_of_0_1() {
    use wire::client_message::Kind as Client;
    use wire::server_message::Kind as Server;
    let hello = wire::Hello {
        node: "node-1".into(),
        cluster: "default".into(),
        version: "0.1.0".into(),
        capabilities: vec!["settled".into()],
        limits: Some(limits::announced()),
    };
    check("0.1-hello.bin", &client(Client::Hello(hello)));
    let gap = wire::Gap {
        source: Some(source().into()),
        file_id: vec![7; 12].into(),
        start: 10,
        end_exclusive: Some(20),
        last_known_size: 30,
        reason: wire::GapReason::Deleted.into(),
        from_time_ns: 1,
        until_time_ns: 2,
    };
    check("0.1-gap.bin", &client(Client::Gap(gap)));
    let file = wire::FileStatus {
        source: Some(source().into()),
        file_id: vec![7; 12].into(),
        size: 30,
        read: 20,
        acknowledged: 10,
    };
    check("0.1-status.bin", &client(Client::Status(wire::Status { files: vec![file] })));
    let welcome = wire::Welcome {
        capabilities: Vec::new(),
        limits: Some(limits::announced()),
        credit_batches: 8,
    };
    check("0.1-welcome.bin", &server(Server::Welcome(welcome)));
    check("0.1-ack.bin", &server(Server::Ack(wire::Ack { numbers: vec![1, 2, 300] })));
    let refuse = wire::Refuse {
        number: 9,
        reason: wire::RefuseReason::Busy.into(),
        detail: "the queue is full".into(),
        retry_ms: 1500,
        r#where: wire::RetryWhere::Elsewhere.into(),
    };
    check("0.1-refuse.bin", &server(Server::Refuse(refuse)));
    check("0.1-credit.bin", &server(Server::Credit(wire::Credit { batches: 4 })));
    check("0.1-drain.bin", &server(Server::Drain(wire::Drain { reconnect_ms: 700 })));
    let excluded = wire::ExcludedPod {
        namespace: "shop".into(),
        pod: "noisy".into(),
        pod_uid: "1".into(),
        container: "web".into(),
    };
    let rule = wire::MultilineRule { preset: "java".into(), ..wire::MultilineRule::default() };
    let policy = wire::Policy { generation: 2, excluded: vec![excluded], multiline: vec![rule] };
    check("0.1-policy.bin", &server(Server::Policy(policy)));
    let range = wire::SettledRange {
        file_id: vec![7; 12].into(),
        start: 0,
        end_exclusive: 10,
        outcome: wire::SettledOutcome::Indexed.into(),
    };
    check("0.1-settled.bin", &server(Server::Settled(wire::Settled { ranges: vec![range] })));
}

/// How zstd compresses may change; what a body holds may not.
#[test]
fn a_batch_of_0_1_is_read() {
    let frames = [lines(), continued(), lengths()];
    let name = "0.1-batch.bin";
    if std::env::var_os("UPDATE").is_some() && !path(name).exists() {
        std::fs::write(path(name), batch_of(&frames).encode_to_vec()).unwrap();
    }
    let stored = wire::Batch::decode(&golden(name)[..]).unwrap();
    let context = &mut DCtx::create();
    batch::check(context, &stored, "node-1", |_| true).unwrap();
    let read = batch::frames(context, &stored.body, stored.raw_bytes as usize).unwrap();
    assert_eq!(read, frames);
    let written = batch_of(&frames);
    assert_eq!((written.records, written.raw_bytes), (stored.records, stored.raw_bytes));
}

/// What is wrong with a batch is said, and whether it is any use to send it again.
#[test]
fn a_batch_that_lies_is_refused() {
    use wire::{RefuseReason as Reason, RetryWhere as Where};
    let good = batch_of(&[lines()]);
    let check = |change: &dyn Fn(&mut wire::Batch), expected: (Reason, Where)| {
        let mut bad = good.clone();
        change(&mut bad);
        let error = batch::check(&mut DCtx::create(), &bad, "node-1", |_| true).unwrap_err();
        assert_eq!(error.refusal(), expected, "{error}");
    };
    let reseal = |batch: &mut wire::Batch| batch.crc32c = crc32c::crc32c(&batch.body);
    check(&|b| b.crc32c ^= 1, (Reason::Checksum, Where::Here));
    check(&|b| b.records += 1, (Reason::Invalid, Where::Never));
    check(&|b| b.raw_bytes -= 1, (Reason::Invalid, Where::Never));
    check(&|b| b.raw_bytes = u32::MAX, (Reason::Invalid, Where::Never));
    check(
        &|b| {
            b.body = b.body.slice(..b.body.len() - 1);
            reseal(b);
        },
        (Reason::Invalid, Where::Never),
    );
    check(
        &|b| {
            b.body = vec![0; limits::BATCH_COMPRESSED_MAX_BYTES + 1].into();
            reseal(b);
        },
        (Reason::TooLarge, Where::Never),
    );
    let other = batch::check(&mut DCtx::create(), &good, "node-2", |_| true).unwrap_err();
    assert_eq!(other.refusal(), (Reason::WrongNode, Where::Never));
    let unknown = batch::check(&mut DCtx::create(), &good, "node-1", |_| false).unwrap_err();
    assert_eq!(unknown.refusal(), (Reason::UnknownFormat, Where::Elsewhere));
}
