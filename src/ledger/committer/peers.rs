//! The other sidecars at this ledger, as their logs show them. Pure.
//!
//! A log lives while its last entry is younger than three heartbeats, by the reader's own clock since
//! it saw the log change (SPEC 8). A wrong guess costs speed in strict, and a reported conflict in
//! fast.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::super::fold::{Fold, LogMode};

/// A log that has been silent for so many heartbeats is dead (SPEC 8).
const SILENT_HEARTBEATS: u32 = 3;

/// Another log, when it was last seen to change.
#[derive(Debug, Clone, Copy)]
struct Peer {
    last_seq: u64,
    changed: Duration,
    is_degraded: bool,
    /// It was seen to change, and not only to be there.
    has_moved: bool,
    /// It was there when this reader began.
    is_older: bool,
}

/// The other logs that have not ended.
#[derive(Debug, Clone, Default)]
pub(super) struct Peers {
    silence: Duration,
    /// As many as the fold remembers at most.
    logs: BTreeMap<u64, Peer>,
    /// Something was read before: a log that is new now was begun since.
    has_begun: bool,
    /// What was found at first is of the dead, unless it is seen to change.
    was_alone: bool,
    /// Those that were seen to change, and live: as of the last exchange.
    living: BTreeSet<u64>,
}

/// Runs of which something else is known since the last exchange.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Turned {
    /// They were silent too long, or have ended.
    pub(super) over: BTreeSet<u64>,
    /// They have written, and live.
    pub(super) back: BTreeSet<u64>,
}

impl Peers {
    pub(super) fn new(heartbeat: Duration) -> Self {
        Self { silence: heartbeat * SILENT_HEARTBEATS, ..Self::default() }
    }

    /// True: nobody else lived when this reader began, so that the logs which it finds at first are of
    /// the dead.
    pub(super) fn presume_dead(&mut self, was_alone: bool) {
        self.was_alone = was_alone;
    }

    /// Something was read that is not of the own log.
    pub(super) fn look(&mut self, fold: &Fold, own: Option<u64>, now: Duration) {
        let others = fold.logs().filter(|(number, log)| Some(*number) != own && !log.ended);
        let peers = others.map(|(number, log)| {
            let known = self.logs.get(&number).filter(|known| known.last_seq == log.last_seq);
            let peer = Peer {
                last_seq: log.last_seq,
                changed: known.map_or(now, |known| known.changed),
                is_degraded: log.mode == LogMode::Degraded,
                has_moved: known.map_or(self.has_begun, |known| known.has_moved),
                is_older: self.logs.get(&number).map_or(!self.has_begun, |known| known.is_older),
            };
            (number, peer)
        });
        self.logs = peers.collect();
    }

    /// An exchange was followed. What is known now of who lives: who was only found there, when this
    /// reader began, is no matter of this.
    pub(super) fn turn(&mut self, now: Duration) -> Turned {
        self.has_begun = true;
        let lives = |peer: &Peer| now.saturating_sub(peer.changed) < self.silence;
        let living = self.logs.iter().filter(|(_, peer)| peer.has_moved && lives(peer));
        let living: BTreeSet<u64> = living.map(|(number, _)| *number).collect();
        let turned = Turned {
            over: self.living.difference(&living).copied().collect(),
            back: living.difference(&self.living).copied().collect(),
        };
        self.living = living;
        turned
    }

    /// The other runs that were seen to change, and live.
    pub(super) fn living(&self) -> &BTreeSet<u64> {
        &self.living
    }

    fn live(&self, now: Duration) -> impl Iterator<Item = &Peer> {
        let silence = self.silence;
        let there = self.logs.values().filter(|peer| peer.has_moved || !self.was_alone);
        there.filter(move |peer| now.saturating_sub(peer.changed) < silence)
    }

    /// How long a log may be silent follows from this.
    pub(super) fn set_heartbeat(&mut self, heartbeat: Duration) {
        self.silence = heartbeat * SILENT_HEARTBEATS;
    }

    /// How many other sidecars live.
    pub(super) fn count(&self, now: Duration) -> usize {
        self.live(now).count()
    }

    /// How many others live for certain that were there before this one.
    pub(super) fn elders(&self, now: Duration) -> usize {
        self.live(now).filter(|peer| peer.is_older && peer.has_moved).count()
    }

    /// How many live at most, in the eyes of any of them: another may have seen a log change later.
    pub(super) fn count_at_most(&self, now: Duration) -> usize {
        let silence = self.silence * 2;
        self.logs.values().filter(|peer| now.saturating_sub(peer.changed) < silence).count()
    }

    /// No other sidecar lives.
    pub(super) fn is_alone(&self, now: Duration) -> bool {
        self.live(now).next().is_none()
    }

    /// Every live sidecar has lost Redis.
    pub(super) fn all_degraded(&self, now: Duration) -> bool {
        self.live(now).all(|peer| peer.is_degraded)
    }

    /// A live sidecar has lost Redis.
    pub(super) fn has_degraded(&self, now: Duration) -> bool {
        self.live(now).any(|peer| peer.is_degraded)
    }
}
