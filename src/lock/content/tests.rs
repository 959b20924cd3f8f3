//! Contents by example and by random parts.

use proptest::prelude::*;

use super::*;

fn hash(pairs: &[(&str, &str)]) -> Content {
    Content::Hash(pairs.iter().map(|(name, value)| (bytes(name), bytes(value))).collect())
}

fn sorted(pairs: &[(&str, f64)]) -> Content {
    let pair = |(member, score): &(&str, f64)| (bytes(member), Score::new(*score).unwrap());
    Content::Sorted(pairs.iter().map(pair).collect())
}

fn bytes(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

#[test]
fn bytes_are_readable_and_do_not_depend_on_the_order_that_they_came_in() {
    let lock = hash(&[("b:1", "2"), ("a:1", "1")]);
    assert_eq!(lock.to_bytes(), b"h3:a:11:13:b:11:2");
    assert_eq!(Content::parse(b"h3:b:11:23:a:11:1"), Some(lock));
    let lock = sorted(&[("me", 1_732_377_600_123.0), ("__write__", 1.5)]);
    assert_eq!(lock.to_bytes(), b"z9:__write__3:1.52:me13:1732377600123");
    assert_eq!(Content::parse(b"z2:me13:17323776001239:__write__3:1.5"), Some(lock));
    assert_eq!(Content::parse(b"s1:b1:a").unwrap().to_bytes(), b"s1:a1:b");
    assert_eq!(Content::parse(b"l1:b1:a").unwrap().to_bytes(), b"l1:b1:a");
}

#[test]
fn what_is_no_content_is_none() {
    let long = format!("s{}:{}", LARGEST, "x".repeat(LARGEST));
    let many = format!("l{}", "1:x".repeat(MOST + 1));
    for text in [
        "",
        "h",
        "s",
        "x1:a",
        "h1:a",
        "h1:a1:b1:a1:c",
        "s1:a1:a",
        "s2:a",
        "s:a",
        "s+1:a",
        "s-1:",
        "z1:a3:nan",
        "z1:a8:infinity",
        "z1:a0:",
        "o1:a",
        &long,
        &many,
        "da39a3ee5e6b4b0d3255bfef95601890afd80709",
    ] {
        assert_eq!(Content::parse(text.as_bytes()), None, "{text}");
    }
}

#[test]
fn a_lock_is_named_by_its_time_and_content() {
    let lock = hash(&[("me:1", "1")]);
    let taken = mark(17, Some(&lock));
    assert_eq!(&*taken, b"17:h4:me:11:1");
    assert_eq!(of_mark(&taken), Some(lock.clone()));
    assert_eq!(split(b"o17:abc"), (&b"17"[..], &b"abc"[..]), "format 1");
    let again = mark(18, Some(&lock));
    let found = mark(0, Some(&lock));
    assert!(is_same_content(&taken, &again) && !is_same_take(&taken, &again));
    assert!(is_same_take(&taken, &found) && is_same_take(&taken, &taken));
    let changed = renamed(&taken, b"h4:me:11:2");
    assert!(is_same_hold(&taken, &changed) && !is_same_content(&taken, &changed));
    assert!(!is_same_hold(&mark(0, None), &mark(0, None)), "nothing is known of either");
    assert_eq!(&*canonical(b"5:h1:b1:11:a1:2"), b"5:h1:a1:21:b1:1");
    assert_eq!(&*canonical(b"5:h1:b"), b"5:");
}

/// SHA-1 by `sha1sum`: what scripts say of these is held to it by the suite.
#[test]
fn a_digest_names_a_content_whatever_order_its_elements_come_in() {
    let one = hash(&[("b", "2"), ("a", "1")]);
    let digest = String::from_utf8(digest::of(&one)).unwrap();
    assert_eq!(digest, "#h3d8861010b28f1b25b3821fab11e448a357306a0");
    assert!(digest::is_one(digest.as_bytes()));
    assert_ne!(digest::of(&hash(&[("a", "2"), ("b", "1")])), digest.as_bytes());
    assert_ne!(digest::of(&hash(&[("a", "1")])), digest.as_bytes());
    let list = |text: &[u8]| digest::of(&Content::parse(text).unwrap());
    assert_ne!(list(b"l1:a1:b"), list(b"l1:b1:a"));
    assert_eq!(list(b"s1:a1:b"), list(b"s1:b1:a"));
    let taken = canonical(format!("9:{digest}").as_bytes());
    assert_eq!(&*taken, format!("9:{digest}").as_bytes(), "kept as it is");
    assert_eq!(
        (of_mark(&taken), is_told(&taken), type_of_mark(&taken)),
        (None, true, Some("hash"))
    );
    assert!(is_same_content(&taken, &canonical(format!("0:{digest}").as_bytes())));
    for none in ["0:", "0:!", "0:#h", "0:#xda39a3ee5e6b4b0d3255bfef95601890afd80709", "o9:da39"] {
        assert_eq!(
            (&*canonical(none.as_bytes()), is_told(none.as_bytes())),
            (none_of(none), false)
        );
    }
    assert!(is_too_large(b"7:!") && !is_too_large(b"7:"));
}

/// The mark with nothing of its content.
fn none_of(mark: &str) -> &[u8] {
    if mark.starts_with("o9") { b"9:" } else { b"0:" }
}

#[test]
fn scores_have_the_digits_of_c() {
    for (number, digits) in [
        (0.0, "0"),
        (-0.0, "0"),
        (1.0, "1"),
        (-1.5, "-1.5"),
        (0.1, "0.10000000000000001"),
        (1_732_377_600_123.0, "1732377600123"),
        (1e16, "10000000000000000"),
        (1e17, "1e+17"),
        (1.5e300, "1.5000000000000001e+300"),
        (0.0001, "0.0001"),
        (0.00001, "1.0000000000000001e-05"),
        (-2.5e-9, "-2.5000000000000001e-09"),
        (f64::INFINITY, "inf"),
        (f64::NEG_INFINITY, "-inf"),
    ] {
        assert_eq!(Score::new(number).unwrap().digits(), digits);
    }
}

#[test]
fn changes_of_different_parts_go_in_any_order() {
    let one = hash(&[("a", "1")]);
    let two = hash(&[("a", "1"), ("b", "1")]);
    let three = hash(&[("a", "1"), ("b", "1"), ("c", "1")]);
    let early = follow(&one, &two, &three).unwrap();
    assert_eq!(follow(&early, &one, &two), Some(three.clone()));
    assert_eq!(follow(&three, &two, &three), Some(three.clone()), "again");
    assert!(is_followed(Some(&three), &one, &two) && !is_followed(Some(&one), &one, &two));
}

#[test]
fn a_change_of_something_else_is_refused() {
    let (mine, more) = (hash(&[("a", "1")]), hash(&[("a", "2")]));
    assert_eq!(follow(&hash(&[("b", "1")]), &mine, &more), None);
    assert_eq!(follow(&hash(&[("a", "5")]), &mine, &more), None);
    assert_eq!(follow(&sorted(&[("a", 1.0)]), &mine, &more), None);
    let (both, left) = (hash(&[("a", "1"), ("b", "1")]), hash(&[("b", "1")]));
    assert_eq!(follow(&mine, &both, &left), None, "nothing would be left");
    assert!(is_followed(None, &both, &left), "what was to go has gone");
    assert!(!is_followed(None, &mine, &more));
}

#[test]
fn what_may_have_become_the_other_has_a_part_of_it() {
    let lock = hash(&[("a", "1")]);
    assert!(shares_a_part(&lock, &hash(&[("a", "2"), ("b", "1")])));
    assert!(
        !shares_a_part(&lock, &hash(&[("b", "1")]))
            && !shares_a_part(&lock, &sorted(&[("a", 1.0)]))
    );
}

#[test]
fn the_owner_is_shown_and_not_a_librarys_own_word() {
    assert_eq!(sorted(&[("__write__", 1.0), ("me", 1.0)]).first(), b"me");
    assert_eq!(sorted(&[("__write__", 1.0)]).first(), b"__write__");
}

fn parts() -> impl Strategy<Value = Vec<Vec<u8>>> {
    prop::collection::vec(prop::collection::vec(any::<u8>(), 0..12), 1..9)
}

fn contents() -> impl Strategy<Value = Content> {
    let score = any::<f64>().prop_filter_map("a number", Score::new);
    prop_oneof![
        parts().prop_map(|parts| Content::Hash(parts.iter().cloned().zip(parts.clone()).collect())),
        (parts(), score).prop_map(|(parts, score)| {
            Content::Sorted(parts.into_iter().map(|part| (part, score)).collect())
        }),
        parts().prop_map(|parts| Content::Set(parts.into_iter().collect())),
        parts().prop_map(|parts| Content::List(parts.into())),
    ]
}

proptest! {
    #[test]
    fn bytes_are_read_back(content in contents()) {
        let bytes = content.to_bytes();
        prop_assert_eq!(Content::parse(&bytes), Some(content));
    }

    #[test]
    fn strange_bytes_are_no_panic_and_what_is_read_is_canonical(
        bytes in prop::collection::vec(prop_oneof![Just(b':'), Just(b'1'), Just(b'h'), any::<u8>()], 0..40)
    ) {
        if let Some(content) = Content::parse(&bytes) {
            prop_assert_eq!(Content::parse(&content.to_bytes()), Some(content));
        }
    }

    /// Owners of parts change them in Redis, one change after the other; each owner's changes reach the
    /// ledger in their order, those of different owners in any.
    #[test]
    fn changes_of_several_owners_come_to_what_redis_has(
        moves in prop::collection::vec((0..3usize, 0..4u8), 1..20),
        order in prop::collection::vec(0..3usize, 60),
    ) {
        let names = ["a", "b", "c"];
        let mut redis = BTreeMap::from([(bytes("always"), bytes("1"))]);
        let first = Content::Hash(redis.clone());
        let mut waiting: [VecDeque<(Content, Content)>; 3] = Default::default();
        for (owner, value) in moves {
            let before = Content::Hash(redis.clone());
            match value {
                0 => drop(redis.remove(names[owner].as_bytes())),
                value => drop(redis.insert(bytes(names[owner]), vec![value])),
            }
            waiting[owner].push_back((before, Content::Hash(redis.clone())));
        }
        let mut ledger = first;
        let rest = (0..3).flat_map(|owner| std::iter::repeat_n(owner, 20));
        for owner in order.into_iter().chain(rest) {
            if let Some((from, to)) = waiting[owner].pop_front() {
                ledger = follow(&ledger, &from, &to).unwrap();
            }
        }
        prop_assert_eq!(ledger, Content::Hash(redis));
    }

    #[test]
    fn a_change_leads_from_its_beginning_to_its_end(from in contents(), to in contents()) {
        prop_assert_eq!(follow(&from, &from, &to), Some(to.clone()));
        prop_assert!(is_followed(Some(&to), &from, &to));
    }
}
