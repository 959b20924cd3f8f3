//! The other sidecars at this ledger, as their logs show them. Pure.
//!
//! A log lives while its last entry is younger than three heartbeats, by the reader's own clock since
//! it saw the log change (SPEC 8). A wrong guess costs speed in strict, and a reported conflict in
//! fast.

use std::collections::BTreeMap;
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
}

/// The other logs that have not ended.
#[derive(Debug, Clone, Default)]
pub(super) struct Peers {
    silence: Duration,
    /// As many as the fold remembers at most.
    logs: BTreeMap<u64, Peer>,
}

impl Peers {
    pub(super) fn new(heartbeat: Duration) -> Self {
        Self { silence: heartbeat * SILENT_HEARTBEATS, logs: BTreeMap::new() }
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
            };
            (number, peer)
        });
        self.logs = peers.collect();
    }

    fn live(&self, now: Duration) -> impl Iterator<Item = &Peer> {
        let silence = self.silence;
        self.logs.values().filter(move |peer| now.saturating_sub(peer.changed) < silence)
    }

    /// No other sidecar lives.
    pub(super) fn is_alone(&self, now: Duration) -> bool {
        self.live(now).next().is_none()
    }

    /// A live sidecar has lost Redis.
    pub(super) fn has_degraded(&self, now: Duration) -> bool {
        self.live(now).any(|peer| peer.is_degraded)
    }
}
