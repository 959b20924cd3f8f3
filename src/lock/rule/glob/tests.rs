//! The compiled glob against a table of known answers.

use super::Glob;

fn matches(pattern: &str, key: &str) -> bool {
    Glob::new(pattern.as_bytes()).matches(key.as_bytes())
}

#[test]
fn known_answers() {
    let yes = [
        ("", ""),
        ("*", ""),
        ("*", "a"),
        ("**", "a"),
        ("lock:*", "lock:"),
        ("lock:*", "lock:a*b"),
        ("a*c", "abc"),
        ("a*c", "ac"),
        ("a**c", "ac"),
        ("*:lock", "a:lock"),
        ("?", "a"),
        ("a?c", "abc"),
        ("[abc]x", "bx"),
        ("[a-c]x", "bx"),
        ("[c-a]x", "bx"),
        ("[^a]x", "bx"),
        ("[^", "x"),
        ("[a", "a"),
        ("[a-]", "a"),
        ("[a-]", "]"),
        ("[\\]]", "]"),
        ("a\\*", "a*"),
        ("a\\", "a\\"),
        ("*a*b*", "xxaxxbxx"),
        ("*ab", "aab"),
        ("h[^e]llo*", "hallo:1"),
    ];
    for (pattern, key) in yes {
        assert!(matches(pattern, key), "{pattern:?} {key:?}");
    }
    let no = [
        ("", "a"),
        ("**", ""),
        ("?", ""),
        ("lock:*", "lock"),
        ("lock:*", "LOCK:a"),
        ("a*c", "abcd"),
        ("aba*ba", "aba"),
        ("[]", "]"),
        ("[", "["),
        ("[abc]", "d"),
        ("[^a]", "a"),
        ("a\\*", "ab"),
        ("*a*b*c", "abab"),
    ];
    for (pattern, key) in no {
        assert!(!matches(pattern, key), "{pattern:?} {key:?}");
    }
}

#[test]
fn a_hostile_pattern_ends_soon() {
    let pattern = Glob::new(&b"a*".repeat(500));
    let mut key = vec![b'a'; 1024];
    key.push(b'b');
    assert!(pattern.matches(&key));
    let pattern = Glob::new(&[b"a*".repeat(500).as_slice(), b"[c]"].concat());
    assert!(!pattern.matches(&key));
}

#[test]
fn text_of_a_glob_is_its_source() {
    assert_eq!(Glob::new(b"lock:*").to_string(), "lock:*");
    assert_eq!(Glob::new(b"l\xffk\n*").to_string(), "l\\xffk\\n*");
    assert_eq!(Glob::new("clé:*".as_bytes()).to_string(), "clé:*");
}
