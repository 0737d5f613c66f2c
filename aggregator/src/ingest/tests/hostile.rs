//! What is not as it should be is refused with its reason, and counted; the connection is kept.

use std::collections::BTreeMap;

use fastrand::Rng;
use prost::Message;

use super::*;

fn bytes(random: &mut Rng, length: usize) -> Vec<u8> {
    (0..length).map(|_| random.usize(..256) as u8).collect()
}

fn compressed(raw: &[u8]) -> Vec<u8> {
    let mut out = vec![0; zstd_safe::compress_bound(raw.len())];
    let length = zstd_safe::compress(&mut out[..], raw, 1).unwrap();
    out.truncate(length);
    out
}

/// A batch that is wrong in one way, and the reason that it is to be refused for.
fn hostile(random: &mut Rng, number: u64) -> (wire::Batch, RefuseReason) {
    use RefuseReason::{Checksum, Invalid, TooLarge, UnknownFormat, WrongNode};
    let good = batch(number, "node-1");
    let one = |change: &mut dyn FnMut(&mut wire::Frame)| {
        let (mut header, bytes) = frame("node-1", b"a\nb\n");
        change(&mut header);
        batch_of(number, &[frame("node-1", b"first\n"), (header, bytes)])
    };
    match random.usize(..22) {
        0 => (wire::Batch { crc32c: good.crc32c ^ 1, ..good }, Checksum),
        1 => {
            let mut body = good.body.to_vec();
            let at = random.usize(..body.len());
            body[at] ^= 1 << random.usize(..8);
            (wire::Batch { body: body.into(), ..good }, Checksum)
        }
        2 => {
            let length = BATCH_COMPRESSED_MAX_BYTES + 1 + random.usize(..60_000);
            (with_body(good, vec![7; length]), TooLarge)
        }
        3 => {
            let length = random.usize(..5000) + 1;
            (with_body(good, bytes(random, length)), Invalid)
        }
        4 => {
            let cut = good.body.len() - 1 - random.usize(..(good.body.len() - 1));
            let body = good.body.slice(..cut).to_vec();
            (with_body(good, body), Invalid)
        }
        5 => {
            // 4 MiB of zeros in one frame.
            let bomb = compressed(&vec![0; 4 << 20]);
            (wire::Batch { raw_bytes: 4 << 20, ..with_body(good, bomb) }, Invalid)
        }
        6 => {
            // Far more than it declares.
            let bomb = compressed(&vec![0; 200 << 10]).repeat(200);
            (with_body(good, bomb), Invalid)
        }
        7 => (wire::Batch { raw_bytes: u32::MAX - random.usize(..100) as u32, ..good }, Invalid),
        8 => (wire::Batch { raw_bytes: good.raw_bytes + 1, ..good }, Invalid),
        9 => (wire::Batch { raw_bytes: good.raw_bytes - 1, ..good }, Invalid),
        10 => (wire::Batch { records: good.records + 1, ..good }, Invalid),
        11 => (wire::Batch { records: random.usize(..2) as u32, ..good }, Invalid),
        12 => (batch(number, "node-2"), WrongNode),
        13 => (batch(number, "node-1 "), WrongNode),
        14 => (one(&mut |frame| frame.extents[0].start = u64::MAX), Invalid),
        15 => (one(&mut |frame| frame.extents[0].length += 1), Invalid),
        16 => (one(&mut |frame| frame.extents[0].file_id = Bytes::from_static(b"x")), Invalid),
        17 => (one(&mut |frame| frame.source = None), Invalid),
        18 => (one(&mut |frame| frame.format = 99), UnknownFormat),
        19 => (one(&mut |frame| frame.ends = 77), UnknownFormat),
        20 => {
            let long = [vec![b'x'; naru_proto::limits::RECORD_MAX_BYTES], vec![b'\n']].concat();
            (batch_of(number, &[frame("node-1", &long)]), TooLarge)
        }
        _ => {
            // A frame that says that it is longer than all there is.
            let mut raw = vec![0xff, 0xff, 0xff, 0x7f];
            let length = random.usize(..300);
            raw.extend(bytes(random, length));
            let body = compressed(&raw);
            (wire::Batch { raw_bytes: raw.len() as u32, ..with_body(good, body) }, Invalid)
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_batches_are_refused_and_the_connection_is_kept() {
    let (sink, taken) = durable_sink();
    let server = Server::start(IngestConfig::new("default"), sink).await;
    let mut client = Client::open(server.address, "node-1").await;
    let mut random = Rng::with_seed(20_261_122);
    let mut expected = BTreeMap::<i32, u64>::new();
    let mut good = Vec::new();
    for number in 1..=600 {
        let refuse = if random.usize(..3) == 0 {
            let batch = batch(number, "node-1");
            good.push(batch.clone());
            let refuse = client.ship(batch).await;
            assert_eq!(refuse, None);
            continue;
        } else {
            let (batch, reason) = hostile(&mut random, number);
            *expected.entry(reason.into()).or_default() += 1;
            let refuse = client.ship(batch).await.expect("a refusal");
            assert_eq!(refuse.reason(), reason, "{number}: {}", refuse.detail);
            refuse
        };
        assert!(!refuse.detail.is_empty() && refuse.detail.len() < 2000, "{}", refuse.detail);
        let elsewhere = refuse.reason() == RefuseReason::UnknownFormat;
        let here = refuse.reason() == RefuseReason::Checksum;
        match refuse.r#where() {
            RetryWhere::Elsewhere => assert!(elsewhere),
            RetryWhere::Here => assert!(here),
            RetryWhere::Never => assert!(!elsewhere && !here),
            RetryWhere::Unspecified => panic!("where is not said"),
        }
    }
    assert_eq!(expected.len(), 5, "every reason had its turn: {expected:?}");
    for (reason, count) in expected {
        let reason = RefuseReason::try_from(reason).unwrap();
        assert_eq!(server.metrics.refused(reason), count, "{reason:?}");
    }
    assert_eq!(server.metrics.batches_acknowledged.get(), good.len() as u64);
    assert_eq!(server.metrics.batches_received.get(), 600);
    assert_eq!(server.metrics.records.get(), good.len() as u64 * 2);
    drop(client);
    server.stop().await;
    let taken = within(taken).await.unwrap();
    assert!(taken.iter().all(|(node, _)| node == "node-1"));
    assert!(taken.into_iter().map(|(_, batch)| batch).eq(good), "what was good, and nothing else");
}

#[tokio::test]
async fn a_message_over_the_limit_ends_the_stream_alone() {
    let (sink, _taken) = durable_sink();
    let server = Server::start(IngestConfig::new("default"), sink).await;
    let mut other = Client::open(server.address, "node-2").await;
    let mut client = Client::open(server.address, "node-1").await;
    let huge = with_body(batch(1, "node-1"), vec![0; MESSAGE_MAX_BYTES]);
    assert!(huge.encoded_len() > MESSAGE_MAX_BYTES);
    client.send(ToServer::Batch(huge)).await;
    assert_eq!(client.end().await.unwrap_err().code(), Code::OutOfRange);
    assert_eq!(other.ship(batch(1, "node-2")).await, None);
    drop(other);
    server.stop().await;
}
