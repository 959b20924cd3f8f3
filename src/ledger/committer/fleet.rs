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
//! Others learn of it from the ledger. Until they have they go on to grant by Redis, so they read it at
//! least twice in a `mirror_interval`, do not let Redis decide when they have not, and write what they
//! have granted as soon as they know.
//!
//! Who is alone on its ledger need not wait: its own grants stand before its `Degraded`, in one
//! queue. One who comes later is no danger: it reads that `Degraded` before it may use Redis. Alone
//! means that the exchange that made `Degraded` durable shows no other log that may be alive.

use std::time::Duration;

use super::super::Ask;
use super::peers::Peers;

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

/// What `fast` has a committer wait for.
#[derive(Debug, Clone)]
pub(super) struct Fleet {
    mirror_interval: Duration,
    /// The longest that any live sidecar may have: what a quota is shared by is not the same to all.
    longest_interval: Duration,
    /// Redis decides: the last note that was handed in is `Healthy`.
    serves: bool,
    delay: Delay,
    /// Since when `Degraded` is durable, if that is the last thing that was said.
    lost_since: Option<Duration>,
    /// Another says that it has lost Redis, and waits for what is written here.
    is_awaited: bool,
}

impl Fleet {
    pub(super) fn new(mirror_interval: Duration) -> Self {
        Self {
            mirror_interval,
            longest_interval: mirror_interval,
            serves: false,
            delay: Delay::Unsaid,
            lost_since: None,
            is_awaited: false,
        }
    }

    /// The own interval from now on, and the longest that another may have.
    pub(super) fn set_intervals(&mut self, own: Duration, longest: Duration) {
        (self.mirror_interval, self.longest_interval) = (own, longest.max(own));
    }

    /// These were handed in.
    pub(super) fn submitted<'a>(&mut self, asks: impl Iterator<Item = &'a Ask>) {
        for ask in asks {
            match ask {
                Ask::Degraded => (self.serves, self.delay) = (false, Delay::Unsaid),
                Ask::Healthy(_) => (self.serves, self.delay) = (true, Delay::Over),
                _ => continue,
            }
            self.lost_since = None;
        }
    }

    /// `Degraded` is in the group that forms, in this entry.
    pub(super) fn written(&mut self, seq: u64) {
        if self.delay == Delay::Unsaid {
            self.delay = Delay::Said(seq);
        }
    }

    /// An exchange has ended well, which began at `began`; the own log was read up to `last`.
    pub(super) fn seen(&mut self, peers: &Peers, last: u64, began: Duration, now: Duration) {
        self.is_awaited = peers.has_degraded(now);
        match self.delay {
            Delay::Said(seq) if last >= seq => {
                self.lost_since = Some(now);
                self.delay = if peers.is_alone(now) { Delay::Over } else { Delay::Runs(now) };
            }
            Delay::Runs(since) if began >= since + self.longest_interval => {
                self.delay = Delay::Over;
            }
            _ => {}
        }
    }

    /// For how long others may still have to write what Redis has granted through them by now. None of
    /// them grants by Redis alone once it has said that it has lost it, or has read that this one has:
    /// which it has, or does not trust its own view of the ledger any more, two polls after that.
    pub(super) fn mirror_lag(&self, peers: &Peers, poll: Duration, now: Duration) -> Duration {
        let is_over = |since: Duration| now >= since + 2 * poll + self.longest_interval;
        match peers.all_degraded(now) || self.lost_since.is_some_and(is_over) {
            true => Duration::ZERO,
            false => self.longest_interval,
        }
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
            Delay::Runs(since) => Some(since + self.longest_interval),
            Delay::Unsaid | Delay::Said(_) | Delay::Over => None,
        }
    }

    /// From the first grant that waits to when it is written: the rest of the interval is for the
    /// exchange itself. At once when another's lock-delay may run, which is not longer than that.
    pub(super) fn mirror_wait(&self) -> Duration {
        if self.hurries() { Duration::ZERO } else { self.mirror_interval * 3 / 4 }
    }

    /// What Redis has done is to be written at once.
    pub(super) fn hurries(&self) -> bool {
        !self.serves || self.is_awaited
    }
}
