//! What all sessions of a process share.

use std::sync::Arc;
use std::time::Duration;

use crate::degraded::Companions;
pub use crate::degraded::auth::{Access, Gate};
use crate::health::Reports;
use crate::ledger::{Door, Guarantee};
use crate::lock::acquire::Ledger;
use crate::lock::record::LockKey;
use crate::lock::rule::{Rule, Rules};
use crate::lock::value::Stamp;
use crate::mode::{Board, History, Mode};
use crate::resp::request::Limits;
use crate::scripts::Scripts;
use crate::table::Table;

use super::flights::SessionId;
use super::operation::Locals;
use super::stamper::Stamper;

/// Where wall time and random bits come from; the simulator has its own.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    /// Milliseconds since the Unix epoch.
    pub unix_ms: fn() -> u64,
    /// 64 random bits.
    pub random: fn() -> u64,
}

impl Clock {
    /// Milliseconds since the Unix epoch.
    pub fn unix_ms(&self) -> u64 {
        (self.unix_ms)()
    }

    /// 64 random bits.
    pub fn random(&self) -> u64 {
        (self.random)()
    }
}

/// How many replicas must have an acquire before it counts (SPEC 10).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Replicas {
    /// So many; 0: none is asked about.
    pub least: usize,
    /// How long Redis waits for them. Below the command timeout, and never zero where it is used:
    /// WAIT would take that for "for ever".
    pub within: Duration,
}

/// What all sessions of a process share: rules, locks, texts of scripts, limits.
pub struct Shared {
    /// The lock rules.
    pub rules: Rules,
    /// Every lock that is held through this process.
    pub table: Arc<Table>,
    /// Texts of scripts that were seen.
    pub scripts: Scripts,
    /// Writes timestamps and nonces into stored values.
    pub stamper: Stamper,
    /// Wall time and random bits.
    pub clock: Clock,
    /// Limits of the request parser (SPEC 9).
    pub request_limits: Limits,
    /// An unfinished command above this many bytes is passed on as it comes, if it may be.
    pub stream_above: usize,
    /// Larger values make no lock (SPEC 9: 4 KiB).
    pub max_lock_value: usize,
    /// A computed command on a lock key with a larger argument is refused.
    pub max_computed_argument: usize,
    /// A reply that has to be read as a whole may have this many bytes.
    pub max_captured: usize,
    /// The door to the ledger.
    pub door: Arc<dyn Door>,
    /// What OK means (SPEC 2).
    pub guarantee: Guarantee,
    /// The key of the counter of fences, in Redis's database 0 (`fast`).
    pub fence_counter: Arc<[u8]>,
    /// Whether Redis is asked first.
    pub board: Arc<Board>,
    /// Changes of the mode, and why Redis is not used.
    pub history: Arc<History>,
    /// Where it is said what links have met.
    pub reports: Reports,
    /// Locks that Redis may not have as the ledger has them.
    pub repairs: Arc<dyn Repairs>,
    /// Values of companion keys, while Redis can't be asked.
    pub companions: Companions,
    /// Locks that were changed by the table alone.
    pub locals: Locals,
    /// Who may use locks meanwhile.
    pub gate: Arc<dyn Gate>,
    /// Wakes sessions that block on companions.
    pub bell: Arc<dyn Bell>,
    /// Replicas that an acquire waits for.
    pub replicas: Replicas,
    /// How long an acquire waits for the ledger (SPEC 3); none: the rule's safety TTL.
    pub acquire_timeout: Option<Duration>,
    /// How long a release waits for the ledger (SPEC 5).
    pub release_wait: Duration,
    /// How long one step of a lock command may take before its link is given up.
    pub command_timeout: Duration,
    /// The upstream's address, without credentials, for error texts.
    pub upstream: Arc<str>,
    /// When the process began, in milliseconds since the Unix epoch.
    pub started_ms: u64,
}

/// Rings at a session that blocks on companion keys.
pub trait Bell: Send + Sync {
    /// One of its keys has changed.
    fn ring(&self, waiter: (usize, SessionId));
}

/// Where locks are named that Redis may not have as the ledger has them (SPEC 7).
pub trait Repairs: Send + Sync {
    /// Has this lock looked at, and put right.
    fn touch(&self, key: &LockKey);
    /// The same for a hold that was ended without Redis, of a lock that is not a string: by its guard.
    fn touch_ended(&self, key: &LockKey, guard: Arc<[u8]>);
    /// True until that was done: what Redis says of the lock is no answer meanwhile.
    fn is_due(&self, key: &LockKey) -> bool;
    /// `fast`: true while Redis may know more of this lock than the ledger. It is looked at soon.
    fn is_unheard(&self, _key: &LockKey) -> bool {
        false
    }
    /// False while no lock is to be looked at: the common case, and cheap to ask.
    fn any_is_due(&self) -> bool;
    /// Odd while repairs are being made; the same number twice: none were made in between.
    fn activity(&self) -> u64;
    /// Has all locks looked at; none is taken for right before.
    fn look_at_all(&self);
    /// Has all locks compared with the ledger, now or as soon as Redis is usable.
    fn start_pass(&self);
    /// How often which repair was done, by name.
    fn counts(&self) -> Vec<(&'static str, u64)>;
    /// How it is followed what others change in Redis, in words; none where no rule is observed.
    fn observing(&self) -> Option<String> {
        None
    }
}

impl Shared {
    /// The ledger's say in an acquire that begins now.
    pub fn ledger_use(&self) -> Ledger {
        match self.guarantee {
            Guarantee::Strict => Ledger::Decides,
            Guarantee::Fast if self.is_calm() => Ledger::Follows,
            Guarantee::Fast => Ledger::DecidesWithRedis,
        }
    }

    /// True while what the ledger says of a lock counts against what Redis says: in strict, and in fast
    /// with others at the ledger while Redis does not decide, for they may be without it (SPEC 2).
    pub fn believes_ledger(&self) -> bool {
        let decides = self.ledger_use() != Ledger::Follows;
        self.guarantee == Guarantee::Strict || decides && self.door.has_company()
    }

    /// SPEC 2, calm: Redis is in line with the ledger, and nothing speaks against its word.
    pub fn is_calm(&self) -> bool {
        self.board.view().mode == Mode::Healthy && self.door.is_calm()
    }

    /// How the values of this key are stamped; not at all if it is no lock.
    pub fn stamp_of(&self, key: &[u8]) -> Stamp {
        self.rules.find(key).map_or(Stamp::Never, |rule| rule.stamp)
    }

    /// A rule's name, for records.
    pub fn rule_name(&self, rule: &Rule) -> Arc<str> {
        Arc::from(rule.name.as_str())
    }

    /// The error for a command that Redis could not be asked (SPEC 6).
    pub fn unavailable(&self, reason: &str) -> String {
        format!("MASTERDOWN lockside: upstream {} is unavailable ({reason})", self.upstream)
    }

    /// How many databases Redis was seen to have; it has 16 unless it is told otherwise.
    pub fn databases(&self) -> u32 {
        self.reports.databases().unwrap_or(16)
    }

    /// The error for what is not about locks alone, while Redis is away (SPEC 6).
    pub fn only_locks(&self) -> String {
        let lost = self.history.lost();
        let reason = lost.map_or_else(|| "it is being brought in line".to_owned(), |c| c.short());
        format!("{}; only lock keys are served", self.unavailable(&reason))
    }

    /// The error for a command that was sent and never answered.
    pub fn unknown_outcome(&self, reason: &str) -> String {
        format!(
            "TRYAGAIN lockside: unknown outcome: the connection to {} was lost before it \
             answered ({reason}); look before you repeat the command",
            self.upstream
        )
    }
}
