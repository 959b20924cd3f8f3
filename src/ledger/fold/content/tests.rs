//! Changes of contents: what counts, and what is dead afterwards.

use super::*;
use crate::ledger::entry::{Cause, Claim, Entry, Row};
use crate::ledger::fold::Standing;
use crate::ledger::testing::{at, claim, content_change, key};

fn hash(mark: &str) -> Entry {
    Entry::Claim(Claim { stored: [].into(), other: Some(mark.as_bytes().into()), ..claim("k", "") })
}

fn change(from: &str, to: &str, whole: bool) -> Entry {
    let change = content_change(from, to, whole);
    Entry::Content { key: key("k"), claim: at(1, 1), change }
}

/// The state after these, and what became of the last.
fn fold(entries: &[Entry]) -> (Fold, Verdict) {
    let (mut fold, mut last) = (Fold::default(), Verdict::Noted);
    for (seq, entry) in (1..).zip(entries) {
        last = fold.apply(&Row { at: at(1, seq), entry: entry.clone() });
    }
    (fold, last)
}

fn mark(fold: &Fold) -> String {
    let holder = fold.holder(&key("k")).unwrap();
    String::from_utf8(holder.claim.other.as_deref().unwrap().to_vec()).unwrap()
}

fn standing(fold: &Fold, content: &str) -> Standing {
    fold.standing_of(&key("k"), b"", Some(format!("0:{content}").as_bytes()))
}

const ONE: &str = "h2:me1:1";
const TWO: &str = "h2:me1:2";

#[test]
fn a_hold_goes_on_with_another_content_and_what_it_had_is_dead() {
    let entries = [hash("9:h2:me1:1"), change(ONE, TWO, false)];
    let (fold, verdict) = self::fold(&entries);
    assert_eq!((verdict, &*mark(&fold)), (Verdict::Noted, "9:h2:me1:2"));
    assert_eq!(fold.holder(&key("k")).unwrap().at, at(1, 1));
    assert_eq!((standing(&fold, TWO), standing(&fold, ONE)), (Standing::Holder, Standing::Dead));
    // And back again.
    let (fold, _) = self::fold(&[&entries[..], &[change(TWO, ONE, true)]].concat());
    assert_eq!((standing(&fold, TWO), standing(&fold, ONE)), (Standing::Dead, Standing::Holder));
    assert_eq!(Fold::from(fold.snapshot()).snapshot(), fold.snapshot());
}

#[test]
fn a_released_content_is_dead_until_it_is_claimed_again() {
    let release = Entry::Release { key: key("k"), claim: at(1, 1), cause: Cause::Client, at_ms: 1 };
    let (fold, _) = fold(&[hash("9:h2:me1:1"), release.clone()]);
    assert_eq!(standing(&fold, ONE), Standing::Dead, "whatever its time was");
    let (again, verdict) = self::fold(&[hash("9:h2:me1:1"), release, hash("12:h2:me1:1")]);
    assert!(matches!(verdict, Verdict::Won { .. }));
    assert_eq!(standing(&again, ONE), Standing::Holder);
}

#[test]
fn what_was_decided_by_the_whole_content_counts_only_for_that() {
    let two = "h1:a1:11:b1:1";
    let (fold, verdict) = fold(&[
        hash("9:h1:a1:1"),
        change("h1:a1:1", two, true),
        change("h1:a1:1", "h1:a1:11:c1:1", true),
    ]);
    assert_eq!((verdict, &*mark(&fold)), (Verdict::NotHeld, "9:h1:a1:11:b1:1"));
    // Done by Redis, so that others may have come first.
    let (fold, verdict) = self::fold(&[
        hash("9:h1:a1:1"),
        change("h1:a1:1", two, false),
        change("h1:a1:1", "h1:a1:11:c1:1", false),
    ]);
    assert_eq!((verdict, &*mark(&fold)), (Verdict::Noted, "9:h1:a1:11:b1:11:c1:1"));
}

#[test]
fn a_change_of_anothers_content_is_refused() {
    for entries in [
        [hash("9:h3:you1:1"), change(ONE, TWO, false)],
        [hash("9:h2:me1:7"), change(ONE, TWO, false)],
        [Entry::Claim(claim("k", "string")), change(ONE, TWO, false)],
        [Entry::Degraded, change(ONE, TWO, false)],
    ] {
        let (after, verdict) = fold(&entries);
        assert_eq!(verdict, Verdict::NotHeld, "{entries:?}");
        assert_eq!(after.snapshot().holders, fold(&entries[..1]).0.snapshot().holders);
    }
}

#[test]
fn a_content_that_is_not_known_is_replaced_by_what_is_seen() {
    // A mark of format 1 has a SHA1 in the content's place.
    let old = "o17:da39a3ee5e6b4b0d3255bfef95601890afd80709";
    let (fold, verdict) = fold(&[hash(old), change("", ONE, false)]);
    assert_eq!((verdict, &*mark(&fold)), (Verdict::Noted, "17:h2:me1:1"));
    let (fold, _) = self::fold(&[hash("9:h2:me1:1"), change(ONE, "", false)]);
    assert_eq!(mark(&fold), "9:");
    assert_eq!(standing(&fold, ONE), Standing::Dead, "too large now: what was there is old");
}

#[test]
fn what_is_found_in_redis_is_the_acquire_that_made_it() {
    let found =
        Claim { stored: [].into(), other: Some(b"0:h2:me1:1"[..].into()), ..claim("k", "") };
    let (_, verdict) = fold(&[hash("9:h2:me1:1"), Entry::Observe(found)]);
    assert!(matches!(verdict, Verdict::Won { claim, .. } if claim == at(1, 1)), "{verdict:?}");
    let (_, verdict) = fold(&[hash("9:h2:me1:1"), hash("10:h2:me1:1")]);
    assert!(matches!(verdict, Verdict::Lost { .. }), "another acquire of the same: {verdict:?}");
}

/// Digests: what nobody can follow part by part.
const A: &str = "#haaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const B: &str = "#hbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
const C: &str = "#hcccccccccccccccccccccccccccccccccccccccc";

#[test]
fn a_large_content_is_dead_by_its_digest_once_it_has_changed_or_was_released() {
    let grown = [hash("9:h2:me1:1"), change(ONE, A, false), change(A, B, false)];
    let (fold, verdict) = self::fold(&grown);
    assert_eq!((verdict, mark(&fold)), (Verdict::Noted, format!("9:{B}")));
    assert_eq!((standing(&fold, A), standing(&fold, B)), (Standing::Dead, Standing::Holder));
    assert_eq!(standing(&fold, C), Standing::Unknown);
    let release = Entry::Release { key: key("k"), claim: at(1, 1), cause: Cause::Client, at_ms: 1 };
    let (fold, _) = self::fold(&[&grown[..], &[release]].concat());
    assert_eq!((standing(&fold, B), standing(&fold, ONE)), (Standing::Dead, Standing::Dead));
}

#[test]
fn changes_of_a_large_content_count_in_the_order_of_redis() {
    let first = hash(&format!("9:{A}"));
    // Redis made B of A, and C of B; the ledger hears of it the other way round.
    let late = [first.clone(), change(B, C, false), change(A, B, false)];
    let (fold, verdict) = self::fold(&late);
    assert_eq!((verdict, mark(&fold)), (Verdict::Noted, format!("9:{C}")));
    assert_eq!((standing(&fold, A), standing(&fold, B)), (Standing::Dead, Standing::Dead));
    // And B of C again.
    let (fold, _) = self::fold(&[&late[..], &[change(C, B, false)]].concat());
    assert_eq!((standing(&fold, B), standing(&fold, C)), (Standing::Holder, Standing::Dead));
    // What was decided by looking at all of it counts only for that.
    let (_, verdict) = self::fold(&[first, change(B, C, true)]);
    assert_eq!(verdict, Verdict::NotHeld);
}
