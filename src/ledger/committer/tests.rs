//! The committer over a store in memory with scripted faults, and a clock that moves when told.

use std::sync::Mutex;

mod counted;
mod fast;
mod left;
mod together;

use super::*;
use crate::ledger::entry::{Cause, Claim, Entry, Guarantee, Start};
use crate::ledger::memory::{Fault, Medium, Memory};
use crate::ledger::store::Store;
use crate::ledger::testing::{at, claim, key, start};
use crate::ledger::{Asker, Outcome, Unavailable, Withdrawal};

/// A committer with its store and its fold, and a clock that moves when told.
struct Rig {
    committer: Committer,
    store: Memory,
    fold: Fold,
    now: Now,
    answers: Vec<Answer>,
    exchanges: usize,
    disputes: Vec<Dispute>,
    doubtful: Vec<LockKey>,
    over: Vec<(LockKey, u64)>,
    /// The runs that were seen to live, whenever these were others.
    lived: Vec<Vec<u64>>,
    /// Claims whose runs have turned out not to live, or to do so.
    turned: Vec<(LockKey, bool)>,
}

impl Rig {
    fn new(medium: &Arc<Mutex<Medium>>) -> Self {
        Self::under(medium, Timing::default())
    }

    fn under(medium: &Arc<Mutex<Medium>>, timing: Timing) -> Self {
        let mut store = Memory::new(medium.clone());
        let guarantee = match timing.mirror_interval {
            Some(_) => Guarantee::Fast,
            None => Guarantee::Strict,
        };
        let log = store.open(&Start { guarantee, ..start() }).unwrap();
        let mut committer = Committer::new(timing);
        committer.opened(log, Now::default());
        let now = Now { mono: Duration::ZERO, unix_ms: 1_000 };
        let fold = if store.is_ordered() { Fold::default() } else { Fold::unordered() };
        let mut rig = Self {
            committer,
            store,
            fold,
            now,
            answers: Vec::new(),
            exchanges: 0,
            disputes: Vec::new(),
            doubtful: Vec::new(),
            over: Vec::new(),
            lived: Vec::new(),
            turned: Vec::new(),
        };
        rig.run();
        rig.exchanges = 0;
        rig
    }

    /// Makes exchanges until there is nothing to do now.
    fn run(&mut self) {
        for _ in 0..1_000 {
            let Step::Exchange(rows) = self.committer.next(&self.fold, self.now) else { return };
            self.finish(&rows);
        }
        panic!("it never rests");
    }

    fn finish(&mut self, rows: &[Row]) {
        self.exchanges += 1;
        match self.store.exchange(rows) {
            Ok(seen) => {
                let done = self.committer.seen(seen, &mut self.fold, self.now);
                self.disputes.extend(done.disputes);
                self.doubtful.extend(done.doubtful);
                self.over.extend(done.over);
                let living: Vec<u64> = done.living.into_iter().collect();
                if self.lived.last() != Some(&living) {
                    self.lived.push(living);
                }
                let names = |all: Vec<Arc<Holder>>, lives| {
                    all.into_iter().map(move |holder| (holder.claim.key.clone(), lives))
                };
                self.turned.extend(names(done.left, false).chain(names(done.found, true)));
                self.answers.extend(done.answers.into_iter().map(|(.., answer)| answer));
            }
            Err(error) => {
                let answers = self.committer.failed(&error, self.now);
                self.answers.extend(answers.into_iter().map(|(.., answer)| answer));
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now.mono += time;
        self.run();
    }

    fn ask(&mut self, ask: Ask) -> Ticket {
        self.committer.submit(Asker::Session(0, (1, 1)), vec![ask]).unwrap()
    }

    fn outcome(&self, ticket: Ticket) -> Option<&Outcome> {
        self.answers.iter().find(|answer| answer.ticket == ticket).map(|answer| &answer.outcomes[0])
    }

    fn rows(&self) -> usize {
        self.store.medium().rows().len()
    }
}

fn medium() -> Arc<Mutex<Medium>> {
    Arc::new(Mutex::new(Medium::ordered()))
}

fn take(name: &str, value: &str) -> Ask {
    Ask::Claim(claim(name, value))
}

fn won(outcome: Option<&Outcome>) -> Position {
    match outcome {
        Some(Outcome::Won { claim, .. }) => *claim,
        other => panic!("{other:?}"),
    }
}

#[test]
fn those_who_come_during_an_exchange_share_the_next_one() {
    let mut rig = Rig::new(&medium());
    rig.ask(take("first", "v"));
    let Step::Exchange(under_way) = rig.committer.next(&rig.fold, rig.now) else { panic!() };
    let tickets: Vec<_> = (0..50).map(|n| rig.ask(take(&format!("k{n}"), "v"))).collect();
    assert_eq!(rig.committer.next(&rig.fold, rig.now), Step::Wait);
    rig.finish(&under_way);
    rig.run();
    assert_eq!((rig.exchanges, under_way.len()), (2, 1));
    for ticket in tickets {
        won(rig.outcome(ticket));
    }
}

#[test]
fn groups_are_bounded_and_keep_the_order() {
    let mut rig = Rig::new(&medium());
    let tickets: Vec<_> =
        (0..2 * GROUP_ROWS + 1).map(|n| rig.ask(take(&format!("k{n}"), "v"))).collect();
    rig.run();
    assert_eq!(rig.exchanges, 3);
    assert_eq!(rig.answers.iter().map(|answer| answer.ticket).collect::<Vec<_>>(), tickets);
}

#[test]
fn a_group_of_unknown_fate_is_written_again_as_it_was() {
    for fault in [Fault::Refused, Fault::Lost, Fault::Ambiguous, Fault::Late] {
        let mut rig = Rig::new(&medium());
        rig.store.script(fault.clone());
        let ticket = rig.ask(take("a", "v"));
        rig.run();
        assert!(rig.outcome(ticket).is_none() && rig.committer.trouble().is_some());
        let refused = rig.committer.submit(Asker::Session(0, (2, 1)), vec![take("b", "v")]);
        assert!(matches!(refused, Err(Unavailable::NotAnswering(_))));
        rig.committer.submit(Asker::Nobody, vec![take("c", "v")]).unwrap();
        rig.pass(FIRST_RETRY);
        assert_eq!(won(rig.outcome(ticket)), at(1, 2), "{fault:?}");
        assert!(rig.committer.trouble().is_none() && rig.fold.holder(&key("c")).is_some());
        rig.store.medium().land();
        assert_eq!(rig.rows(), 3);
    }
}

#[test]
fn waits_between_tries_grow_up_to_a_second() {
    let mut rig = Rig::new(&medium());
    let ticket = rig.ask(take("a", "v"));
    for wait in [50, 100, 200, 400, 800, 1_000, 1_000] {
        rig.store.script(Fault::Lost);
        rig.run();
        let until = rig.now.mono + Duration::from_millis(wait);
        assert_eq!(rig.committer.next(&rig.fold, rig.now), Step::Until(until));
        rig.now.mono = until;
    }
    rig.run();
    won(rig.outcome(ticket));
}

/// Nothing is said of a withdrawal before it is durable.
#[test]
fn a_claim_can_be_withdrawn_at_every_stage() {
    let gone = Outcome::Lost { holder: None };
    // Before it is written.
    let mut rig = Rig::new(&medium());
    let ticket = rig.ask(take("a", "v"));
    assert_eq!(rig.committer.withdraw(ticket), Withdrawal::Done);
    rig.run();
    assert_eq!((rig.rows(), rig.answers.len()), (1, 0));
    // While its fate is unknown.
    rig.store.script(Fault::Late);
    let ticket = rig.ask(take("a", "v"));
    rig.run();
    assert_eq!(rig.committer.withdraw(ticket), Withdrawal::UnderWay);
    rig.store.medium().land();
    assert!(rig.answers.is_empty());
    rig.pass(FIRST_RETRY);
    assert!(rig.fold.is_empty() && rig.rows() == 3);
    assert_eq!(rig.outcome(ticket), Some(&gone));
    // While it is under way; the withdrawal's own exchange fails at first.
    let ticket = rig.ask(take("a", "w"));
    let Step::Exchange(rows) = rig.committer.next(&rig.fold, rig.now) else { panic!() };
    assert_eq!(rig.committer.withdraw(ticket), Withdrawal::UnderWay);
    rig.finish(&rows);
    assert!(rig.fold.len() == 1 && rig.outcome(ticket).is_none());
    rig.store.script(Fault::Lost);
    rig.run();
    assert!(rig.fold.len() == 1 && rig.outcome(ticket).is_none());
    rig.pass(FIRST_RETRY);
    assert!(rig.fold.is_empty());
    assert_eq!(rig.outcome(ticket), Some(&gone));
    // After its answer.
    let ticket = rig.ask(take("a", "x"));
    rig.run();
    won(rig.outcome(ticket));
    assert_eq!(rig.committer.withdraw(ticket), Withdrawal::UnderWay);
    rig.run();
    assert!(rig.fold.is_empty());
    assert_eq!(rig.answers.last(), Some(&Answer { ticket, outcomes: vec![gone] }));
    assert_eq!(rig.committer.withdraw(ticket), Withdrawal::Done, "it is withdrawn");
    // A lost claim needs no withdrawal.
    let holder = rig.ask(take("a", "y"));
    let loser = rig.ask(take("a", "z"));
    rig.committer.forget(holder);
    let rows = rig.rows();
    rig.committer.next(&rig.fold, rig.now);
    assert_eq!(rig.committer.withdraw(loser), Withdrawal::UnderWay);
    let Some(group) = rig.committer.group.as_ref().map(|group| group.rows.clone()) else {
        panic!()
    };
    rig.finish(&group);
    rig.run();
    assert_eq!((rig.rows() - rows, rig.fold.len()), (2, 1));
    assert!(matches!(rig.outcome(loser), Some(Outcome::Lost { holder: Some(_) })));
    assert_eq!(rig.committer.withdraw(loser), Withdrawal::Done, "it was told");
}

/// What the store says that it has not written is taken out at once; the others of its group are not
/// harmed.
#[test]
fn what_was_certainly_not_written_need_not_be_withdrawn() {
    let mut rig = Rig::new(&medium());
    rig.store.script(Fault::Refused);
    let [ticket, other] = ["a", "b"].map(|name| rig.ask(take(name, "v")));
    rig.run();
    assert_eq!(rig.committer.withdraw(ticket), Withdrawal::Done);
    rig.pass(FIRST_RETRY);
    assert!(rig.outcome(ticket).is_none());
    assert_eq!(won(rig.outcome(other)), at(1, 3), "where it was");
    // While it is under way, and then is refused.
    let [ticket, other] = ["c", "d"].map(|name| rig.ask(take(name, "v")));
    let Step::Exchange(rows) = rig.committer.next(&rig.fold, rig.now) else { panic!() };
    assert_eq!(rig.committer.withdraw(ticket), Withdrawal::UnderWay);
    rig.store.script(Fault::Refused);
    rig.finish(&rows);
    assert_eq!(rig.outcome(ticket), Some(&Outcome::Lost { holder: None }));
    rig.pass(FIRST_RETRY);
    won(rig.outcome(other));
    assert!(rig.fold.holder(&key("a")).is_none() && rig.fold.holder(&key("c")).is_none());
    // Once it may have been written it is not taken out any more.
    rig.store.script(Fault::Ambiguous);
    let ticket = rig.ask(take("e", "v"));
    rig.run();
    rig.store.script(Fault::Refused);
    rig.pass(FIRST_RETRY);
    assert_eq!(rig.committer.withdraw(ticket), Withdrawal::UnderWay);
    rig.pass(LAST_RETRY);
    assert_eq!(rig.outcome(ticket), Some(&Outcome::Lost { holder: None }));
    assert!(rig.fold.holder(&key("e")).is_none());
}

/// Who lives is known by what was read of it: of the others the claims that nobody was heard of since
/// are named, and of those that come back.
#[test]
fn claims_of_runs_that_do_not_live_are_named() {
    let medium = medium();
    let (mut rig, mut other) = (Rig::new(&medium), Rig::new(&medium));
    rig.pass(Timing::default().poll);
    let silence = 3 * Timing::default().heartbeat;
    let held = other.ask(take("a", "v"));
    other.ask(take("b", "v"));
    other.run();
    let heard = Ask::Heard(key("a"), won(other.outcome(held)));
    other.committer.submit(Asker::Nobody, vec![heard, Ask::Degraded]).unwrap();
    other.run();
    rig.pass(Timing::default().poll);
    assert_eq!(rig.lived, [vec![1], vec![1, 2]]);
    assert!(rig.turned.is_empty());
    for _ in 0..31 {
        rig.pass(Timing::default().poll);
    }
    assert!(silence < Duration::from_secs(31));
    assert_eq!(rig.turned, [(key("b"), false)]);
    // It was only slow.
    other.pass(Timing::default().heartbeat);
    rig.pass(Timing::default().poll);
    assert_eq!(rig.turned[1..], [(key("b"), true)]);
    // It ends in order.
    other.committer.end();
    other.run();
    rig.pass(Timing::default().poll);
    assert_eq!(rig.turned[2..], [(key("b"), false)]);
    // Who begins now knows of nobody.
    let late = Rig::new(&medium);
    assert_eq!(late.lived, [vec![3]]);
}

#[test]
fn locks_that_were_changed_without_redis_are_doubtful() {
    let medium = medium();
    let (mut rig, mut other) = (Rig::new(&medium), Rig::new(&medium));
    let say = |rig: &mut Rig, ask| {
        rig.committer.submit(Asker::Nobody, vec![ask]).unwrap();
    };
    // It has said nothing yet.
    other.ask(take("a", "v"));
    other.run();
    say(&mut other, Ask::Healthy("run".into()));
    other.run();
    other.ask(take("b", "v"));
    other.run();
    rig.pass(Timing::default().poll);
    assert_eq!(rig.doubtful, [key("a")]);
    say(&mut other, Ask::Degraded);
    other.run();
    other.ask(Ask::ReleaseAny(key("b"), Cause::Client));
    other.ask(take("a", "lost"));
    other.run();
    rig.pass(Timing::default().poll);
    assert_eq!(rig.doubtful[1..], [key("b")], "nothing has changed under the other");
    // What this one does is its own matter.
    rig.ask(take("c", "v"));
    rig.run();
    assert_eq!(rig.doubtful.len(), 2);
}

#[test]
fn a_forgotten_release_is_tried_until_it_is_done() {
    let mut rig = Rig::new(&medium());
    let holder = rig.ask(take("a", "v"));
    rig.run();
    let holder = won(rig.outcome(holder));
    for _ in 0..50 {
        rig.store.script(Fault::Refused);
    }
    let release = rig.ask(Ask::Release(key("a"), holder, Cause::Client));
    rig.committer.forget(release);
    for _ in 0..50 {
        rig.pass(LAST_RETRY);
        assert!(rig.committer.is_releasing(&key("a")) || rig.fold.is_empty());
    }
    rig.pass(LAST_RETRY);
    assert!(rig.fold.is_empty() && !rig.committer.is_releasing(&key("a")));
    assert!(rig.outcome(release).is_none());
}

#[test]
fn whoever_holds_it_is_released() {
    let medium = medium();
    let (mut rig, mut other) = (Rig::new(&medium), Rig::new(&medium));
    let free = rig.ask(Ask::ReleaseAny(key("a"), Cause::Client));
    rig.run();
    assert_eq!(rig.outcome(free), Some(&Outcome::NotHeld));
    // Another sidecar's claim that this one has not read yet.
    other.ask(take("a", "v"));
    other.run();
    let blind = rig.ask(Ask::ReleaseAny(key("a"), Cause::Client));
    rig.run();
    assert_eq!(rig.outcome(blind), Some(&Outcome::Released));
    assert!(rig.fold.is_empty() && !rig.committer.is_releasing(&key("a")));
    // Two in one group: the second finds it free.
    rig.ask(take("a", "w"));
    rig.run();
    let both = [0; 2].map(|_| rig.ask(Ask::ReleaseAny(key("a"), Cause::Client)));
    rig.run();
    assert_eq!(
        both.map(|t| rig.outcome(t).cloned().unwrap()),
        [Outcome::Released, Outcome::NotHeld]
    );
}

#[test]
fn a_value_is_released_only_while_it_holds() {
    let medium = medium();
    let (mut rig, mut other) = (Rig::new(&medium), Rig::new(&medium));
    let value = |value: &str| {
        let (stored, cause) = (value.as_bytes().into(), Cause::Client);
        Ask::ReleaseValue { key: key("a"), stored, other: None, cause, fence: None }
    };
    // A claim that this one has not read yet; then a value that holds no more, though another does.
    other.ask(take("a", "v"));
    other.run();
    let blind = rig.ask(value("v"));
    rig.run();
    other.ask(take("a", "w"));
    other.run();
    let late = rig.ask(value("v"));
    rig.run();
    let [blind, late] = [blind, late].map(|t| rig.outcome(t).cloned().unwrap());
    assert_eq!((blind, late), (Outcome::Released, Outcome::NotHeld));
    assert_eq!(&*rig.fold.holder(&key("a")).unwrap().claim.stored, b"w");
    assert!(!rig.committer.is_releasing(&key("a")));
}

#[test]
fn a_holder_that_has_run_out_ends_with_the_next_claim() {
    let mut rig = Rig::new(&medium());
    let ttl = |value, at_ms, expires| {
        let claim = Claim { at_ms, expires_at_ms: Some(expires), ..claim("a", value) };
        Ask::ClaimExpiring(claim)
    };
    let first = rig.ask(ttl("v", 0, 100));
    rig.run();
    let early = rig.ask(ttl("w", 1_100, 9_000));
    rig.run();
    let late = rig.ask(ttl("x", 1_101, 9_000));
    rig.run();
    won(rig.outcome(first));
    assert!(matches!(rig.outcome(early), Some(Outcome::Lost { .. })), "clocks may be apart");
    assert_eq!(rig.fold.holder(&key("a")).unwrap().at, won(rig.outcome(late)));
}

#[test]
fn notes_ride_along_and_a_silent_log_says_that_it_lives() {
    let mut rig = Rig::new(&medium());
    let holder = rig.ask(take("a", "v"));
    rig.run();
    let heard = Ask::Heard(key("a"), won(rig.outcome(holder)));
    rig.committer.submit(Asker::Nobody, vec![heard]).unwrap();
    let written = rig.rows();
    rig.pass(Timing::default().poll);
    assert_eq!((rig.rows(), rig.fold.holder(&key("a")).unwrap().heard), (written, false));
    rig.ask(take("b", "v"));
    rig.run();
    assert_eq!((rig.rows(), rig.fold.holder(&key("a")).unwrap().heard), (written + 2, true));
    rig.pass(Timing::default().heartbeat);
    assert_eq!(rig.store.medium().rows().last().unwrap().entry, Entry::Heartbeat);
}

#[test]
fn others_are_read_within_the_poll() {
    let medium = medium();
    let (mut rig, mut other) = (Rig::new(&medium), Rig::new(&medium));
    other.ask(take("a", "v"));
    other.run();
    assert!(rig.fold.is_empty());
    rig.pass(Timing::default().poll);
    assert_eq!(rig.fold.len(), 1);
}

#[test]
fn what_waits_is_written_before_the_end() {
    let mut rig = Rig::new(&medium());
    let ticket = rig.ask(take("a", "v"));
    rig.committer.end();
    assert!(rig.committer.submit(Asker::Nobody, vec![take("b", "v")]).is_err());
    rig.run();
    won(rig.outcome(ticket));
    assert_eq!(rig.committer.next(&rig.fold, rig.now), Step::Ended);
    assert_eq!(rig.store.medium().rows().last().unwrap().entry, Entry::End);
    assert!(rig.fold.log(1).unwrap().ended && rig.committer.waiting() == 0);
}

#[test]
fn own_rows_inside_a_snapshot_are_answered() {
    let medium = medium();
    let (mut rig, mut other) = (Rig::new(&medium), Rig::new(&medium));
    rig.store.script(Fault::Ambiguous);
    let ticket = rig.ask(take("a", "v"));
    let loser = rig.ask(take("a", "w"));
    rig.run();
    other.pass(Timing::default().poll);
    other.store.compact(&other.fold.snapshot()).unwrap();
    rig.pass(FIRST_RETRY);
    assert_eq!(won(rig.outcome(ticket)), at(1, 2));
    assert!(matches!(rig.outcome(loser), Some(Outcome::Lost { holder: Some(_) })));
}

#[test]
fn the_queue_is_bounded() {
    let mut rig = Rig::new(&medium());
    let many = || vec![Ask::Degraded; QUEUE_ROWS / 2];
    rig.committer.submit(Asker::Nobody, many()).unwrap();
    rig.committer.submit(Asker::Nobody, many()).unwrap();
    assert_eq!(rig.committer.submit(Asker::Nobody, many()), Err(Unavailable::Full));
    rig.run();
    rig.ask(Ask::Degraded);
    assert_eq!(rig.rows(), 1 + QUEUE_ROWS);
}
