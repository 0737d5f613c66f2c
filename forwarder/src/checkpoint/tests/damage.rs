//! What a damaged checkpoint still says: cut at every byte, flipped at every byte, killed at every step.

use super::*;

/// A copy of a checkpoint's directory with another log.
fn with_log(from: &Path, to: &Path, log: &[u8]) {
    for entry in fs::read_dir(to).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    fs::copy(from.join("checkpoint.previous"), to.join("checkpoint.previous")).unwrap();
    fs::write(to.join("checkpoint"), log).unwrap();
}

#[test]
fn b14_a_log_cut_at_any_byte_is_what_it_was_then() {
    let (directory, copy) = (scratch(), scratch());
    let history = realistic(directory.path());
    let log = log_of(directory.path());
    let mut steps = vec![0; history.len()];
    for length in 0..=log.len() {
        with_log(directory.path(), copy.path(), &log[..length]);
        let (mut checkpoint, loaded) = open(copy.path());
        for (source, state) in &loaded.sources {
            assert!(history.iter().any(|then| then.get(source) == Some(state)));
        }
        // The sources of the previous generation are never lost.
        assert!(loaded.sources.contains_key(&container(3)));
        if let Some(step) = history.iter().position(|then| *then == loaded.sources) {
            steps[step] += 1;
        }
        if length % 7 != 0 {
            continue;
        }
        // It goes on from there.
        checkpoint.put(&full(7, 1));
        assert!(checkpoint.sync().unwrap());
        let (_, again) = open(copy.path());
        assert!(again.damage.is_empty(), "{length}: {:?}", again.damage);
        assert_eq!(again.sources.len(), loaded.sources.len() + 1);
        assert_eq!(again.sources.get(&container(7)), Some(&full(7, 1)));
    }
    assert!(steps.iter().all(|times| *times > 0), "{steps:?}");
}

#[test]
fn b14_any_flipped_byte_costs_at_most_what_its_item_said_last() {
    let (directory, copy) = (scratch(), scratch());
    let history = realistic(directory.path());
    let last = history.last().unwrap();
    let log = log_of(directory.path());
    let mut unharmed = 0;
    for at in 0..log.len() {
        for flip in [0x01, 0xFF] {
            let mut damaged = log.clone();
            damaged[at] ^= flip;
            with_log(directory.path(), copy.path(), &damaged);
            let (mut checkpoint, loaded) = open(copy.path());
            assert!(!loaded.damage.is_empty() && !loaded.fresh && loaded.other.is_none());
            assert!(loaded.damage.iter().all(|damage| !damage.to_string().is_empty()));
            // What was journalled is there; of the others at most one is older, or back.
            assert_eq!(loaded.sources.get(&container(2)), last.get(&container(2)));
            let differing =
                loaded.sources.iter().filter(|(key, state)| last.get(*key) != Some(state));
            assert!(differing.clone().count() <= 1, "{at}: {differing:?}");
            let gone: Vec<_> =
                last.keys().filter(|key| !loaded.sources.contains_key(*key)).collect();
            assert!(gone.is_empty(), "{at}: {gone:?} {:?}", loaded.damage);
            for (source, state) in &loaded.sources {
                assert!(history.iter().any(|then| then.get(source) == Some(state)));
            }
            unharmed += usize::from(loaded.sources == *last);
            if at % 7 != 0 {
                continue;
            }
            // Repaired by the next sync, the damaged log kept aside unless only its end was cut off.
            checkpoint.sync().unwrap();
            let (_, again) = open(copy.path());
            assert!(again.damage.is_empty(), "{at}: {:?}", again.damage);
            assert_eq!(again.sources, loaded.sources);
        }
    }
    assert!(unharmed > 0);
    assert!(fs::read_dir(copy.path()).unwrap().count() <= 3, "bounded");
}

#[test]
fn b14_a_flipped_byte_of_the_previous_log_costs_nothing() {
    let directory = scratch();
    let last = realistic(directory.path()).pop().unwrap();
    let path = directory.path().join("checkpoint.previous");
    let previous = fs::read(&path).unwrap();
    for at in 0..previous.len() {
        let mut damaged = previous.clone();
        damaged[at] ^= 0x10;
        fs::write(&path, damaged).unwrap();
        assert_eq!(open(directory.path()).1.sources, last);
    }
    fs::remove_file(path).unwrap();
    let (_, loaded) = open(directory.path());
    assert!(loaded.damage.is_empty());
    assert_eq!(loaded.sources, last);
}

#[test]
fn b14_a_log_whose_end_is_filled_with_nul_is_what_was_before() {
    let (directory, copy) = (scratch(), scratch());
    let history = realistic(directory.path());
    let log = log_of(directory.path());
    for length in (0..log.len()).step_by(5) {
        let mut filled = log.clone();
        filled[length..].fill(0);
        with_log(directory.path(), copy.path(), &filled);
        let (mut checkpoint, loaded) = open(copy.path());
        for (source, state) in &loaded.sources {
            assert!(history.iter().any(|then| then.get(source) == Some(state)));
        }
        assert!(loaded.sources.contains_key(&container(3)), "of the previous generation");
        checkpoint.put(&full(7, 1));
        assert!(checkpoint.sync().unwrap());
        let (_, again) = open(copy.path());
        assert!(again.damage.is_empty(), "{length}: {:?}", again.damage);
        assert_eq!(again.sources.len(), loaded.sources.len() + 1);
    }
}

#[test]
fn b14_garbage_is_put_aside() {
    let directory = scratch();
    let last = realistic(directory.path()).pop().unwrap();
    let log = log_of(directory.path());
    let path = directory.path().join("checkpoint");
    for garbage in [vec![], vec![0; 100_000], vec![0xF5; 5000], b"#!/bin/sh\n".to_vec()] {
        fs::write(&path, &garbage).unwrap();
        let (mut checkpoint, loaded) = open(directory.path());
        assert_eq!(loaded.damage.len(), 1, "{:?}", loaded.damage);
        assert!(loaded.sources.contains_key(&container(3)), "of the previous generation");
        checkpoint.sync().unwrap();
        assert_eq!(fs::read(directory.path().join("checkpoint.damaged")).unwrap(), garbage);
        let (_, again) = open(directory.path());
        assert!(again.damage.is_empty());
        assert_eq!(again.sources, loaded.sources);
    }
    // A newer version's: as much garbage to this one, and kept for that one.
    let mut newer = log.clone();
    newer[11] = 2;
    let crc = crc32c::crc32c(&newer[..12]);
    newer[12..16].copy_from_slice(&crc.to_le_bytes());
    fs::write(&path, &newer).unwrap();
    let (mut checkpoint, loaded) = open(directory.path());
    assert!(matches!(loaded.damage[..], [Damage::Newer { version: 2, .. }]));
    checkpoint.put(&full(0, 5));
    checkpoint.sync().unwrap();
    assert_eq!(fs::read(directory.path().join("checkpoint.damaged")).unwrap(), newer);
    assert!(last.len() > 1);
}

#[test]
fn b14_a_compaction_may_be_killed_at_any_step() {
    let directory = scratch();
    let (mut checkpoint, _) = open(directory.path());
    for step in 0..3 {
        for restart in 0..3 {
            checkpoint.put(&full(restart, step));
        }
        checkpoint.sync().unwrap();
    }
    let old = log_of(directory.path());
    let expected = sources(&[&full(0, 2), &full(1, 2), &full(2, 2)]);
    checkpoint.compact(None).unwrap();
    let new = log_of(directory.path());
    assert!(new.len() < old.len());
    assert_eq!(fs::read(directory.path().join("checkpoint.previous")).unwrap(), old);
    let check = |files: &[(&str, &[u8])]| {
        let copy = scratch();
        files.iter().for_each(|(name, bytes)| fs::write(copy.path().join(name), bytes).unwrap());
        for expected in [&expected, &expected] {
            let (mut checkpoint, loaded) = open(copy.path());
            assert!(loaded.damage.is_empty() && !loaded.fresh, "{:?}", loaded.damage);
            assert_eq!(loaded.sources, *expected);
            checkpoint.sync().unwrap();
        }
        let (mut checkpoint, _) = open(copy.path());
        checkpoint.journal(&full(9, 9)).unwrap();
        assert_eq!(open(copy.path()).1.sources.len(), expected.len() + 1);
    };
    let (log, previous, temporary) = ("checkpoint", "checkpoint.previous", "checkpoint.tmp");
    for torn in (0..=new.len()).step_by(97) {
        check(&[(log, &old), (temporary, &new[..torn])]);
        check(&[(log, &old), (previous, &new), (temporary, &new[..torn])]);
    }
    check(&[(log, &old), (temporary, &new)]);
    check(&[(previous, &old), (temporary, &new)]);
    check(&[(previous, &old), (log, &new)]);
    check(&[(previous, &old)]);
    check(&[(temporary, &new)]);
    check(&[(log, &new)]);
}

#[test]
fn an_interrupted_compaction_is_older_than_what_was_appended_since() {
    let directory = scratch();
    let (mut checkpoint, _) = open(directory.path());
    checkpoint.put(&full(0, 1));
    checkpoint.sync().unwrap();
    // It stopped before its first rename, and its file could not be removed.
    fs::write(directory.path().join("checkpoint.tmp"), log_of(directory.path())).unwrap();
    checkpoint.put(&full(0, 2));
    checkpoint.sync().unwrap();
    assert_eq!(open(directory.path()).1.sources, sources(&[&full(0, 2)]));
}

#[test]
fn b14_short_lived_sources_leave_nothing() {
    let directory = scratch();
    let (mut checkpoint, _) = open(directory.path());
    checkpoint.put(&full(0, 1));
    let mut longest = 0;
    for restart in 1..=1_000_000 {
        checkpoint.put(&small(restart, 1));
        if restart > 20 {
            checkpoint.remove(&container(restart - 20));
        }
        if restart % 25 == 0 {
            checkpoint.sync().unwrap();
            longest = longest.max(checkpoint.log_bytes());
        }
    }
    for restart in 999_980..=1_000_000 {
        checkpoint.remove(&container(restart));
    }
    checkpoint.sync().unwrap();
    assert!(longest > 500_000 && longest < 1 << 20, "{longest}");
    assert!(log_of(directory.path()).len() < 1 << 20);
    let (_, loaded) = open(directory.path());
    assert_eq!(loaded.sources, sources(&[&full(0, 1)]));
}
