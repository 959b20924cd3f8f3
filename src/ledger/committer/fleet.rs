//! `guarantee = "fast"`: when grants that Redis has made are written, when claims may be made
//! without Redis, and what the other sidecars say of it (SPEC 8). Pure.
//!
//! # The lock-delay
//! While Redis decides, a grant is in the ledger only `mirror_interval` after its client was told.
//! So a sidecar that has lost Redis, or has met another run of it, says so ([`Ask::Degraded`]), waits
//! `mirror_interval` from when that is durable, and makes one exchange more: by then whoever lives
//! and can reach the ledger has written what it had granted. Until then no claim of this sidecar is
//! written, and its repair pass does not begin. A process begins as one that has lost Redis.
//!
//! Who is alone on its ledger need not wait: its own grants stand before its `Degraded`, in one
//! queue. One who comes later is no danger: it reads that `Degraded` before it may use Redis. Alone
//! means that the exchange that made `Degraded` durable shows no other log that may be alive.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::Ask;
use super::super::fold::{Fold, LogMode};

/// A log that has been silent for so many heartbeats is dead (SPEC 8).
const SILENT_HEARTBEATS: u32 = 3;

/// How far the lock-delay is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Delay {
    /// `Degraded` is not written yet.
    #[default]
    Unsaid,
    /// It is in the group of this entry.
    Said(u64),
    /// It is durable since then.
    Runs(Duration),
    Over,
}

/// Another log, when it was last seen to change.
#[derive(Debug, Clone, Copy)]
struct Peer {
    last_seq: u64,
    changed: Duration,
    is_degraded: bool,
}

/// What `fast` has a committer wait for.
#[derive(Debug, Clone)]
pub(super) struct Fleet {
    mirror_interval: Duration,
    silence: Duration,
    /// Redis decides: the last note that was handed in is `Healthy`.
    serves: bool,
    delay: Delay,
    peers: BTreeMap<u64, Peer>,
}

impl Fleet {
    pub(super) fn new(mirror_interval: Duration, heartbeat: Duration) -> Self {
        Self {
            mirror_interval,
            silence: heartbeat * SILENT_HEARTBEATS,
            serves: false,
            delay: Delay::Unsaid,
            peers: BTreeMap::new(),
        }
    }

    /// These were handed in.
    pub(super) fn submitted<'a>(&mut self, asks: impl Iterator<Item = &'a Ask>) {
        for ask in asks {
            match ask {
                Ask::Degraded => (self.serves, self.delay) = (false, Delay::Unsaid),
                Ask::Healthy(_) => (self.serves, self.delay) = (true, Delay::Over),
                _ => {}
            }
        }
    }

    /// `Degraded` is in the group that forms, in this entry.
    pub(super) fn written(&mut self, seq: u64) {
        if self.delay == Delay::Unsaid {
            self.delay = Delay::Said(seq);
        }
    }

    /// An exchange has ended well, which began at `began`.
    pub(super) fn seen(&mut self, fold: &Fold, own: Option<u64>, began: Duration, now: Duration) {
        self.look_at_peers(fold, own, now);
        let last = own.and_then(|own| fold.log(own)).map_or(0, |log| log.last_seq);
        match self.delay {
            Delay::Said(seq) if last >= seq => {
                self.delay = if self.is_alone(now) { Delay::Over } else { Delay::Runs(now) };
            }
            Delay::Runs(since) if began >= since + self.mirror_interval => {
                self.delay = Delay::Over;
            }
            _ => {}
        }
    }

    fn look_at_peers(&mut self, fold: &Fold, own: Option<u64>, now: Duration) {
        let mut peers = BTreeMap::new();
        for (number, log) in fold.logs().filter(|(number, log)| Some(*number) != own && !log.ended)
        {
            let known = self.peers.get(&number).filter(|known| known.last_seq == log.last_seq);
            peers.insert(
                number,
                Peer {
                    last_seq: log.last_seq,
                    changed: known.map_or(now, |known| known.changed),
                    is_degraded: log.mode == LogMode::Degraded,
                },
            );
        }
        self.peers = peers;
    }

    fn live(&self, now: Duration) -> impl Iterator<Item = &Peer> {
        let silence = self.silence;
        self.peers.values().filter(move |peer| now.saturating_sub(peer.changed) < silence)
    }

    fn is_alone(&self, now: Duration) -> bool {
        self.live(now).next().is_none()
    }

    /// A live sidecar has lost Redis.
    pub(super) fn has_others_degraded(&self, now: Duration) -> bool {
        self.live(now).any(|peer| peer.is_degraded)
    }

    /// Redis decides, as far as this sidecar has said.
    pub(super) fn serves(&self) -> bool {
        self.serves
    }

    /// Claims may be written, and a repair pass may begin.
    pub(super) fn is_delay_over(&self) -> bool {
        self.delay == Delay::Over
    }

    /// When an exchange is due because of the lock-delay.
    pub(super) fn read_due(&self) -> Option<Duration> {
        match self.delay {
            Delay::Runs(since) => Some(since + self.mirror_interval),
            Delay::Unsaid | Delay::Said(_) | Delay::Over => None,
        }
    }

    /// From the first grant that waits to when it is written: the rest of the interval is for the
    /// exchange itself.
    pub(super) fn mirror_wait(&self) -> Duration {
        if self.serves { self.mirror_interval * 3 / 4 } else { Duration::ZERO }
    }
}
