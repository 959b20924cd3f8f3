//! What can happen in a world, and which rule is broken on purpose.

/// A protocol that is wrong on purpose, to show that the checker sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Twin {
    /// The real one.
    None,
    /// PERSIST takes the TTL off whatever stands there, and answers "ours".
    UnguardedPersist,
    /// OK before the claim was read back.
    OkBeforeClaim,
    /// A claim of unknown fate is not withdrawn.
    KeepsUnknownClaims,
    /// "Not acquired" goes out before what takes the claim back is written.
    SaysNoTooSoon,
    /// Repairs are plain SET and DEL.
    UnguardedRepair,
    /// A repair takes a provisional key for a lock.
    AdoptsProvisional,
    /// An observation of a released value holds again.
    ForgetsTheDead,
    /// Compare-and-delete in Redis has the ledger release whoever holds the lock, where the table
    /// has no holder (yet).
    ReleasesWhoever,
    /// A withdrawal ends the hold of its value, whoever else has claimed with it.
    WithdrawsTheValue,
    /// DEL goes to Redis by a sidecar that has not read the client's claim.
    DeletesUnread,
    /// What was observed ends with its key, though a client was told since that it holds it.
    EndsWhatIsClaimed,
}

/// What can happen. Messages may always be late or lost, and TTLs run out at any time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Laws {
    pub(super) twin: Twin,
    /// Acquires, each with a value of its own; the first is made by sidecar 0.
    pub(super) acquires: u8,
    /// False: Redis alone decides (`fast` in calm times), and there are no repairs.
    pub(super) ledger: bool,
    /// How many messages between a sidecar and Redis are lost, refused or late, or find no link.
    pub(super) faults: u8,
    /// Replies and read-backs are steps of their own; else they come as soon as Redis or the ledger
    /// has done its part. What a sidecar does next can be late all the same, so nothing is lost by
    /// that, and there are far fewer states.
    pub(super) split: bool,
    /// How often a sidecar crashes, and starts again with an empty memory and a new log.
    pub(super) crashes: u8,
    /// How often Redis loses its key, or is replaced by one with older data.
    pub(super) losses: u8,
    /// How often a client goes while its acquire is under way.
    pub(super) goes: u8,
    /// How often a repair tells the ledger of a value.
    pub(super) tells: u8,
    /// How often a client releases again when it has not heard what became of it.
    pub(super) repeats: u8,
    /// A client may release by the other sidecar than the one that it has its lock from.
    pub(super) roams: bool,
    /// A client may release by DEL; else only by compare-and-delete, and without Redis.
    pub(super) deletes: bool,
    /// How often somebody takes the lock past every sidecar, with the last acquire's value and where
    /// nothing stands, or deletes what stands there for good (`observe`).
    pub(super) others: u8,
    /// Acquire 1 is acquire 0's client again, with the same token, after it was not told OK.
    pub(super) again: bool,
}

impl Laws {
    /// Two acquires, one of each fault.
    pub(super) const STRICT: Self = Self {
        twin: Twin::None,
        acquires: 2,
        ledger: true,
        faults: 2,
        split: false,
        crashes: 1,
        losses: 1,
        goes: 1,
        tells: 1,
        repeats: 1,
        roams: false,
        deletes: true,
        others: 0,
        again: false,
    };
    /// Redis decides alone, and loses nothing.
    pub(super) const FAST: Self =
        Self { ledger: false, crashes: 0, losses: 0, tells: 0, ..Self::STRICT };

    /// The value that is also taken past every sidecar, if there is one.
    pub(super) fn foreign(self) -> Option<u8> {
        (self.others > 0).then(|| self.value(self.acquires - 1))
    }

    /// The value of an acquire.
    pub(super) fn value(self, acquire: u8) -> u8 {
        acquire - u8::from(self.again && acquire > 0)
    }
}
