//! `fast`: a sidecar has died with a release and the next grant of one lock not written, and Redis
//! has kept its data.

use super::*;
use crate::ledger::Cause;

fn fast() -> Policy {
    Policy { guarantee: Guarantee::Fast, ..policy() }
}

/// Redis has `theirs` in the place of `ours`.
fn stage() -> (Book, RefCell<Store>) {
    let (book, store) = (Book::default(), RefCell::<Store>::default());
    book.grant(&lock("a"), "ours");
    store.borrow_mut().set(&lock("a"), "theirs", None);
    // The next after the holder's.
    store.borrow_mut().1 = 2;
    (book, store)
}

/// Plays the pass at this time; what the ledger is told, or how it waits or ends.
fn play(
    pass: &mut Pass,
    book: &Book,
    store: &RefCell<Store>,
    now_ms: u64,
) -> Result<Vec<Ask>, Step> {
    for _ in 0..1_000 {
        let step = pass.next(book, now_ms);
        for hearing in pass.take_hearings() {
            let unheard = &mut book.0.lock().unwrap().unheard;
            match hearing {
                Hearing::Unheard(key) => drop(unheard.entry(key).or_insert(now_ms)),
                Hearing::Settled(key) => drop(unheard.remove(&key)),
            }
        }
        match step {
            Step::Ask(command) => {
                let answer = store.borrow_mut().answer(&command);
                pass.answer(answer, book);
            }
            Step::Tell(asks) => return Ok(asks),
            step => return Err(step),
        }
    }
    panic!("no end");
}

#[test]
fn a_mirror_that_never_comes_is_not_waited_for() {
    let (book, store) = stage();
    let mut pass = Pass::full(fast(), &book, &[0].into(), Doubts::new());
    for now_ms in [NOW, NOW + 5_000, NOW + 9_999] {
        assert_eq!(play(&mut pass, &book, &store, now_ms), Err(Step::Later), "it may come yet");
        pass.again();
    }
    let told = play(&mut pass, &book, &store, NOW + 10_000).unwrap();
    let before = book.holder(&lock("a")).unwrap().at;
    assert_eq!(told[0], Ask::Release(lock("a"), before, Cause::Superseded));
    assert!(
        matches!(&told[..], [_, Ask::Observe(claim)] if *claim.stored == *b"theirs"),
        "{told:?}"
    );
    // The ledger follows.
    book.release(&lock("a"));
    book.grant(&lock("a"), "theirs");
    assert_eq!(play(&mut pass, &book, &store, NOW + 10_000), Err(Step::Later));
    pass.again();
    assert_eq!(play(&mut pass, &book, &store, NOW + 10_100), Err(Step::Done(true)));
    assert!(matches!(pass.take_notes()[..], [Note::Preferred { .. }]), "people are told");
}

/// The ledger gave the lock to another in an outage, and Redis comes back with what it granted before
/// that: `ours` has a fence that Redis had not come to when it granted `theirs`.
#[test]
fn an_older_grant_takes_no_holders_place() {
    let (ours, theirs) = (Some(b"ours".to_vec()), Some(b"theirs".to_vec()));
    for (counter, conflict, is_put_back) in [
        (0, Conflict::Ledger, true),
        // As old as the holder's or younger; not known; and whoever wants it otherwise.
        (1, Conflict::Ledger, false),
        (-1, Conflict::Ledger, false),
        (0, Conflict::Upstream, false),
    ] {
        let (book, store) = stage();
        store.borrow_mut().1 = counter;
        let policy = Policy { conflict, ..fast() };
        let mut pass = Pass::full(policy, &book, &[0].into(), Doubts::new());
        assert_eq!(play(&mut pass, &book, &store, NOW), Err(Step::Later), "its mirror may come");
        assert_eq!(store.borrow().value(&lock("a")), theirs);
        pass.again();
        let end = play(&mut pass, &book, &store, NOW + 10_000);
        assert_eq!(end == Err(Step::Done(true)), is_put_back, "{end:?}");
        assert_eq!(end.is_ok_and(|told| told.len() == 2), !is_put_back);
        let there = store.borrow().value(&lock("a"));
        assert_eq!(there, if is_put_back { ours.clone() } else { theirs.clone() });
        assert_eq!(book.unheard_since(&lock("a")).is_none(), is_put_back);
        let notes = pass.take_notes();
        let is_told = |note: &Note| matches!(note, Note::Repaired { conflict: true, .. });
        assert_eq!(notes.iter().any(is_told), is_put_back, "people are told: {notes:?}");
    }
}

/// A grant that comes after the question has a higher fence than the answer.
#[test]
fn the_counter_is_asked_for_anew() {
    let (book, store) = stage();
    store.borrow_mut().1 = 0;
    book.grant(&lock("b"), "ours too");
    let mut pass = Pass::full(fast(), &book, &[0].into(), Doubts::new());
    pass.alone(true);
    let mut asked = 0;
    while let Step::Ask(command) = pass.next(&book, NOW) {
        let is_counted = command == super::super::super::command::counter(b"counter");
        asked += u32::from(is_counted);
        let answer = store.borrow_mut().answer(&command);
        pass.answer(answer, &book);
        if is_counted && asked == 1 {
            store.borrow_mut().set(&lock("b"), "later", None);
            store.borrow_mut().1 = 7;
            pass.look_again(lock("b"));
        }
    }
    assert_eq!(asked, 2);
    assert_eq!(store.borrow().value(&lock("a")), Some(b"ours".to_vec()));
    assert_eq!(store.borrow().value(&lock("b")), Some(b"later".to_vec()));
}

#[test]
fn a_mirror_that_comes_is_followed() {
    let (book, store) = stage();
    let mut pass = Pass::full(fast(), &book, &[0].into(), Doubts::new());
    assert_eq!(play(&mut pass, &book, &store, NOW), Err(Step::Later));
    book.release(&lock("a"));
    book.grant(&lock("a"), "theirs");
    pass.again();
    assert_eq!(play(&mut pass, &book, &store, NOW + 60_000), Err(Step::Done(true)));
}

/// While Redis is asked first, nothing hangs on it.
#[test]
fn the_background_only_waits() {
    let (book, store) = stage();
    let mut pass = Pass::full(fast(), &book, &[0].into(), Doubts::new()).carefully();
    for now_ms in [NOW, NOW + 60_000] {
        assert_eq!(play(&mut pass, &book, &store, now_ms), Err(Step::Later));
        pass.again();
    }
}

/// What was released may be a grant by another sidecar that is still to be written: its client has taken
/// the lock again with the same token.
#[test]
fn a_dead_value_is_left_alone_while_a_grant_may_be_unwritten() {
    for is_granted in [false, true] {
        let (book, store) = (Book::default(), RefCell::<Store>::default());
        book.grant(&lock("a"), "v");
        book.release(&lock("a"));
        store.borrow_mut().set(&lock("a"), "v", None);
        let mut doubts = Doubts::new();
        for now_ms in [NOW, NOW + 1_999] {
            let mut pass = Pass::of_keys(fast(), [lock("a")], doubts);
            pass.mirrors_within(std::time::Duration::from_secs(1));
            assert_eq!(play(&mut pass, &book, &store, now_ms), Err(Step::Later));
            doubts = pass.into_doubts();
        }
        if is_granted {
            book.grant(&lock("a"), "v");
        }
        let mut pass = Pass::of_keys(fast(), [lock("a")], doubts);
        pass.mirrors_within(std::time::Duration::from_secs(1));
        assert_eq!(play(&mut pass, &book, &store, NOW + 2_000), Err(Step::Done(true)));
        assert_eq!(store.borrow().value(&lock("a")).is_some(), is_granted);
        // Nobody else can have granted it.
        if !is_granted {
            store.borrow_mut().set(&lock("a"), "v", None);
            let mut pass = Pass::of_keys(fast(), [lock("a")], Doubts::new());
            assert_eq!(play(&mut pass, &book, &store, NOW), Err(Step::Done(true)));
            assert_eq!(store.borrow().value(&lock("a")), None);
        }
    }
}

/// Until the ledger has taken what it was told, nobody is answered by it.
#[test]
fn it_is_unheard_until_the_ledger_has_it() {
    let (book, store) = stage();
    let mut pass = Pass::full(fast(), &book, &[0].into(), Doubts::new());
    pass.alone(true);
    let is_unheard = || book.unheard_since(&lock("a")).is_some();
    let told = play(&mut pass, &book, &store, NOW).unwrap();
    assert!(
        matches!(&told[..], [Ask::Release(..), Ask::Observe(_)]),
        "nobody could still write it"
    );
    assert_eq!(play(&mut pass, &book, &store, NOW), Err(Step::Later));
    assert!(is_unheard());
    book.release(&lock("a"));
    book.grant(&lock("a"), "theirs");
    assert!(is_unheard(), "nobody has looked yet");
    pass.again();
    assert_eq!(play(&mut pass, &book, &store, NOW + 100), Err(Step::Done(true)));
    assert!(!is_unheard());
}

/// A lock that the ledger has never heard of is nobody's until it has.
#[test]
fn what_is_taken_in_is_unheard_as_well() {
    let (book, store) = (Book::default(), RefCell::<Store>::default());
    store.borrow_mut().set(&lock("a"), "theirs", None);
    let mut pass = Pass::full(fast(), &book, &[0].into(), Doubts::new());
    assert!(matches!(play(&mut pass, &book, &store, NOW), Ok(told) if told.len() == 1));
    assert_eq!(play(&mut pass, &book, &store, NOW), Err(Step::Later));
    assert!(book.unheard_since(&lock("a")).is_some());
    book.grant(&lock("a"), "theirs");
    pass.again();
    assert_eq!(play(&mut pass, &book, &store, NOW + 100), Err(Step::Done(true)));
    assert_eq!(book.unheard_since(&lock("a")), None);
    // A ledger that takes nothing keeps Redis from nobody for ever.
    book.release(&lock("a"));
    store.borrow_mut().set(&lock("a"), "another", None);
    let mut pass = Pass::full(fast(), &book, &[0].into(), Doubts::new());
    assert!(play(&mut pass, &book, &store, NOW).is_ok());
    assert_eq!(play(&mut pass, &book, &store, NOW), Err(Step::Later));
    pass.again();
    assert!(play(&mut pass, &book, &store, NOW + 10_000).is_ok());
    assert_eq!(play(&mut pass, &book, &store, NOW + 10_000), Err(Step::Done(true)));
}

/// A sidecar that serves the lock while it is repaired waits as long, and not for ever.
#[test]
fn a_pass_over_given_keys_ends_it_too() {
    let (book, store) = stage();
    let round = |now_ms| {
        let mut pass = Pass::of_keys(fast(), [lock("a")], Doubts::new());
        play(&mut pass, &book, &store, now_ms)
    };
    assert_eq!(round(NOW), Err(Step::Later));
    assert_eq!(round(NOW + 9_999), Err(Step::Later));
    let told = round(NOW + 10_000).unwrap();
    assert!(matches!(&told[..], [Ask::Release(..), Ask::Observe(_)]), "{told:?}");
}
