//! The pool against what must always hold, and its turns.

use super::*;
use proptest::prelude::*;

const POOL: u32 = 64;

fn admission(batches: u32) -> Arc<Admission> {
    Arc::new(Admission::new(batches, 1000, Metrics::default()))
}

fn check_whole(pool: &Pool, batches: u32) {
    let held: u32 = pool.streams.values().map(|s| s.credit + s.in_flight).sum();
    assert_eq!(held + pool.free, batches, "permits are neither made nor lost");
    assert!(pool.free == 0 || pool.turns.is_empty(), "nobody waits for what is free");
    for (id, stream) in &pool.streams {
        assert!(stream.credit + stream.lent + stream.in_flight <= WINDOW_MAX);
        let turns = pool.turns.iter().filter(|turn| *turn == id).count();
        assert_eq!(turns, usize::from(stream.waiting));
        assert!(stream.waiting || !stream.wants(), "whoever wants, waits");
    }
}

/// A client that counts as the protocol says.
struct Client {
    seat: Seat,
    available: i64,
    in_flight: u32,
}

impl Client {
    fn open(admission: &Arc<Admission>, now: Instant) -> Self {
        let seat = admission.open(now).unwrap();
        let mut client = Self { seat, available: 0, in_flight: 0 };
        client.hear();
        client
    }

    fn hear(&mut self) {
        self.available += i64::from(self.seat.announce());
    }

    /// Whether it was taken.
    fn send(&mut self, now: Instant) -> bool {
        self.available -= 1;
        let taken = self.seat.spend(now);
        self.in_flight += u32::from(taken);
        taken
    }

    fn finish(&mut self, batches: u32, now: Instant) {
        let batches = batches.min(self.in_flight);
        self.in_flight -= batches;
        self.seat.answered(batches, now);
    }
}

proptest! {
    #[test]
    fn permits_add_up_whatever_clients_do(
        batches in 1..6_u32,
        steps in prop::collection::vec((0..8_u8, 0..12_usize, 0..3_u32), 1..300),
    ) {
        let admission = admission(batches);
        let mut now = Instant::now();
        let mut clients: Vec<Client> = Vec::new();
        for (what, who, many) in steps {
            let count = clients.len();
            match clients.get_mut(who % count.max(1)) {
                _ if what == 0 => clients.push(Client::open(&admission, now)),
                None => {}
                Some(_) if what == 1 => drop(clients.swap_remove(who % count)),
                Some(client) if what <= 3 => client.finish(many, now),
                // It sends even when it may not.
                Some(client) if what <= 5 => drop(client.send(now)),
                Some(client) if what == 6 => client.hear(),
                Some(_) => {
                    now += IDLE_AFTER / 2 * many;
                    admission.lend(now);
                }
            }
            admission.with(|pool| check_whole(pool, batches));
            for client in &clients {
                let counted = admission.with(|pool| {
                    let stream = &pool.streams[&client.seat.id];
                    i64::from(stream.credit + stream.lent)
                        - i64::from(stream.unannounced)
                        - i64::from(stream.debt)
                });
                prop_assert_eq!(client.available, counted, "both sides count alike");
            }
        }
        clients.clear();
        prop_assert_eq!(admission.with(|pool| (pool.free, pool.turns.len())), (batches, 0));
    }
}

#[test]
fn busy_streams_advance_in_turns() {
    let admission = admission(POOL);
    let now = Instant::now();
    let mut clients: Vec<_> = (0..1000).map(|_| Client::open(&admission, now)).collect();
    let holders = clients.iter().filter(|client| client.available > 0).count();
    assert_eq!(holders, POOL as usize, "credit for as many streams as there are permits");
    let mut sent = vec![0; clients.len()];
    for _ in 0..2000 {
        for (client, sent) in clients.iter_mut().zip(&mut sent) {
            client.hear();
            while client.available > 0 {
                assert!(client.send(now), "credit is a promise while it is not lent");
                *sent += 1;
            }
            client.finish(1, now);
        }
    }
    let (least, most) = (sent.iter().min().unwrap(), sent.iter().max().unwrap());
    assert!(*least > 10, "{least}");
    assert!(most - least <= 2, "{least} to {most}");
}

#[test]
fn one_stream_alone_gets_the_window_and_no_more() {
    let admission = admission(POOL);
    let now = Instant::now();
    let mut client = Client::open(&admission, now);
    assert_eq!(client.available, 1);
    for _ in 0..20 {
        client.hear();
        while client.available > 0 {
            assert!(client.send(now));
        }
    }
    assert_eq!(client.in_flight, WINDOW_MAX);
    client.finish(WINDOW_MAX, now);
    client.hear();
    assert_eq!(client.available, i64::from(WINDOW_MAX));
    // It uses little from here on, and its window follows.
    for _ in 0..20 {
        assert!(client.send(now));
        client.finish(1, now);
        client.hear();
    }
    assert!(client.available <= 2, "{}", client.available);
}

#[test]
fn idle_streams_starve_nobody_and_keep_their_credit() {
    let admission = admission(2);
    let mut now = Instant::now();
    let mut idle = [Client::open(&admission, now), Client::open(&admission, now)];
    let mut waiting: Vec<_> = (0..3).map(|_| Client::open(&admission, now)).collect();
    let heard = |clients: &mut [Client]| {
        clients.iter_mut().for_each(Client::hear);
        clients.iter().map(|client| client.available).collect::<Vec<_>>()
    };
    assert_eq!(heard(&mut waiting), [0, 0, 0]);
    admission.lend(now + IDLE_AFTER - Duration::from_millis(1));
    assert_eq!(heard(&mut waiting), [0, 0, 0], "not idle for long enough");
    now += IDLE_AFTER;
    admission.lend(now);
    assert_eq!(heard(&mut waiting), [1, 1, 0], "in the order of their turns");
    assert!(waiting[0].send(now) && waiting[1].send(now));
    assert!(!idle[0].send(now), "the pool is used up");
    waiting[0].finish(1, now);
    assert_eq!(heard(&mut waiting), [0, 0, 1], "whoever waited longest is next");
    waiting[1].finish(1, now);
    assert_eq!(heard(&mut waiting)[0], 1, "then the one after it");
    waiting.clear();
    assert_eq!(heard(&mut idle), [1, 1], "the refused one has its turn");
    assert!(idle[1].send(now) && idle[0].send(now), "what was lent is still good");
}

#[test]
fn streams_are_bounded() {
    let admission = Arc::new(Admission::new(1, 2, Metrics::default()));
    let now = Instant::now();
    let first = admission.open(now);
    let second = admission.open(now);
    assert!(first.is_some() && second.is_some() && admission.open(now).is_none());
    drop(second);
    assert!(admission.open(now).is_some());
}

#[tokio::test]
async fn a_grant_wakes_the_stream() {
    let admission = admission(1);
    let now = Instant::now();
    let first = admission.open(now).unwrap();
    let second = admission.open(now).unwrap();
    assert_eq!((first.announce(), second.announce()), (1, 0));
    let waiting = tokio::spawn(async move {
        second.changed().await;
        second.announce()
    });
    assert!(first.spend(now));
    first.answered(1, now);
    assert_eq!(waiting.await.unwrap(), 1);
}
