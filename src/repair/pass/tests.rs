//! A pass against a Redis and a ledger that are maps, which change whenever they like.

use std::cell::RefCell;

use super::super::Standing;
use super::super::command::Body;
use super::*;
use crate::lock::envelope::scripts;
use crate::lock::rule::{Glob, Rule};

const NOW: u64 = 1_000_000;
/// More locks than any other test has.
const ROOM: usize = 20_000;

mod follow;
mod supersede;

/// The ledger. A test is one thread; the lock is for the trait.
#[derive(Default)]
struct Book(std::sync::Mutex<Pages>);

#[derive(Default)]
struct Pages {
    holders: BTreeMap<LockKey, Arc<Holder>>,
    dead: BTreeSet<(LockKey, Vec<u8>)>,
    releasing: BTreeSet<LockKey>,
    observed: BTreeSet<LockKey>,
    unheard: BTreeMap<LockKey, u64>,
    /// What it was told beside observations.
    told: Vec<Ask>,
    last: u64,
}

impl Book {
    fn grant(&self, key: &LockKey, stored: &str) {
        let mut pages = self.0.lock().unwrap();
        pages.last += 1;
        let at = Position { log: 1, seq: pages.last };
        let claim = Claim {
            key: key.clone(),
            stored: stored.as_bytes().into(),
            other: None,
            rule: "r".into(),
            client: "c".into(),
            at_ms: 0,
            asked_ttl_ms: None,
            expires_at_ms: None,
            marker: None,
        };
        let holder = Holder { at, claim, fence: at.seq, heard: true };
        pages.holders.insert(key.clone(), Arc::new(holder));
    }

    fn release(&self, key: &LockKey) {
        let mut pages = self.0.lock().unwrap();
        if let Some(holder) = pages.holders.remove(key) {
            pages.dead.insert((key.clone(), holder.claim.stored.to_vec()));
        }
    }

    fn value(&self, key: &LockKey) -> Option<Vec<u8>> {
        self.holder(key).map(|holder| holder.claim.stored.to_vec())
    }
}

impl Truth for Book {
    fn holder(&self, key: &LockKey) -> Option<Arc<Holder>> {
        self.0.lock().unwrap().holders.get(key).cloned()
    }

    fn standing(&self, key: &LockKey, stored: &[u8]) -> Standing {
        if self.value(key).is_some_and(|held| held == stored) {
            return Standing::Holder;
        }
        let dead = self.0.lock().unwrap().dead.contains(&(key.clone(), stored.to_vec()));
        if dead { Standing::Dead } else { Standing::Unknown }
    }

    fn is_releasing(&self, key: &LockKey) -> bool {
        self.0.lock().unwrap().releasing.contains(key)
    }

    fn is_observed(&self, key: &LockKey, _claim: Position) -> bool {
        self.0.lock().unwrap().observed.contains(key)
    }

    fn unheard_since(&self, key: &LockKey) -> Option<u64> {
        self.0.lock().unwrap().unheard.get(key).copied()
    }

    fn room(&self) -> usize {
        ROOM - self.0.lock().unwrap().holders.len()
    }

    fn holders(&self) -> Vec<Arc<Holder>> {
        self.0.lock().unwrap().holders.values().cloned().collect()
    }
}

/// Strings with or without a TTL.
#[derive(Default)]
struct Store(BTreeMap<LockKey, (Vec<u8>, Option<u64>)>, i64);

impl Store {
    fn set(&mut self, key: &LockKey, value: &str, ttl: Option<u64>) {
        self.0.insert(key.clone(), (value.as_bytes().to_vec(), ttl));
    }

    fn value(&self, key: &LockKey) -> Option<Vec<u8>> {
        self.0.get(key).map(|(value, _)| value.clone())
    }

    fn answer(&mut self, command: &Command) -> Answer {
        match &command.body {
            Body::Script { script, keys, .. } if script.sha == scripts::LOOK.sha => {
                let look = |key: &Vec<u8>| match self.0.get(&LockKey::new(command.db, key)) {
                    None => Found::Missing,
                    Some((stored, ttl_ms)) => {
                        Found::Value { stored: stored.clone(), ttl_ms: *ttl_ms }
                    }
                };
                // As Redis does where what stands there is large.
                Answer::Found(keys.iter().take(7).map(look).collect())
            }
            Body::Script { script, .. } if script.sha == scripts::COUNTER.sha => {
                Answer::Marks(vec![self.1])
            }
            Body::Script { script, keys, args } => {
                let places = keys.iter().enumerate();
                let mark = |(at, key): (usize, &Vec<u8>)| {
                    let columns: Vec<_> = args.iter().skip(at).step_by(keys.len()).collect();
                    self.apply(&script.sha, &LockKey::new(command.db, key), &columns)
                };
                Answer::Marks(places.map(mark).collect())
            }
            Body::Scan { cursor, pattern } => {
                let glob = Glob::new(pattern);
                // Four steps, each for the keys of its own quarter, whatever comes and goes.
                let quarter = |key: &LockKey| {
                    key.key().iter().map(|byte| u64::from(*byte)).sum::<u64>() % 4 == *cursor
                };
                let of_db = self.0.keys().filter(|key| key.db() == command.db && quarter(key));
                let matching = of_db.filter(|key| glob.matches(key.key()));
                Answer::Scanned {
                    cursor: (cursor + 1) % 4,
                    keys: matching.map(|key| key.key().to_vec()).collect(),
                }
            }
        }
    }

    fn apply(&mut self, sha: &[u8; 40], key: &LockKey, columns: &[&Vec<u8>]) -> i64 {
        let there = self.value(key);
        if *sha == scripts::SET_MISSING.sha {
            assert!(columns[2].is_empty(), "no test has ttl rules");
            let value = columns[1].strip_prefix(b"s").unwrap().to_vec();
            return match there {
                Some(_) => 0,
                None => {
                    self.0.insert(key.clone(), (value, None));
                    1
                }
            };
        }
        let guard = columns[0].strip_prefix(b"s").unwrap();
        match there {
            None => -1,
            Some(there) if there != guard => 0,
            Some(_) => {
                if *sha == scripts::COMPARE_AND_DELETE.sha {
                    self.0.remove(key);
                } else if *sha == scripts::PERSIST.sha {
                    self.0.entry(key.clone()).and_modify(|(_, ttl)| *ttl = None);
                } else {
                    assert_eq!(*sha, scripts::REPLACE.sha);
                    let value = columns[1].strip_prefix(b"s").unwrap().to_vec();
                    self.0.insert(key.clone(), (value, None));
                }
                1
            }
        }
    }
}

fn lock(name: impl ToString) -> LockKey {
    LockKey::new(0, format!("lock:{}", name.to_string()).as_bytes())
}

fn policy() -> Policy {
    let rules = Rules::new(vec![Rule::new("r", vec![Glob::new(b"lock:*")])]);
    let (guarantee, conflict) = (Guarantee::Strict, Conflict::Ledger);
    Policy { rules: Arc::new(rules), guarantee, conflict, fence_counter: b"counter".to_vec() }
}

fn full(book: &Book) -> Pass {
    Pass::full(policy(), book, &[0].into(), Doubts::new())
}

/// Drives a pass to where it waits or ends; `at_command` is called before Redis answers.
fn drive(
    pass: &mut Pass,
    book: &Book,
    store: &RefCell<Store>,
    mut at_command: impl FnMut(usize, &Command),
) -> Step {
    for step in 0..10_000 {
        match pass.next(book, NOW) {
            Step::Ask(command) => {
                at_command(step, &command);
                let answer = store.borrow_mut().answer(&command);
                pass.answer(answer, book);
            }
            Step::Tell(asks) => {
                for ask in asks {
                    let Ask::Observe(claim) = ask else {
                        book.0.lock().unwrap().told.push(ask);
                        continue;
                    };
                    let is_dead = book.standing(&claim.key, &claim.stored) == Standing::Dead;
                    if book.holder(&claim.key).is_none() && (!is_dead || claim.is_anew()) {
                        book.grant(&claim.key, std::str::from_utf8(&claim.stored).unwrap());
                    }
                }
            }
            step => return step,
        }
    }
    panic!("no end");
}

fn kinds(pass: &mut Pass) -> Vec<Kind> {
    let kind = |note| if let Note::Repaired { kind, .. } = note { Some(kind) } else { None };
    pass.take_notes().into_iter().filter_map(kind).collect()
}

#[test]
fn lost_locks_are_set_in_bounded_batches_of_one_database() {
    let (book, store) = (Book::default(), RefCell::default());
    let keys: Vec<_> =
        (0..250).map(|n| LockKey::new(n % 2, format!("lock:{n}").as_bytes())).collect();
    keys.iter().for_each(|key| book.grant(key, "v"));
    let mut pass = full(&book);
    let step = drive(&mut pass, &book, &store, |_, command| {
        if let Body::Script { keys, .. } = &command.body {
            assert!(keys.len() <= BATCH);
        }
    });
    assert_eq!(step, Step::Done(true));
    assert_eq!(kinds(&mut pass), [Kind::Set; 250]);
    assert!(keys.iter().all(|key| store.borrow().value(key).is_some()));
}

#[test]
fn what_changes_while_a_repair_is_under_way_is_seen() {
    let (book, store) = (Book::default(), RefCell::<Store>::default());
    book.grant(&lock("a"), "v");
    let mut pass = full(&book);
    let step = drive(&mut pass, &book, &store, |_, command| {
        // Released between the repair's sending and its answer.
        if matches!(&command.body, Body::Script { script, .. } if script.sha == scripts::SET_MISSING.sha)
        {
            book.release(&lock("a"));
        }
    });
    assert_eq!(step, Step::Done(true));
    assert_eq!(kinds(&mut pass), [Kind::Set, Kind::Delete]);
    assert_eq!(store.borrow().value(&lock("a")), None);
}

#[test]
fn a_release_that_redis_knew_first_is_followed() {
    for is_full in [true, false] {
        let (book, store) = (Book::default(), RefCell::<Store>::default());
        book.grant(&lock("a"), "v");
        book.grant(&lock("b"), "v");
        let keys = [lock("a"), lock("b")];
        let mut pass =
            if is_full { full(&book) } else { Pass::of_keys(policy(), keys, Doubts::new()) };
        let mut is_set = false;
        drive(&mut pass, &book, &store, |_, command| {
            // The ledger hears of it only after the repair was answered.
            if is_set && book.holder(&lock("a")).is_some() {
                book.release(&lock("a"));
            }
            is_set |= matches!(&command.body, Body::Script { script, .. } if script.sha == scripts::SET_MISSING.sha);
        });
        if !is_full {
            book.release(&lock("a"));
            pass.again();
            drive(&mut pass, &book, &store, |_, _| {});
        }
        assert_eq!(store.borrow().value(&lock("a")), None);
        assert_eq!(store.borrow().value(&lock("b")), Some(b"v".to_vec()));
    }
}

#[test]
fn anothers_provisional_key_is_waited_for() {
    let (book, store) = (Book::default(), RefCell::<Store>::default());
    book.grant(&lock("a"), "v");
    store.borrow_mut().set(&lock("a"), "other", Some(5000));
    let mut pass = full(&book);
    for _ in 0..2 {
        assert_eq!(drive(&mut pass, &book, &store, |_, _| {}), Step::Later);
        pass.again();
    }
    assert_eq!(store.borrow().value(&lock("a")), Some(b"other".to_vec()));
    store.borrow_mut().0.clear();
    assert_eq!(drive(&mut pass, &book, &store, |_, _| {}), Step::Done(true));
    assert_eq!(store.borrow().value(&lock("a")), Some(b"v".to_vec()));
}

#[test]
fn a_conflict_is_told_to_the_ledger_and_acted_on_at_the_second_look() {
    let (book, store) = (Book::default(), RefCell::<Store>::default());
    for name in ["a", "b"] {
        book.grant(&lock(name), "v");
        store.borrow_mut().set(&lock(name), "other", None);
    }
    let mut pass = full(&book);
    assert_eq!(drive(&mut pass, &book, &store, |_, _| {}), Step::Later);
    assert_eq!(kinds(&mut pass), []);
    // What was doubted turns out to be the holder.
    book.release(&lock("b"));
    book.grant(&lock("b"), "other");
    pass.again();
    assert_eq!(drive(&mut pass, &book, &store, |_, _| {}), Step::Done(true));
    assert_eq!(kinds(&mut pass), [Kind::Replace]);
    assert_eq!(store.borrow().value(&lock("a")), Some(b"v".to_vec()));
    assert_eq!(store.borrow().value(&lock("b")), Some(b"other".to_vec()));
}

#[test]
fn dead_and_unknown_values_are_found_and_other_keys_left_alone() {
    let (book, store) = (Book::default(), RefCell::<Store>::default());
    for n in 0..600 {
        book.grant(&lock(n), "old");
        book.release(&lock(n));
        store.borrow_mut().set(&lock(n), "old", None);
    }
    let page = LockKey::new(0, b"page:1");
    store.borrow_mut().set(&page, "hello", None);
    store.borrow_mut().set(&lock("unknown"), "u", None);
    store.borrow_mut().set(&lock("provisional"), "p", Some(10));
    let mut pass = full(&book);
    assert_eq!(drive(&mut pass, &book, &store, |_, _| {}), Step::Done(true));
    let left: Vec<_> = store.borrow().0.keys().cloned().collect();
    assert_eq!(left, [lock("provisional"), lock("unknown"), page]);
    assert_eq!(book.value(&lock("unknown")), Some(b"u".to_vec()));
    assert_eq!(book.holders().len(), 1);
}

#[test]
fn a_lock_won_meanwhile_is_caught_up_with() {
    let (book, store) = (Book::default(), RefCell::default());
    let mut pass = full(&book);
    drive(&mut pass, &book, &store, |step, _| {
        if step == 0 {
            book.grant(&lock("late"), "v");
        }
    });
    assert_eq!(store.borrow().value(&lock("late")), Some(b"v".to_vec()));
}

#[test]
fn a_careful_pass_looks_twice_before_it_sets() {
    let (book, store) = (Book::default(), RefCell::default());
    for name in ["lost", "released"] {
        book.grant(&lock(name), "v");
    }
    let mut pass = full(&book).carefully();
    assert_eq!(drive(&mut pass, &book, &store, |_, _| {}), Step::Later);
    book.release(&lock("released"));
    pass.again();
    assert_eq!(drive(&mut pass, &book, &store, |_, _| {}), Step::Done(true));
    assert_eq!(store.borrow().0.keys().cloned().collect::<Vec<_>>(), [lock("lost")]);
}

#[test]
fn a_release_on_its_way_is_waited_for() {
    let (book, store) = (Book::default(), RefCell::default());
    book.grant(&lock("a"), "v");
    book.0.lock().unwrap().releasing.insert(lock("a"));
    let mut pass = Pass::of_keys(policy(), [lock("a")], Doubts::new());
    assert_eq!(drive(&mut pass, &book, &store, |_, _| {}), Step::Later);
    assert!(pass.take_done().is_empty() && store.borrow().0.is_empty());
}

#[test]
fn keys_are_done_when_their_repair_is() {
    let (book, store) = (Book::default(), RefCell::<Store>::default());
    book.grant(&lock("set"), "v");
    book.grant(&lock("waits"), "v");
    store.borrow_mut().set(&lock("waits"), "other", Some(5));
    store.borrow_mut().set(&lock("adopted"), "u", None);
    let keys = ["set", "waits", "adopted", "free"].map(lock);
    let mut pass = Pass::of_keys(policy(), keys, Doubts::new());
    assert_eq!(drive(&mut pass, &book, &store, |_, _| {}), Step::Later);
    let mut done = pass.take_done();
    done.sort();
    // What was set or adopted is done when the next look sees it.
    assert_eq!(done, [lock("free")]);
    pass.again();
    assert_eq!(drive(&mut pass, &book, &store, |_, _| {}), Step::Later);
    assert_eq!(pass.take_done(), [lock("set")]);
}

#[test]
fn a_failure_ends_the_pass_and_so_does_nonsense() {
    for answer in [
        Answer::Failed("gone".into()),
        Answer::Refused("NOPERM".into()),
        Answer::Marks(vec![1]),
        Answer::Found(vec![]),
    ] {
        let book = Book::default();
        book.grant(&lock("a"), "v");
        let mut pass = full(&book);
        assert!(matches!(pass.next(&book, NOW), Step::Ask(_)));
        pass.answer(answer, &book);
        assert_eq!(pass.next(&book, NOW), Step::Done(false));
        assert!(pass.failure().is_some());
    }
}

/// Numbers that look random, the same at every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// The world goes on while a pass runs: clients take and release locks by the ledger, keys run out,
/// Redis loses some. Nothing that the pass sends takes away the holder's value; and once the world
/// stands still, one more pass leaves Redis as the ledger says.
#[test]
fn any_world_ends_as_the_ledger_says() {
    for seed in 0..400 {
        let mut dice = Dice(seed);
        let (book, store) = (Book::default(), RefCell::<Store>::default());
        for _ in 0..30 {
            change(&mut dice, &book, &mut store.borrow_mut());
        }
        let mut pass = full(&book);
        drive(&mut pass, &book, &store, |_, command| {
            if dice.roll(2) == 0 {
                change(&mut dice, &book, &mut store.borrow_mut());
            }
            let standing: Vec<_> =
                (0..6).map(lock).filter(|key| stands(&book, &store, key)).collect();
            let mut after = Store(store.borrow().0.clone(), 0);
            after.answer(command);
            for key in standing {
                assert_eq!(after.value(&key), book.value(&key), "seed {seed}: {command:?}");
            }
        });
        // The world stands still: provisional keys run out.
        store.borrow_mut().0.retain(|_, (_, ttl)| ttl.is_none());
        let mut pass = full(&book);
        if drive(&mut pass, &book, &store, |_, _| {}) == Step::Later {
            pass.again();
            assert_eq!(drive(&mut pass, &book, &store, |_, _| {}), Step::Done(true));
        }
        for key in (0..6).map(lock) {
            assert_eq!(store.borrow().value(&key), book.value(&key), "seed {seed}: {key:?}");
        }
    }
}

fn stands(book: &Book, store: &RefCell<Store>, key: &LockKey) -> bool {
    let held = book.value(key);
    held.is_some() && store.borrow().value(key) == held
}

fn change(dice: &mut Dice, book: &Book, store: &mut Store) {
    let key = lock(dice.roll(6));
    let name = format!("v{}", dice.roll(1_000_000));
    match dice.roll(7) {
        0 | 1 => {
            if book.holder(&key).is_none() {
                book.grant(&key, &name);
            }
        }
        2 => book.release(&key),
        3 => drop(store.0.remove(&key)),
        4 => store.set(&key, &name, Some(5000)),
        5 => {
            if let Some(held) = book.value(&key) {
                store.set(&key, std::str::from_utf8(&held).unwrap(), None);
            }
        }
        _ => store.set(&key, &name, None),
    }
}
