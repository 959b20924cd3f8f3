//! Tests of the table that need no server.

use super::testing::words;
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
