//! What the acquire machine is told, and what it wants done. Pure.

#[cfg(doc)]
use super::Acquire;

/// What the driver has to report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Input {
    /// The SET's reply: the key was free and now holds the stored value, with the safety TTL.
    Taken,
    /// The SET's reply: the key exists.
    Occupied,
    /// The reply of a read-back or of a guarded step: the key holds the stored value.
    Ours,
    /// The key holds something else.
    Anothers,
    /// There is no such key.
    Gone,
    /// The key holds the stored value, with a TTL (the answer to a confirmation).
    Provisional,
    /// The guarded step is forbidden to this user (ACL) or unknown to this server.
    Forbidden,
    /// Redis's word is no yes: it has no counter of fences or this user may not use it, and nothing
    /// was made persistent; or it was, and does not decide any more.
    Uncalm,
    /// WAIT's reply: enough replicas have the SET.
    Replicated,
    /// The plain PERSIST's reply: 1.
    TtlRemoved,
    /// The plain PERSIST's reply: 0 (no such key, or no TTL).
    TtlAbsent,
    /// An error reply, which the driver keeps for the client.
    Refused,
    /// The reply of compare-and-delete: the stored value stands there no more.
    Undone,
    /// The link broke; nobody knows whether the last request was carried out.
    Lost,
    /// The reply did not come in time; the link was dropped.
    TimedOut,
    /// A new link stands, with the session's state replayed.
    Reopened,
    /// No new link could be had.
    ReopenFailed,
    /// Redis answers, but takes no lock writes (READONLY, MISCONF, OOM, LOADING, ...; SPEC 2).
    Unusable,
    /// The claim has won: the lock is this acquire's, durably.
    Won,
    /// The claim has lost: another holds the lock.
    Beaten,
    /// The ledger has not answered in time, and the claim is no more: it was never written, or its
    /// withdrawal is durable.
    Unheard,
    /// The ledger has not answered in time, nor has it said that the claim is withdrawn: that will
    /// be done, and nobody knows when.
    Undecided,
    /// The ledger does not take the claim: nothing was and nothing will be written.
    NoLedger,
    /// The client's connection has ended.
    ClientGone,
}

/// A request on the session's own link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Request {
    /// `SET key stored NX EX safety_ttl`, with the client's GET if it asked for it.
    SetNx,
    /// `WAIT`: enough replicas have the SET that was sent on this very link before.
    Replicas,
    /// `GET key`, compared with the stored value.
    ReadBack,
    /// The guarded PERSIST script.
    Persist,
    /// Plain `PERSIST key`, where scripts are forbidden.
    PlainPersist,
    /// The key's value and TTL at one moment (`MULTI`, `GET`, `PTTL`, `EXEC`), where scripts are
    /// forbidden: neither alone proves that the stored value stands there for good.
    Confirm,
    /// The guarded delete script.
    CompareAndDelete,
}

/// How an acquire ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// OK: the key holds the stored value without a TTL.
    Granted,
    /// nil: somebody else holds it.
    Held,
    /// Redis refused the command; its own error goes to the client.
    Refused,
    /// The provisional key ran out, or was taken by another, before it was made permanent. The
    /// client gets an error that says "not acquired".
    RanOut,
    /// The outcome could not be found out. The client gets an error that says so; a provisional
    /// key that may stand runs out by its safety TTL.
    Unknown,
    /// As `Unknown`, but a PERSIST was sent and never answered (or could not be taken back): the
    /// key may hold the stored value for good. The driver records an unconfirmed grant, so that
    /// the same token can [resume](Acquire::resume) it; else nobody could ever release the lock.
    Unconfirmed,
    /// Nobody is there to answer; what was taken was given back, or runs out. If a claim had won,
    /// the driver has the ledger release it.
    Abandoned,
    /// Not acquired, because too few replicas have it, or nobody can say how many do: it was taken
    /// back, or runs out.
    TooFewReplicas,
    /// Not acquired, because the ledger did not answer: the claim is withdrawn, or was not made.
    Blocked,
    /// The claim is being withdrawn, and may be the holder until that is done. The client gets an
    /// error that says so.
    Undecided,
}

/// What the driver does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Send this, and report its reply.
    Send(Request),
    /// Write the claim to the ledger, and report what became of it.
    Claim,
    /// Open a new link, replay the session's state on it, and report.
    Reopen,
    /// Nothing: the answer to an earlier effect is still to come.
    Wait,
    /// The acquire has ended.
    Finish(Outcome),
}

/// What the ledger has to say in an acquire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ledger {
    /// Nothing: Redis decides, the ledger hears of it afterwards (`guarantee = "fast"`, calm).
    Follows,
    /// A claim that has won is the lock, whatever Redis has (`strict`).
    Decides,
    /// As `Decides`, but while Redis answers it has to have the lock as well (`fast`, not calm).
    DecidesWithRedis,
}
