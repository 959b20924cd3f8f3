//! Log lines about single keys. Clients are named, tokens never.

use crate::lock::record::LockKey;

use super::Purpose;
use crate::repair::command::Kind;
use crate::repair::pass::Note;

/// Writes a log line, where the note is worth one. Clients are named, tokens never.
pub(super) fn tell(note: &Note, purpose: Purpose) -> bool {
    let name = |key: &LockKey| String::from_utf8_lossy(key.key()).into_owned();
    let is_background = purpose.follows();
    match note {
        Note::Repaired { key, holder, conflict: true, .. } => {
            let holder = holder.as_ref().map_or("nobody", |holder| &holder.claim.client);
            tracing::warn!(
                key = name(key),
                db = key.db(),
                holder,
                other = "unknown to the ledger",
                "conflict: Redis had another holder than the ledger, whose holder is in Redis now"
            );
        }
        Note::Repaired { key, kind: Kind::Set, holder, .. } if is_background => {
            let holder = holder.as_ref().map_or("nobody", |holder| &holder.claim.client);
            tracing::warn!(
                key = name(key),
                db = key.db(),
                holder,
                "a lock had vanished from Redis and is there again; only Lockside releases locks"
            );
        }
        Note::CannotRestore(key) if !matches!(purpose, Purpose::Dirty | Purpose::Watched) => {
            tracing::warn!(
                key = name(key),
                db = key.db(),
                "Redis lacks a lock that is not a string and was too large for the ledger: it can't be \
                 put back"
            );
        }
        Note::Preferred { key, holder, worker } => {
            let holder = holder.as_ref().map_or("nobody", |holder| &holder.claim.client);
            tracing::warn!(
                key = name(key),
                db = key.db(),
                holder,
                other = worker.as_deref().unwrap_or("not told by its value"),
                "conflict: Redis had another holder than the ledger, who is the ledger's holder now"
            );
        }
        // Who observes expects it; the count tells how many there were.
        Note::Adopted(_) if purpose == Purpose::Watched => return false,
        Note::Vanished(key) => {
            tracing::debug!(
                key = name(key),
                db = key.db(),
                "an observed lock was deleted in Redis by its owner"
            );
            return false;
        }
        Note::TooMany => {
            tracing::warn!(
                "limits.locks locks are held: what others lock in Redis is not taken in"
            );
        }
        Note::Adopted(key) => {
            tracing::info!(
                key = name(key),
                db = key.db(),
                "found a lock in Redis that the ledger did not know"
            );
        }
        Note::Followed(key) => {
            tracing::info!(
                key = name(key),
                db = key.db(),
                "a lock that is not a string has changed in Redis; the ledger has it now"
            );
        }
        Note::NotSearched(reason) => {
            tracing::warn!(%reason, "Redis can't be searched for locks that the ledger does not know");
        }
        Note::Repaired { .. } | Note::CannotRestore(_) => return false,
    }
    true
}
