//! Giving a lock back, extending it, looking at it.

use super::{NIL, OK, ONE, OTHER, Stage, TOKEN, ZERO, as_bulk};
use crate::support::Monitor;
use crate::support::scenario::Pair;

/// After a release by any command the key is free in Redis and for the next client.
#[test]
fn by_every_command() {
    for (command, reply) in [
        ("DEL lock:a", ONE.to_owned()),
        ("UNLINK lock:a", ONE.to_owned()),
        ("DEL other lock:a another", ONE.to_owned()),
        ("GETDEL lock:a", as_bulk(TOKEN)),
        ("EXPIRE lock:a 0", ONE.to_owned()),
        ("EXPIRE lock:a -1", ONE.to_owned()),
        ("PEXPIRE lock:a -1", ONE.to_owned()),
        ("EXPIREAT lock:a 1", ONE.to_owned()),
        ("PEXPIREAT lock:a 1", ONE.to_owned()),
    ] {
        let mut stage = Stage::start();
        stage.take("lock:a", TOKEN);
        assert_eq!(stage.client.ask(command), reply, "{command}");
        assert_eq!(stage.direct.ask("EXISTS lock:a"), ZERO, "{command}");
        assert_eq!(stage.client.ask("DEL lock:a"), ZERO, "{command}");
        let mut second = stage.subject.client();
        assert_eq!(second.ask(&format!("SET lock:a {OTHER} NX EX 30")), OK, "{command}");
        stage.assert_permanent("lock:a");
    }
}

/// A TTL in the future answers as Redis does and leaves the lock permanent; nothing is written.
#[test]
fn expiries_change_nothing() {
    let mut stage = Stage::start();
    stage.take("lock:a", TOKEN);
    let mut watcher = stage.redis.client();
    assert_eq!(watcher.ask("WATCH lock:a"), OK);
    for command in [
        "EXPIRE lock:a 100",
        "PEXPIRE lock:a 100000",
        "EXPIREAT lock:a 4102444800",
        "PEXPIREAT lock:a 4102444800000",
        "expire lock:a 100 XX",
    ] {
        assert_eq!(stage.client.ask(command), ONE, "{command}");
        stage.assert_permanent("lock:a");
    }
    assert_eq!(stage.client.ask("EXPIRE lock:none 100"), ZERO);
    if stage.is_lockside() {
        assert_eq!(watcher.ask("MULTI"), OK);
        assert_eq!(watcher.ask("EXEC"), "*0\r\n", "the lock's WATCHers are not disturbed");
        assert_eq!(stage.client.ask("PTTL lock:a"), ":-1\r\n");
        assert_eq!(stage.client.ask("TTL lock:a"), ":-1\r\n");
    }
}

/// Redis's own errors for what is wrong.
#[test]
fn wrong_expiries() {
    Pair::start().compare_all(
        r#"
a> EXPIRE lock:a 100
a> SET lock:a 550e8400-e29b-41d4-a716-446655440000 NX PX 30000
a> EXPIRE lock:a
a> EXPIRE lock:a x
a> EXPIRE lock:a 100 NOPE
a> EXPIRE lock:a 100 NX XX
a> EXPIRE lock:a 9223372036854775807
a> PEXPIREAT lock:a x
a> GET lock:a
a> DEL
a> GETDEL
a> GETEX lock:a EX 0
a> GETEX lock:a EX x
a> GETEX lock:a NOPE
a> TYPE lock:a
a> EXISTS lock:a
a> OBJECT ENCODING lock:a
"#,
    );
}

/// Extending by writing again: the value changes as told, and no TTL is left.
#[test]
fn by_writing_again() {
    for (command, reply, value) in [
        (format!("SET lock:a {TOKEN} XX PX 5000"), OK.to_owned(), TOKEN),
        (format!("SET lock:a {OTHER} XX EX 5"), OK.to_owned(), OTHER),
        (format!("SET lock:a {TOKEN} PX 5000"), OK.to_owned(), TOKEN),
        (format!("SET lock:a {OTHER}"), OK.to_owned(), OTHER),
        (format!("SET lock:a {OTHER} XX KEEPTTL"), OK.to_owned(), OTHER),
        (format!("SET lock:a {OTHER} XX GET PX 5000"), as_bulk(TOKEN), OTHER),
        ("GETEX lock:a EX 5".to_owned(), as_bulk(TOKEN), TOKEN),
        ("GETEX lock:a PXAT 4102444800000".to_owned(), as_bulk(TOKEN), TOKEN),
        ("GETEX lock:a".to_owned(), as_bulk(TOKEN), TOKEN),
        ("GETEX lock:a PERSIST".to_owned(), as_bulk(TOKEN), TOKEN),
        (format!("GETSET lock:a {OTHER}"), as_bulk(TOKEN), OTHER),
        (format!("SETEX lock:a 5 {OTHER}"), OK.to_owned(), OTHER),
        (format!("PSETEX lock:a 5000 {OTHER}"), OK.to_owned(), OTHER),
    ] {
        let mut stage = Stage::start();
        stage.take("lock:a", TOKEN);
        assert_eq!(stage.client.ask(&command), reply, "{command}");
        stage.assert_permanent("lock:a");
        assert_eq!(stage.client.ask("GET lock:a"), as_bulk(value), "{command}");
        assert_eq!(stage.subject.client().ask("SET lock:a x NX"), NIL, "{command}");
    }
}

/// SET XX on a free key takes nothing.
#[test]
fn xx_on_a_free_key() {
    let mut stage = Stage::start();
    assert_eq!(stage.client.ask(&format!("SET lock:a {TOKEN} XX PX 5000")), NIL);
    assert_eq!(stage.direct.ask("EXISTS lock:a"), ZERO);
    assert_eq!(stage.client.ask("GETEX lock:a EX 10"), NIL);
}

/// A plain SET with a TTL on a free lock key takes the lock, as some libraries do after a GET.
#[test]
fn plain_set_takes_a_free_key() {
    let mut stage = Stage::start();
    assert_eq!(stage.client.ask(&format!("SET lock:a {TOKEN} PX 5000")), OK);
    stage.assert_permanent("lock:a");
    assert_eq!(stage.client.ask("GET lock:a"), as_bulk(TOKEN));
    assert_eq!(stage.subject.client().ask(&format!("SET lock:a {OTHER} NX EX 3")), NIL);
    assert_eq!(stage.client.ask("DEL lock:a"), ONE);
}

/// Release by compare and delete, as the libraries' scripts do it: the owner's token releases, a
/// stranger's does not, and a TTL seen by an extend script is the virtual one.
#[test]
fn by_scripts() {
    const RELEASE: &str = "EVAL \"if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) else return 0 end\" 1 lock:a";
    const EXTEND: &str = "EVAL \"if redis.call('get', KEYS[1]) ~= ARGV[1] then return 0 end local left = redis.call('pttl', KEYS[1]) if left < 0 then return -1 end redis.call('pexpire', KEYS[1], left + ARGV[2]) return 1\" 1 lock:a";
    for token in [TOKEN, "1", "93:550e8400-e29b-41d4-a716-446655440000"] {
        let mut stage = Stage::start();
        stage.take("lock:a", token);
        assert_eq!(stage.client.ask(&format!("{EXTEND} {token} 1000")), ONE, "{token}");
        stage.assert_permanent("lock:a");
        assert_eq!(stage.client.ask(&format!("{EXTEND} {OTHER} 1000")), ZERO);
        assert_eq!(stage.client.ask(&format!("{RELEASE} {OTHER}")), ZERO);
        assert_eq!(stage.client.ask(&format!("{RELEASE} {token}")), ONE, "{token}");
        assert_eq!(stage.direct.ask("EXISTS lock:a"), ZERO);
        assert_eq!(stage.client.ask(&format!("{RELEASE} {token}")), ZERO);
    }
}

/// A lock taken inside a script is a lock like any other: permanent when the reply is there.
#[test]
fn taken_by_a_script() {
    const ACQUIRE: &str = "EVAL \"if redis.call('exists', KEYS[1]) == 1 then return 0 end redis.call('set', KEYS[1], ARGV[1], 'PX', ARGV[2]) return 1\" 1 lock:a";
    let mut stage = Stage::start();
    assert_eq!(stage.client.ask(&format!("{ACQUIRE} {TOKEN} 30000")), ONE);
    stage.assert_permanent("lock:a");
    assert_eq!(stage.client.ask(&format!("{ACQUIRE} {OTHER} 30000")), ZERO);
    assert_eq!(stage.client.ask(&format!("SET lock:a {OTHER} NX")), NIL);
    assert_eq!(stage.client.ask("GET lock:a"), as_bulk(TOKEN));
    assert_eq!(stage.client.ask("DEL lock:a"), ONE);
}

/// A release upstream is one command, and reading a held lock writes nothing.
#[test]
fn looking_writes_nothing() {
    let Some(mut stage) = Stage::lockside("") else { return };
    stage.take("lock:a", &format!("93:{TOKEN}"));
    let mut watcher = stage.redis.client();
    assert_eq!(watcher.ask("WATCH lock:a"), OK);
    let mut monitor = Monitor::start(&stage.redis);
    for command in ["GET lock:a", "TTL lock:a", "EXISTS lock:a", "STRLEN lock:a", "TYPE lock:a"] {
        stage.client.ask(command);
    }
    assert!(!monitor.seen_with("lock:a").is_empty());
    assert_eq!(watcher.ask("MULTI"), OK);
    assert_eq!(watcher.ask("EXEC"), "*0\r\n");
}
