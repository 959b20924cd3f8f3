//! The whole protocol against every order of events (tests only): two sidecars, one lock, one
//! ordered ledger, one Redis.
//!
//! [`world`] is a state, [`steps`] what can happen in it, [`search`] visits all of them breadth
//! first, so that the trace of a violation is a shortest one. Who decides is the real code: the
//! acquire machine ([`crate::lock::acquire`]), the fold ([`crate::ledger::fold`]) and the table of
//! repairs ([`crate::repair::plan`]). Twins that are wrong on purpose ([`laws`]) show that the
//! checker would see it.

mod book;
mod laws;
mod redis;
mod search;
mod steps;
mod world;

use crate::lock::acquire::Outcome;

use laws::{Laws, Twin};
use redis::Command;
use search::{Searched, search};
use world::{Move, Violation};

/// Explores, and fails with the trace if a property does not hold. `least` keeps the test from
/// becoming vacuous: fewer states mean that something is not tried any more.
fn holds(name: &str, laws: Laws, least: usize) -> Searched {
    let seen = search(laws);
    println!(
        "{name}: {} states, depth {}, {} ledgers, {} endings",
        seen.states, seen.depth, seen.ledgers, seen.endings
    );
    if let Some((violation, trace)) = &seen.violation {
        panic!("{name}: {violation:?} after\n{}", lines(trace));
    }
    assert!(seen.states >= least, "{name}: only {} states", seen.states);
    assert!(seen.endings > 0, "{name}: no path ends");
    seen
}

/// Explores a world in which something must go wrong.
fn breaks(twin: Twin, laws: Laws) -> (Violation, Vec<Move>) {
    let seen = search(Laws { twin, ..laws });
    let (violation, trace) = seen.violation.expect("the checker sees it");
    println!("{twin:?}: {violation:?}, {} states, after\n{}", seen.states, lines(&trace));
    (violation, trace)
}

fn lines(trace: &[Move]) -> String {
    trace.iter().map(|step| format!("  {step:?}\n")).collect()
}

/// Fewer states than this mean that something is not tried any more.
const LEAST: usize = 10_000;

/// Two sidecars, two acquires, and nothing goes wrong but that everything may be late, that keys run
/// out, that repairs come at any time, and that sidecars give claims and clients releases up.
const QUIET: Laws = Laws { faults: 0, crashes: 0, losses: 0, goes: 0, tells: 0, ..Laws::STRICT };

/// A client asks again with the token that it was refused with, by any sidecar; another client is
/// there too.
const AGAIN: Laws = Laws { acquires: 3, again: true, repeats: 0, deletes: false, ..QUIET };

/// Requests and replies are lost, refused and late.
#[test]
fn messages_are_lost() {
    holds("two lost messages", Laws { faults: 2, ..QUIET }, 10 * LEAST);
}

/// Where replies are steps of their own there are more states, and the same endings.
#[test]
fn replies_take_their_time() {
    let joined = holds("one lost message", Laws { faults: 1, ..QUIET }, 4 * LEAST);
    let split = holds("in small steps", Laws { faults: 1, split: true, ..QUIET }, 8 * LEAST);
    assert_eq!(joined.endings, split.endings);
    assert!(joined.states < split.states);
}

/// A sidecar dies at any step, and starts again with a new log.
#[test]
fn a_sidecar_crashes() {
    holds("a crash", Laws { crashes: 1, ..QUIET }, 8 * LEAST);
}

/// Redis loses its key or has an older one again, a client goes, and a repair tells the ledger of a
/// value that it does not know.
#[test]
fn redis_forgets() {
    let laws = Laws { losses: 1, goes: 1, tells: 1, ..QUIET };
    holds("Redis forgets", laws, 9 * LEAST);
}

/// Three acquires: what is left of the first meets the third.
#[test]
fn three_acquires() {
    holds("three acquires", Laws { acquires: 3, repeats: 0, ..QUIET }, 8 * LEAST);
}

/// A client releases by another sidecar, which may not have read its claim yet.
#[test]
fn a_client_roams() {
    holds("roaming", Laws { roams: true, ..QUIET }, 2 * LEAST);
}

/// Redis alone decides, and loses nothing.
#[test]
fn fast_in_calm_times() {
    holds("fast", Laws::FAST, LEAST);
}

/// What two faults of different kinds, and more of one, can do. Millions of states.
#[test]
#[ignore = "takes minutes"]
fn faults_together() {
    let three = Laws { acquires: 3, repeats: 0, ..QUIET };
    let roams = Laws { roams: true, ..QUIET };
    let worlds = [
        ("three lost messages", Laws { faults: 3, ..QUIET }),
        ("lost message, client gone, value told", Laws { faults: 1, goes: 1, tells: 1, ..QUIET }),
        ("lost message, crash, loss", Laws { faults: 1, crashes: 1, losses: 1, ..QUIET }),
        ("two lost messages, crash", Laws { faults: 2, crashes: 1, ..QUIET }),
        ("all but lost messages", Laws { faults: 0, ..Laws::STRICT }),
        ("two lost messages in small steps", Laws { faults: 2, split: true, ..QUIET }),
        ("crash in small steps", Laws { crashes: 1, split: true, ..QUIET }),
        ("three acquires, lost message", Laws { faults: 1, ..three }),
        ("three acquires, loss", Laws { losses: 1, ..three }),
        ("three acquires, value told", Laws { tells: 1, ..three }),
        ("roaming, lost message", Laws { faults: 1, ..roams }),
        ("roaming, loss, value told", Laws { losses: 1, tells: 1, ..roams }),
        ("again, lost message", Laws { faults: 1, ..AGAIN }),
        ("again, crash", Laws { crashes: 1, ..AGAIN }),
        ("again, loss, value told", Laws { losses: 1, tells: 1, ..AGAIN }),
    ];
    for (name, laws) in worlds {
        holds(name, laws, 15 * LEAST);
    }
}

/// Somebody takes the lock past every sidecar and deletes it again, and is a client of one, too.
#[test]
fn others_take_it_in_redis() {
    holds("others", Laws { others: 2, tells: 2, ..QUIET }, LEAST);
}

/// An observed hold that a client was told of since ends with its key.
#[test]
fn an_end_of_what_is_claimed_is_found() {
    let laws = Laws { others: 2, tells: 1, ..QUIET };
    let (violation, trace) = breaks(Twin::EndsWhatIsClaimed, laws);
    assert_eq!(violation, Violation::HoldsWithoutLedger(1));
    assert!(trace.iter().any(|step| matches!(step, Move::Vanish(_))));
}

/// PERSIST on whatever stands there, where Redis alone decides: a key that ran out and was taken by
/// another is two clients' lock.
#[test]
fn an_unguarded_persist_is_found() {
    let (violation, _) = breaks(Twin::UnguardedPersist, Laws::FAST);
    assert_eq!(violation, Violation::TwoHold);
}

#[test]
fn an_ok_before_the_claim_was_read_back_is_found() {
    let (violation, _) = breaks(Twin::OkBeforeClaim, QUIET);
    assert_eq!(violation, Violation::TwoHold);
}

#[test]
fn an_unknown_claim_that_is_not_withdrawn_is_found() {
    let (violation, trace) = breaks(Twin::KeepsUnknownClaims, QUIET);
    assert_eq!(violation, Violation::HeldByRefused(0, Outcome::Blocked));
    assert!(trace.contains(&Move::GiveUp(0)));
}

/// A crash in between would leave a lock whose client was told no.
#[test]
fn a_no_before_the_claim_is_taken_back_is_found() {
    let (violation, trace) = breaks(Twin::SaysNoTooSoon, QUIET);
    assert_eq!(violation, Violation::HeldByRefused(0, Outcome::Blocked));
    assert!(trace.contains(&Move::GiveUp(0)));
}

#[test]
fn an_unguarded_repair_is_found() {
    let (violation, trace) = breaks(Twin::UnguardedRepair, QUIET);
    assert!(matches!(violation, Violation::RepairTook(_)));
    assert!(matches!(trace.last(), Some(Move::Repair { .. })));
}

#[test]
fn a_provisional_key_that_a_repair_adopts_is_found() {
    let (violation, trace) = breaks(Twin::AdoptsProvisional, Laws { tells: 1, ..QUIET });
    assert!(matches!(violation, Violation::HeldByRefused(..)));
    let tells = |step: &Move| matches!(step, Move::Repair { command: Command::Tell(_), .. });
    assert!(trace.iter().any(tells));
}

#[test]
fn a_fold_that_forgets_the_dead_is_found() {
    let (violation, trace) = breaks(Twin::ForgetsTheDead, Laws { tells: 1, ..QUIET });
    assert!(matches!(violation, Violation::ReleasedHolds(_) | Violation::HeldByRefused(..)));
    let tells = |step: &Move| matches!(step, Move::Repair { command: Command::Tell(_), .. });
    assert!(trace.iter().any(tells));
}

/// A client that repeats its compare-and-delete, after a late repair has put its dead value back,
/// must not end another's hold that its sidecar has not read yet.
#[test]
fn a_release_of_whoever_holds_is_found() {
    let (violation, _) = breaks(Twin::ReleasesWhoever, QUIET);
    assert!(matches!(violation, Violation::HoldsWithoutLedger(_)));
}

/// DEL does not say which value it has taken out of Redis. By a sidecar that has not read the client's
/// claim yet it would end the hold that the sidecar knows of, which is over, and the client would be
/// told that its lock is released while it is not.
#[test]
fn a_del_by_a_sidecar_that_has_not_read_is_found() {
    let (violation, _) = breaks(Twin::DeletesUnread, Laws { roams: true, ..QUIET });
    assert!(matches!(violation, Violation::ReleasedHolds(_)));
}

/// As `AGAIN` says. No false OK comes of what the first sidecar has still to write.
#[test]
fn a_client_asks_again() {
    holds("again", AGAIN, LEAST);
    holds("again, a client goes", Laws { goes: 1, ..AGAIN }, 2 * LEAST);
}

/// The first sidecar's withdrawal comes after the second one's OK.
#[test]
fn a_withdrawal_of_the_value_is_found() {
    let (violation, _) = breaks(Twin::WithdrawsTheValue, AGAIN);
    assert_eq!(violation, Violation::HoldsWithoutLedger(1));
}
