//! The compiled glob against a table of known answers, and against a real Redis's `KEYS`.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

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

/// A redis-server on a unix socket in a directory of its own: no port that another could have.
struct Redis {
    process: Child,
    directory: tempfile::TempDir,
}

impl Redis {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut process = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--unixsocket", "r.sock", "--dir"])
            .arg(directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("redis-server is installed");
        let output = BufReader::new(process.stdout.take().unwrap());
        let ready = |line: &str| line.contains("eady to accept connections");
        assert!(output.lines().any(|line| ready(&line.unwrap())), "redis-server starts");
        Self { process, directory }
    }

    fn connect(&self) -> redis::Connection {
        let url = format!("unix://{}/r.sock", self.directory.path().display());
        redis::Client::open(url).unwrap().get_connection().unwrap()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// Bytes that mean something in a pattern, more than once where they are rarely met by chance.
const IN_PATTERNS: &[u8] = b"abb\x00\x7f\x80\xff**?[[[]]^---\\\\";
/// Bytes of keys: few, so that patterns match.
const IN_KEYS: &[u8] = b"aab\x00\x7f\xff[]^-*\\";

fn texts(bytes: &'static [u8], longest: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(bytes), 0..=longest)
}

#[test]
fn redis_matches_the_same_keys() {
    let redis = Redis::start();
    let connection = RefCell::new(redis.connect());
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 500,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    // Each case: twenty patterns over forty keys, so up to 400,000 questions in all.
    let case = (
        prop::collection::vec(texts(IN_PATTERNS, 9), 20),
        prop::collection::vec(texts(IN_KEYS, 4), 40),
    );
    let matched = Cell::new(0);
    let outcome = runner.run(&case, |(patterns, keys)| {
        let keys: BTreeSet<Vec<u8>> = keys.into_iter().collect();
        let connection = &mut *connection.borrow_mut();
        let pairs: Vec<(&[u8], &str)> = keys.iter().map(|key| (key.as_slice(), "")).collect();
        let () = redis::cmd("FLUSHALL").query(connection).unwrap();
        let () = redis::cmd("MSET").arg(&pairs).query(connection).unwrap();
        for pattern in patterns {
            let theirs: BTreeSet<Vec<u8>> =
                redis::cmd("KEYS").arg(&pattern).query(connection).unwrap();
            let glob = Glob::new(&pattern);
            let ours: BTreeSet<Vec<u8>> =
                keys.iter().filter(|key| glob.matches(key)).cloned().collect();
            matched.set(matched.get() + theirs.len());
            prop_assert_eq!(ours, theirs, "{}", pattern.escape_ascii());
            let missed = |key: &&Vec<u8>| key.first().is_some_and(|&b| !glob.first_bytes().has(b));
            prop_assert!(!keys.iter().filter(missed).any(|key| glob.matches(key)));
        }
        Ok(())
    });
    outcome.unwrap();
    assert!(matched.get() > 3_000, "the questions have two answers: {matched:?}");
}
