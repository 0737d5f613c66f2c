//! What an aggregator will never take.

use bytes::Bytes;
use naru_proto::batch;
use naru_proto::frame::{Ends, Extent, Flags, Format, Frame, Source, Writer};
use naru_proto::ids::FileId;
use zstd_safe::DCtx;

use super::*;
use crate::batch::Batcher;

const MINUTE: Duration = Duration::from_secs(60);

fn refuse(number: u64) -> Refuse {
    Refuse {
        number,
        reason: RefuseReason::Invalid.into(),
        r#where: RetryWhere::Never.into(),
        detail: "a frame of another day".into(),
        ..Refuse::default()
    }
}

fn lines(file: u8, count: usize, poison: Option<usize>) -> Frame {
    let line = |n: usize| {
        let word = if Some(n) == poison { "poison" } else { "fine" };
        format!("{word} {n}\n")
    };
    let bytes: Bytes = (0..count).map(line).collect::<String>().into();
    let writer = Writer::HostFile { path: format!("/log/{file}") };
    let extent = Extent { file: FileId([file; 12]), start: 0, length: bytes.len() as u64 };
    Frame {
        source: Source { node: "n".into(), writer },
        format: Format::Plain,
        extents: vec![extent],
        ends: Ends::Lines,
        id_time_ns: Some(1),
        read_time_ns: None,
        iostream: None,
        line_start: None,
        container_id: String::new(),
        flags: Flags::default(),
        bytes,
    }
}

fn batch_of(frames: impl IntoIterator<Item = Frame>) -> Outbound {
    let mut batcher = Batcher::<()>::default();
    for frame in frames {
        let records = frame.record_count() as u32;
        let mut header = wire::Frame::from(frame);
        let bytes = std::mem::take(&mut header.bytes);
        assert!(batcher.push(&header, &bytes, records).is_none());
    }
    Outbound::Batch(batcher.seal().unwrap().batch)
}

/// An aggregator that never takes a batch with a poisoned line in it; gives the lines that it has taken and how many
/// batches it was sent, when for a second none comes.
async fn take_what_is_fine(stream: &mut Opened) -> (Vec<String>, usize) {
    let (mut taken, mut sent, mut last) = (Vec::new(), 0, 0);
    while let Ok(batch) = tokio::time::timeout(Duration::from_secs(1), stream.whole_batch()).await {
        sent += 1;
        assert!(batch.number > last, "{} after {last}", batch.number);
        last = batch.number;
        let context = &mut DCtx::create();
        batch::check(context, &batch, "n", |_| true).unwrap();
        let frames = batch::frames(context, &batch.body, batch.raw_bytes as usize).unwrap();
        let records = frames.iter().flat_map(|frame| frame.records().map(|record| record.raw));
        let records: Vec<_> = records.map(|raw| String::from_utf8(raw.to_vec()).unwrap()).collect();
        let kind = match records.iter().any(|record| record.starts_with("poison")) {
            true => server_message::Kind::Refuse(refuse(batch.number)),
            false => {
                taken.extend(records);
                server_message::Kind::Ack(Ack { numbers: vec![batch.number] })
            }
        };
        stream.say(kind).await;
        stream.say(server_message::Kind::Credit(Credit { batches: 1 })).await;
    }
    (taken, sent)
}

/// Only what an aggregator will never take stays; everything else goes on, and it is tried again, elsewhere too.
#[tokio::test(start_paused = true)]
async fn b12_a_batch_that_is_refused_for_ever_holds_up_no_other_and_is_never_given_up() {
    let mut played = play();
    let mut stream = played.streams.recv().await.unwrap();
    stream.welcome(100).await;
    played.tail.outbound.send(batch(1)).await.unwrap();
    assert_eq!(stream.batch().await, 1);
    stream.say(server_message::Kind::Refuse(refuse(1))).await;
    let refused = Instant::now();
    for number in 2..=20 {
        played.tail.outbound.send(batch(number)).await.unwrap();
        assert_eq!(stream.batch().await, number);
        stream.say(server_message::Kind::Ack(Ack { numbers: vec![number] })).await;
        assert_eq!(played.tail.acked.recv().await, Some(vec![number]));
    }
    assert!(refused.elapsed() < Duration::from_secs(1), "it holds nothing up");
    let remark = played.health.remark().unwrap();
    assert!(remark.contains("never take 1 of the records: a frame of another day"), "{remark}");
    assert_eq!(played.health.not_ready(), None);
    assert_eq!(stream.batch().await, 1);
    assert!(refused.elapsed() >= MINUTE);
    stream.say(server_message::Kind::Refuse(refuse(1))).await;
    drop(stream);
    // An aggregator that can take it.
    let mut next = played.streams.recv().await.unwrap();
    next.welcome(1).await;
    assert_eq!(next.batch().await, 1);
    next.say(server_message::Kind::Ack(Ack { numbers: vec![1] })).await;
    assert_eq!(played.tail.acked.recv().await, Some(vec![1]));
    drop(played.tail);
    played.session.await.unwrap();
    assert_eq!(played.health.remark(), None);
}

/// What stands beside it is on its way within a few batches, and it is named.
#[tokio::test(start_paused = true)]
async fn b12_a_record_that_is_refused_for_ever_is_set_apart_and_its_neighbours_are_taken() {
    let mut played = play();
    let mut stream = played.streams.recv().await.unwrap();
    stream.welcome(1).await;
    let frames = (1..=8).map(|file| lines(file, 512, (file == 3).then_some(100)));
    played.tail.outbound.send(batch_of(frames)).await.unwrap();
    let (taken, sent) = take_what_is_fine(&mut stream).await;
    assert_eq!(taken.len(), 8 * 512 - 1);
    // 8 frames and 512 lines: 3 and 9 divisions, two halves each.
    assert_eq!(sent, 1 + 2 * (3 + 9));
    let apart = played.tail.apart.borrow_and_update().clone();
    let refused = &apart[&1].refused;
    let offset = lines(3, 100, None).bytes.len() as u64;
    let expected = channel::Refused {
        writer: Writer::HostFile { path: "/log/3".into() },
        file: FileId([3; 12]),
        offset,
    };
    assert_eq!((apart.len(), &refused[..]), (1, &[expected][..]));
    assert!(played.tail.acked.try_recv().is_err(), "not all of it is acknowledged");
    let remark = played.health.remark().unwrap();
    assert!(remark.contains(&format!("1 of the records, first in /log/3 at {offset}")), "{remark}");

    // Somebody who takes it, a minute later.
    tokio::time::sleep(MINUTE).await;
    let last = stream.whole_batch().await;
    assert_eq!(last.records, 1);
    stream.say(server_message::Kind::Ack(Ack { numbers: vec![last.number] })).await;
    assert_eq!(played.tail.acked.recv().await, Some(vec![1]));
    assert!(played.tail.apart.borrow().is_empty());
    assert_eq!(played.health.remark(), None);
    drop(played.tail);
    played.session.await.unwrap();
}

/// However many there are, what is kept of them is bounded, and other batches pass.
#[tokio::test(start_paused = true)]
async fn b12_poison_without_end_is_not_divided_without_end() {
    let mut played = play();
    let mut stream = played.streams.recv().await.unwrap();
    stream.welcome(1).await;
    let poisoned = |file| Frame {
        bytes: "poison\n".repeat(2000).into(),
        extents: vec![Extent { file: FileId([file; 12]), start: 0, length: 14_000 }],
        ..lines(file, 1, None)
    };
    played.tail.outbound.send(batch_of([poisoned(1)])).await.unwrap();
    let (taken, sent) = take_what_is_fine(&mut stream).await;
    assert!(taken.is_empty() && (256..=512).contains(&sent), "{sent} batches");
    let apart = played.tail.apart.borrow_and_update().clone();
    assert!((200..=256).contains(&apart[&1].refused.len()), "{}", apart[&1].refused.len());
    let Outbound::Batch(mut fine) = batch_of([lines(2, 10, None)]) else { unreachable!() };
    fine.number = 2;
    played.tail.outbound.send(Outbound::Batch(fine)).await.unwrap();
    assert_eq!(take_what_is_fine(&mut stream).await.0.len(), 10);
    assert_eq!(played.tail.acked.recv().await, Some(vec![2]));
    played.session.abort();
}

/// It says who the forwarder is, not what is in the batch.
#[tokio::test(start_paused = true)]
async fn b12_a_batch_of_another_node_is_not_divided() {
    let mut played = play();
    let mut stream = played.streams.recv().await.unwrap();
    stream.welcome(9).await;
    played.tail.outbound.send(batch_of([lines(1, 10, None)])).await.unwrap();
    let wrong = |number| Refuse { reason: RefuseReason::WrongNode.into(), ..refuse(number) };
    let refused = Instant::now();
    assert_eq!(stream.batch().await, 1);
    stream.say(server_message::Kind::Refuse(wrong(1))).await;
    assert_eq!(stream.batch().await, 1);
    assert!(refused.elapsed() >= MINUTE);
    played.session.abort();
}
