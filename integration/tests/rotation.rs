//! 200,000 lines over 20 containers that are rotated 10 times each while they write, judged by the ledger; 500 times each by
//! `NARU_LONG=1`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

use naru_integration::node::{Container, Kubelet};
use naru_integration::rig::Rig;
use naru_integration::scale::scaled;
use naru_integration::seed::seeded;
use naru_proto::frame::IoStream::{self, Stderr, Stdout};

const CONTAINERS: usize = 20;

#[test]
fn b3_rotations_of_twenty_containers_under_load() {
    // Of each container, and the lines of all of them.
    let (rotations, lines) = scaled((10, 200_000), (500, 500_000));
    // What each container writes between two rotations, and once more at the end.
    let lines_per_round = lines / CONTAINERS / (rotations + 1);
    let mut random = seeded("rotation");
    let mut rig = Rig::new();
    let mut kubelet = Kubelet::default();
    let mut containers: Vec<Container> =
        (0..CONTAINERS).map(|i| rig.node.start("shop", &format!("web-{i}"), "web")).collect();
    let mut process = rig.standalone();
    let address = process.ready();

    for round in 0..rotations {
        for container in &mut containers {
            write(container, lines_per_round - 4, &mut random);
            rotate(&mut kubelet, container, &mut random);
        }
        // The kubelet keeps four rotated files: what it would delete at the next rotation has been read by then.
        if round % 3 == 2 {
            rig.caught_up(address);
        }
    }
    let last = lines - rig.node.ledger().written();
    for (index, container) in containers.iter_mut().enumerate() {
        write(container, last / CONTAINERS + usize::from(index < last % CONTAINERS), &mut random);
    }
    assert_eq!(rig.node.ledger().written(), lines);

    rig.caught_up(address);
    rig.judge(address, &format!("{CONTAINERS} x {rotations} rotations"), None).assert_closed();
    assert!(process.terminate().success());
    process.assert_quiet(&[]);
}

/// Mostly short lines; some that are split, some on both iostreams at once, some torn.
fn write(container: &mut Container, lines: usize, random: &mut fastrand::Rng) {
    let mut left = lines;
    while left > 0 {
        let iostream = either(random);
        match random.u32(..1000) {
            0 if left >= 2 => {
                let lengths = [random.usize(..50_000), random.usize(..50_000)];
                container.interleaved("o".repeat(lengths[0]), "e".repeat(lengths[1]));
                left -= 1;
            }
            1..4 => {
                container.torn(iostream, random.usize(1..60), "after a header that was cut");
            }
            4..8 => {
                container.line(iostream, "길".repeat(random.usize(..9000)));
            }
            _ => {
                let filler = 20 + random.usize(..160);
                container.line(iostream, "x".repeat(filler));
            }
        }
        left -= 1;
    }
}

/// Four lines around one rotation: one is begun before and finished after, two of the other iostream go into the
/// renamed file meanwhile.
fn rotate(kubelet: &mut Kubelet, container: &mut Container, random: &mut fastrand::Rng) {
    if random.u8(..4) == 0 {
        kubelet.rotate_in_vain(container, |_| ());
    }
    let (straddling, other) = if random.bool() { (Stdout, Stderr) } else { (Stderr, Stdout) };
    container.begin(straddling, "begun before the rotation, ");
    kubelet.rotate(container, |container| {
        container.line(other, "into the renamed file");
        container.line(other, "and again");
    });
    container.finish(straddling, "finished after it");
    container.line(Stderr, "the next");
}

fn either(random: &mut fastrand::Rng) -> IoStream {
    if random.bool() { Stdout } else { Stderr }
}
