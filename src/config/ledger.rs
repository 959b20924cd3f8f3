//! Where the durable record of locks is, how long it may take, and what OK means (SPEC 2 and 8).

use std::path::PathBuf;
use std::time::Duration;

use super::sheet::Sheet;
use crate::ledger::Guarantee;
use crate::lock::rule::Rule;

/// Who is right when Redis and the ledger both name a holder, and not the same (SPEC 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Conflict {
    /// The ledger: its holder goes into Redis.
    #[default]
    Ledger,
    /// Redis: its holder is taken into the ledger. Not with `guarantee = "strict"`, which has told
    /// the ledger's holder that the lock is its own.
    Upstream,
}

/// What kind of store the ledger is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LedgerKind {
    /// A file of this machine, for one or several sidecars there.
    #[default]
    Sqlite,
    /// A Google spreadsheet, for sidecars that share nothing else.
    Sheets,
}

impl LedgerKind {
    /// What OK means where nothing is said of it: an exchange with Google takes a second.
    pub(super) fn guarantee(self) -> Guarantee {
        match self {
            Self::Sqlite => Guarantee::Strict,
            Self::Sheets => Guarantee::Fast,
        }
    }
}

/// The ledger: the durable record of locks (SPEC 8).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ledger {
    /// What kind of store it is.
    pub kind: LedgerKind,
    /// The SQLite file, absolute. In the configuration a relative path is below `state_dir`.
    pub path: PathBuf,
    /// The spreadsheet, where it is one.
    pub sheet: Sheet,
    /// Longest wait of an acquire for its claim (SPEC 3). None: the rule's `safety_ttl`, after
    /// which Redis would have dropped the provisional key anyway. See [`Ledger::patience`].
    pub acquire_timeout: Option<Duration>,
    /// Longest wait of a release's reply until the release is durable (SPEC 5).
    pub release_wait: Duration,
    /// `fast`: how soon grants and releases are in the ledger (SPEC 2).
    pub mirror_interval: Duration,
    /// How often the other sidecars' entries are read when this one has nothing to write
    /// (`ledger_poll` in SPEC 2).
    pub poll: Duration,
    /// How often a sidecar that has nothing to write says that it lives; it counts as dead after
    /// three times that (SPEC 8).
    pub heartbeat: Duration,
    /// How far the clocks of sidecars may be apart: a lock of a `ttl` rule is given to the next
    /// one only this long after it has run out (SPEC 3).
    pub max_clock_skew: Duration,
    /// An exchange that takes longer counts as "the ledger does not answer" (SPEC 2).
    pub stall_after: Duration,
}

impl Ledger {
    /// The file's name where none is configured, below `state_dir`.
    pub const FILE: &str = "ledger.db";

    /// What holds for a kind of ledger where nothing else is said.
    pub(super) fn of(kind: LedgerKind) -> Self {
        match kind {
            LedgerKind::Sqlite => Self::default(),
            LedgerKind::Sheets => Self {
                kind,
                // SPEC 3 has 1.5 s, for clients that give up after 2 or 3. But an acquire of an outage
                // takes up to two writes of a second each: a quarter of them would be refused, with one
                // sidecar, and what comes too late for its client is taken back anyway.
                acquire_timeout: Some(Duration::from_secs(5)),
                // A read takes a quarter of a second and a write one, and slow ones three times that:
                // the view of the ledger, which may be two polls old, stays young through those. Busy,
                // it makes 20 writes a minute; idle, 40 reads.
                mirror_interval: Duration::from_secs(3),
                poll: Duration::from_millis(1_500),
                heartbeat: Duration::from_secs(20),
                stall_after: Duration::from_secs(5),
                ..Self::default()
            },
        }
    }

    /// How long an acquire under `rule` waits for its claim.
    pub fn patience(&self, rule: &Rule) -> Duration {
        self.acquire_timeout.unwrap_or(rule.safety_ttl)
    }
}

impl Default for Ledger {
    /// An SQLite file; its path is not below any `state_dir` yet.
    fn default() -> Self {
        Self {
            kind: LedgerKind::Sqlite,
            path: PathBuf::from(Self::FILE),
            sheet: Sheet::default(),
            acquire_timeout: None,
            release_wait: Duration::from_secs(5),
            mirror_interval: Duration::from_secs(1),
            poll: Duration::from_secs(1),
            heartbeat: Duration::from_secs(10),
            max_clock_skew: Duration::from_secs(10),
            stall_after: Duration::from_secs(1),
        }
    }
}
