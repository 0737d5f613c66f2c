//! Leases against tables, and against a set.

use proptest::prelude::*;

use super::*;

fn leases(committed: u64, max_out: usize) -> Leases {
    let order = Order { max_out, in_order: false };
    let leases = Leases::new(&Done::default(), Sequence(0), Backlog::default(), order);
    for sequence in 1..=committed {
        leases.committed(Sequence(sequence), 2);
    }
    leases
}

fn read(leases: &Leases) -> Option<u64> {
    match leases.turn(Instant::now()) {
        Turn::Read { sequence, .. } | Turn::Again(sequence, _) => Some(sequence.0),
        Turn::Nothing => None,
    }
}

#[test]
fn the_cursor_is_what_is_done_without_a_hole() {
    let leases = leases(5, 10);
    for sequence in 1..=5 {
        assert_eq!(read(&leases), Some(sequence));
    }
    for (complete, delivered) in [(2, 0), (4, 0), (1, 2), (5, 2), (3, 5)] {
        leases.complete(Sequence(complete), 2);
        assert_eq!(leases.progress().delivered, Sequence(delivered), "after {complete}");
    }
    assert_eq!(leases.progress().backlog, Backlog::default());
}

#[test]
fn a_window_is_kept() {
    let leases = leases(5, 2);
    assert_eq!((read(&leases), read(&leases), read(&leases)), (Some(1), Some(2), None));
    leases.complete(Sequence(2), 2);
    assert_eq!((read(&leases), read(&leases)), (Some(3), None));
    assert_eq!(leases.progress().delivered, Sequence(0));
}

/// Entries are as large as given; who is behind is not starved, nor does it starve the others.
fn order(leases: &Leases, sizes: impl Fn(u64) -> u64, count: usize) -> Vec<u64> {
    let mut order = Vec::new();
    for _ in 0..count {
        let Turn::Read { sequence, end, .. } = leases.turn(Instant::now()) else { break };
        leases.took(end, sizes(sequence.0));
        leases.complete(sequence, 2);
        order.push(sequence.0);
    }
    order
}

#[test]
fn what_is_new_is_not_starved_by_a_backlog() {
    let leases = leases(BEHIND - 1, 4);
    assert_eq!(order(&leases, |_| 1, 3), [1, 2, 3], "that is not behind");
    for sequence in BEHIND..=200 {
        leases.committed(Sequence(sequence), 2);
    }
    assert_eq!(order(&leases, |_| 1, 4), [200, 4, 5, 6], "the newest, and then what there is");
    leases.committed(Sequence(201), 2);
    leases.committed(Sequence(202), 2);
    assert_eq!(order(&leases, |_| 1, 5), [201, 7, 202, 8, 9]);
    assert_eq!(leases.done().ranges, [(Sequence(200), Sequence(202))]);
}

/// Half of the bytes: ten small new entries for each large one of the backlog.
#[test]
fn shares_are_of_bytes() {
    let leases = leases(200, 4);
    assert_eq!(order(&leases, |_| 1, 1), [200]);
    for sequence in 201..=230 {
        leases.committed(Sequence(sequence), 2);
    }
    let order = order(&leases, |sequence| if sequence < 200 { 100 } else { 10 }, 22);
    let old = order.iter().filter(|sequence| **sequence < 200).count();
    assert_eq!(old, 2, "{order:?}");
}

#[test]
fn the_newest_jumps_again_and_backlogs_are_bounded() {
    let leases = leases(100, 4);
    let mut last = 100;
    for _ in 0..20 {
        assert!(!order(&leases, |_| 1, 2).is_empty());
        for _ in 0..NEWEST_BEHIND + 10 {
            last += 1;
            leases.committed(Sequence(last), 2);
        }
    }
    assert_eq!(leases.lock().behind.len(), BACKLOGS_MAX);
    let rest = order(&leases, |_| 1, usize::MAX);
    assert_eq!(rest.len() as u64 + 40, last);
    assert_eq!(leases.done(), Done::through(Sequence(last)));
}

#[test]
fn what_is_given_back_comes_again_first() {
    let leases = leases(3, 2);
    assert_eq!((read(&leases), read(&leases)), (Some(1), Some(2)));
    leases.give_back(Sequence(1), Entry::default());
    assert_eq!(leases.progress().delivered, Sequence(0));
    assert_eq!((read(&leases), read(&leases)), (Some(1), None));
    leases.complete(Sequence(1), 2);
    leases.complete(Sequence(1), 2);
    assert_eq!(leases.progress().backlog, Backlog { entries: 2, batches: 4 });
    assert_eq!(leases.progress().delivered, Sequence(1));
}

#[test]
fn holes_and_losses_do_not_stop_the_cursor() {
    let leases = leases(5, 10);
    assert_eq!(read(&leases), Some(1));
    leases.skip(Sequence(1), Sequence(3));
    assert_eq!(leases.progress().delivered, Sequence(2));
    assert_eq!(read(&leases), Some(3));
    leases.lose(Sequence(3));
    let progress = leases.progress();
    assert_eq!((progress.delivered, progress.lost), (Sequence(3), 1));
}

#[derive(Debug, Clone)]
enum Action {
    Commit(u8),
    Lease(u16),
    Complete(proptest::sample::Index),
    GiveBack(proptest::sample::Index),
    /// A stop or a crash: what was saved counts.
    Restart,
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let index = || any::<proptest::sample::Index>();
    let action = prop_oneof![
        3 => (1_u8..100).prop_map(Action::Commit),
        8 => any::<u16>().prop_map(Action::Lease),
        6 => index().prop_map(Action::Complete),
        2 => index().prop_map(Action::GiveBack),
        1 => Just(Action::Restart),
    ];
    proptest::collection::vec(action, 1..120)
}

proptest! {
    /// Against a set: every entry is leased once at a time, until it is completed, and what is done is just that.
    #[test]
    fn it_agrees_with_a_set(actions in actions()) {
        let mut leases = leases(0, 5);
        let mut head = 0;
        let (mut completed, mut out) = (BTreeSet::new(), Vec::new());
        for action in actions {
            match action {
                Action::Commit(count) => for _ in 0..count {
                    head += 1;
                    leases.committed(Sequence(head), 1);
                },
                Action::Lease(bytes) => match leases.turn(Instant::now()) {
                    Turn::Read { sequence, end, .. } => {
                        leases.took(end, bytes.into());
                        prop_assert!(!out.contains(&sequence.0) && !completed.contains(&sequence.0));
                        out.push(sequence.0);
                    }
                    Turn::Again(sequence, _) => {
                        prop_assert!(!out.contains(&sequence.0) && !completed.contains(&sequence.0));
                        out.push(sequence.0);
                    }
                    Turn::Nothing => {
                        let left = head - completed.len() as u64 - out.len() as u64;
                        prop_assert!(out.len() == 5 || left == 0, "{} entries are not given", left);
                    }
                },
                Action::Complete(index) if !out.is_empty() => {
                    let sequence = out.remove(index.index(out.len()));
                    leases.complete(Sequence(sequence), 1);
                    completed.insert(sequence);
                }
                Action::GiveBack(index) if !out.is_empty() => {
                    let sequence = out.remove(index.index(out.len()));
                    leases.give_back(Sequence(sequence), Entry::default());
                }
                Action::Complete(_) | Action::GiveBack(_) => {}
                Action::Restart => {
                    out.clear();
                    let entries = head - completed.len() as u64;
                    let backlog = Backlog { entries, batches: entries };
                    let order = Order { max_out: 5, in_order: false };
                    leases = Leases::new(&leases.done(), Sequence(head), backlog, order);
                }
            }
            let done = leases.done();
            let found: BTreeSet<u64> =
                (1..=head).filter(|s| done.holds(Sequence(*s), Sequence(*s))).collect();
            prop_assert_eq!(&found, &completed);
            prop_assert!(done.ranges.len() <= BACKLOGS_MAX + 5);
            let progress = leases.progress();
            prop_assert_eq!(progress.delivered, done.through);
            prop_assert_eq!(progress.backlog.entries, head - completed.len() as u64);
        }
    }
}
