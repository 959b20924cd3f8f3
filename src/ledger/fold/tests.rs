//! The rules of the fold one by one, and what must hold for any history.

use proptest::prelude::*;

use super::*;

fn key(name: u8) -> LockKey {
    LockKey::new(0, &[b'k', name])
}

fn claim(name: u8, value: &str) -> Claim {
    Claim {
        key: key(name),
        stored: value.as_bytes().into(),
        other: None,
        rule: "default".into(),
        client: "tests".into(),
        at_ms: 0,
        asked_ttl_ms: None,
        expires_at_ms: None,
        marker: None,
    }
}

fn at(log: u64, seq: u64) -> Position {
    Position { log, seq }
}

fn release(name: u8, claim: Position, cause: Cause, at_ms: u64) -> Entry {
    Entry::Release { key: key(name), claim, cause, at_ms }
}

/// Applies entries of log 1, numbered from 1.
fn fold(entries: &[Entry]) -> (Fold, Vec<Verdict>) {
    let mut fold = Fold::default();
    let verdicts = (1..)
        .zip(entries)
        .map(|(seq, entry)| fold.apply(&Row { at: at(1, seq), entry: entry.clone() }))
        .collect();
    (fold, verdicts)
}

fn won(seq: u64, fence: u64) -> Verdict {
    Outcome::Won { claim: at(1, seq), fence }
}

fn is_lost(verdict: &Verdict) -> bool {
    matches!(verdict, Outcome::Lost { .. })
}

#[test]
fn the_first_claim_holds_and_the_next_is_dead() {
    let (fold, verdicts) = fold(&[
        Entry::Claim(claim(1, "a")),
        Entry::Claim(claim(1, "b")),
        release(1, at(1, 1), Cause::Client, 0),
        Entry::Observe(claim(1, "b")),
        Entry::Observe(claim(1, "a")),
        Entry::Claim(claim(1, "b")),
    ]);
    assert_eq!(verdicts[0], won(1, 1));
    assert!(is_lost(&verdicts[1]) && is_lost(&verdicts[3]) && is_lost(&verdicts[4]));
    assert_eq!(verdicts[2], Outcome::Released);
    assert_eq!(verdicts[5], won(6, 2), "a value may be claimed again");
    assert_eq!(fold.standing(&key(1), b"a"), Standing::Dead);
    assert_eq!(fold.standing(&key(1), b"b"), Standing::Holder);
    assert_eq!(fold.standing(&key(1), b"c"), Standing::Unknown);
}

#[test]
fn a_claim_of_the_holders_value_wins_by_the_holders_name() {
    let (fold, verdicts) = fold(&[
        Entry::Observe(claim(1, "a")),
        Entry::Claim(claim(1, "a")),
        Entry::Withdraw { key: key(1), claim: at(1, 2) },
        Entry::Claim(claim(1, "c")),
        release(1, at(1, 1), Cause::Client, 0),
    ]);
    assert_eq!(verdicts[1], won(1, 1));
    assert_eq!(verdicts[2], Outcome::Released, "a withdrawal ends what its claim confirmed");
    assert_eq!((&verdicts[3], &verdicts[4]), (&won(4, 2), &Outcome::NotHeld));
    assert_eq!(fold.holder(&key(1)).unwrap().at, at(1, 4));
}

/// A client hangs up, comes again with its token, and is told OK before the first is given up.
#[test]
fn a_hold_ends_with_the_last_claim_behind_it() {
    let undelivered = |name| release(1, name, Cause::Undelivered, 0);
    let (fold, verdicts) = fold(&[
        Entry::Claim(claim(1, "a")),
        Entry::Claim(claim(1, "a")),
        Entry::Observe(claim(1, "a")),
        undelivered(at(1, 1)),
        Entry::Claim(claim(1, "b")),
        undelivered(at(1, 1)),
        Entry::Claim(claim(1, "c")),
    ]);
    assert_eq!(verdicts[1], won(1, 1));
    assert!(is_lost(&verdicts[4]), "the second claim holds");
    assert_eq!(verdicts[6], won(7, 2), "an observation holds nothing for anybody");
    assert_eq!(fold.holder(&key(1)).unwrap().at, at(1, 7));
}

/// A client that was refused by one sidecar asks another with the same token, and is told OK before
/// the first one's withdrawal comes.
#[test]
fn a_withdrawal_ends_no_hold_that_another_claim_stands_for() {
    let withdraw = |seq| Entry::Withdraw { key: key(1), claim: at(1, seq) };
    let (mut fold, verdicts) = fold(&[
        Entry::Claim(claim(1, "a")),
        Entry::Claim(claim(1, "a")),
        withdraw(1),
        Entry::Claim(claim(1, "a")),
        withdraw(2),
        Entry::Claim(claim(1, "b")),
    ]);
    assert_eq!(verdicts[1], won(1, 1));
    assert!(is_lost(&verdicts[5]));
    assert_eq!(&*fold.holder(&key(1)).unwrap().claim.stored, b"a");
    let mut again = Fold::from(fold.snapshot());
    for state in [&mut fold, &mut again] {
        let last = state.apply(&Row { at: at(1, 7), entry: withdraw(4) });
        assert_eq!((last, state.len()), (Outcome::Released, 0), "nobody is left");
    }
    let (fold, _) = fold_of_release(&[Entry::Claim(claim(1, "a")), Entry::Claim(claim(1, "a"))]);
    assert!(fold.is_empty(), "a release ends every claim of the value");
}

fn fold_of_release(entries: &[Entry]) -> (Fold, Vec<Verdict>) {
    fold(&[entries, &[release(1, at(1, 1), Cause::Client, 0)]].concat())
}

#[test]
fn a_lock_without_identity_is_never_the_same() {
    let empty = || Claim { stored: Arc::new([]), ..claim(1, "") };
    let (_, verdicts) = fold(&[Entry::Claim(empty()), Entry::Claim(empty())]);
    assert!(is_lost(&verdicts[1]));
    let hash = || Claim { other: Some(b"0:ab".as_slice().into()), ..empty() };
    let (fold, verdicts) = fold(&[Entry::Claim(hash()), Entry::Claim(hash())]);
    assert_eq!(verdicts[1], won(1, 1));
    assert_eq!(fold.standing_of(&key(1), b"", Some(b"0:ab")), Standing::Holder);
    assert_eq!(fold.standing_of(&key(1), b"", None), Standing::Unknown);
}

#[test]
fn an_observation_that_loses_is_not_dead() {
    let (fold, verdicts) = fold(&[Entry::Claim(claim(1, "a")), Entry::Observe(claim(1, "b"))]);
    assert!(is_lost(&verdicts[1]));
    assert_eq!(fold.standing(&key(1), b"b"), Standing::Unknown);
}

#[test]
fn the_highest_fence_of_grants_holds() {
    let entries = [
        Entry::Grant(claim(1, "a"), 5),
        Entry::Grant(claim(1, "b"), 7),
        Entry::Grant(claim(1, "c"), 6),
    ];
    let (mut state, verdicts) = fold(&entries);
    assert_eq!((&verdicts[0], &verdicts[1]), (&won(1, 5), &won(2, 7)));
    assert!(is_lost(&verdicts[2]));
    assert_eq!(state.conflicts().map(|c| c.lost).collect::<Vec<_>>(), [at(1, 1), at(1, 3)]);
    let late = Row { at: at(1, 4), entry: release(1, at(1, 1), Cause::Client, 0) };
    assert_eq!(state.apply(&late), Outcome::NotHeld);
    assert_eq!(state.conflicts().map(|c| c.lost).collect::<Vec<_>>(), [at(1, 3)]);
    assert_eq!((state.fence_high(), state.holder(&key(1)).unwrap().fence), (7, 7));
}

/// The fences of claims without Redis are above all that it can have given; a grant from before that is
/// written late is still one, also by a value that was released before.
#[test]
fn fences_leave_room_when_a_sidecar_of_a_fast_fleet_loses_redis() {
    let start = |guarantee| Entry::Start(Start { guarantee, ..crate::ledger::testing::start() });
    let entries = |guarantee| {
        [
            start(guarantee),
            Entry::Grant(claim(1, "a"), 5),
            release(1, at(1, 2), Cause::Client, 0),
            Entry::Degraded,
            Entry::Degraded,
            Entry::Claim(claim(2, "b")),
            Entry::Grant(claim(1, "a"), 9),
        ]
    };
    let (state, verdicts) = fold(&entries(Guarantee::Fast));
    assert_eq!((&verdicts[5], &verdicts[6]), (&won(6, 2 * FENCE_GAP + 1), &won(7, 9)));
    let again = Fold::from(state.snapshot());
    assert_eq!(again.fence_high(), 2 * FENCE_GAP + 1);
    // In strict Redis gives no fences.
    let (_, verdicts) = fold(&entries(Guarantee::Strict));
    assert_eq!(verdicts[5], won(6, 6));
}

#[test]
fn what_was_extended_does_not_expire() {
    let ttl = Claim { expires_at_ms: Some(100), ..claim(1, "a") };
    let extend = Entry::Extend { key: key(1), claim: at(1, 1), expires_at_ms: 200 };
    let (_, verdicts) = fold(&[
        Entry::Claim(ttl.clone()),
        extend,
        release(1, at(1, 1), Cause::Expired, 150),
        release(1, at(1, 1), Cause::Expired, 201),
    ]);
    assert_eq!(verdicts[1..], [Outcome::Noted, Outcome::NotHeld, Outcome::Released]);
    let (_, verdicts) =
        fold(&[Entry::Claim(claim(1, "a")), release(1, at(1, 1), Cause::Expired, 999)]);
    assert_eq!(verdicts[1], Outcome::NotHeld, "a persistent lock never runs out");
    let again = Claim { expires_at_ms: Some(300), ..ttl.clone() };
    let (fold, _) = fold(&[Entry::Claim(ttl), Entry::Claim(again)]);
    assert_eq!(fold.holder(&key(1)).unwrap().claim.expires_at_ms, Some(300));
}

#[test]
fn changes_name_who_holds_and_who_does_not() {
    let mut changes = Vec::new();
    let mut fold = Fold::default();
    let mut follow = |seq, entry| fold.follow(&Row { at: at(1, seq), entry }, &mut changes);
    follow(1, Entry::Claim(claim(1, "a")));
    follow(2, Entry::Claim(claim(1, "b")));
    follow(3, Entry::Heard { key: key(1), claim: at(1, 1) });
    follow(4, release(1, at(1, 1), Cause::Client, 0));
    follow(5, Entry::Heard { key: key(1), claim: at(1, 1) });
    let heard: Vec<_> = changes
        .iter()
        .map(|change| match change {
            Change::Held(holder) => (holder.at, Some(holder.heard)),
            Change::Freed(_, claim) => (*claim, None),
        })
        .collect();
    assert_eq!(heard, [(at(1, 1), Some(false)), (at(1, 1), Some(true)), (at(1, 1), None)]);
}

#[test]
fn logs_are_known_by_what_they_say_and_are_bounded() {
    let mut fold = Fold::default();
    for log in 1..=LOGS_KEPT as u64 + 2 {
        fold.apply(&Row { at: at(log, 1), entry: Entry::Degraded });
        if log == 3 {
            fold.apply(&Row { at: at(log, 2), entry: Entry::End });
        }
    }
    assert_eq!(fold.logs().count(), LOGS_KEPT);
    assert!(fold.log(3).is_none(), "an ended log goes first");
    assert!(fold.log(1).is_none() && fold.log(2).is_some(), "then the oldest");
    fold.apply(&Row { at: at(9, 2), entry: Entry::Healthy("run".into()) });
    assert_eq!(fold.log(9).unwrap().mode, LogMode::Healthy("run".into()));
}

/// Any history of two logs over two keys and three values.
fn rows() -> impl Strategy<Value = Vec<Row>> {
    let entry = (0..9u8, 1..3u8, 0..3usize, 1..40u64, 1..3u64).prop_map(|(kind, k, v, n, log)| {
        let value = ["a", "b", "c"][v];
        let claim_at = at(log, n);
        match kind {
            0..=2 => Entry::Claim(Claim { expires_at_ms: (n < 9).then_some(n), ..claim(k, value) }),
            3 => Entry::Observe(claim(k, value)),
            4 => Entry::Grant(claim(k, value), n),
            5 => release(k, claim_at, Cause::Client, n),
            6 => release(k, claim_at, Cause::Expired, n),
            7 => Entry::Withdraw { key: key(k), claim: claim_at },
            _ => Entry::Extend { key: key(k), claim: claim_at, expires_at_ms: n },
        }
    });
    prop::collection::vec((entry, 1..3u64), 0..40).prop_map(|entries| {
        let mut seqs = [0; 3];
        let place = |(entry, log): (Entry, u64)| {
            seqs[log as usize] += 1;
            Row { at: at(log, seqs[log as usize]), entry }
        };
        entries.into_iter().map(place).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_snapshot_anywhere_stands_for_what_was_before_it(rows in rows(), cut in 0..40usize) {
        let mut whole = Fold::default();
        let all: Vec<_> = rows.iter().map(|row| whole.apply(row)).collect();
        let (before, after) = rows.split_at(cut.min(rows.len()));
        let mut first = Fold::default();
        before.iter().for_each(|row| drop(first.apply(row)));
        let mut second = Fold::from(first.snapshot());
        let rest: Vec<_> = after.iter().map(|row| second.apply(row)).collect();
        prop_assert_eq!(&rest[..], &all[before.len()..]);
        prop_assert_eq!(second.snapshot(), whole.snapshot());
    }

    #[test]
    fn rows_that_come_again_change_nothing(rows in rows(), from in 0..40usize) {
        let mut fold = Fold::default();
        rows.iter().for_each(|row| drop(fold.apply(row)));
        let state = fold.snapshot();
        let mut changes = Vec::new();
        for row in rows.iter().skip(from) {
            prop_assert_eq!(fold.follow(row, &mut changes), Outcome::Noted);
        }
        prop_assert!(changes.is_empty());
        prop_assert_eq!(fold.snapshot(), state);
    }

    #[test]
    fn changes_keep_a_table_in_step(rows in rows()) {
        let (mut fold, mut table) = (Fold::default(), BTreeMap::new());
        for row in &rows {
            let mut changes = Vec::new();
            fold.follow(row, &mut changes);
            for change in changes {
                match change {
                    Change::Held(holder) => drop(table.insert(holder.claim.key.clone(), holder)),
                    Change::Freed(key, claim) => {
                        prop_assert_eq!(table.remove(&key).map(|holder| holder.at), Some(claim));
                    }
                }
            }
        }
        let mut known: Vec<_> = table.into_values().collect();
        known.sort_by_key(|holder| holder.at);
        prop_assert_eq!(known, fold.holders());
    }

    #[test]
    fn fences_of_claims_grow_and_no_value_dead_by_release_is_observed(rows in rows()) {
        let (mut fold, mut last) = (Fold::default(), 0);
        for row in &rows {
            let free = fold.holders.is_empty();
            let dead = match &row.entry {
                Entry::Observe(claim) => fold.is_dead(claim),
                _ => false,
            };
            let verdict = fold.apply(row);
            if let (Entry::Claim(_) | Entry::Observe(_), Outcome::Won { claim, fence }) =
                (&row.entry, &verdict)
            {
                prop_assert!(!dead);
                prop_assert!(*fence > last || *claim != row.at || !free);
                prop_assert!(*claim != row.at || *fence == fold.fence_high());
            }
            prop_assert!(fold.fence_high() >= last);
            last = fold.fence_high();
        }
    }
}

/// Its owner has deleted an observed lock in Redis: that ends what is nobody's claim, and nothing
/// else, and the same value may be observed again.
#[test]
fn an_observed_hold_ends_with_its_key() {
    let vanished = |seq| release(1, at(1, seq), Cause::Vanished, 0);
    let (fold, verdicts) = fold(&[
        Entry::Observe(claim(1, "a")),
        vanished(1),
        Entry::Observe(claim(1, "a")),
        Entry::Claim(claim(1, "a")),
        vanished(3),
        release(1, at(1, 3), Cause::Client, 0),
        Entry::Observe(claim(1, "a")),
        Entry::Observe(Claim {
            client: crate::ledger::entry::OBSERVED_ANEW.into(),
            ..claim(1, "a")
        }),
        Entry::Claim(claim(2, "a")),
        release(2, at(1, 9), Cause::Vanished, 0),
    ]);
    assert_eq!((&verdicts[1], &verdicts[2]), (&Outcome::Released, &won(3, 2)));
    assert_eq!(verdicts[4], Outcome::NotHeld, "a client was told that it holds it");
    assert_eq!(verdicts[5], Outcome::Released);
    assert!(is_lost(&verdicts[6]), "a released value is dead");
    assert_eq!(verdicts[7], won(8, 3), "unless it was seen to be set anew");
    assert!(fold.is_observed(&key(1), at(1, 8)) && !fold.is_observed(&key(2), at(1, 9)));
    assert_eq!(verdicts[9], Outcome::NotHeld, "a granted lock does not end with its key");
}

/// Whether a hold is nobody's survives a snapshot.
#[test]
fn what_was_observed_stays_so_in_a_snapshot() {
    let (fold, _) = fold(&[Entry::Observe(claim(1, "a")), Entry::Claim(claim(2, "a"))]);
    let mut again = Fold::from(fold.snapshot());
    assert!(again.is_observed(&key(1), at(1, 1)) && !again.is_observed(&key(2), at(1, 2)));
    let ends = release(1, at(1, 1), Cause::Vanished, 0);
    assert_eq!(again.apply(&Row { at: at(1, 3), entry: ends }), Outcome::Released);
}
