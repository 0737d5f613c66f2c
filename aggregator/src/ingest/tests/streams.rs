//! The life of streams: who may open one, when batches are acknowledged, credit, drains, shutdown.

use std::collections::BTreeSet;

use super::*;

#[tokio::test]
async fn who_may_not_ship_is_told_why() {
    let (sink, _taken) = durable_sink();
    let server = Server::start(IngestConfig::new("default"), sink).await;
    let check = async |first: ToServer, code: Code, label: &'static str| {
        let mut client = Client::connect(server.address).await;
        client.send(first).await;
        let status = client.end().await.unwrap_err();
        assert_eq!(status.code(), code, "{status:?}");
        assert!(!status.message().is_empty());
        assert_eq!(server.metrics.broken(label), 1, "{label}");
    };
    let too_early = ToServer::Batch(batch(1, "node-1"));
    check(too_early, Code::FailedPrecondition, "no_hello").await;
    check(hello("node-1", "other"), Code::FailedPrecondition, "wrong_cluster").await;
    check(hello("", "default"), Code::InvalidArgument, "bad_name").await;
    let mut client = Client::open(server.address, "node-1").await;
    assert_eq!(client.ship(batch(7, "node-1")).await, None);
    client.wait_for_credit().await;
    client.send(ToServer::Batch(batch(7, "node-1"))).await;
    assert_eq!(client.end().await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(server.metrics.broken("bad_number"), 1);
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_says_nothing_is_sent_away() {
    let (sink, _taken) = durable_sink();
    let hello_timeout = Duration::from_millis(20);
    let config = IngestConfig { hello_timeout, ..IngestConfig::new("default") };
    let server = Server::start(config, sink).await;
    let mut client = Client::connect(server.address).await;
    assert_eq!(client.end().await.unwrap_err().code(), Code::FailedPrecondition);
    assert_eq!(server.metrics.broken("no_hello"), 1);
    server.stop().await;
}

#[tokio::test]
async fn a_batch_is_acknowledged_only_once_it_is_durable() {
    let (sink, mut intakes) = mpsc::channel::<Intake>(8);
    let server = Server::start(IngestConfig::new("default"), sink).await;
    let mut client = Client::open(server.address, "node-1").await;
    assert_eq!(client.available, 1, "an idle stream has the least");

    // Two batches in flight: the first answer is for the one that is durable first.
    client.send(ToServer::Batch(batch(1, "node-1"))).await;
    let first = within(intakes.recv()).await.unwrap();
    client.wait_for_credit().await;
    client.send(ToServer::Batch(batch(2, "node-1"))).await;
    let second = within(intakes.recv()).await.unwrap();
    assert_eq!((first.batch.number, second.batch.number), (1, 2));
    assert_eq!(server.metrics.batches_acknowledged.get(), 0);
    let ack = async |client: &mut Client| loop {
        match client.hear().await.unwrap().unwrap() {
            FromServer::Credit(_) => {}
            FromServer::Ack(ack) => break ack.numbers,
            other => panic!("{other:?}"),
        }
    };
    second.done.send(IntakeResult::Durable).unwrap();
    assert_eq!(ack(&mut client).await, [2]);
    first.done.send(IntakeResult::Durable).unwrap();
    assert_eq!(ack(&mut client).await, [1]);

    let answers = tokio::spawn(async move {
        for result in [
            Some(IntakeResult::Busy { retry_ms: 40 }),
            Some(IntakeResult::Busy { retry_ms: 60_000 }),
            None,
            Some(IntakeResult::Durable),
        ] {
            let intake = intakes.recv().await.unwrap();
            match result {
                Some(result) => intake.done.send(result).unwrap(),
                None => drop(intake),
            }
        }
    });
    let mut busy = async |number, retry_where, retry_ms| {
        let refuse = client.ship(batch(number, "node-1")).await.unwrap();
        assert_eq!(refuse.reason(), RefuseReason::Busy);
        assert_eq!(refuse.r#where(), retry_where);
        assert_eq!(refuse.retry_ms, retry_ms);
    };
    busy(3, RetryWhere::Here, 40).await;
    busy(4, RetryWhere::Elsewhere, 60_000).await;
    busy(5, RetryWhere::Elsewhere, 1001).await;
    assert_eq!(client.ship(batch(4, "node-1")).await, None, "a refused number may come again");
    within(answers).await.unwrap();
    let refuse = client.ship(batch(6, "node-1")).await.unwrap();
    assert_eq!(refuse.reason(), RefuseReason::Busy, "nobody takes anything any more");
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn acknowledgements_that_are_ready_together_travel_together() {
    let (sink, mut intakes) = mpsc::channel::<Intake>(8);
    let server = Server::start(IngestConfig::new("default"), sink).await;
    let mut client = Client::open(server.address, "node-1").await;
    let mut held = Vec::new();
    for number in 1..=4 {
        client.wait_for_credit().await;
        client.send(ToServer::Batch(batch(number, "node-1"))).await;
        held.push(within(intakes.recv()).await.unwrap());
    }
    // Without a pause between them: on one thread, the stream looks when all are there.
    for intake in held {
        intake.done.send(IntakeResult::Durable).unwrap();
    }
    let numbers = loop {
        match client.hear().await.unwrap().unwrap() {
            FromServer::Ack(ack) => break ack.numbers,
            FromServer::Credit(_) => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(BTreeSet::from_iter(numbers), BTreeSet::from([1, 2, 3, 4]));
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn a_batch_without_credit_is_refused() {
    let (sink, mut intakes) = mpsc::channel::<Intake>(8);
    let config = IngestConfig { credit_batches: 1, ..IngestConfig::new("default") };
    let server = Server::start(config, sink).await;
    let mut client = Client::open(server.address, "node-1").await;
    client.send(ToServer::Batch(batch(1, "node-1"))).await;
    let first = within(intakes.recv()).await.unwrap();
    client.send(ToServer::Batch(batch(2, "node-1"))).await;
    match client.hear().await.unwrap() {
        Some(FromServer::Refuse(refuse)) => {
            assert_eq!((refuse.number, refuse.reason()), (2, RefuseReason::NoCredit));
            assert_eq!(refuse.r#where(), RetryWhere::Here);
        }
        other => panic!("{other:?}"),
    }
    first.done.send(IntakeResult::Durable).unwrap();
    assert!(matches!(client.hear().await, Ok(Some(FromServer::Ack(_)))));
    assert_eq!(client.available, -1);
    client.wait_for_credit().await;
    client.send(ToServer::Batch(batch(2, "node-1"))).await;
    let again = within(intakes.recv()).await.unwrap();
    assert_eq!(again.batch.number, 2);
    drop(again);
    drop(client);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_streams_all_get_their_turn() {
    const STREAMS: usize = 200;
    const BATCHES: u64 = 20;
    let (sink, taken) = durable_sink();
    let config = IngestConfig { credit_batches: 8, ..IngestConfig::new("default") };
    let server = Server::start(config, sink).await;
    let address = server.address;
    // As many as there are permits, and they never send: what they hold must be lent.
    let mut idle = Vec::new();
    for number in 0..8 {
        let client = Client::open(address, &format!("idle-{number}")).await;
        assert_eq!(client.available, 1);
        idle.push(client);
    }
    let ships = (0..STREAMS).map(|number| {
        tokio::spawn(async move {
            let node = format!("node-{number}");
            let mut client = Client::open(address, &node).await;
            for number in 1..=BATCHES {
                client.ship_in_turn(&batch(number, &node)).await;
            }
        })
    });
    for ship in ships.collect::<Vec<_>>() {
        within(ship).await.unwrap();
    }
    for (number, client) in idle.iter_mut().enumerate() {
        client.ship_in_turn(&batch(1, &format!("idle-{number}"))).await;
    }
    drop(idle);
    server.stop().await;
    let taken = within(taken).await.unwrap();
    let distinct: BTreeSet<_> = taken.iter().map(|(node, batch)| (node, batch.number)).collect();
    assert_eq!(distinct.len(), STREAMS * BATCHES as usize + 8);
    assert_eq!(taken.len(), distinct.len());
}

#[tokio::test]
async fn an_old_stream_is_drained_and_ends_well() {
    let (sink, mut intakes) = mpsc::channel::<Intake>(8);
    let age = Duration::from_millis(500);
    let config =
        IngestConfig { stream_age_min: age, stream_age_max: age, ..IngestConfig::new("default") };
    let server = Server::start(config, sink).await;
    let mut client = Client::open(server.address, "node-1").await;
    client.send(ToServer::Batch(batch(1, "node-1"))).await;
    let intake = within(intakes.recv()).await.unwrap();
    while !client.drained {
        assert!(client.hear().await.unwrap().is_some());
    }
    client.send(ToServer::Batch(batch(2, "node-1"))).await;
    match client.hear().await.unwrap() {
        Some(FromServer::Refuse(refuse)) => {
            assert_eq!((refuse.number, refuse.reason()), (2, RefuseReason::Draining));
            assert_eq!(refuse.r#where(), RetryWhere::Elsewhere);
        }
        other => panic!("{other:?}"),
    }
    intake.done.send(IntakeResult::Durable).unwrap();
    match client.hear().await.unwrap() {
        Some(FromServer::Ack(ack)) => assert_eq!(ack.numbers, [1]),
        other => panic!("{other:?}"),
    }
    client.end().await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn a_shutdown_answers_what_is_in_flight() {
    let (sink, mut intakes) = mpsc::channel::<Intake>(8);
    // Nothing but the batch in flight keeps the stream open.
    let config = IngestConfig { drain_linger: Duration::ZERO, ..IngestConfig::new("default") };
    let server = Server::start(config, sink).await;
    let mut client = Client::open(server.address, "node-1").await;
    client.send(ToServer::Batch(batch(1, "node-1"))).await;
    let intake = within(intakes.recv()).await.unwrap();
    let Server { stop, mut served, .. } = server;
    stop.send(()).unwrap();
    while !client.drained {
        assert!(client.hear().await.unwrap().is_some());
    }
    // Many times the linger; the stream is open as long as nothing comes.
    let silence = tokio::time::timeout(Duration::from_millis(50), client.hear()).await;
    assert!(silence.is_err(), "it does not wait for what is in flight: {silence:?}");
    assert!(!served.is_finished());
    intake.done.send(IntakeResult::Durable).unwrap();
    match client.hear().await.unwrap() {
        Some(FromServer::Ack(ack)) => assert_eq!(ack.numbers, [1]),
        other => panic!("{other:?}"),
    }
    client.end().await.unwrap();
    within(&mut served).await.unwrap().unwrap();
}

#[tokio::test]
async fn losses_and_states_are_taken_from_a_stream() {
    let (sink, _taken) = durable_sink();
    let server = Server::start(IngestConfig::new("default"), sink).await;
    let mut client = Client::open(server.address, "node-1").await;
    let gap = wire::Gap {
        start: 5,
        end_exclusive: Some(9),
        reason: wire::GapReason::Truncated.into(),
        ..wire::Gap::default()
    };
    client.send(ToServer::Gap(gap)).await;
    let files = vec![wire::FileStatus::default(); 3];
    client.send(ToServer::Status(wire::Status { files })).await;
    drop(client.to_server.send(wire::ClientMessage { kind: None }).await);
    assert_eq!(client.ship(batch(1, "node-1")).await, None);
    assert_eq!(server.metrics.gaps("truncated"), 1);
    assert_eq!(server.metrics.gap_bytes.get(), 4);
    assert_eq!(server.metrics.status_files.get(), 3);
    assert_eq!(server.metrics.messages_unknown.get(), 1);
    let gaps = server.service.recent_gaps();
    assert_eq!(gaps.first().map(|gap| (gap.node.as_str(), gap.start)), Some(("node-1", 5)));
    assert_eq!(gaps.len(), 1);
    // The client closes its side first: its stream ends by itself.
    let (closed, _) = mpsc::channel(1);
    client.to_server = closed;
    client.end().await.unwrap();
    server.stop().await;
}
