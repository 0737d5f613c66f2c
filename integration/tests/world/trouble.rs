//! What befalls the programs, one thing after the other.

use std::time::{Duration, Instant};

use naru_integration::cluster::Cluster;
use naru_integration::fault::relay::Relay;
use naru_integration::scale::scaled;

use super::World;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    None,
    /// Killed are the forwarder, the aggregator.
    Killed(bool, bool),
    /// Frozen are the forwarder, the aggregator.
    Frozen(bool, bool),
    /// A second forwarder stands by.
    StandsBy,
    /// The first has been told to end.
    HandsOver,
}

/// The trouble that there is, and until when it lasts.
pub(crate) struct Troubles {
    now: Trouble,
    until: Instant,
    kills: [usize; 2],
    freezes: [usize; 2],
    cuts: usize,
    hand_overs: usize,
}

impl Troubles {
    pub(crate) fn new(now: Instant) -> Self {
        let until = now + Duration::from_secs(2);
        Self { now: Trouble::None, until, kills: [0; 2], freezes: [0; 2], cuts: 0, hand_overs: 0 }
    }

    /// Ends a trouble whose time is over, or begins the next.
    pub(crate) fn step(
        &mut self,
        cluster: &mut Cluster,
        relay: &Relay,
        world: &mut World,
        random: &mut fastrand::Rng,
    ) {
        if Instant::now() < self.until {
            return;
        }
        let lasts = match self.now {
            Trouble::None => self.begin(cluster, relay, world, random),
            Trouble::StandsBy => {
                cluster.ask_for_hand_over(0);
                self.now = Trouble::HandsOver;
                random.u64(..1500)
            }
            Trouble::Killed(..) | Trouble::Frozen(..) | Trouble::HandsOver => {
                self.end(cluster);
                random.u64(300..4000)
            }
        };
        self.until = Instant::now() + Duration::from_millis(lasts);
    }

    /// Returns how long it is to last, in milliseconds.
    fn begin(
        &mut self,
        cluster: &mut Cluster,
        relay: &Relay,
        world: &mut World,
        random: &mut fastrand::Rng,
    ) -> u64 {
        // A gap that was declared must have been told before the forwarder is killed again: the checkpoint has none.
        let told = world.all_declared(&relay.gaps()).is_ok();
        match random.u8(..10) {
            0..3 if told => self.kill(true, false, cluster, world),
            3 if told => self.kill(true, true, cluster, world),
            4 => self.kill(false, true, cluster, world),
            5 => {
                self.freeze(false, true, cluster);
                return scaled(random.u64(..3000), random.u64(..20_000));
            }
            6 => self.freeze(true, false, cluster),
            7 | 8 => {
                cluster.start_successor(0);
                self.now = Trouble::StandsBy;
            }
            _ => {
                relay.cut();
                self.cuts += 1;
                return 0;
            }
        }
        random.u64(..2500)
    }

    fn kill(
        &mut self,
        forwarder: bool,
        aggregator: bool,
        cluster: &mut Cluster,
        world: &mut World,
    ) {
        if forwarder {
            cluster.kill_forwarder(0);
            world.lose();
        }
        if aggregator {
            cluster.kill_aggregator(0);
        }
        self.now = Trouble::Killed(forwarder, aggregator);
        self.kills[0] += usize::from(forwarder);
        self.kills[1] += usize::from(aggregator);
    }

    fn freeze(&mut self, forwarder: bool, aggregator: bool, cluster: &mut Cluster) {
        if forwarder {
            cluster.forwarder(0).freeze();
        }
        if aggregator {
            cluster.aggregator(0).freeze();
        }
        self.now = Trouble::Frozen(forwarder, aggregator);
        self.freezes[0] += usize::from(forwarder);
        self.freezes[1] += usize::from(aggregator);
    }

    /// Everything runs again.
    pub(crate) fn end(&mut self, cluster: &mut Cluster) {
        if self.now == Trouble::StandsBy {
            cluster.ask_for_hand_over(0);
            self.now = Trouble::HandsOver;
        }
        match self.now {
            Trouble::None | Trouble::StandsBy => {}
            Trouble::HandsOver => {
                cluster.finish_hand_over(0);
                self.hand_overs += 1;
            }
            Trouble::Killed(..) => cluster.start(),
            Trouble::Frozen(forwarder, aggregator) => {
                if forwarder {
                    cluster.forwarder(0).thaw();
                }
                if aggregator {
                    cluster.aggregator(0).thaw();
                }
            }
        }
        self.now = Trouble::None;
    }

    pub(crate) fn done(&self) -> String {
        format!(
            "killed: forwarder {}, aggregator {}; frozen: {}, {}; streams cut: {}; handed over: {}",
            self.kills[0],
            self.kills[1],
            self.freezes[0],
            self.freezes[1],
            self.cuts,
            self.hand_overs
        )
    }
}
