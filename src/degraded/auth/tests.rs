//! What the doorman lets in and what it forgets, seen from outside.

use std::fs;
use std::path::Path;

use super::open::NAME;
use super::seen::{MAX_PASSWORDS, MAX_USERS};
use super::*;
use crate::config::Address;
use crate::lock::rule::{Glob, Rule, RuleId};

const STRANGER: Who<'_> = Who { user: DEFAULT_USER, proof: Proof::Nothing };

fn rules(keys: &[u8]) -> Rules {
    let rule = |name: &str, keys: &[u8]| Rule::new(name, vec![Glob::new(keys)]);
    Rules::new(vec![rule("one", keys), rule("two", b"two:*")])
}

fn proven(user: &str) -> Who<'_> {
    Who { user: user.as_bytes(), proof: Proof::Upstream }
}

fn local(user: &str) -> Who<'_> {
    Who { user: user.as_bytes(), proof: Proof::Local }
}

fn doorman() -> Doorman {
    let users = [User {
        name: "ann".into(),
        password: PasswordDigest::of(b"local"),
        rules: vec![RuleId(1)],
    }];
    Doorman::in_memory(&users, &rules(b"one:*")).unwrap()
}

fn settings(state: &Path) -> Settings {
    Settings { state_dir: state.into(), rules: rules(b"one:*"), ..Settings::default() }
}

fn there(state: &Path) -> bool {
    state.join(NAME).exists()
}

#[test]
fn only_what_redis_accepted_is_let_in() {
    let doorman = doorman();
    assert_eq!(doorman.admits(b"bob", b"secret"), None);
    doorman.saw_accepted(b"bob", b"secret");
    assert_eq!(doorman.admits(b"bob", b"secret"), Some(Proof::Upstream));
    for (user, password) in [("bob", "Secret"), ("bob", ""), ("bo", "bsecret"), ("eve", "secret")] {
        assert_eq!(doorman.admits(user.as_bytes(), password.as_bytes()), None, "{user} {password}");
    }
}

#[test]
fn a_user_has_the_rules_that_it_used() {
    let doorman = doorman();
    assert_eq!(doorman.access(proven("bob"), "one"), Access::Unknown);
    doorman.saw_accepted(b"bob", b"secret");
    assert_eq!(doorman.access(proven("bob"), "one"), Access::Denied);
    doorman.saw_use(proven("bob"), "one", 0);
    assert_eq!(doorman.access(proven("bob"), "one"), Access::Granted);
    assert_eq!(doorman.access(proven("bob"), "two"), Access::Denied);
    assert_eq!(doorman.access(proven("eve"), "one"), Access::Unknown);
    assert_eq!(doorman.access(STRANGER, "one"), Access::Unknown);
}

#[test]
fn a_configured_user_has_its_configured_rules_alone() {
    let doorman = doorman();
    assert_eq!(doorman.admits(b"ann", b"local"), Some(Proof::Local));
    assert_eq!(doorman.admits(b"ann", b"other"), None);
    assert_eq!(doorman.access(local("ann"), "two"), Access::Granted);
    assert_eq!(doorman.access(local("ann"), "one"), Access::Denied);
    // What Redis lets ann do with her other password proves nothing for this one.
    doorman.saw_accepted(b"ann", b"upstream");
    doorman.saw_use(proven("ann"), "one", 0);
    assert_eq!(doorman.access(proven("ann"), "one"), Access::Granted);
    assert_eq!(doorman.access(proven("ann"), "two"), Access::Granted);
    assert_eq!(doorman.access(local("ann"), "one"), Access::Denied);
    assert_eq!(doorman.access(local("bob"), "two"), Access::Denied);
}

#[test]
fn a_password_that_redis_no_longer_takes_ends_the_user() {
    let doorman = doorman();
    for password in ["old", "older"] {
        doorman.saw_accepted(b"bob", password.as_bytes());
    }
    doorman.saw_use(proven("bob"), "one", 0);
    // Anybody can send a wrong one.
    doorman.saw_rejected(b"bob", b"guess");
    assert_eq!((doorman.admits(b"bob", b"old"), doorman.epoch()), (Some(Proof::Upstream), 0));
    doorman.saw_rejected(b"bob", b"old");
    assert_eq!((doorman.admits(b"bob", b"older"), doorman.epoch()), (None, 1));
    assert_eq!(doorman.access(proven("bob"), "one"), Access::Unknown);
    // A connection that Redis lets go on is no proof that it would let another in.
    doorman.saw_use(proven("bob"), "one", 1);
    assert_eq!(doorman.access(proven("bob"), "one"), Access::Unknown);
    doorman.saw_accepted(b"bob", b"new");
    assert_eq!(doorman.access(proven("bob"), "one"), Access::Denied);
    doorman.saw_use(proven("bob"), "one", 1);
    assert_eq!(doorman.access(proven("bob"), "one"), Access::Granted);
}

#[test]
fn a_right_that_redis_takes_away_is_gone() {
    let doorman = doorman();
    doorman.saw_accepted(b"bob", b"secret");
    doorman.saw_use(proven("bob"), "one", 0);
    doorman.saw_use(proven("bob"), "two", 0);
    doorman.saw_refused(proven("bob"), Some("one"));
    assert_eq!(doorman.access(proven("bob"), "one"), Access::Denied);
    assert_eq!(doorman.access(proven("bob"), "two"), Access::Granted);
    assert_eq!(doorman.epoch(), 1, "others tell again what they may");
    doorman.saw_refused(proven("bob"), Some("one"));
    assert_eq!(doorman.epoch(), 1, "nothing was forgotten");
    doorman.saw_refused(proven("bob"), None);
    assert_eq!(doorman.admits(b"bob", b"secret"), None);
}

#[test]
fn strangers_may_what_strangers_did() {
    let doorman = doorman();
    doorman.saw_use(STRANGER, "one", 0);
    assert_eq!(doorman.access(STRANGER, "one"), Access::Granted);
    assert_eq!(doorman.access(STRANGER, "two"), Access::Denied);
    // The default user with a password has no fewer rights than without; others have nothing of it.
    doorman.saw_accepted(DEFAULT_USER, b"x");
    doorman.saw_accepted(b"bob", b"x");
    assert_eq!(doorman.access(proven("default"), "one"), Access::Granted);
    assert_eq!(doorman.access(proven("bob"), "one"), Access::Denied);
    doorman.saw_refused(STRANGER, Some("one"));
    assert_eq!(doorman.access(STRANGER, "one"), Access::Unknown);
}

#[test]
fn the_default_user_with_a_password_says_nothing_of_strangers() {
    let doorman = doorman();
    doorman.saw_accepted(DEFAULT_USER, b"secret");
    doorman.saw_use(proven("default"), "one", 0);
    assert_eq!(doorman.access(proven("default"), "one"), Access::Granted);
    assert_eq!(doorman.access(STRANGER, "one"), Access::Unknown);
}

/// Redis gets a password while connections stand: they go on, new ones have to authenticate.
#[test]
fn a_link_from_before_the_password_opens_nothing() {
    for known_before in [true, false] {
        let doorman = doorman();
        let old_link = doorman.epoch();
        if known_before {
            doorman.saw_use(STRANGER, "one", old_link);
        }
        doorman.saw_refused(STRANGER, None);
        doorman.saw_use(STRANGER, "one", old_link);
        assert_eq!(doorman.access(STRANGER, "one"), Access::Unknown);
        doorman.saw_use(STRANGER, "one", doorman.epoch());
        assert_eq!(doorman.access(STRANGER, "one"), Access::Granted);
    }
}

#[test]
fn memory_is_bounded() {
    let doorman = doorman();
    for n in 0..MAX_USERS + 3 {
        doorman.saw_accepted(format!("u{n}").as_bytes(), b"x");
    }
    assert_eq!(doorman.read().len(), MAX_USERS);
    assert_eq!(doorman.admits(b"u2", b"x"), None);
    assert_eq!(doorman.admits(b"u3", b"x"), Some(Proof::Upstream));
    assert_eq!(doorman.epoch(), 3, "who was forgotten is told of again");
    for n in 0..=MAX_PASSWORDS {
        doorman.saw_accepted(b"u3", format!("p{n}").as_bytes());
    }
    assert_eq!(doorman.admits(b"u3", b"x"), None);
    assert_eq!(doorman.admits(b"u3", b"p0"), None);
    assert_eq!(doorman.admits(b"u3", b"p1"), Some(Proof::Upstream));
    doorman.saw_accepted(&[b'u'; 5000], b"x");
    assert_eq!(doorman.admits(&[b'u'; 5000], b"x"), None);
}

#[test]
fn two_processes_hash_differently() {
    let (one, other) = (doorman(), doorman());
    let tag = one.tag(b"bob", b"secret");
    let mut seen = Seen::default();
    seen.admit(b"bob", tag);
    assert!(seen.knows(b"bob", &one.tag(b"bob", b"secret")));
    assert!(!seen.knows(b"bob", &other.tag(b"bob", b"secret")));
    assert!(!seen.knows(b"bob", &one.tag(b"bobs", b"ecret")));
    assert!(!seen.knows(b"bob", &Tag::NONE));
}

#[test]
fn that_strangers_are_let_in_survives_a_restart() {
    let state = tempfile::tempdir().unwrap();
    let doorman = Doorman::open(&settings(state.path())).unwrap();
    doorman.saw_accepted(b"bob", b"hunter22");
    doorman.saw_use(proven("bob"), "two", 0);
    assert_eq!(doorman.access(STRANGER, "one"), Access::Unknown);
    doorman.saw_use(STRANGER, "one", 0);
    drop(doorman);
    let text = fs::read_to_string(state.path().join(NAME)).unwrap();
    assert!(!text.contains("hunter22") && !text.contains("bob"), "{text}");
    let doorman = Doorman::open(&settings(state.path())).unwrap();
    assert_eq!(doorman.access(STRANGER, "one"), Access::Granted);
    assert_eq!(doorman.access(STRANGER, "two"), Access::Denied);
    assert_eq!(doorman.admits(b"bob", b"hunter22"), None);
    doorman.saw_refused(STRANGER, None);
    drop(doorman);
    assert!(!there(state.path()), "forgotten for good");
    let doorman = Doorman::open(&settings(state.path())).unwrap();
    assert_eq!(doorman.access(STRANGER, "one"), Access::Unknown);
}

#[test]
fn the_file_speaks_of_one_redis_and_of_the_same_keys() {
    let state = tempfile::tempdir().unwrap();
    let doorman = Doorman::open(&settings(state.path())).unwrap();
    doorman.saw_use(STRANGER, "one", 0);
    doorman.saw_use(STRANGER, "two", 0);
    drop(doorman);
    let access =
        |settings: &Settings, rule| Doorman::open(settings).unwrap().access(STRANGER, rule);
    let same = settings(state.path());
    assert_eq!(access(&same, "one"), Access::Granted);
    let mut other = settings(state.path());
    other.upstream.address = Address::Tcp { host: "elsewhere".into(), port: 6379 };
    assert_eq!(access(&other, "one"), Access::Unknown);
    let other = Settings { namespace: "another".into(), ..settings(state.path()) };
    assert_eq!(access(&other, "one"), Access::Unknown);
    let other = Settings { rules: rules(b"*"), ..settings(state.path()) };
    assert_eq!(access(&other, "one"), Access::Denied);
    assert_eq!(access(&other, "two"), Access::Granted);
    for nonsense in ["", "[]", "{\"format\":1}", "\u{1}"] {
        fs::write(state.path().join(NAME), nonsense).unwrap();
        assert_eq!(access(&same, "one"), Access::Unknown, "{nonsense}");
    }
}
