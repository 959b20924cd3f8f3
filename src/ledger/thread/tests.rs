//! The thread: who is told what in which order, a store that hangs, fails or does not fit.

use super::*;
use crate::ledger::Outcome;
use crate::ledger::entry::Cause;
use crate::ledger::memory::{Fault, Gate, Medium, Memory};
use crate::ledger::sqlite::Sqlite;
use crate::ledger::testing::{claim, key, start};

const LONG: Duration = Duration::from_secs(30);

/// Hears everything that a ledger tells, in its order.
#[derive(Default)]
struct Ears(Mutex<Vec<Heard>>, Condvar);

#[derive(Debug, Clone, PartialEq)]
enum Heard {
    Told(usize, Told),
    Reset(usize),
    Held(LockKey),
    Freed(LockKey),
    Doubted(LockKey),
    Turned(LockKey, bool),
    Answer(usize, Answer),
}

impl Ears {
    fn hear(&self, heard: Heard) {
        self.0.lock().unwrap().push(heard);
        self.1.notify_all();
    }

    /// Everything, once this ticket is answered.
    fn answered(&self, ticket: Ticket) -> (Vec<Heard>, Outcome) {
        let is = |heard: &Heard| matches!(heard, Heard::Answer(_, a) if a.ticket == ticket);
        let all = self.0.lock().unwrap();
        let waited = self.1.wait_timeout_while(all, LONG, |all| !all.iter().any(is)).unwrap();
        assert!(!waited.1.timed_out(), "no answer");
        let Some(Heard::Answer(_, answer)) = waited.0.iter().find(|heard| is(heard)) else {
            unreachable!()
        };
        (waited.0.clone(), answer.outcomes[0].clone())
    }
}

impl Post for Ears {
    fn deliver(&self, worker: usize, answers: Vec<((usize, u32), Answer)>) {
        answers.into_iter().for_each(|(_, answer)| self.hear(Heard::Answer(worker, answer)));
    }

    fn tell(&self, worker: usize, _: (usize, u32), told: Told) {
        self.hear(Heard::Told(worker, told));
    }
}

impl Watcher for Ears {
    fn doubted(&self, key: &LockKey) {
        self.hear(Heard::Doubted(key.clone()));
    }

    fn turned(&self, holder: &Arc<Holder>, lives: bool) {
        self.hear(Heard::Turned(holder.claim.key.clone(), lives));
    }

    fn held(&self, holder: &Arc<Holder>, _: bool) {
        self.hear(Heard::Held(holder.claim.key.clone()));
    }

    fn over(&self, _: &LockKey, _: u64) {}

    fn freed(&self, key: &LockKey, _: Position) {
        self.hear(Heard::Freed(key.clone()));
    }

    fn reset(&self, holders: &[Arc<Holder>], _: &BTreeSet<u64>) {
        self.hear(Heard::Reset(holders.len()));
    }
}

fn started(store: impl Store + 'static) -> (Ledger, Arc<Ears>) {
    let ears = Arc::new(Ears::default());
    let settings = Settings { stall_after: Duration::ZERO, ..Settings::new(start()) };
    let ledger = Ledger::start(settings, Box::new(store), ears.clone(), ears.clone()).unwrap();
    (ledger, ears)
}

fn medium() -> Arc<Mutex<Medium>> {
    Arc::new(Mutex::new(Medium::ordered()))
}

fn take(ledger: &Ledger, name: &str) -> Ticket {
    ledger.submit(Asker::Nobody, vec![]).unwrap();
    take_alone(ledger, name)
}

/// The same with no exchange of its own before.
fn take_alone(ledger: &Ledger, name: &str) -> Ticket {
    let asks = vec![Ask::Claim(claim(name, "v"))];
    let asker = Asker::Session(7, (1, 1));
    // A store that works for a moment is no trouble here.
    let until = std::time::Instant::now() + LONG;
    let mut tries = std::iter::repeat_with(|| ledger.submit(asker, asks.clone()))
        .take_while(|_| std::time::Instant::now() < until);
    tries.find_map(Result::ok).expect("it answers at last")
}

#[test]
fn the_watcher_is_told_before_the_answer_and_all_locks_before_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let (ledger, ears) = started(Sqlite::new(&path));
    let ticket = take(&ledger, "a");
    let (heard, outcome) = ears.answered(ticket);
    let Outcome::Won { claim: place, .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!(heard[..2], [Heard::Reset(0), Heard::Held(key("a"))]);
    assert!(matches!(heard[2], Heard::Answer(7, _)));
    assert!(ledger.is_own(place) && ledger.holder(&key("a")).is_some());
    assert_eq!(ledger.history(&key("a"), 5).unwrap().len(), 1);
    ledger.stop(LONG).unwrap();

    let (ledger, ears) = started(Sqlite::new(&path));
    assert_eq!(*ears.0.lock().unwrap(), [Heard::Reset(1)]);
    assert!(!ledger.is_own(place) && ledger.holders().len() == 1);
    let asks = vec![Ask::Release(key("a"), place, Cause::Operator)];
    ledger.submit(Asker::Nobody, asks).unwrap();
    ledger.stop(LONG).unwrap();
    assert!(ears.0.lock().unwrap().contains(&Heard::Freed(key("a"))));
    assert!(ledger.submit(Asker::Nobody, vec![]).is_err());
}

#[test]
fn a_store_that_hangs_is_trouble_while_it_does() {
    let gate = Gate::default();
    let script = vec![Fault::None, Fault::None, Fault::Hangs(gate.clone())];
    let (ledger, ears) = started(Memory::with_faults(medium(), script));
    // The exchange that hangs is this one's.
    let ticket = take_alone(&ledger, "a");
    gate.wait_for_a_visitor();
    while ledger.trouble().is_none() {
        std::thread::yield_now();
    }
    let refused = ledger.submit(Asker::Session(0, (1, 1)), vec![]);
    assert!(matches!(refused, Err(Unavailable::NotAnswering(_))));
    assert!(ledger.stop(Duration::ZERO).is_err_and(|left| left.waiting > 0));
    gate.open();
    ears.answered(ticket);
}

#[test]
fn a_store_that_fails_at_the_start_is_tried_again() {
    let script = vec![Fault::Refused, Fault::Ambiguous, Fault::None, Fault::Lost];
    let (ledger, ears) = started(Memory::with_faults(medium(), script));
    let ticket = take(&ledger, "a");
    assert_eq!(ears.answered(ticket).0[0], Heard::Reset(0));
    assert!(ledger.log().is_some());
    ledger.stop(LONG).unwrap();
}

#[test]
fn other_terms_are_an_error_of_the_start() {
    let medium = medium();
    medium.lock().unwrap().open(&Start { namespace: "other".into(), ..start() }).unwrap();
    let ears = Arc::new(Ears::default());
    let store = Box::new(Memory::new(medium));
    let started = Ledger::start(Settings::new(start()), store, ears.clone(), ears);
    assert!(matches!(started, Err(OpenError::Mismatch(_))));
}
