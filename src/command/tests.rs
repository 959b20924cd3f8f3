//! Tests of the table that need no server.

mod live;

use proptest::prelude::*;

use super::script::{ScriptCall, Source};
use super::set::{NotSet, SetForm};
use super::testing::{OwnedArgs, words};
use super::*;

fn keys(line: &str) -> Vec<String> {
    let owned = words(line);
    let args = owned.args();
    let spec = lookup(args.get(0).unwrap()).unwrap();
    spec.keys(args).map(|key| String::from_utf8(key.to_vec()).unwrap()).collect()
}

#[test]
fn every_name_is_found_in_any_case_and_once() {
    for spec in table::TABLE {
        assert_eq!(lookup(spec.name.as_bytes()), Some(spec));
        assert_eq!(lookup(spec.name.to_uppercase().as_bytes()), Some(spec));
    }
}

#[test]
fn keys_of_movable_forms() {
    assert_eq!(keys("EVAL text 2 a b c"), ["a", "b"]);
    assert_eq!(keys("ZUNIONSTORE d 2 a b WEIGHTS 1 2"), ["d", "a", "b"]);
}

fn lock_keys(line: &str) -> Vec<String> {
    let owned = words(line);
    let spec = lookup(owned.args().get(0).unwrap()).unwrap();
    spec.lock_keys(owned.args()).map(|key| String::from_utf8(key.to_vec()).unwrap()).collect()
}

#[test]
fn only_the_destination_of_a_store_counts() {
    assert_eq!(lock_keys("ZUNIONSTORE d 2 a b"), ["d"]);
    assert_eq!(lock_keys("SORT a STORE d"), ["d"]);
    assert_eq!(lock_keys("SORT a BY x"), [""; 0]);
    assert_eq!(lock_keys("GEORADIUS a 1 2 3 km STOREDIST d"), ["d"]);
    assert_eq!(lock_keys("GEOSEARCHSTORE d a x"), [""; 0], "too short: Redis's own error");
    assert_eq!(lock_keys("BITOP NOT d a"), ["d", "a"]);
}

#[test]
fn malformed_commands_have_no_keys() {
    for line in ["GET", "GET a b", "MSET a 1 b", "EVAL x 3 a", "EVAL x -1 a", "XREAD STREAMS a"] {
        assert_eq!(keys(line), [""; 0], "{line}");
    }
    assert_eq!(keys("MSETEX 2 a 1 b 2 EX 5"), ["a", "b"]);
}

#[test]
fn the_first_key_decides_only_alone() {
    for (name, decides) in [("GET", true), ("PING", true), ("DEL", false), ("EVAL", false)] {
        assert_eq!(lookup(name.as_bytes()).unwrap().first_key_decides(), decides, "{name}");
    }
}

#[test]
fn scripts_are_taken_apart() {
    let owned = words("evalsha_ro abc 1 k x y");
    let call = ScriptCall::parse(owned.args()).unwrap();
    assert_eq!((call.source, call.read_only), (Source::Sha(b"abc"), true));
    assert_eq!(call.keys().collect::<Vec<_>>(), [b"k"]);
    assert_eq!(call.arguments().collect::<Vec<_>>(), [b"x", b"y"]);
    for line in ["EVAL t 2 k", "EVAL t -1 k", "EVAL t +1 k", "EVAL t", "GET t 1 k"] {
        assert!(ScriptCall::parse(words(line).args()).is_err(), "{line}");
    }
}

#[test]
fn conditions_of_newer_servers() {
    let condition =
        |line: &str| SetForm::parse(words(line).args()).map(|form| form.condition.is_some());
    assert_eq!(condition("SET k v ifeq v PX 5 GET"), Ok(true));
    assert_eq!(condition("SET k v IFDEQ 0123456789abcdef"), Ok(true));
    for line in ["SET k v IFEQ", "SET k v IFEQ a NX", "SET k v NX IFNE a", "SET k v IFDEQ 12"] {
        assert_eq!(condition(line), Err(NotSet), "{line}");
    }
}

#[test]
fn times_to_live() {
    let ttl = |line: &str| SetForm::parse(words(line).args()).unwrap().ttl_ms(10_000);
    assert_eq!(ttl("SET k v NX EX 3"), Some(3000));
    assert_eq!(ttl("SET k v EXAT 12"), Some(2000));
    assert_eq!(ttl("SET k v PXAT 9"), Some(0));
    assert_eq!(ttl("SET k v KEEPTTL"), None);
}

fn some_word() -> impl Strategy<Value = Vec<u8>> {
    let known = prop::sample::select(table::TABLE).prop_map(|spec| spec.name.as_bytes().to_vec());
    let option = prop::sample::select(&["nx", "px", "store", "keys", "streams", "9", "-1"][..])
        .prop_map(|word| word.as_bytes().to_vec());
    prop_oneof![known, option, prop::collection::vec(any::<u8>(), 0..24)]
}

proptest! {
    #[test]
    fn lookup_ignores_case_and_is_total(name in some_word(), upper in any::<u32>()) {
        let mixed: Vec<u8> = name.iter().enumerate().map(|(at, byte)| {
            if upper >> (at % 32) & 1 == 1 { byte.to_ascii_uppercase() } else { *byte }
        }).collect();
        prop_assert_eq!(lookup(&mixed), lookup(&name));
        let listed = table::TABLE.iter().find(|spec| {
            spec.name.as_bytes().eq_ignore_ascii_case(&name)
        });
        prop_assert_eq!(lookup(&name), listed);
    }

    #[test]
    fn nothing_panics_and_keys_are_arguments(list in prop::collection::vec(some_word(), 0..9)) {
        let owned = OwnedArgs::new(&list);
        let args = owned.args();
        for spec in table::TABLE {
            prop_assert!(spec.keys(args).all(|key| args.iter().any(|word| word == key)));
            prop_assert!(spec.lock_keys(args).count() <= spec.keys(args).count());
        }
        let _ = (SetForm::parse(args), SetForm::parse_setnx(args), ScriptCall::parse(args));
        let _ = (subcommand::client(args), subcommand::script(args));
    }
}
