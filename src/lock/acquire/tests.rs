//! The acquire machine against every order of events that can happen to it.
//!
//! [`model`] is a small world: one key of one Redis, two clients that ask for it with the real
//! machine, a network that loses and delays. [`explore`] visits every state of that world, breadth
//! first, so that the trace of a violation is a shortest one. Machines that are wrong on purpose
//! (the twins) show that the checker would see it.

mod explore;
mod laws;
mod model;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::{Acquire, Effect, Input, Ledger, Outcome, Request, Step};
use explore::explore;
use laws::{Laws, Twin};
use model::{A, B, Move, Violation};

/// Fewer states than this mean that something is not tried any more.
const LEAST: usize = 10_000;

/// Explores, and fails with the trace if a property does not hold. `least` keeps the test from
/// becoming vacuous: fewer states mean that something is not tried any more.
fn holds(name: &str, laws: Laws, least: usize) {
    let explored = explore(laws);
    println!("{name}: {} states, {} endings", explored.states, explored.endings);
    if let Some((violation, trace)) = &explored.violation {
        panic!("{name}: {violation:?} after\n{}", lines(trace));
    }
    assert!(explored.states >= least, "{name}: only {} states", explored.states);
    assert!(explored.endings > 0, "{name}: no path ends");
}

/// Explores a world in which something must go wrong.
fn breaks(name: &str, laws: Laws) -> (Violation, Vec<Move>) {
    let explored = explore(laws);
    let (violation, trace) = explored.violation.expect("the checker sees it");
    println!("{name}: {violation:?} after\n{}", lines(&trace));
    (violation, trace)
}

fn lines(trace: &[Move]) -> String {
    trace.iter().map(|step| format!("  {step:?}\n")).collect()
}

/// True if these moves come in `trace` in this order, with anything in between.
fn in_order(trace: &[Move], wanted: &[Move]) -> bool {
    let mut left = wanted.iter().peekable();
    for step in trace {
        left.next_if_eq(&step);
    }
    left.peek().is_none()
}

/// Nobody is ever told OK without holding the key for good; whoever is told "no", or has released,
/// leaves nothing there for good; and every path ends. With any one request arriving late.
#[test]
fn one_holder_and_no_orphan() {
    holds("guarded", Laws { faults: 3, ..Laws::GUARDED }, LEAST);
}

/// The same when A comes back for a grant of its own that nobody confirmed, which stands, has
/// vanished, or has given way to another's.
#[test]
fn a_grant_is_resumed() {
    holds("resumed", Laws { faults: 2, resumes: true, ..Laws::GUARDED }, LEAST);
}

/// With WAIT behind the SET the same holds, and nobody is told OK for a SET of which Redis has not
/// said on the SET's own link that replicas have it.
#[test]
fn no_grant_without_replicas() {
    holds("replicas", Laws { faults: 3, replicas: true, ..Laws::GUARDED }, LEAST);
}

/// The link breaks while replicas are waited for: what Redis says on another link is no proof, so the
/// key is taken back; and where there is no Redis any more the ledger decides alone.
#[test]
fn a_link_that_breaks_while_replicas_are_waited_for() {
    let (now, ttl) = (Duration::ZERO, Duration::from_secs(4));
    let waiting = || {
        let mut machine = Acquire::start(now, ttl).0.by_ledger(Ledger::Decides).on_replicas(true);
        assert_eq!(machine.on(Input::Taken, now), Effect::Send(Request::Replicas));
        machine
    };
    let mut machine = waiting();
    assert_eq!(machine.on(Input::Lost, now), Effect::Reopen);
    assert_eq!(machine.on(Input::Reopened, now), Effect::Send(Request::CompareAndDelete));
    assert_eq!(machine.on(Input::Undone, now), Effect::Finish(Outcome::TooFewReplicas));
    let mut machine = waiting();
    assert_eq!(machine.on(Input::Lost, now), Effect::Reopen);
    assert_eq!(machine.on(Input::ReopenFailed, now), Effect::Claim);
    // The SET's own reply was lost with its link: read back, and taken back.
    let mut machine = Acquire::start(now, ttl).0.by_ledger(Ledger::Decides).on_replicas(true);
    assert_eq!(machine.on(Input::Lost, now), Effect::Reopen);
    assert_eq!(machine.on(Input::Reopened, now), Effect::Send(Request::ReadBack));
    assert_eq!(machine.on(Input::Ours, now), Effect::Send(Request::CompareAndDelete));
    assert_eq!(machine.on(Input::Undone, now), Effect::Finish(Outcome::TooFewReplicas));
}

/// Where scripts are forbidden: by the clock, and by what MULTI reads back.
#[test]
fn without_scripts() {
    holds("plain", Laws { faults: 1, ..Laws::PLAIN }, LEAST);
    holds("plain, resumed", Laws { faults: 0, resumes: true, ..Laws::PLAIN }, LEAST);
}

/// As above with as many faults as the machines live to see: minutes and gigabytes, for the soak.
#[test]
#[ignore = "takes minutes"]
fn any_number_of_faults() {
    let laws = Laws { faults: u8::MAX, ..Laws::GUARDED };
    holds("guarded, any faults", laws, 50 * LEAST);
    holds("resumed, any faults", Laws { resumes: true, ..laws }, 50 * LEAST);
}

/// One holder, with two late requests, and without scripts, for the soak.
#[test]
#[ignore = "takes minutes"]
fn more_faults() {
    let laws = Laws { faults: 4, late: 2, orphans: false, ..Laws::GUARDED };
    holds("two late", laws, 40 * LEAST);
    holds("plain, two faults", Laws { faults: 2, ..Laws::PLAIN }, 50 * LEAST);
}

/// Why PERSIST is guarded: A sets, A's TTL runs out, B sets, A's late PERSIST answers 1, and both
/// are told OK.
#[test]
fn twin_with_an_unguarded_persist() {
    let laws = Laws { twin: Twin::Unguarded, faults: 0, ..Laws::GUARDED };
    let (violation, trace) = breaks("unguarded", laws);
    assert_eq!(violation, Violation::TwoHold);
    let story = [
        Move::Execute(A, Request::SetNx),
        Move::RunOut,
        Move::Execute(B, Request::SetNx),
        Move::Execute(A, Request::Persist),
        Move::Deliver(A, Input::Ours),
        Move::Deliver(B, Input::Ours),
    ];
    assert!(in_order(&trace, &story), "{}", lines(&trace));
}

/// OK before the PERSIST, or without another look after its reply was lost: told OK, with a key
/// that runs out.
#[test]
fn twins_that_answer_too_soon() {
    for (twin, faults) in [(Twin::OkBeforePersist, 0), (Twin::Trusting, 1)] {
        let (violation, _) = breaks("too soon", Laws { twin, faults, ..Laws::GUARDED });
        assert_eq!(violation, Violation::GrantedWithoutKey(A), "{twin:?}");
    }
}

/// The plain PERSIST's 1 proves nothing once the key may have run out.
#[test]
fn twin_without_a_clock() {
    let laws = Laws { twin: Twin::Unhurried, faults: 0, ..Laws::PLAIN };
    let (violation, trace) = breaks("unhurried", laws);
    assert_eq!(violation, Violation::GrantedWithoutKey(A));
    assert!(trace.contains(&Move::Tick), "{}", lines(&trace));
}

/// What is left over, so that nobody thinks otherwise: two requests of one acquire that both come
/// later than everything else, a SET and then a PERSIST, leave a lock that nobody holds. It takes
/// two links that Redis reads after their peer has closed them, and a release in between.
#[test]
fn two_late_requests_leave_an_orphan() {
    let (violation, trace) = breaks("two late", Laws { late: 2, faults: 2, ..Laws::GUARDED });
    assert_eq!(violation, Violation::Orphan(A, None));
    let story = [Move::Release(A), Move::Late(A, Request::SetNx), Move::Late(A, Request::Persist)];
    assert!(in_order(&trace, &story), "{}", lines(&trace));
}

const INPUTS: [Input; 16] = [
    Input::Taken,
    Input::Occupied,
    Input::Ours,
    Input::Anothers,
    Input::Gone,
    Input::Provisional,
    Input::Forbidden,
    Input::Replicated,
    Input::TtlRemoved,
    Input::TtlAbsent,
    Input::Refused,
    Input::Undone,
    Input::Lost,
    Input::TimedOut,
    Input::Reopened,
    Input::ReopenFailed,
];

/// Whatever a machine is told, sensible or not, at any time: it never goes round in a circle, a
/// time-out is to it what a lost link is, and it never says "granted" once its client has gone.
#[test]
fn every_path_ends() {
    let ttl = Duration::from_secs(4);
    let beginnings = [
        Acquire::start(Duration::ZERO, ttl).0,
        Acquire::start_with_ttl(Duration::ZERO, ttl).0,
        Acquire::resume(Duration::ZERO, ttl).0,
        Acquire::start(Duration::ZERO, ttl).0.on_replicas(true),
    ];
    let mut longest = HashMap::new();
    for machine in beginnings {
        let length = longest_path(&machine, &mut longest, &mut HashSet::new());
        assert!(length <= 12, "{length} steps");
    }
    println!("machine: {} states", longest.len());
    assert!(longest.len() > 100, "{}", longest.len());
}

fn longest_path(
    machine: &Acquire,
    known: &mut HashMap<Acquire, usize>,
    above: &mut HashSet<Acquire>,
) -> usize {
    if let Some(length) = known.get(machine) {
        return *length;
    }
    assert!(above.insert(machine.clone()), "a circle through {machine:?}");
    let mut length = 0;
    for gone in [machine.client_gone, true] {
        for seconds in [0, 3, 5] {
            for input in INPUTS {
                let next = fed(machine, gone, input, seconds);
                if next.step != Step::Ended {
                    length = length.max(1 + longest_path(&next, known, above));
                }
            }
        }
    }
    above.remove(machine);
    known.insert(machine.clone(), length);
    length
}

fn fed(machine: &Acquire, gone: bool, input: Input, seconds: u64) -> Acquire {
    let now = Duration::from_secs(seconds);
    let mut next = machine.clone();
    if gone {
        assert_eq!(next.on(Input::ClientGone, now), Effect::Wait);
    }
    let mut twin = next.clone();
    let effect = next.on(input, now);
    if input == Input::TimedOut {
        assert_eq!((twin.on(Input::Lost, now), &twin), (effect, &next));
    }
    if gone {
        assert_ne!(effect, Effect::Finish(Outcome::Granted), "{machine:?} on {input:?}");
    }
    assert_ne!(effect, Effect::Wait, "{machine:?} on {input:?}");
    next
}
