//! Claims of runs that died before they said whether they have won: who may be told what.

use super::*;

fn unordered() -> Arc<Mutex<Medium>> {
    Arc::new(Mutex::new(Medium::unordered()))
}

/// Writes what is due, and never hears of it: as one that dies then.
fn writes_and_dies(mut rig: Rig, asks: &[Ask]) {
    for ask in asks {
        rig.ask(ask.clone());
    }
    let Step::Exchange(rows) = rig.committer.next(&rig.fold, rig.now) else { panic!() };
    rig.store.exchange(&rows).unwrap();
}

/// Time passes in which something is read, and written where that is due.
fn later(rig: &mut Rig) {
    rig.pass(Duration::from_secs(30));
}

fn values(rig: &Rig, name: &str) -> Vec<String> {
    let of_key = rig.committer.contested().get(&key(name)).into_iter().flatten();
    of_key.map(|holder| String::from_utf8(holder.claim.stored.to_vec()).unwrap()).collect()
}

fn shown(rig: &Rig) -> Vec<Position> {
    rig.committer.left.shown.keys().copied().collect()
}

#[test]
fn of_two_claims_that_nobody_decided_a_newcomer_can_not_say_which_came_first() {
    let medium = unordered();
    let (one, two) = (Rig::new(&medium), Rig::new(&medium));
    let mut witness = Rig::new(&medium);
    writes_and_dies(one, &[take("a", "v"), take("b", "v")]);
    later(&mut witness);
    writes_and_dies(two, &[take("a", "w"), take("c", "w")]);
    later(&mut witness);
    // It has seen one without the other, so the other has met it.
    assert_eq!(values(&witness, "a"), [""; 0]);
    assert_eq!(witness.committer.left.shown[&at(1, 2)], key("a"));
    let mut newcomer = Rig::new(&medium);
    newcomer.run();
    assert_eq!(values(&newcomer, "a"), ["v", "w"]);
    assert_eq!((values(&newcomer, "b"), values(&newcomer, "c")), (vec![], vec![]));
    assert_eq!(shown(&newcomer).len(), 3, "each lock is held by somebody");
    // Later it still can't.
    later(&mut newcomer);
    assert_eq!(values(&newcomer, "a"), ["v", "w"]);
    // One is released: then it is the other's.
    newcomer.ask(Ask::Release(key("a"), at(1, 2), Cause::Client));
    newcomer.run();
    assert_eq!(values(&newcomer, "a"), [""; 0]);
    assert_eq!(newcomer.committer.left.shown.get(&at(2, 2)), Some(&key("a")));
}

/// A reading that writes nothing may lag: it is no witness.
#[test]
fn who_has_only_read_one_without_the_other_is_no_witness() {
    let medium = unordered();
    let (one, two) = (Rig::new(&medium), Rig::new(&medium));
    let mut reader = Rig::new(&medium);
    writes_and_dies(one, &[take("a", "v")]);
    reader.pass(Duration::from_secs(2));
    assert_eq!((shown(&reader).len(), values(&reader, "a")), (1, vec![]));
    writes_and_dies(two, &[take("a", "w")]);
    reader.pass(Duration::from_secs(2));
    assert_eq!(values(&reader, "a"), ["v", "w"]);
}

#[test]
fn claims_of_one_value_or_of_one_log_are_not_contested() {
    let medium = unordered();
    let (one, two) = (Rig::new(&medium), Rig::new(&medium));
    writes_and_dies(one, &[take("a", "v")]);
    writes_and_dies(two, &[take("a", "v")]);
    let mut newcomer = Rig::new(&medium);
    newcomer.run();
    assert_eq!(values(&newcomer, "a"), [""; 0]);
    // The second entry of one log has met the first.
    let medium = unordered();
    drop(Rig::new(&medium));
    let claims = [(2, "v"), (3, "w")].map(|(seq, value)| Row {
        at: at(1, seq),
        entry: Entry::Claim(Claim { at_ms: 9 - seq, ..claim("a", value) }),
    });
    medium.lock().unwrap().write(&claims);
    let mut newcomer = Rig::new(&medium);
    newcomer.run();
    assert_eq!((values(&newcomer, "a"), shown(&newcomer)), (vec![], vec![at(1, 2)]));
}

#[test]
fn what_is_decided_after_all_is_not_contested() {
    let medium = unordered();
    let (mut one, two) = (Rig::new(&medium), Rig::new(&medium));
    writes_and_dies(two, &[take("a", "w")]);
    // It lives, and is about to say that it has lost.
    let ask = one.ask(take("a", "v"));
    let Step::Exchange(rows) = one.committer.next(&one.fold, one.now) else { panic!() };
    one.finish(&rows);
    let mut newcomer = Rig::new(&medium);
    newcomer.run();
    assert_eq!(values(&newcomer, "a"), ["v", "w"]);
    one.run();
    assert!(matches!(one.outcome(ask), Some(Outcome::Lost { .. })));
    later(&mut newcomer);
    assert_eq!((values(&newcomer, "a"), shown(&newcomer)), (vec![], vec![at(2, 2)]));
}
