//! What an outage of Redis means, rule by rule: `refuse` and `local` (SPEC 6).

use rusqlite::Connection;

use super::{NIL, OK, ONE, OTHER, Stage, TOKEN, ZERO, field};
use crate::support::locks::give;
use crate::support::{Settings, wait_until};

const REFUSE: &str = "[[rule]]\nname = \"r\"\nkeys = [\"lock:*\"]\noutage = \"refuse\"\n";

/// What is held stays held, can be extended and released; nothing new.
#[test]
fn refuse() {
    let Some(mut stage) = Stage::start(REFUSE) else { return };
    stage.take("lock:a", TOKEN);
    stage.take("lock:b", TOKEN);
    stage.take("lock:c", TOKEN);
    stage.redis.kill();
    stage.wait_mode("degraded");
    assert_eq!(stage.try_take("lock:a", OTHER), NIL);
    assert_eq!(stage.client.ask("GET lock:a"), format!("$36\r\n{TOKEN}\r\n"));
    assert_eq!(stage.client.ask("PEXPIRE lock:a 5000"), ONE);
    assert_eq!(stage.client.ask("DEL lock:b"), ONE);
    assert_eq!(stage.client.ask(&give("lock:c", TOKEN)), ONE);
    for key in ["lock:b", "lock:new"] {
        let reply = stage.try_take(key, OTHER);
        assert!(reply.starts_with("-MASTERDOWN lockside: ") && reply.contains("refuse"), "{reply}");
    }
    let by_script = "EVAL \"return redis.call('set', KEYS[1], ARGV[1], 'NX', 'PX', 5000)\" 1";
    let reply = stage.other.ask(&format!("{by_script} lock:new {OTHER}"));
    assert!(reply.starts_with("-MASTERDOWN lockside: "), "{reply}");
    assert_eq!(stage.other.ask("GET lock:new"), NIL);
    stage.redis.start_empty();
    stage.wait_mode("healthy");
    assert_eq!(stage.redis.ask("EXISTS lock:a"), ONE);
    assert_eq!(stage.redis.ask("EXISTS lock:b lock:c lock:new"), ZERO);
    assert_eq!(stage.try_take("lock:b", OTHER), OK);
}

const LOCAL: &str = "[ledger]\nheartbeat = \"200ms\"\nstall_after = \"100ms\"\n\
    [[rule]]\nname = \"local\"\nkeys = [\"lock:l:*\"]\noutage = \"local\"\n\
    [[rule]]\nname = \"rest\"\nkeys = [\"lock:*\"]\n";

/// Holds the ledger's file, so that nobody can write it, until it is dropped.
fn block_ledger(stage: &Stage) -> Connection {
    let path = stage.subject.process().unwrap().path("state").join("ledger.db");
    let connection = Connection::open(path).unwrap();
    connection.busy_timeout(crate::support::PATIENCE).unwrap();
    connection.execute_batch("BEGIN IMMEDIATE").unwrap();
    connection
}

/// Neither Redis nor the ledger: the table alone, for these rules alone; and both have it afterwards.
#[test]
fn local() {
    let Some(mut stage) = Stage::with(Settings { tables: LOCAL, ..Settings::default() }) else {
        return;
    };
    stage.take("lock:l:held", TOKEN);
    stage.take("lock:l:given", TOKEN);
    stage.take("lock:held", TOKEN);
    stage.redis.kill();
    stage.wait_mode("degraded");
    let ledger = block_ledger(&stage);
    stage.wait_mode("blocked");
    wait_until("the ledger is known not to answer", || {
        stage.other.ask(&format!("SET lock:new {OTHER} NX PX 30000")).starts_with('-')
    });
    // The other rule's.
    assert!(stage.client.ask("DEL lock:held").starts_with("-TRYAGAIN lockside: nothing was done"));
    assert_eq!(stage.try_take("lock:held", OTHER), NIL);
    // Held before: still so, until its client releases it.
    assert_eq!(stage.try_take("lock:l:held", OTHER), NIL);
    assert_eq!(stage.try_take("lock:l:given", OTHER), NIL);
    assert_eq!(stage.client.ask("DEL lock:l:given"), ONE);
    assert_eq!(stage.try_take("lock:l:given", OTHER), OK);
    assert_eq!(stage.client.ask(&format!("SET lock:l:given {TOKEN} NX")), NIL);
    // Taken, released, and taken by another: only the last is for the ledger.
    stage.take("lock:l:new", TOKEN);
    assert_eq!(stage.try_take("lock:l:new", OTHER), NIL);
    assert_eq!(stage.client.ask(&give("lock:l:new", TOKEN)), ONE);
    assert_eq!(stage.try_take("lock:l:new", OTHER), OK);
    stage.take("lock:l:short", TOKEN);
    assert_eq!(stage.client.ask("DEL lock:l:short"), ONE);
    drop(ledger);
    stage.wait_mode("degraded");
    for (key, token) in [("lock:l:held", TOKEN), ("lock:l:given", OTHER), ("lock:l:new", OTHER)] {
        wait_until("the ledger knows", || stage.owner(key, "claim").is_some());
        let shown = stage.client.ask(&format!("GET {key}"));
        assert_eq!(shown, format!("$36\r\n{token}\r\n"), "{key}");
    }
    assert_eq!(stage.client.ask("LOCKSIDE HISTORY lock:l:short"), "*0\r\n");
    let history = stage.client.ask("LOCKSIDE HISTORY lock:l:new");
    assert_eq!(field(&history, "token").as_deref(), Some(&OTHER[..8]), "{history}");
    stage.redis.start_empty();
    stage.wait_mode("healthy");
    for key in ["lock:held", "lock:l:held", "lock:l:given", "lock:l:new"] {
        assert_eq!(stage.redis.ask(&format!("PTTL {key}")), ":-1\r\n", "{key}");
    }
    assert_eq!(stage.redis.ask("EXISTS lock:new lock:l:short"), ZERO);
    assert_eq!(stage.other.ask("DEL lock:l:new"), ONE);
}
