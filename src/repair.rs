//! Repair: brings Redis in line with the ledger (SPEC 7).
//!
//! `plan` is the table: what to do about one key. `pass` drives it over many keys, and `command`
//! makes batches of guarded scripts of its repairs; all three are pure. `thread` gives them a socket
//! (`link`) and a clock. `dirty` is what workers share with it. It never decides who holds a lock:
//! the ledger does ([`Truth`]), and hears of what was found in Redis through its door.

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::config;
use crate::ledger::fold::Holder;
use crate::ledger::{Door, Position};
use crate::lock::record::LockKey;
use crate::mode::Board;

pub mod command;
pub mod counters;
pub mod dirty;
pub mod link;
pub mod pass;
pub mod plan;
mod thread;
pub mod unheard;
pub mod watch;

pub use counters::Counters;
pub use dirty::Dirty;
pub use pass::Policy;
pub use unheard::Unheard;
pub use watch::Watched;

/// How often all locks are looked at in the background, where nothing else is configured.
pub const DEFAULT_INTERVAL: Duration = Duration::from_secs(60);

/// What the ledger knows of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Standing {
    /// It holds the lock.
    Holder,
    /// It was released or withdrawn, or has lost: it never holds the lock again.
    Dead,
    /// `fast`: a grant that has lost to another by its fence alone; its release has not come. It is
    /// as dead, unless Redis is to be right (`conflict = "upstream"`).
    Disputed,
    /// The ledger has never heard of it.
    Unknown,
}

/// The ledger as it is now. Calls never wait.
pub trait Truth: Send + Sync {
    /// Who holds this lock.
    fn holder(&self, key: &LockKey) -> Option<Arc<Holder>>;

    /// What is known of a stored value of this lock.
    fn standing(&self, key: &LockKey, stored: &[u8]) -> Standing;

    /// What is known of a lock that is not a string and not the holder's, by its mark
    /// ([`crate::lock::content::mark`]). `Dead` if it is what a hold had that has ended, or what the
    /// holder had before: the time in it is of no account.
    fn standing_other(&self, _key: &LockKey, _guard: &[u8]) -> Standing {
        Standing::Unknown
    }

    /// `fast`: the place of the grant of this value, if it has lost to another by its fence alone and
    /// its release has not come.
    fn disputed(&self, _key: &LockKey, _stored: &[u8]) -> Option<Position> {
        None
    }

    /// True if `claim` holds the lock, was observed in Redis, and is nobody's claim (SPEC 6).
    fn is_observed(&self, _key: &LockKey, _claim: Position) -> bool {
        false
    }

    /// True while a claim of the lock is not decided (a ledger without order): nothing is adopted beside
    /// it (SPEC 7).
    fn is_undecided(&self, _key: &LockKey) -> bool {
        false
    }

    /// `fast`: since when a grant of this lock stands in Redis that the ledger has not heard of, if that
    /// was seen before: milliseconds since the Unix epoch.
    fn unheard_since(&self, _key: &LockKey) -> Option<u64> {
        None
    }

    /// True while Redis is known to be wrong about this lock: what it has says nothing.
    fn is_dirty(&self, _key: &LockKey) -> bool {
        false
    }

    /// How many more locks may be taken in.
    fn room(&self) -> usize {
        usize::MAX
    }

    /// True while a release of this lock waits to become durable. Repair asks the ledger's door by
    /// itself; a ledger that knows more than the door says so here.
    fn is_releasing(&self, _key: &LockKey) -> bool {
        false
    }

    /// All holders.
    fn holders(&self) -> Vec<Arc<Holder>>;

    /// `fast`: the highest fence. None while the lock-delay runs, in which a pass may not begin, for
    /// others may have given higher ones that the ledger does not know yet (SPEC 8).
    fn fence_floor(&self) -> Option<u64> {
        Some(0)
    }
}

/// Who wants to hear of passes. Called on the repair thread: must not wait.
pub trait Events: Send + Sync {
    /// The pass that was asked for by [`Repair::start_pass`] has ended. Complete: each holder stands
    /// in Redis, at that run of it.
    fn pass_ended(&self, run_id: &str, complete: bool);

    /// Repair's own link has met another run of Redis than before, or the first.
    fn met_run(&self, run_id: &str);

    /// How many probes of Redis were good so far.
    fn good_probes(&self) -> u64 {
        0
    }

    /// True if locks are served by this run of Redis, for which a pass was complete.
    fn is_served(&self, _run_id: &str) -> bool {
        false
    }
}

/// Databases in which this process has seen locks: of the first 64, which is more than Redis has by
/// default. Locks of others are repaired too; only values there that the ledger does not know are not
/// searched for, unless it knows another lock there.
#[derive(Debug)]
pub struct Databases(AtomicU64);

impl Default for Databases {
    /// Database 0 is always looked into.
    fn default() -> Self {
        Self(AtomicU64::new(1))
    }
}

impl Databases {
    /// A lock command was seen in this database. One load, once it is known.
    #[inline]
    pub fn note(&self, db: u32) {
        let bit = 1_u64.checked_shl(db).unwrap_or(0);
        if self.0.load(Ordering::Relaxed) & bit != bit {
            self.0.fetch_or(bit, Ordering::Relaxed);
        }
    }

    /// All of them.
    pub fn list(&self) -> BTreeSet<u32> {
        let bits = self.0.load(Ordering::Relaxed);
        (0..64).filter(|db| bits >> db & 1 == 1).collect()
    }
}

/// What repair works with.
pub struct Parts {
    /// Where Redis is, and who Lockside is there.
    pub upstream: config::Upstream,
    /// Which keys are locks, and what an OK means.
    pub policy: Policy,
    /// The ledger as it is now.
    pub truth: Arc<dyn Truth>,
    /// Where values that were found in Redis are told.
    pub door: Arc<dyn Door>,
    /// Whether Redis is usable.
    pub board: Arc<Board>,
    /// Locks that Redis is wrong about.
    pub dirty: Arc<Dirty>,
    /// Locks of which Redis may know more (`fast`).
    pub unheard: Arc<Unheard>,
    /// Nobody else served from the ledger when this process began.
    pub was_alone: bool,
    /// Where to look for locks.
    pub databases: Arc<Databases>,
    /// How often which repair was done.
    pub counters: Arc<Counters>,
    /// Who hears of passes.
    pub events: Arc<dyn Events>,
    /// Between two background passes.
    pub interval: Duration,
    /// Milliseconds since the Unix epoch.
    pub unix_ms: fn() -> u64,
    /// Keys that others change, where rules are observed.
    pub observed: Option<Observed>,
}

/// What is followed of locks that others put into Redis directly.
#[derive(Debug, Clone)]
pub struct Observed {
    /// In which databases.
    pub databases: Arc<BTreeSet<u32>>,
    /// Keys that have changed.
    pub watched: Arc<Watched>,
    /// What [`Watched`]'s times are counted from.
    pub origin: Instant,
}

/// What the handle and the thread share.
struct Shared {
    parts: Parts,
    /// The run of Redis that a pass is asked for.
    request: Mutex<Option<Arc<str>>>,
    cancelled: AtomicBool,
    stop: AtomicBool,
}

impl Shared {
    fn take_request(&self) -> Option<Arc<str>> {
        self.request().take()
    }

    fn has_request(&self) -> bool {
        self.request().is_some()
    }

    /// A panic while it was held leaves no half change.
    fn request(&self) -> std::sync::MutexGuard<'_, Option<Arc<str>>> {
        self.request.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The running repair.
pub struct Repair {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

impl Repair {
    /// Starts the thread "repair". It connects when there is something to do.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(parts: Parts) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            parts,
            request: Mutex::default(),
            cancelled: AtomicBool::new(false),
            stop: AtomicBool::new(false),
        });
        let thread = thread::Thread::new(shared.clone());
        let thread = std::thread::Builder::new().name("repair".into()).spawn(|| thread.run())?;
        Ok(Self { shared, thread })
    }

    /// Asks for a pass over all locks of this run of Redis; its end comes as
    /// [`Events::pass_ended`]. A pass that runs for an earlier request ends first, incomplete; an
    /// earlier request that was not taken up yet is dropped without a word.
    pub fn start_pass(&self, run_id: Arc<str>) {
        // Before the request is there, so that it does not end the new pass.
        self.shared.cancelled.store(false, Ordering::Release);
        *self.shared.request() = Some(run_id);
        self.shared.parts.dirty.ring();
    }

    /// Ends the pass that was asked for between two of its commands: it is incomplete.
    pub fn cancel_pass(&self) {
        self.shared.cancelled.store(true, Ordering::Release);
        self.shared.parts.dirty.ring();
    }

    /// How often which repair was done.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.shared.parts.counters
    }

    /// Ends the thread, after the command that is under way: that takes `command_timeout` at most.
    pub fn stop(self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.parts.dirty.ring();
        // A panic there was reported by the thread itself.
        let _ = self.thread.join();
    }
}
