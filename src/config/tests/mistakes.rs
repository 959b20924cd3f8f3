//! Mistakes in a configuration: each is refused, with its place, and no secret is shown.

use proptest::prelude::*;

use super::*;

/// A file of one mistake, and the exact line that it is refused with.
const BAD_FILES: &[(&str, &str)] = &[
    ("lsiten = []", r#"l.toml:1: lsiten: unknown key; expected "listen", perhaps"#),
    ("\n\n[log]\nbanana = 1", "l.toml:4: log.banana: unknown key; expected one of format, level"),
    (
        "listen = ['127.0.0.1:1',\n 'h:1']",
        r#"l.toml:2: listen: "h:1" is no address to listen on; expected "IP:PORT" such as "127.0.0.1:6380", or "unix:///absolute/path""#,
    ),
    ("listen = []", "l.toml:1: listen: 0 addresses; expected 1 to 16"),
    (
        "listen = ['[::1]:1', '[::1]:1']",
        "l.toml:1: listen: [::1]:1 stands twice; expected each address once",
    ),
    ("threads = 0", "l.toml:1: threads: 0 is out of range; expected a whole number, 1 to 64"),
    (
        "threads = 1.5",
        "l.toml:1: threads: is a float; expected a single value: a string, a number, true or false",
    ),
    (
        "threads = 99999999999999999999",
        "l.toml:1: threads: is too large a number; expected fewer digits",
    ),
    (
        "held_cache = '5 parsecs'",
        r#"l.toml:1: held_cache: "5 parsecs" is no duration; expected seconds or a duration such as "500ms", 0s to 1s"#,
    ),
    (
        "drain_timeout = -1",
        r#"l.toml:1: drain_timeout: "-1" is no duration; expected seconds or a duration such as "500ms", 0s to 1h"#,
    ),
    (
        "time_zone = 'Mars'",
        r#"l.toml:1: time_zone: "Mars" is no time zone; expected an IANA name such as "UTC" or "Europe/Berlin""#,
    ),
    ("state_dir = 's'", r#"l.toml:1: state_dir: "s" is not absolute; expected an absolute path"#),
    ("upstream = 3", "l.toml:1: upstream: is an integer; expected a table: [upstream]"),
    (
        "upstream.url = 'http://h'",
        r#"l.toml:1: upstream.url: not a URL of a Redis; expected "redis://[user[:password]@]host[:port]" or "unix:///absolute/path""#,
    ),
    (
        "upstream.url = 'rediss://h'",
        r#"l.toml:1: upstream.url: rediss:// is not supported in this version; expected "redis://[user[:password]@]host[:port]" or "unix:///absolute/path""#,
    ),
    (
        "upstream.url = 'redis://h/2'",
        "l.toml:1: upstream.url: names database 2, but each client selects its own (SELECT); expected no database in the URL, or 0",
    ),
    (
        "[limits]\nmax_bulk = '64KB'",
        r#"l.toml:2: limits.max_bulk: "64KB" is no size; expected bytes or a size such as "64KiB", 1KiB to 2GiB"#,
    ),
    (
        "log.format = 'xml'",
        r#"l.toml:1: log.format: "xml" is no log format; expected "text" or "json""#,
    ),
    (
        "log.level = 'verbose'",
        r#"l.toml:1: log.level: "verbose" is no log level; expected error, warn, info, debug, trace or off, or directives such as "info,lockside=debug""#,
    ),
    ("rule = 1", "l.toml:1: rule: is an integer; expected tables: [[rule]]"),
    ("[[rule]]\nkeys = 'a'", r#"l.toml:1: rule.name: missing; expected a name such as "jobs""#),
    ("[[rule]]\nname = 'a'", r#"l.toml:1: rule.keys: missing; expected globs such as ["lock:*"]"#),
    (
        "[[rule]]\nname = 'a b'\nkeys = 'a'",
        r#"l.toml:2: rule.name: "a b" is no name; expected 1 to 64 of a-z A-Z 0-9 - _ ."#,
    ),
    (
        "[[rule]]\nname = 'a'\nkeys = []",
        r#"l.toml:3: rule.keys: no glob; expected at least one, such as "lock:*""#,
    ),
    (
        "[[rule]]\nname = 'a'\nkeys = ['']",
        r#"l.toml:3: rule.keys: an empty glob matches the empty key only; expected a glob like "lock:*""#,
    ),
    (
        "[[rule]]\nname = 'a'\nkeys = 'a'\nexclude = 'a'",
        r#"l.toml:3: rule.keys: "a" stands in exclude or companions too; expected a glob that matches something"#,
    ),
    (
        "[[rule]]\nname = 'a'\nkeys = 'a'\nmode = 'forever'",
        r#"l.toml:4: rule.mode: "forever" is no mode; expected "persistent" or "ttl""#,
    ),
    (
        "[[rule]]\nname = 'a'\nkeys = 'a'\nsafety_ttl = '10ms'",
        r#"l.toml:4: rule.safety_ttl: 10ms is out of range; expected seconds or a duration such as "500ms", 100ms to 1h"#,
    ),
    (
        "[[rule]]\nname = 'a'\nkeys = 'a'\nallow_repeated_values = 'maybe'",
        r#"l.toml:4: rule.allow_repeated_values: "maybe" is no switch; expected true or false"#,
    ),
    (
        "conflict = 'upstream'",
        r#"l.toml:1: conflict: "upstream" does not go with guarantee = "strict"; expected "ledger", or guarantee = "fast""#,
    ),
    (
        "ledger.kind = 'postgres'",
        r#"l.toml:1: ledger.kind: "postgres" is no kind of ledger; expected "sqlite" or "sheets""#,
    ),
    (
        "ledger.acquire_timeout = '1ms'",
        r#"l.toml:1: ledger.acquire_timeout: 1ms is out of range; expected "safety_ttl" (the rule's), or seconds or a duration such as "500ms", 100ms to 1h"#,
    ),
    (
        "ledger.path = ''",
        r#"l.toml:1: ledger.path: "" is no file; expected a path such as "ledger.db""#,
    ),
    (
        "ledger.poll = 0",
        r#"l.toml:1: ledger.poll: 0 is out of range; expected seconds or a duration such as "500ms", 10ms to 1m"#,
    ),
    (
        "upstream.min_replicas = -1",
        r#"l.toml:1: upstream.min_replicas: "-1" is no whole number; expected a whole number, 0 to 1000"#,
    ),
    (
        "upstream.min_replicas = 1\nupstream.replica_timeout = 5",
        "l.toml:1: upstream.min_replicas: replica_timeout (5s) is too long for it; expected less than command_timeout (5s)",
    ),
    (
        "[[rule]]\nname = 'a'\nkeys = 'a'\noutage = 'pray'",
        r#"l.toml:4: rule.outage: "pray" is no answer to an outage; expected "ledger" or "refuse" or "local""#,
    ),
    (
        "[[rule]]\nname = 'a'\nkeys = 'a'\nmax_hold = '10ms'",
        r#"l.toml:4: rule.max_hold: 10ms is out of range; expected 0 (off), or seconds or a duration such as "500ms", 1s to 3650d"#,
    ),
    (
        "[[rule]]\nname = 'a'\nkeys = ['a', '*:lock']\nobserve = true",
        r#"l.toml:4: rule.observe: rule a: "*:lock" begins with no literal text; expected globs such as "lock:*" in a rule that is observed, or observe = false in it"#,
    ),
    (
        "observe = true\n[[rule]]\nname = 'a'\nkeys = '?'",
        r#"l.toml:1: observe: rule a: "?" begins with no literal text; expected globs such as "lock:*" in a rule that is observed, or observe = false in it"#,
    ),
    (
        "observe_databases = [0, 64]",
        r#"l.toml:1: observe_databases: "64" is no database that can be observed; expected numbers of databases such as [0, 1], each 0 to 63"#,
    ),
    (
        "observe_databases = []",
        "l.toml:1: observe_databases: 0 databases; expected 1 to 16 databases, each once",
    ),
    (
        "observe_databases = [1, 1]",
        "l.toml:1: observe_databases: a database stands twice; expected 1 to 16 databases, each once",
    ),
    (
        "observe_scan = 0",
        r#"l.toml:1: observe_scan: 0 is out of range; expected seconds or a duration such as "500ms", 1s to 1d"#,
    ),
    (
        "[[rule]]\nname = 'a'\nkeys = 'a'\nfence_suffix = 'a fence'",
        r#"l.toml:4: rule.fence_suffix: "a fence" is no suffix; expected "" (off), or up to 64 visible ASCII characters"#,
    ),
    (
        "[[user]]\npassword = 'x'",
        r#"l.toml:1: user.name: missing; expected a name such as "worker""#,
    ),
    (
        "[[user]]\nname = 'a'",
        "l.toml:1: user.password: missing; expected a password, or its password_sha256",
    ),
    (
        "[[user]]\nname = 'a'\npassword_sha256 = 'hunter2'",
        "l.toml:3: user.password_sha256: no SHA-256; expected 64 hexadecimal digits",
    ),
    (
        "[[user]]\nname = 'a'\npassword = 'b'\n[[user]]\nname = 'a'\npassword = 'c'",
        r#"l.toml:5: user.name: "a" stands twice; expected a name of its own"#,
    ),
    (
        "[[user]]\nname = 'a'\npassword = 'b'\nrules = ['default', 'none']",
        r#"l.toml:4: user.rules: "none" is the name of no rule; expected some of "default""#,
    ),
    (
        "[[rule]]\nname = 'a'\nkeys = 'a'\n[[rule]]\nname = 'a'\nkeys = 'b'",
        r#"l.toml:5: rule.name: "a" stands twice; expected a name of its own"#,
    ),
];

#[test]
fn each_mistake_has_its_line() {
    for (file, expected) in BAD_FILES {
        assert_eq!(refused(file, &[]), *expected, "{file}");
    }
}

#[test]
fn text_that_is_no_toml_has_its_line() {
    let message = refused("threads = 1\nlisten = [", &[]);
    assert!(message.starts_with("l.toml:2: not TOML: "), "{message}");
    let message = refused("threads = 1\nthreads = 2\n", &[]);
    assert!(message.starts_with("l.toml:2: not TOML: "), "{message}");
    let message = refused("a = \u{7f}", &[]);
    assert!(message.starts_with("l.toml:1: not TOML: "), "{message}");
}

#[test]
fn all_mistakes_are_shown_at_once_in_their_order() {
    let mut sources = sources(
        "[limits]\nlocks = 0\n[log]\nformat = 1\n",
        &[
            ("REDIS_SAFETY_TTL", "soon"),
            ("REDIS_PERSISTENT_LOCKS", "perhaps"),
            ("REDIS_URL", "redis+sentinel://:pw@h"),
        ],
    );
    sources.flags.threads = Some("many".into());
    let problems = Settings::load(&sources).unwrap_err().to_string();
    let expected = [
        "l.toml:2: limits.locks: 0 is out of range; expected a whole number, 1 to 100000000",
        r#"l.toml:4: log.format: "1" is no log format; expected "text" or "json""#,
        r#"environment: REDIS_URL: redis+sentinel:// is not supported in this version; expected "redis://[user[:password]@]host[:port]" or "unix:///absolute/path""#,
        r#"environment: REDIS_PERSISTENT_LOCKS: "perhaps" is no switch; expected true or false"#,
        r#"environment: REDIS_SAFETY_TTL: "soon" is no duration; expected seconds or a duration such as "500ms", 100ms to 1h"#,
        r#"flags: --threads: "many" is no whole number; expected a whole number, 1 to 64"#,
    ];
    assert_eq!(problems.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn a_file_that_is_not_there_names_the_flag() {
    let flags = Overrides { config: Some("/nonexistent/l.toml".into()), ..Overrides::default() };
    let problems = Sources::gather(flags).err().unwrap().to_string();
    assert!(
        problems.starts_with("flags: --config: can't read /nonexistent/l.toml: "),
        "{problems}"
    );
}

#[test]
fn no_password_is_ever_shown() {
    let url = "redis://bob:hunter2@h:1";
    let shown = format!("{:?}", settings(&format!("upstream.url = {url:?}"), &[]));
    assert!(shown.contains("bob") && !shown.contains("hunter2"), "{shown}");
    let user = "[[user]]\nname = 'bob'\npassword = 'hunter2'\n";
    let shown = format!("{:?}", settings(user, &[]));
    assert!(shown.contains("bob") && !shown.contains("hunter2"), "{shown}");
    let both = format!("{user}password_sha256 = '{}'", "ab".repeat(32));
    assert_eq!(
        refused(&both, &[]),
        "l.toml:3: user.password: stands beside password_sha256; expected one of them"
    );
    for bad in ["redis://bob:hunter2@h/7", "rediss://bob:hunter2@h", "hunter2", "redis://hunter2:x"]
    {
        for text in [
            refused(&format!("upstream.url = {bad:?}"), &[]),
            refused("", &[("REDIS_URL", bad)]),
            refused("", &[("LOCKSIDE_UPSTREAM", bad)]),
        ] {
            assert!(!text.contains("hunter2"), "{text}");
        }
    }
}

proptest! {
    /// A damaged file is read or refused, each line with its place; it never panics.
    #[test]
    fn a_damaged_file_is_read_or_refused(
        at in 0..EXAMPLE.len(),
        cut in 0usize..40,
        put in prop::sample::select(vec![
            "", "\"", "[", "]", "[[rule]]\n", "= ", "-1", "9e9", "1979-05-27", "{", "\0", "ü", "'''",
        ]),
    ) {
        prop_assume!(EXAMPLE.is_char_boundary(at));
        let end = (at + cut).min(EXAMPLE.len());
        prop_assume!(EXAMPLE.is_char_boundary(end));
        let damaged = [&EXAMPLE[..at], put, &EXAMPLE[end..]].concat();
        if let Err(problems) = Settings::load(&sources(&damaged, &[])) {
            for line in problems.to_string().lines() {
                prop_assert!(line.starts_with("l.toml:"), "{line:?} of {damaged}");
            }
        }
    }
}
