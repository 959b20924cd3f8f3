//! Every input of the table, and what must hold for each.

use super::*;

const VALUES: [&[u8]; 2] = [b"A", b"B"];
/// Two contents with a field in common, one that has nothing of them, two that are known by their digests
/// alone, and one that is not known.
const GUARDS: [&[u8]; 6] = [
    b"0:h1:f1:1",
    b"0:h1:f1:2",
    b"0:h1:g1:1",
    LARGE,
    b"0:#hcafecafecafecafecafecafecafecafecafecafe",
    b"0:",
];
const LARGE: &[u8] = b"0:#hda39a3ee5e6b4b0d3255bfef95601890afd80709";
const TTLS: [Option<u64>; 3] = [None, Some(10), Some(100_000)];
const LEFT: [Left; 4] = [Left::Forever, Left::Ms(10), Left::Ms(60_000), Left::RunOut];
const STANDINGS: [Standing; 4] =
    [Standing::Holder, Standing::Dead, Standing::Disputed, Standing::Unknown];

fn all_found() -> Vec<Found> {
    let mut all = vec![Found::Missing];
    for ttl_ms in TTLS {
        all.extend(VALUES.map(|value| Found::Value { stored: value.to_vec(), ttl_ms }));
        all.extend(GUARDS.map(|guard| Found::Other { guard: guard.to_vec(), ttl_ms }));
    }
    all
}

fn all_holders() -> Vec<Option<Hold<'static>>> {
    let mut all = vec![None];
    for left in LEFT {
        all.extend(VALUES.map(|value| Some(Hold { what: Guard::Value(value), left })));
        all.extend(GUARDS.map(|guard| Some(Hold { what: Guard::Other(guard), left })));
    }
    all
}

fn all_terms() -> Vec<(Terms, bool)> {
    let mut all = Vec::new();
    for persistent in [true, false] {
        for guarantee in [Guarantee::Strict, Guarantee::Fast] {
            for (conflict, is_asked) in [
                (Conflict::Ledger, true),
                (Conflict::Ledger, false),
                (Conflict::Upstream, true),
                (Conflict::Upstream, false),
            ] {
                let terms = Terms { persistent, guarantee, conflict, is_asked };
                all.extend([(terms, false), (terms, true)]);
            }
        }
    }
    all
}

/// Calls `check` with every input; gives how many there were.
fn for_all(mut check: impl FnMut(&Found, Says<'_>, Terms)) -> usize {
    let mut count = 0;
    for found in all_found() {
        for holder in all_holders() {
            for value in STANDINGS {
                for (terms, releasing) in all_terms() {
                    check(&found, Says { holder, value, releasing }, terms);
                    count += 1;
                }
            }
        }
    }
    count
}

fn guard_of(found: &Found) -> Option<Guard<'_>> {
    match found {
        Found::Missing => None,
        Found::Value { stored, .. } => Some(Guard::Value(stored)),
        Found::Other { guard, .. } => Some(Guard::Other(guard)),
    }
}

fn ttl_of(found: &Found) -> Option<u64> {
    match found {
        Found::Missing => None,
        Found::Value { ttl_ms, .. } | Found::Other { ttl_ms, .. } => *ttl_ms,
    }
}

/// What a repair makes of what it was planned for.
fn after(found: &Found, repair: Repair<'_>) -> Found {
    let with_ttl = |ttl_ms| match found.clone() {
        Found::Missing => Found::Missing,
        Found::Value { stored, .. } => Found::Value { stored, ttl_ms },
        Found::Other { guard, .. } => Found::Other { guard, ttl_ms },
    };
    match repair {
        Repair::Delete(_) => Found::Missing,
        Repair::Set { what, ttl_ms } | Repair::Replace { ours: what, ttl_ms, .. } => match what {
            Guard::Value(stored) => Found::Value { stored: stored.to_vec(), ttl_ms },
            Guard::Other(guard) => Found::Other { guard: guard.to_vec(), ttl_ms },
        },
        Repair::Persist(_) => with_ttl(None),
        Repair::Lengthen { ttl_ms, .. } => with_ttl(Some(ttl_ms)),
        Repair::Adopt(_) | Repair::Follow(_) | Repair::Prefer(_) => found.clone(),
    }
}

/// What the ledger says afterwards.
fn says_after<'a>(says: Says<'a>, found: &Found, repair: Repair<'a>) -> Says<'a> {
    let holder = match repair {
        Repair::Adopt(what) => Some(Hold { what, left: Left::Forever }),
        Repair::Follow(mark) => says.holder.map(|hold| Hold { what: Guard::Other(mark), ..hold }),
        Repair::Prefer(stored) => Some(Hold { what: Guard::Value(stored), left: Left::Forever }),
        Repair::Delete(_)
        | Repair::Set { .. }
        | Repair::Persist(_)
        | Repair::Lengthen { .. }
        | Repair::Replace { .. } => says.holder,
    };
    let is_holders =
        guard_of(found).is_some_and(|there| holder.is_some_and(|hold| is_same(hold.what, there)));
    Says { holder, value: if is_holders { Standing::Holder } else { says.value }, ..says }
}

#[test]
fn no_repair_takes_away_what_a_holder_has() {
    let count = for_all(|found, says, terms| {
        let is_holders = guard_of(found)
            .is_some_and(|there| says.holder.is_some_and(|hold| is_same(hold.what, there)))
            || says.value == Standing::Holder;
        let plan = plan(found, says, terms);
        if let Plan::Act(Repair::Delete(_) | Repair::Replace { .. }) = plan
            && is_holders
        {
            panic!("{found:?} {says:?} {terms:?}: {plan:?}");
        }
    });
    assert_eq!(count, 25 * 33 * 4 * 32);
}

#[test]
fn provisional_keys_of_others_are_not_touched() {
    for_all(|found, says, terms| {
        let provisional = terms.persistent && ttl_of(found).is_some();
        let others = guard_of(found)
            .is_some_and(|there| says.holder.is_none_or(|hold| !is_same(hold.what, there)));
        let plan = plan(found, says, terms);
        let acts = matches!(plan, Plan::Act(_));
        assert!(!(provisional && others && acts), "{found:?} {says:?} {terms:?}: {plan:?}");
    });
}

#[test]
fn fast_touches_no_permanent_value_that_the_ledger_does_not_know() {
    for_all(|found, says, terms| {
        let others = guard_of(found)
            .is_some_and(|there| says.holder.is_none_or(|hold| !is_same(hold.what, there)));
        let content = matches!(found, Found::Other { .. });
        let unknown = says.value == Standing::Unknown || content && terms.is_asked;
        let unknown = others && ttl_of(found).is_none() && unknown;
        let plan = plan(found, says, terms);
        let tells = |repair| matches!(repair, Repair::Adopt(_) | Repair::Follow(_));
        let acts = matches!(plan, Plan::Act(repair) if !tells(repair));
        let fast = terms.guarantee == Guarantee::Fast;
        assert!(!(fast && unknown && acts), "{found:?} {says:?} {terms:?}: {plan:?}");
    });
}

#[test]
fn only_what_is_free_and_permanent_and_could_be_put_back_is_adopted() {
    for_all(|found, says, terms| {
        if let Plan::Act(Repair::Adopt(adopted)) = plan(found, says, terms) {
            assert_eq!((guard_of(found), ttl_of(found), says.holder), (Some(adopted), None, None));
            assert!(is_known(adopted));
            assert_eq!(says.value, Standing::Unknown);
        }
    });
}

#[test]
fn redis_is_right_in_fast_alone_and_where_that_is_configured() {
    let mut preferred = 0;
    for_all(|found, says, terms| {
        if let Plan::Act(Repair::Prefer(_)) = plan(found, says, terms) {
            preferred += 1;
            assert_eq!((terms.conflict, terms.guarantee), (Conflict::Upstream, Guarantee::Fast));
            assert_eq!((says.value, ttl_of(found)), (Standing::Disputed, None));
        }
    });
    assert!(preferred > 0);
}

#[test]
fn a_repair_guards_what_was_found_and_sets_only_the_holder() {
    for_all(|found, says, terms| {
        let Plan::Act(repair) = plan(found, says, terms) else { return };
        let there = guard_of(found);
        let holders = says.holder.map(|hold| hold.what);
        match repair {
            Repair::Delete(guard) => assert_eq!(Some(guard), there),
            Repair::Set { what, .. } => {
                assert_eq!((there, holders), (None, Some(what)));
                assert!(is_known(what));
            }
            Repair::Persist(guard) | Repair::Lengthen { guard, .. } => {
                assert_eq!(Some(guard), holders);
                assert!(there.is_some_and(|there| is_same(guard, there)));
            }
            Repair::Replace { theirs, ours, .. } => {
                assert_eq!((Some(theirs), holders), (there, Some(ours)));
                assert!(is_known(ours));
            }
            Repair::Adopt(theirs) => assert_eq!(there, Some(theirs)),
            Repair::Follow(mark) => {
                assert_eq!(there, Some(Guard::Other(mark)));
                assert!(matches!(holders, Some(Guard::Other(_))));
            }
            Repair::Prefer(stored) => assert_eq!(there, Some(Guard::Value(stored))),
        }
    });
}

#[test]
fn a_repair_leads_where_nothing_is_left_to_do() {
    for_all(|found, says, terms| {
        let Plan::Act(repair) = plan(found, says, terms) else { return };
        let found_after = after(found, repair);
        let says_after = says_after(says, &found_after, repair);
        let next = plan(&found_after, says_after, terms);
        // What is followed may have too little time.
        let follows = matches!(repair, Repair::Follow(_));
        let lengthens = matches!(next, Plan::Act(Repair::Lengthen { .. }));
        let left = matches!(next, Plan::Act(_)) && !(follows && lengthens);
        assert!(!left, "{found:?} {says:?} {terms:?}: {repair:?}, then {next:?}");
    });
}

#[test]
fn a_release_on_its_way_is_never_undone() {
    for_all(|found, says, terms| {
        let plan = plan(found, says, terms);
        let waits = plan == Plan::Wait(Why::Releasing);
        assert_eq!(waits, says.releasing && says.holder.is_some(), "{found:?} {says:?}");
    });
}

#[test]
fn nothing_is_right_but_the_holders_own() {
    for_all(|found, says, terms| {
        if plan(found, says, terms) == Plan::Nothing(Rest::Right) {
            let hold = says.holder.unwrap();
            assert!(is_same(hold.what, guard_of(found).unwrap()));
            assert!(hold.left != Left::Forever || ttl_of(found).is_none());
        }
    });
}

#[test]
fn content_is_the_same_by_its_time_or_by_itself() {
    for (one, other, same) in [
        ("5:aa", "5:bb", true),
        ("5:aa", "6:aa", true),
        ("5:aa", "6:bb", false),
        ("0:", "0:", false),
        ("0:aa", "0:", false),
        ("0:aa", "0:bb", false),
    ] {
        let guards = (Guard::Other(one.as_bytes()), Guard::Other(other.as_bytes()));
        assert_eq!(is_same(guards.0, guards.1), same, "{one} {other}");
    }
    assert!(!is_same(Guard::Value(b"5:aa"), Guard::Other(b"5:aa")));
}

#[test]
fn a_content_that_has_changed_is_followed_only_where_redis_may_know_better() {
    let hold = Hold { what: Guard::Other(b"7:h1:f1:1"), left: Left::Forever };
    let says = Says { holder: Some(hold), value: Standing::Unknown, releasing: false };
    let planned = |guard: &[u8], guarantee, is_asked| {
        let found = Found::Other { guard: guard.to_vec(), ttl_ms: None };
        match plan(
            &found,
            says,
            Terms { persistent: true, guarantee, conflict: Conflict::Ledger, is_asked },
        ) {
            Plan::Act(Repair::Follow(_)) => "follow",
            Plan::Act(Repair::Replace { conflict: false, .. }) => "replace",
            Plan::Act(Repair::Replace { conflict: true, .. }) => "conflict",
            Plan::Wait(Why::Mirror) => "wait",
            Plan::CannotRestore => "cannot",
            other => panic!("{other:?}"),
        }
    };
    use Guarantee::{Fast, Strict};
    for (guard, asked, alone, fast) in [
        ("0:h1:f1:2", "follow", "replace", "follow"),
        ("0:h1:g1:1", "conflict", "conflict", "wait"),
        ("0:s1:f", "conflict", "conflict", "wait"),
        ("0:#hda39a3ee5e6b4b0d3255bfef95601890afd80709", "follow", "conflict", "follow"),
        ("0:", "follow", "cannot", "follow"),
    ] {
        assert_eq!(planned(guard.as_bytes(), Strict, true), asked, "{guard}");
        assert_eq!(planned(guard.as_bytes(), Strict, false), alone, "{guard}");
        assert_eq!(planned(guard.as_bytes(), Fast, false), fast, "{guard}");
    }
}

/// A lock that is too large to be kept is compared all the same, by its digest: what was released is
/// deleted or gives way, whoever holds the key, and a large holder is never taken for another large one.
#[test]
fn large_contents_are_told_apart_by_their_digests() {
    let other: &[u8] = b"7:#hcafecafecafecafecafecafecafecafecafecafe";
    let planned = |hold: Option<Guard<'static>>, there: &[u8], value| {
        let holder = hold.map(|what| Hold { what, left: Left::Forever });
        let found = Found::Other { guard: there.to_vec(), ttl_ms: None };
        let (guarantee, conflict) = (Guarantee::Strict, Conflict::Ledger);
        let terms = Terms { persistent: true, guarantee, conflict, is_asked: false };
        format!("{:?}", plan(&found, Says { holder, value, releasing: false }, terms))
    };
    let small = Guard::Other(b"7:h1:f1:1");
    for (hold, there, value, expected) in [
        (None, LARGE, Standing::Dead, "Act(Delete"),
        (Some(small), LARGE, Standing::Dead, "Act(Replace"),
        (Some(Guard::Value(b"A")), LARGE, Standing::Dead, "Act(Replace"),
        (Some(Guard::Other(other)), LARGE, Standing::Dead, "Act(Delete"),
        (Some(Guard::Other(other)), LARGE, Standing::Unknown, "CannotRestore"),
        (Some(Guard::Other(LARGE)), LARGE, Standing::Holder, "Nothing(Right"),
        (Some(Guard::Value(b"A")), LARGE, Standing::Unknown, "Act(Replace"),
        (Some(Guard::Other(b"7:")), b"0:", Standing::Unknown, "Nothing(Changed"),
        (Some(Guard::Other(other)), b"0:", Standing::Unknown, "CannotRestore"),
    ] {
        let told = planned(hold, there, value);
        assert!(told.starts_with(expected), "{hold:?} {told}");
    }
}
