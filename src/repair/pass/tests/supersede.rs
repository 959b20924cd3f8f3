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
