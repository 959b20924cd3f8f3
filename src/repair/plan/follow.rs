//! What a key of an observed rule means while Redis is *followed*: it is the run that the last repair
//! pass was made for, and healthy (SPEC 6, `observe`). Pure and total.
//!
//! Then others may take and release locks in Redis directly, and what Redis has of such a lock is the
//! truth: a lock that was only ever observed, that is to say that no client of Lockside was told it
//! holds, ends when its owner deletes it. Everything else stays with [`plan`](super::plan): above
//! all, a lock that was granted by Lockside and vanishes is put back.
//!
//! In an outage, and in the pass that ends one, nothing is followed: what is missing then is lost.

use super::{Found, Guard, Left, Says, Standing, TTL_SLACK_MS, Terms, is_same};

/// What to do about one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follow<'a> {
    /// What the table of repairs says.
    AsPlanned,
    /// The holder, which was only observed, does not stand there any more: its hold has ended.
    Ended,
    /// A value that was released once and stands there anew: its owner has taken the lock again.
    Anew(&'a [u8]),
    /// `ttl` rules: a lock with so much time that the ledger does not know.
    Taken(&'a [u8], u64),
    /// `ttl` rules: the owner of the observed lock has moved its end; so much time is left.
    Moved(u64),
    /// Its owner's business; perhaps another answer is there after so many milliseconds.
    Leave(Option<u64>),
}

/// What this key means. `is_observed`: the holder is, and nobody's claim. Under a holder of another
/// kind only the table of repairs decides.
pub fn follow<'a>(found: &'a Found, says: Says<'_>, is_observed: bool, terms: Terms) -> Follow<'a> {
    match says.holder {
        _ if says.releasing => Follow::AsPlanned,
        Some(_) if !is_observed => Follow::AsPlanned,
        Some(hold) => match found {
            Found::Missing => Follow::Ended,
            Found::Value { stored, ttl_ms } if is_same(hold.what, Guard::Value(stored)) => {
                stands(hold.left, *ttl_ms)
            }
            Found::Other { guard, ttl_ms } if is_same(hold.what, Guard::Other(guard)) => {
                stands(hold.left, *ttl_ms)
            }
            // Its content has changed: a lock that is counted up and down.
            Found::Other { .. } if matches!(hold.what, Guard::Other(_)) => Follow::AsPlanned,
            Found::Value { .. } | Found::Other { .. } => Follow::Ended,
        },
        None => unheld(found, says.value, terms),
    }
}

/// The observed lock itself.
fn stands<'a>(left: Left, ttl_ms: Option<u64>) -> Follow<'a> {
    match (left, ttl_ms) {
        (Left::Forever, None) => Follow::AsPlanned,
        // Its owner lets it run out, or makes it permanent again.
        (Left::Forever, Some(ms)) => Follow::Leave(Some(ms)),
        (Left::Ms(_) | Left::RunOut, None) => Follow::Leave(None),
        (Left::Ms(left), Some(ms)) if left.abs_diff(ms) <= TTL_SLACK_MS => Follow::AsPlanned,
        (Left::Ms(_) | Left::RunOut, Some(ms)) => Follow::Moved(ms),
    }
}

/// Nobody holds it by the ledger.
fn unheld<'a>(found: &'a Found, value: Standing, terms: Terms) -> Follow<'a> {
    match (found, value) {
        (Found::Missing, _) => Follow::AsPlanned,
        // Another pass decides: the content may be that of its client's next lock.
        (Found::Other { ttl_ms, .. }, Standing::Dead) => Follow::Leave(*ttl_ms),
        (Found::Other { .. }, _) => Follow::AsPlanned,
        (Found::Value { stored, ttl_ms: None }, Standing::Dead) => Follow::Anew(stored),
        (Found::Value { ttl_ms: None, .. }, _) => Follow::AsPlanned,
        // Provisional: an acquire is under way, or a lock that runs out by itself.
        (Found::Value { ttl_ms: Some(ms), .. }, _) if terms.persistent => Follow::Leave(Some(*ms)),
        (Found::Value { ttl_ms: Some(ms), .. }, Standing::Dead) => Follow::Leave(Some(*ms)),
        (Found::Value { stored, ttl_ms: Some(ms) }, _) => Follow::Taken(stored, *ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Guarantee;
    use crate::repair::plan::{Hold, Repair, Why};
    use crate::repair::plan::{Plan, plan};

    const OWN: &[u8] = b"own";
    const TTL: u64 = 5000;

    fn value(stored: &[u8], ttl_ms: Option<u64>) -> Found {
        Found::Value { stored: stored.to_vec(), ttl_ms }
    }

    fn other(guard: &[u8], ttl_ms: Option<u64>) -> Found {
        Found::Other { guard: guard.to_vec(), ttl_ms }
    }

    fn says(left: Option<Left>, value: Standing) -> Says<'static> {
        let hold = left.map(|left| Hold { what: Guard::Value(OWN), left });
        Says { holder: hold, value, releasing: false }
    }

    fn terms(persistent: bool) -> Terms {
        let conflict = crate::config::Conflict::Ledger;
        Terms { persistent, guarantee: Guarantee::Strict, conflict, is_asked: true }
    }

    /// Every kind of content, with and without a TTL.
    fn contents() -> Vec<Found> {
        let mut all = vec![Found::Missing];
        for ttl in [None, Some(TTL)] {
            all.extend([value(OWN, ttl), value(b"theirs", ttl), other(b"0:aa", ttl)]);
        }
        all
    }

    #[test]
    fn an_observed_lock_lives_as_long_as_its_key() {
        use Follow::{AsPlanned, Ended, Leave};
        let held = says(Some(Left::Forever), Standing::Holder);
        let expected = [Ended, AsPlanned, Ended, Ended, Leave(Some(TTL)), Ended, Ended];
        for (found, expected) in contents().iter().zip(expected) {
            assert_eq!(follow(found, held, true, terms(true)), expected, "{found:?}");
        }
    }

    /// What a client of Lockside was told it holds is never ended by what Redis has.
    #[test]
    fn a_granted_lock_is_never_given_up() {
        for left in [Left::Forever, Left::Ms(9), Left::RunOut] {
            for standing in [Standing::Holder, Standing::Dead, Standing::Unknown] {
                for found in contents() {
                    let held = says(Some(left), standing);
                    assert_eq!(follow(&found, held, false, terms(true)), Follow::AsPlanned);
                }
            }
        }
        let releasing = Says { releasing: true, ..says(Some(Left::Forever), Standing::Holder) };
        assert_eq!(follow(&Found::Missing, releasing, true, terms(true)), Follow::AsPlanned);
        assert_eq!(plan(&Found::Missing, releasing, terms(true)), Plan::Wait(Why::Releasing));
    }

    #[test]
    fn what_nobody_holds() {
        let (dead, unknown) = (says(None, Standing::Dead), says(None, Standing::Unknown));
        let permanent = value(b"theirs", None);
        let provisional = value(b"theirs", Some(TTL));
        let persistent = terms(true);
        assert_eq!(follow(&permanent, unknown, false, persistent), Follow::AsPlanned);
        assert_eq!(
            plan(&permanent, unknown, persistent),
            Plan::Act(Repair::Adopt(Guard::Value(b"theirs"))),
            "the one place that takes a lock in"
        );
        assert_eq!(follow(&permanent, dead, false, persistent), Follow::Anew(b"theirs"));
        for standing in [dead, unknown] {
            let told = follow(&provisional, standing, false, persistent);
            assert_eq!(told, Follow::Leave(Some(TTL)), "a provisional key is never taken in");
        }
        assert_eq!(follow(&other(b"0:aa", None), dead, false, persistent), Follow::Leave(None));
        assert_eq!(follow(&Found::Missing, unknown, false, persistent), Follow::AsPlanned);
    }

    #[test]
    fn locks_with_an_end_of_their_own() {
        let rule = terms(false);
        let unknown = says(None, Standing::Unknown);
        let theirs = value(b"theirs", Some(TTL));
        assert_eq!(follow(&theirs, unknown, false, rule), Follow::Taken(b"theirs", TTL));
        let held = |left| says(Some(left), Standing::Holder);
        let own = value(OWN, Some(TTL));
        let told = |left| follow(&own, held(left), true, rule);
        assert_eq!(told(Left::Ms(TTL + TTL_SLACK_MS)), Follow::AsPlanned);
        assert_eq!(told(Left::Ms(TTL + TTL_SLACK_MS + 1)), Follow::Moved(TTL));
        assert_eq!(told(Left::Ms(TTL - TTL_SLACK_MS - 1)), Follow::Moved(TTL));
        assert_eq!(told(Left::RunOut), Follow::Moved(TTL));
        assert_eq!(follow(&value(OWN, None), held(Left::Ms(9)), true, rule), Follow::Leave(None));
        assert_eq!(follow(&Found::Missing, held(Left::RunOut), true, rule), Follow::Ended);
    }
}
