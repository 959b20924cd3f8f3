//! `fence_suffix`: a client that knows nothing of Lockside reads a lock's fence by GET (SPEC 5).

use super::{NIL, OK, ONE, OTHER, Stage, TOKEN, ZERO};
use crate::support::Settings;

const RULES: &str = "[[rule]]\nname = \"jobs\"\nkeys = [\"lock:*\"]\nfence_suffix = \":fence\"\n\
    [[rule]]\nname = \"rest\"\nkeys = [\"mutex:*\"]\nmode = \"ttl\"\nfence_suffix = \"/f\"\n";

fn start(guarantee: &str) -> Option<Stage> {
    let top = format!("guarantee = \"{guarantee}\"\n");
    Stage::with(Settings { top: &top, tables: RULES, ..Settings::default() })
}

/// The string of digits in a reply.
fn digits(reply: &str) -> u64 {
    let line = reply.lines().nth(1).unwrap_or_else(|| panic!("{reply}"));
    line.parse().unwrap_or_else(|_| panic!("{reply}"))
}

/// All looks at a held and at a free lock.
fn assert_shown(stage: &mut Stage) {
    let shown = stage.other.ask("GET lock:a:fence");
    let told = stage.other.ask("LOCKSIDE FENCE lock:a");
    assert_eq!(format!(":{}\r\n", digits(&shown)), told);
    let long = shown.lines().nth(1).unwrap().len();
    for (line, held, free) in [
        ("STRLEN", format!(":{long}\r\n"), ZERO),
        ("EXISTS", ONE.to_owned(), ZERO),
        ("TYPE", "+string\r\n".to_owned(), "+none\r\n"),
        ("TTL", ":-1\r\n".to_owned(), ":-2\r\n"),
        ("PTTL", ":-1\r\n".to_owned(), ":-2\r\n"),
        ("PEXPIRETIME", ":-1\r\n".to_owned(), ":-2\r\n"),
        ("GET", shown.clone(), NIL),
    ] {
        assert_eq!(stage.other.ask(&format!("{line} lock:a:fence")), held, "{line}");
        assert_eq!(stage.other.ask(&format!("{line} lock:free:fence")), free, "{line}");
    }
    let both = stage.other.ask("MGET lock:a:fence lock:free:fence");
    assert_eq!(both, format!("*2\r\n{shown}{NIL}"));
    let mixed = stage.other.ask("MGET lock:a lock:a:fence lock:free");
    assert_eq!(mixed, format!("*3\r\n$36\r\n{TOKEN}\r\n{shown}{NIL}"));
    let count = stage.other.ask("EXISTS lock:a lock:a:fence lock:free:fence lock:a:fence");
    assert_eq!(count, ":3\r\n");
}

/// Nothing writes such a key, and nothing of it reaches Redis.
fn assert_read_only(stage: &mut Stage) {
    for line in [
        "SET lock:a:fence 1",
        "SET lock:a:fence 1 NX PX 1000",
        "DEL lock:a:fence",
        "DEL lock:a lock:a:fence",
        "INCR lock:a:fence",
        "EXPIRE lock:a:fence 1",
        "HSET lock:a:fence f 1",
        "LPUSH lock:a:fence 1",
        "RENAME plain lock:a:fence",
        "WATCH lock:a:fence",
        "OBJECT ENCODING lock:a:fence",
    ] {
        let reply = stage.other.ask(line);
        assert!(
            reply.starts_with("-ERR lockside: ") && reply.contains("read-only"),
            "{line} {reply}"
        );
    }
    let script = "EVAL \"return redis.call('get', KEYS[1])\" 1 lock:a:fence";
    let reply = stage.other.ask(script);
    assert!(reply.starts_with("-ERR lockside: EVAL is refused: a script can't read"), "{reply}");
    assert_eq!(stage.other.ask("MULTI"), OK);
    let reply = stage.other.ask("GET lock:a:fence");
    assert!(reply.starts_with("-ERR lockside: a fence can't be read inside MULTI"), "{reply}");
    assert!(stage.other.ask("EXEC").starts_with("-EXECABORT"));
}

fn shown_with_redis_and_without(guarantee: &str) {
    let Some(mut stage) = start(guarantee) else { return };
    assert_eq!(stage.other.ask("GET lock:a:fence"), NIL);
    stage.take("lock:a", TOKEN);
    assert_shown(&mut stage);
    assert_read_only(&mut stage);
    assert_eq!(stage.redis.ask("EXISTS lock:a:fence"), ZERO, "nothing of it is in Redis");
    assert_eq!(stage.other.ask("MGET plain lock:a:fence").lines().next(), Some("*2"));
    let first = digits(&stage.other.ask("GET lock:a:fence"));

    stage.redis.kill();
    stage.wait_mode("degraded");
    assert_shown(&mut stage);
    assert_read_only(&mut stage);
    for line in ["MGET plain lock:a:fence", "EXISTS plain lock:a:fence"] {
        let other = stage.other.ask(line);
        assert_eq!(other, stage.other.ask("GET plain"), "{line}");
        assert!(other.contains("unavailable (refuses connections); only lock keys"), "{other}");
    }
    assert_eq!(stage.client.ask("DEL lock:a"), ONE);
    assert_eq!(stage.other.ask("GET lock:a:fence"), NIL);
    stage.take("lock:a", OTHER);
    let second = digits(&stage.other.ask("GET lock:a:fence"));
    assert!(second > first, "{second} after {first}");

    stage.redis.start_empty();
    stage.wait_mode("healthy");
    assert_eq!(digits(&stage.other.ask("GET lock:a:fence")), second);
    assert_eq!(stage.client.ask("DEL lock:a"), ONE);
    assert_eq!(stage.other.ask("GET lock:a:fence"), NIL);
}

#[test]
fn a_fence_is_read_by_get() {
    shown_with_redis_and_without("strict");
}

#[test]
fn a_fence_is_read_by_get_in_fast() {
    shown_with_redis_and_without("fast");
}

/// The fence of a lock that ends by itself lives as long as the lock.
#[test]
fn a_fence_has_the_time_of_its_hold() {
    let Some(mut stage) = start("strict") else { return };
    stage.take("mutex:a", TOKEN);
    assert!(digits(&stage.other.ask("GET mutex:a/f")) > 0);
    assert!(matches!(&*stage.other.ask("TTL mutex:a/f"), ":29\r\n" | ":30\r\n"));
    // The suffix of another rule makes an ordinary key, or a lock.
    assert_eq!(stage.other.ask("SET plain:fence 1"), OK);
    assert_eq!(stage.other.ask(&format!("SET mutex:a:fence {OTHER} NX PX 30000")), OK);
}

/// Who may not read the key in Redis is not told the fence either.
#[test]
fn a_fence_is_shown_to_who_may_read_the_key() {
    let Some(mut stage) = start("strict") else { return };
    stage.take("lock:a", TOKEN);
    assert_eq!(stage.redis.ask("ACL SETUSER other on >other ~mutex:* &* +@all"), OK);
    assert_eq!(stage.other.ask("AUTH other other"), OK);
    let reply = stage.other.ask("GET lock:a:fence");
    assert!(reply.starts_with("-NOPERM"), "{reply}");
    stage.redis.kill();
    stage.wait_mode("degraded");
    let reply = stage.other.ask("GET lock:a:fence");
    assert!(reply.starts_with("-NOAUTH") || reply.starts_with("-NOPERM"), "{reply}");
}
