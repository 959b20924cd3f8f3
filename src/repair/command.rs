//! Repairs and questions as batches for Redis, and what the answers say. Pure.
//!
//! A batch is one script over at most [`BATCH`] keys of one database. Redis runs a script to its end
//! before it serves anybody else: a hundred keys take it a fraction of a millisecond, a thousand
//! would be felt by every other client. Between two batches others are served.

use std::sync::Arc;

use crate::ledger::Position;
use crate::lock::envelope::scripts::{self, Script};
use crate::lock::record::LockKey;

use super::plan::{Found, Repair};

/// Most keys of one script.
pub const BATCH: usize = 100;

/// What one step of SCAN may look at: so many keys of the database, whatever they match.
pub const SCAN_COUNT: u32 = 500;

/// One command to Redis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The database that it is for.
    pub db: u32,
    /// What it asks.
    pub body: Body,
}

impl Command {
    /// True for one that may change something.
    pub fn is_repair(&self) -> bool {
        let asks = [&*scripts::LOOK, &*scripts::COUNTER];
        matches!(&self.body, Body::Script { script, .. } if !asks.contains(script))
    }

    /// The locks whose holders it puts into Redis.
    pub fn puts(&self) -> impl Iterator<Item = LockKey> {
        let keys: &[Vec<u8>] = match &self.body {
            Body::Script { script, keys, .. }
                if **script == *scripts::SET_MISSING || **script == *scripts::REPLACE =>
            {
                keys
            }
            Body::Script { .. } | Body::Scan { .. } => &[],
        };
        keys.iter().map(|key| LockKey::new(self.db, key))
    }
}

/// What a command asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// A fixed script.
    Script {
        /// Which.
        script: &'static Script,
        /// Its keys.
        keys: Vec<Vec<u8>>,
        /// Its arguments.
        args: Vec<Vec<u8>>,
    },
    /// One step of `SCAN`.
    Scan {
        /// Where the last step ended; 0 to begin.
        cursor: u64,
        /// A glob.
        pattern: Vec<u8>,
    },
}

/// Redis's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// To [`look`]: for the first keys, at least for one; for all but where large contents stand there.
    Found(Vec<Found>),
    /// To [`Batch::command`]: one number for each key, as `lock::envelope::scripts` says.
    Marks(Vec<i64>),
    /// To a step of SCAN.
    Scanned {
        /// Where the next step begins; 0 at the end.
        cursor: u64,
        /// Keys that match, perhaps twice.
        keys: Vec<Vec<u8>>,
    },
    /// An error reply: for people, without secrets. The link goes on.
    Refused(Arc<str>),
    /// None came: for people, without secrets.
    Failed(Arc<str>),
}

/// Asks what stands under keys of one database.
pub fn look(db: u32, keys: &[LockKey]) -> Command {
    let keys = keys.iter().map(|key| key.key().to_vec()).collect();
    Command { db, body: Body::Script { script: &scripts::LOOK, keys, args: Vec::new() } }
}

/// Asks what the counter of fences is. Answered by one mark: -1 if there is none.
pub fn counter(counter: &[u8]) -> Command {
    let (script, keys) = (&scripts::COUNTER, vec![counter.to_vec()]);
    Command { db: 0, body: Body::Script { script, keys, args: Vec::new() } }
}

/// Has the counter of fences be at least this number. Answered by one mark.
pub fn raise_counter(counter: &[u8], floor: u64) -> Command {
    let script = &scripts::RAISE_COUNTER;
    let body = Body::Script { script, keys: vec![counter.to_vec()], args: vec![decimal(floor)] };
    Command { db: 0, body }
}

/// Which repair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// [`Repair::Delete`].
    Delete,
    /// [`Repair::Set`].
    Set,
    /// [`Repair::Persist`].
    Persist,
    /// [`Repair::Lengthen`].
    Lengthen,
    /// [`Repair::Replace`].
    Replace,
}

impl Kind {
    /// The script that does it, for many keys.
    fn script(self) -> &'static Script {
        match self {
            Self::Delete => &scripts::COMPARE_AND_DELETE,
            Self::Set => &scripts::SET_MISSING,
            Self::Persist => &scripts::PERSIST,
            Self::Lengthen => &scripts::LENGTHEN,
            Self::Replace => &scripts::REPLACE,
        }
    }
}

/// One repair of one key, ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The lock.
    pub key: LockKey,
    /// The ledger's holder when it was planned.
    pub holder: Option<Position>,
    /// Which repair.
    pub kind: Kind,
    /// Two were perhaps told that they hold the lock.
    pub conflict: bool,
    /// Its part of the script's arguments.
    columns: Vec<Vec<u8>>,
}

impl Order {
    /// What Redis is to do for `repair`; none for what only the ledger is told.
    pub fn new(key: LockKey, holder: Option<Position>, repair: Repair<'_>) -> Option<Self> {
        let ttl = |ttl_ms: Option<u64>| ttl_ms.map_or_else(Vec::new, decimal);
        let guarded = |guard: crate::lock::envelope::Guard<'_>| {
            let mut bytes = Vec::new();
            guard.encode(&mut bytes);
            bytes
        };
        let (kind, columns, conflict) = match repair {
            Repair::Delete(guard) => (Kind::Delete, vec![guarded(guard)], false),
            Repair::Set { what, ttl_ms } => {
                (Kind::Set, vec![b"-".to_vec(), guarded(what), ttl(ttl_ms)], false)
            }
            Repair::Persist(guard) => (Kind::Persist, vec![guarded(guard)], false),
            Repair::Lengthen { guard, ttl_ms } => {
                (Kind::Lengthen, vec![guarded(guard), decimal(ttl_ms)], false)
            }
            Repair::Replace { theirs, ours, ttl_ms, conflict } => {
                (Kind::Replace, vec![guarded(theirs), guarded(ours), ttl(ttl_ms)], conflict)
            }
            Repair::Adopt(_) | Repair::Follow(_) | Repair::Prefer(_) => return None,
        };
        Some(Self { key, holder, kind, conflict, columns })
    }
}

/// Orders of one kind for one database, at most [`BATCH`] of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch(Vec<Order>);

impl Batch {
    /// Takes one more, if it fits; else gives it back.
    pub fn push(&mut self, order: Order) -> Result<(), Order> {
        let fits = self.0.len() < BATCH
            && self
                .0
                .first()
                .is_none_or(|first| first.kind == order.kind && first.key.db() == order.key.db());
        if fits {
            self.0.push(order);
            return Ok(());
        }
        Err(order)
    }

    /// The command that does it all; none for no orders.
    pub fn command(&self) -> Option<Command> {
        let first = self.0.first()?;
        let keys = self.0.iter().map(|order| order.key.key().to_vec()).collect();
        // The scripts take one column after the other: all guards, then all values, then all TTLs.
        let columns = 0..first.columns.len();
        let args = columns.flat_map(|at| self.0.iter().map(move |order| order.columns[at].clone()));
        let body = Body::Script { script: first.kind.script(), keys, args: args.collect() };
        Some(Command { db: first.key.db(), body })
    }

    /// The orders, in the order of the answer's numbers.
    pub fn into_orders(self) -> Vec<Order> {
        self.0
    }
}

fn decimal(number: u64) -> Vec<u8> {
    number.to_string().into_bytes()
}
