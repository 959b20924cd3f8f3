//! Locks inside MULTI/EXEC, and transactions that watch a lock.

use super::{NIL, OK, ONE, OTHER, Stage, TOKEN, ZERO, as_bulk, bulk};
use crate::support::scenario::Pair;

/// A lock taken in a transaction is permanent when EXEC's reply is there.
#[test]
fn settled_after_exec() {
    let mut stage = Stage::start();
    let client = &mut stage.client;
    assert_eq!(client.ask("MULTI"), OK);
    for command in [
        format!("SET lock:a {TOKEN} NX PX 30000"),
        format!("SETNX lock:b 93:{TOKEN}"),
        format!("SET lock:a {OTHER} NX PX 30000"),
        "INCR n".to_owned(),
        "GET lock:b".to_owned(),
    ] {
        assert_eq!(client.ask(&command), "+QUEUED\r\n", "{command}");
    }
    let value = as_bulk(&format!("93:{TOKEN}"));
    assert_eq!(client.ask("EXEC"), format!("*5\r\n+OK\r\n:1\r\n$-1\r\n:1\r\n{value}"));
    stage.assert_permanent("lock:a");
    stage.assert_permanent("lock:b");
    assert_eq!(stage.client.ask("GET lock:a"), as_bulk(TOKEN));
    assert_eq!(stage.client.ask("GET lock:b"), value);
    assert_eq!(stage.stored("lock:a"), TOKEN);
}

/// A transaction that changes the database takes each lock where it says.
#[test]
fn databases_inside() {
    const SCRIPT: &str = "EVAL \"return redis.call('set', KEYS[1], ARGV[1], 'NX', 'PX', 30000)\" 1";
    let mut stage = Stage::start();
    let client = &mut stage.client;
    assert_eq!(client.ask("MULTI"), OK);
    for command in [
        format!("SET lock:a {TOKEN} NX PX 30000"),
        "SELECT 1".to_owned(),
        format!("SET lock:a {OTHER} NX PX 30000"),
        format!("{SCRIPT} lock:b {TOKEN}"),
        "SELECT 2".to_owned(),
        format!("SETNX lock:c {TOKEN}"),
    ] {
        assert_eq!(client.ask(&command), "+QUEUED\r\n", "{command}");
    }
    assert_eq!(client.ask("EXEC"), "*6\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n:1\r\n");
    stage.assert_permanent("lock:a");
    assert_eq!(stage.stored("lock:a"), TOKEN);
    assert_eq!(stage.direct.ask("SELECT 1"), OK);
    stage.assert_permanent("lock:a");
    stage.assert_permanent("lock:b");
    assert_eq!(stage.stored("lock:a"), OTHER);
    assert_eq!(stage.direct.ask("SELECT 2"), OK);
    stage.assert_permanent("lock:c");
    assert_eq!(stage.client.ask("GET lock:c"), as_bulk(TOKEN), "EXEC leaves database 2 selected");
}

/// What the rest of a transaction does to whole databases happens to what it took before.
#[test]
fn databases_flushed_and_swapped_inside() {
    let mut stage = Stage::start();
    let client = &mut stage.client;
    assert_eq!(client.ask("MULTI"), OK);
    for command in [
        format!("SET lock:a {TOKEN} NX PX 30000"),
        "SELECT 1".to_owned(),
        format!("SET lock:gone {TOKEN} NX PX 30000"),
        "FLUSHDB".to_owned(),
        "SWAPDB 0 3".to_owned(),
    ] {
        assert_eq!(client.ask(&command), "+QUEUED\r\n", "{command}");
    }
    assert_eq!(client.ask("EXEC"), "*5\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n");
    assert_eq!(stage.direct.ask("EXISTS lock:a lock:gone"), ":0\r\n");
    assert_eq!(stage.direct.ask("SELECT 3"), OK);
    stage.assert_permanent("lock:a");
    assert_eq!(stage.stored("lock:a"), TOKEN);
}

/// EXEC's array neither grows nor shrinks, whatever the lock commands inside it are.
#[test]
fn the_array_of_exec_stays() {
    Pair::start().compare_all(
        r#"
a> MULTI
a> SET lock:a 550e8400-e29b-41d4-a716-446655440000 NX EX 30
a> GET lock:a
a> EXPIRE lock:a 100
a> SET lock:a 1 XX PX 5000
a> GET lock:a
a> DEL lock:a
a> GET lock:a
a> EXEC
a> EXISTS lock:a

a> MULTI
a> SET lock:a 1 NX
a> NOSUCH
a> EXEC
a> EXISTS lock:a

a> MULTI
a> SET lock:a 1 NX
a> DISCARD
a> EXISTS lock:a
a> SET lock:a 1 NX

a> SET lock:a 1 NX
a> MULTI
a> GETDEL lock:a
a> SETNX lock:a 2
a> LPUSH lock:a x
a> MGET lock:a k
a> EXEC
a> GET lock:a

a> WATCH lock:a
a> SET lock:a 1 NX EX 30
a> MULTI
a> DEL lock:a
a> EXEC
a> GET lock:a

a>~ HELLO 3
a> MULTI
a> SET lock:a 93:550e8400-e29b-41d4-a716-446655440000 NX EX 30
a> GET lock:a
a> GET lock:none
a> EVAL "return redis.call('GET', KEYS[1])" 1 lock:a
a> EXEC
a> GET lock:a
"#,
    );
}

/// Release as StackExchange.Redis does it, in the same moment in which the lock was taken: nothing
/// that Lockside writes later may disturb the WATCH.
#[test]
fn watch_get_multi_del_exec() {
    let mut stage = Stage::start();
    let mut owner = stage.subject.client();
    for round in 0..50 {
        let key = format!("lock:{round}");
        let token = format!("{round}:{TOKEN}");
        assert_eq!(owner.ask(&format!("SET {key} {token} NX PX 30000")), OK);
        assert_eq!(stage.client.ask(&format!("WATCH {key}")), OK);
        assert_eq!(stage.client.ask(&format!("GET {key}")), as_bulk(&token));
        assert_eq!(stage.client.ask("MULTI"), OK);
        assert_eq!(stage.client.ask(&format!("DEL {key}")), "+QUEUED\r\n");
        assert_eq!(stage.client.ask("EXEC"), "*1\r\n:1\r\n", "round {round}");
        assert_eq!(stage.direct.ask(&format!("EXISTS {key}")), ZERO);
        assert_eq!(owner.ask(&format!("SET {key} {OTHER} NX")), OK);
    }
}

/// Extend in the same way: EXEC goes through and the lock stays permanent.
#[test]
fn watch_get_multi_expire_exec() {
    let mut stage = Stage::start();
    stage.take("lock:a", TOKEN);
    let client = &mut stage.client;
    assert_eq!(client.ask("WATCH lock:a"), OK);
    assert_eq!(client.ask("GET lock:a"), as_bulk(TOKEN));
    assert_eq!(client.ask("MULTI"), OK);
    assert_eq!(client.ask("PEXPIRE lock:a 30000"), "+QUEUED\r\n");
    assert_eq!(client.ask("EXEC"), "*1\r\n:1\r\n");
    stage.assert_permanent("lock:a");
}

/// A watched lock that another client takes, releases or overwrites aborts the transaction.
#[test]
fn a_watched_lock_that_changes() {
    for change in ["DEL lock:a", "SET lock:a other XX", "GETDEL lock:a"] {
        let mut stage = Stage::start();
        stage.take("lock:a", TOKEN);
        let mut watcher = stage.subject.client();
        assert_eq!(watcher.ask("WATCH lock:a"), OK);
        stage.client.ask(change);
        assert_eq!(watcher.ask("MULTI"), OK);
        assert_eq!(watcher.ask("DEL lock:a"), "+QUEUED\r\n");
        assert_eq!(watcher.ask("EXEC"), "*-1\r\n", "{change}");
    }
    let mut stage = Stage::start();
    let mut watcher = stage.subject.client();
    assert_eq!(watcher.ask("WATCH lock:a"), OK);
    stage.take("lock:a", TOKEN);
    assert_eq!(watcher.ask("MULTI"), OK);
    assert_eq!(watcher.ask(&format!("SET lock:a {OTHER} NX")), "+QUEUED\r\n");
    assert_eq!(watcher.ask("EXEC"), "*-1\r\n");
    assert_eq!(stage.stored("lock:a"), TOKEN);
}

/// An aborted transaction leaves no lock and no provisional key.
#[test]
fn aborted() {
    let mut stage = Stage::start();
    assert_eq!(stage.client.ask("WATCH k"), OK);
    assert_eq!(stage.direct.ask("SET k v"), OK);
    assert_eq!(stage.client.ask("MULTI"), OK);
    assert_eq!(stage.client.ask(&format!("SET lock:a {TOKEN} NX")), "+QUEUED\r\n");
    assert_eq!(stage.client.ask("EXEC"), "*-1\r\n");
    assert_eq!(stage.direct.ask("EXISTS lock:a"), ZERO);
    assert_eq!(stage.subject.client().ask(&format!("SET lock:a {OTHER} NX")), OK);
}

/// EVALSHA of a text that Lockside has not seen is refused when it is queued, so nothing is applied.
#[test]
fn unseen_script_in_a_transaction() {
    let Some(mut stage) = Stage::lockside("") else { return };
    let sha = bulk(&stage.direct.ask("SCRIPT LOAD \"return redis.call('GET', KEYS[1])\""));
    let evalsha = format!("EVALSHA {sha} 1 lock:a");
    assert!(stage.client.ask(&evalsha).starts_with("-NOSCRIPT "));
    assert_eq!(stage.client.ask(&format!("SCRIPT EXISTS {sha}")), "*1\r\n:0\r\n");
    assert_eq!(stage.client.ask("MULTI"), OK);
    assert_eq!(stage.client.ask("INCR n"), "+QUEUED\r\n");
    assert!(stage.client.ask(&evalsha).starts_with('-'));
    assert!(stage.client.ask("EXEC").starts_with("-EXECABORT "));
    assert_eq!(stage.direct.ask("EXISTS n"), ZERO);
    // Once loaded through Lockside it is known, in a transaction too.
    let loaded = stage.client.ask("SCRIPT LOAD \"return redis.call('GET', KEYS[1])\"");
    assert_eq!(bulk(&loaded), sha);
    assert_eq!(stage.client.ask(&format!("SCRIPT EXISTS {sha}")), format!("*1\r\n{ONE}"));
    assert_eq!(stage.client.ask("MULTI"), OK);
    assert_eq!(stage.client.ask(&evalsha), "+QUEUED\r\n");
    assert_eq!(stage.client.ask("EXEC"), format!("*1\r\n{NIL}"));
}

/// What was queued before a DISCARD or a RESET is no part of the next transaction's reply.
#[test]
fn a_discarded_lock_leaves_the_next_transaction_alone() {
    let mut stage = Stage::start();
    let client = &mut stage.client;
    for (end, said) in [("DISCARD", OK), ("RESET", "+RESET\r\n")] {
        for lock in [format!("SETNX lock:a {TOKEN}"), format!("SET lock:a {TOKEN} NX PX 30000")] {
            assert_eq!(client.ask("MULTI"), OK);
            assert_eq!(client.ask(&lock), "+QUEUED\r\n");
            assert_eq!(client.ask(end), said);
            assert_eq!(client.ask("MULTI"), OK);
            for command in ["SET plain v", "GETDEL lock:none", "DEL plain"] {
                assert_eq!(client.ask(command), "+QUEUED\r\n");
            }
            assert_eq!(client.ask("EXEC"), "*3\r\n+OK\r\n$-1\r\n:1\r\n", "{end} {lock}");
            assert_eq!(client.ask("MULTI"), OK);
            assert_eq!(client.ask("GET lock:none"), "+QUEUED\r\n");
            assert_eq!(client.ask("EXEC"), "*1\r\n$-1\r\n", "{end} {lock}");
        }
    }
}
