//! What a log says: one entry for each thing that happened to a lock. Pure.
//!
//! Entries are immutable and have a [`Position`] of their own, never reused: writing one again, or
//! its late arrival, changes nothing (SPEC 8).

use std::sync::Arc;

use crate::lock::content::{self, Content};
use crate::lock::record::LockKey;
pub use crate::lock::record::Position;

/// One entry with its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Where it stands.
    pub at: Position,
    /// What it says.
    pub entry: Entry,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry {
    /// The first entry of a log: who writes it, and under which terms.
    Start(Start),
    /// Somebody asks for a lock. On a free key it wins; on a held one it is dead by that alone.
    Claim(Claim),
    /// `guarantee = "fast"`: a grant that Redis has made already. It can't lose.
    Grant(Claim, u64),
    /// A permanent value that was found in Redis and that the ledger did not know (SPEC 7).
    Observe(Claim),
    /// `guarantee = "fast"`, `conflict = "upstream"`: this stands in Redis, and is the grant at the
    /// place that is named, which had lost to one with a higher fence. It holds in that one's place,
    /// unless it was released meanwhile (SPEC 7).
    Prefer(Claim, Position),
    /// The lock's TTL was moved (`ttl` rules): the holder `claim` expires then.
    Extend {
        /// The lock.
        key: LockKey,
        /// The claim that holds it.
        claim: Position,
        /// Milliseconds since the Unix epoch.
        expires_at_ms: u64,
    },
    /// The content of a held lock that is no string is another now; the hold goes on.
    Content {
        /// The lock.
        key: LockKey,
        /// The claim that holds it.
        claim: Position,
        /// From what to what.
        change: ContentChange,
    },
    /// The holder's end: no claim of the same key and value is ever a holder after it.
    Release {
        /// The lock.
        key: LockKey,
        /// The claim that held it.
        claim: Position,
        /// Why.
        cause: Cause,
        /// Milliseconds since the Unix epoch.
        at_ms: u64,
    },
    /// `guarantee = "fast"`: Redis has let this value go, by whichever claim it held the lock. The
    /// grant may be another sidecar's that is written later: so what has died is the value as far as
    /// it was granted with fences up to this one, and a later grant of it is another.
    Gone {
        /// The lock.
        key: LockKey,
        /// What stood in Redis.
        stored: Arc<[u8]>,
        /// Why.
        cause: Cause,
        /// At least the grant's, and below that of every later grant.
        fence: u64,
        /// Milliseconds since the Unix epoch.
        at_ms: u64,
    },
    /// The writer gives up a claim of its own whose client was told "not acquired".
    Withdraw {
        /// The lock.
        key: LockKey,
        /// The claim.
        claim: Position,
    },
    /// A store without order: the writer's own claim or observation holds the lock. Its own exchange
    /// has shown no other active claim on the key (SPEC 8).
    Won {
        /// The lock.
        key: LockKey,
        /// The claim.
        claim: Position,
        /// Higher than that of every earlier holder of the key.
        fence: u64,
    },
    /// A store without order: the writer's own claim or observation has not won, and never will. Speaks
    /// only for this entry: another claim of the same value is not touched.
    Lost {
        /// The lock.
        key: LockKey,
        /// The claim.
        claim: Position,
    },
    /// The holder was heard of after it was told OK: it knows that it holds the lock.
    Heard {
        /// The lock.
        key: LockKey,
        /// The claim.
        claim: Position,
    },
    /// This sidecar has lost Redis, or has met another run of it.
    Degraded,
    /// This sidecar serves by Redis again, by this run of it.
    Healthy(Arc<str>),
    /// The writer lives.
    Heartbeat,
    /// The last entry of an orderly exit.
    End,
}

/// The terms of a log (SPEC 8): a reader under other terms refuses to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// Version of this format; [`FORMAT`] when written here. An older one is read.
    pub format: u32,
    /// Names the upstream.
    pub namespace: Arc<str>,
    /// `strict` or `fast`.
    pub guarantee: Guarantee,
    /// The upstream's address, without credentials.
    pub upstream: Arc<str>,
    /// The writer, for people: host name and process id.
    pub writer: Arc<str>,
    /// Milliseconds since the Unix epoch.
    pub at_ms: u64,
}

/// Version of the entries' format that is written. 3 has [`Entry::Gone`]; 2 has [`Entry::Content`], and
/// contents in the names of locks that are no strings; 1 had a SHA1 in their place.
pub const FORMAT: u32 = 3;

/// What becomes of a lock's content ([`crate::lock::content`]): its bytes, or the digest of one that is
/// too large; empty for one that is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentChange {
    /// What it was.
    pub from: Arc<[u8]>,
    /// What it is.
    pub to: Arc<[u8]>,
    /// Counts only if all of the content is what it was: for what was decided without Redis by looking
    /// at all of it. Else what has not changed may be different, and stays as it is.
    pub whole: bool,
}

impl ContentChange {
    /// The content after this change of `current`; none if it does not count.
    ///
    /// Of a content that is known by its digest alone, or not at all, no part can be followed: then all
    /// of it becomes what it is now.
    pub fn apply(&self, current: &[u8]) -> Option<Arc<[u8]>> {
        let [from, to, now] = [&*self.from, &*self.to, current].map(Content::parse);
        match (from, to, now) {
            _ if self.whole => (*self.from == *current).then(|| self.to.clone()),
            (Some(from), Some(to), Some(now)) => {
                Some(content::follow(&now, &from, &to)?.to_bytes().into())
            }
            _ => Some(self.to.clone()),
        }
    }

    /// True if the parts of all three contents are known, so that the change of `current` is one of parts.
    pub fn is_in_parts(&self, current: &[u8]) -> bool {
        [&*self.from, &*self.to, current].iter().all(|bytes| Content::parse(bytes).is_some())
    }

    /// True if a lock with this mark is as this change leaves it. None: nobody holds the lock.
    pub fn is_done(&self, mark: Option<&[u8]>) -> bool {
        let current = mark.map(|mark| content::split(mark).1);
        match (Content::parse(&self.from), Content::parse(&self.to)) {
            (Some(from), Some(to)) if !self.whole => {
                content::is_followed(current.and_then(Content::parse).as_ref(), &from, &to)
            }
            // Others may have come after it: nobody can tell its part of what there is.
            _ if !self.whole => current.is_some(),
            _ => current == Some(&*self.to),
        }
    }
}

/// What OK means (SPEC 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Guarantee {
    /// A claim has won in the ledger.
    #[default]
    Strict,
    /// In calm times: Redis has it; the ledger hears of it later.
    Fast,
}

impl Guarantee {
    /// The word in the configuration and in the ledger.
    pub fn word(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Fast => "fast",
        }
    }
}

/// One acquire of one lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The lock.
    pub key: LockKey,
    /// What stands in Redis. Empty for a lock that is not a string.
    pub stored: Arc<[u8]>,
    /// What tells a lock that is not a string from the next, and what stands there:
    /// [`crate::lock::content::mark`].
    pub other: Option<Arc<[u8]>>,
    /// The rule's name.
    pub rule: Arc<str>,
    /// The client's name and address, for people.
    pub client: Arc<str>,
    /// When it was asked for, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// The TTL that the client asked for, in milliseconds.
    pub asked_ttl_ms: Option<u64>,
    /// `ttl` rules: when it runs out, in milliseconds since the Unix epoch.
    pub expires_at_ms: Option<u64>,
    /// Made without Redis: the marker `DEGRADED:{worker_id}:{timestamp}:{hex}` (SPEC 6).
    pub marker: Option<Arc<str>>,
}

/// What the ledger calls the client of a value that was found in Redis.
///
/// A client's name has no spaces and an address neither, so no client has this name or the next.
pub const OBSERVED: &str = "found in Redis";

/// The same for a value that was seen to be set there anew: a foreign client may take a lock again
/// with a token of its own that was released before, so that a value which is dead for repairs is
/// its lock all the same.
pub const OBSERVED_ANEW: &str = "found in Redis again";

/// The same for a hold that a person wrote into a cell of the spreadsheet that shows people who holds what.
pub const IN_SHEET: &str = "in the sheet";

impl Claim {
    /// True for an observation that holds although its value was released before.
    pub fn is_anew(&self) -> bool {
        *self.client == *OBSERVED_ANEW
    }
}

/// Why a hold has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// Its client released it, or overwrote it.
    Client,
    /// Its reply could not be written.
    Undelivered,
    /// `lockside release`.
    Operator,
    /// It was held for longer than `max_hold`.
    MaxHold,
    /// Its TTL has passed (`ttl` rules).
    Expired,
    /// The database was flushed.
    Flushed,
    /// A lock that somebody had put into Redis directly was deleted there (`observe`, SPEC 6). Ends
    /// only what was observed and is nobody's claim, and leaves its value alive: its owner may take
    /// the lock with it again.
    Vanished,
    /// `fast`: Redis has a later grant in its place, and whoever had both the release and that grant
    /// still to write has died.
    Superseded,
    /// A person has cleared its cell in the spreadsheet that shows people who holds what.
    Sheet,
    /// It was older than `abandoned_after`, and its cell in that spreadsheet said free (SPEC 7).
    Abandoned,
}

impl Cause {
    /// All causes.
    pub const ALL: [Self; 10] = [
        Self::Client,
        Self::Undelivered,
        Self::Operator,
        Self::MaxHold,
        Self::Expired,
        Self::Flushed,
        Self::Vanished,
        Self::Superseded,
        Self::Sheet,
        Self::Abandoned,
    ];

    /// The word in the ledger and in `LOCKSIDE HISTORY`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Undelivered => "undelivered",
            Self::Operator => "operator",
            Self::MaxHold => "max_hold",
            Self::Expired => "expired",
            Self::Flushed => "flushed",
            Self::Vanished => "vanished",
            Self::Superseded => "superseded",
            Self::Sheet => "sheet",
            Self::Abandoned => "abandoned",
        }
    }
}
