//! A pass that follows Redis on keys of an observed rule.

use std::time::Duration;

use super::*;
use crate::ledger::Cause;

/// A rule that is observed.
fn observed() -> Policy {
    let rule = Rule { observe: true, ..Rule::new("r", vec![Glob::new(b"lock:*")]) };
    let (guarantee, conflict) = (Guarantee::Strict, Conflict::Ledger);
    Policy { guarantee, conflict, rules: Arc::new(Rules::new(vec![rule])), ..policy() }
}

/// The ledger, Redis, and what was seen of them.
#[derive(Default)]
struct Stage {
    book: Book,
    store: RefCell<Store>,
    signs: Signs,
    revisits: Vec<(LockKey, u64)>,
}

impl Stage {
    /// One look at `key` at `ms` after so many good probes; what the ledger is told.
    fn look(&mut self, key: &LockKey, ms: u64, probes: u64) -> Vec<Ask> {
        self.look_if(true, key, ms, probes)
    }

    fn look_if(&mut self, follows: bool, key: &LockKey, ms: u64, probes: u64) -> Vec<Ask> {
        let signs = std::mem::take(&mut self.signs);
        let mut pass = Pass::of_keys(observed(), [key.clone()], Doubts::new())
            .following(Arc::new([0].into()), signs);
        pass.at(Moment { now: Duration::from_millis(ms), probes, follows });
        drive(&mut pass, &self.book, &self.store, |_, _| {});
        self.revisits = pass.take_revisits();
        self.signs = pass.take_signs();
        std::mem::take(&mut self.book.0.lock().unwrap().told)
    }

    fn observe(&self, key: &LockKey, value: &str) {
        self.store.borrow_mut().set(key, value, None);
        self.book.grant(key, value);
        self.book.0.lock().unwrap().observed.insert(key.clone());
    }
}

fn lock(name: &str) -> LockKey {
    LockKey::new(0, format!("lock:{name}").as_bytes())
}

#[test]
fn an_unknown_lock_is_taken_in_and_a_provisional_one_is_not() {
    let mut stage = Stage::default();
    let (one, two) = (lock("one"), lock("two"));
    stage.store.borrow_mut().set(&one, "a", None);
    stage.store.borrow_mut().set(&two, "a", Some(700));
    stage.look(&one, 0, 0);
    stage.look(&two, 0, 0);
    assert_eq!(stage.book.value(&one).as_deref(), Some(&b"a"[..]));
    assert_eq!(stage.book.value(&two), None);
    assert_eq!(stage.revisits, [(two, 700)]);
}

/// Not at the first look, not soon after it, and not before Redis has taken a write since.
#[test]
fn an_observed_lock_ends_at_the_second_look() {
    let mut stage = Stage::default();
    let key = lock("a");
    stage.observe(&key, "a");
    let at = stage.book.holder(&key).unwrap().at;
    assert_eq!(stage.look(&key, 0, 10), []);
    stage.store.borrow_mut().0.clear();
    assert_eq!(stage.look(&key, 100, 10), []);
    assert_eq!(stage.look(&key, 400, 12), [], "too soon");
    assert_eq!(stage.look(&key, 700, 11), [], "a probe may have begun before the first look");
    assert_eq!(stage.look(&key, 800, 12), [Ask::Release(key.clone(), at, Cause::Vanished)]);
    assert!(stage.store.borrow().0.is_empty(), "nothing was put back");
}

#[test]
fn what_was_seen_before_says_nothing_after_an_outage_or_a_long_time() {
    let mut stage = Stage::default();
    let key = lock("a");
    stage.observe(&key, "a");
    stage.store.borrow_mut().0.clear();
    assert_eq!(stage.look(&key, 0, 0), []);
    assert_eq!(stage.look(&key, 25_000, 50), [], "too long ago");
    // Not followed: it is lost, and put back.
    assert_eq!(stage.look_if(false, &key, 25_600, 52), []);
    assert_eq!(stage.store.borrow().value(&key).as_deref(), Some(&b"a"[..]));
    stage.store.borrow_mut().0.clear();
    assert_eq!(stage.look(&key, 26_000, 60), []);
    assert_eq!(stage.look(&key, 26_600, 62).len(), 1);
}

#[test]
fn a_granted_lock_is_put_back_after_its_time() {
    let mut stage = Stage::default();
    let key = lock("a");
    stage.book.grant(&key, "a");
    for (ms, is_there) in [(0, false), (2_900, false), (3_000, true)] {
        assert_eq!(stage.look(&key, ms, ms), []);
        assert_eq!(stage.store.borrow().value(&key).is_some(), is_there, "{ms}");
    }
    // Released in the meantime: the ledger has it at the second look.
    let key = lock("b");
    stage.book.grant(&key, "b");
    assert_eq!(stage.look(&key, 5_000, 5_000), []);
    stage.book.release(&key);
    assert_eq!(stage.look(&key, 9_000, 9_000), []);
    assert_eq!(stage.store.borrow().value(&key), None);
}

/// A released value that stands there anew is the next lock of its owner.
#[test]
fn a_dead_value_is_a_lock_again() {
    let stage = Stage::default();
    let key = lock("a");
    stage.book.grant(&key, "a");
    stage.book.release(&key);
    stage.store.borrow_mut().set(&key, "a", None);
    let signs = Signs::default().with_changed([key.clone()]);
    let mut pass = Pass::of_keys(observed(), [key.clone()], Doubts::new())
        .following(Arc::new([0].into()), signs);
    pass.at(Moment { now: Duration::ZERO, probes: 0, follows: true });
    let told = |pass: &mut Pass| loop {
        match pass.next(&stage.book, NOW) {
            Step::Ask(command) => {
                assert!(!command.is_repair(), "it is not deleted");
                let answer = stage.store.borrow_mut().answer(&command);
                pass.answer(answer, &stage.book);
            }
            Step::Tell(asks) => {
                return matches!(&asks[..], [Ask::Observe(claim)] if claim.is_anew());
            }
            step => panic!("{step:?}"),
        }
    };
    assert!(!told(&mut pass), "the ledger is asked first");
    assert_eq!(pass.next(&stage.book, NOW), Step::Later);
    pass.at(Moment { now: Duration::from_secs(2), probes: 4, follows: true });
    pass.again();
    assert!(told(&mut pass));
}

#[test]
fn no_more_locks_than_there_may_be() {
    let stage = Stage::default();
    for number in 0..ROOM - 3 {
        stage.book.grant(&LockKey::new(1, number.to_string().as_bytes()), "x");
    }
    let keys: Vec<_> = (0..250).map(|number| lock(&number.to_string())).collect();
    for key in &keys {
        stage.store.borrow_mut().set(key, "a", None);
    }
    let mut pass = Pass::of_keys(observed(), keys.clone(), Doubts::new())
        .following(Arc::new([0].into()), Signs::default());
    pass.at(Moment { now: Duration::ZERO, probes: 0, follows: true });
    drive(&mut pass, &stage.book, &stage.store, |_, _| {});
    assert_eq!(stage.book.room(), 0);
    let notes = pass.take_notes();
    assert_eq!(notes.iter().filter(|note| **note == Note::TooMany).count(), 1);
}

/// A rule, or a database, that is not observed.
#[test]
fn other_keys_are_not_followed() {
    let mut stage = Stage::default();
    let key = LockKey::new(1, b"lock:a");
    stage.observe(&key, "a");
    stage.store.borrow_mut().0.clear();
    assert_eq!(stage.look(&key, 0, 0), []);
    assert_eq!(stage.store.borrow().value(&key).as_deref(), Some(&b"a"[..]), "it is put back");
}

/// The lock is released while it is being put back: what this pass has put there is nobody's lock.
#[test]
fn what_a_pass_has_put_back_too_late_is_deleted() {
    let mut stage = Stage::default();
    let key = lock("a");
    stage.book.grant(&key, "a");
    assert_eq!(stage.look(&key, 0, 0), []);
    let mut pass = Pass::of_keys(observed(), [key.clone()], Doubts::new())
        .following(Arc::new([0].into()), std::mem::take(&mut stage.signs));
    pass.at(Moment { now: Duration::from_secs(4), probes: 9, follows: true });
    drive(&mut pass, &stage.book, &stage.store, |_, command| {
        if command.is_repair() {
            stage.book.release(&key);
        }
    });
    assert_eq!(stage.store.borrow().value(&key), None);
}

/// A sidecar that can't reach Redis has released it: nothing has changed there, and the value is to
/// be deleted.
#[test]
fn a_dead_value_that_was_there_all_the_time_is_deleted() {
    let mut stage = Stage::default();
    let key = lock("a");
    stage.observe(&key, "a");
    assert_eq!(stage.look(&key, 0, 0), []);
    stage.book.release(&key);
    assert_eq!(stage.look(&key, 100, 1), []);
    assert!(stage.store.borrow().value(&key).is_some(), "not at the first look");
    assert_eq!(stage.look(&key, 1700, 5), []);
    assert_eq!(stage.store.borrow().value(&key), None);
    // It was seen to be gone: what comes now is its owner's next lock.
    assert_eq!(stage.look(&key, 1800, 5), []);
    stage.store.borrow_mut().set(&key, "a", None);
    assert_eq!(stage.look(&key, 1900, 5), []);
    assert_eq!(stage.look(&key, 4000, 9), []);
    assert!(stage.store.borrow().value(&key).is_some());
}

/// The ledger has the claim, and its client's session is about to take the TTL off.
#[test]
fn an_acquire_is_left_to_end_by_itself() {
    let mut stage = Stage::default();
    let key = lock("a");
    stage.book.grant(&key, "a");
    stage.store.borrow_mut().set(&key, "a", Some(9_000));
    let ttl = |stage: &Stage| stage.store.borrow().0.get(&key).and_then(|(_, ttl)| *ttl);
    assert_eq!(stage.look(&key, 0, 0), []);
    assert!(ttl(&stage).is_some());
    assert_eq!(stage.look(&key, 2000, 4), []);
    assert_eq!(ttl(&stage), None);
}
