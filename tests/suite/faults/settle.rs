//! Releases, scripts and transactions over a bad link.

use super::{NIL, NO_TTL, OK, ONE, OTHER, RELEASE, Stage, TOKEN, ZERO, assert_unknown, bulk, take};
use crate::support::{Fault, Settings};

/// As node-redlock takes its lock.
const ACQUIRE: &str = "if redis.call('set', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then \
    return 1 else return 0 end";
/// The guarded PERSIST, which gives the fence too: its keys.
const GUARDED: &str = " 2 lock:a lockside:fence:";

fn eval(text: &str, arguments: &str) -> String {
    format!("EVAL \"{text}\" 1 lock:a {arguments}")
}

/// Nobody knows whether the lock was deleted, and the client is told so; it may ask again.
#[test]
fn reply_of_the_del_lost() {
    let Some(mut stage) = Stage::start() else { return };
    assert_eq!(stage.client.ask(&take("lock:a", TOKEN)), OK);
    stage.proxy.next("DEL lock:a", Fault::LoseReply);
    assert_unknown(&stage.client.ask("DEL lock:a"));
    assert_eq!(stage.direct.ask("EXISTS lock:a"), ZERO);
    assert_eq!(stage.proxy.count("DEL lock:a"), 1, "a release is never repeated by itself");
    assert_eq!(stage.client.ask(&take("lock:a", OTHER)), OK);
}

#[test]
fn del_lost_before_redis() {
    let Some(mut stage) = Stage::start() else { return };
    assert_eq!(stage.client.ask(&take("lock:a", TOKEN)), OK);
    stage.proxy.next("DEL lock:a", Fault::LoseCommand);
    assert_unknown(&stage.client.ask("DEL lock:a"));
    stage.assert_held("lock:a", TOKEN);
    assert_eq!(stage.client.ask("DEL lock:a"), ONE);
}

#[test]
fn reply_of_a_releasing_script_lost() {
    let Some(mut stage) = Stage::start() else { return };
    // Redis knows the script from now on: it runs by one command.
    assert_eq!(stage.client.ask(&eval(RELEASE, "nobody")), ZERO);
    for token in [TOKEN, OTHER] {
        assert_eq!(stage.client.ask(&take("lock:a", token)), OK);
        stage.proxy.next(token, Fault::LoseReply);
        assert_unknown(&stage.client.ask(&eval(RELEASE, token)));
        assert_eq!(stage.direct.ask("EXISTS lock:a"), ZERO);
        assert_eq!(stage.client.ask(&eval(RELEASE, token)), ZERO);
    }
}

/// The script took its lock and nobody heard of it: an error, and the key runs out.
#[test]
fn reply_of_an_acquiring_script_lost() {
    let Some(mut stage) = Stage::short() else { return };
    assert_eq!(stage.client.ask(&eval(ACQUIRE, &format!("{OTHER} 30000"))), ONE);
    assert_eq!(stage.client.ask("DEL lock:a"), ONE);
    stage.proxy.next("30000", Fault::LoseReply);
    assert_unknown(&stage.client.ask(&eval(ACQUIRE, &format!("{TOKEN} 30000"))));
    assert!(stage.proxy.is_done());
    assert_eq!(stage.direct.ask("GET lock:a"), bulk(TOKEN));
    assert_ne!(stage.direct.ask("PTTL lock:a"), NO_TTL);
    stage.wait_free("lock:a");
    assert_eq!(stage.client.ask(&eval(ACQUIRE, &format!("{TOKEN} 30000"))), ONE);
    stage.assert_held("lock:a", TOKEN);
}

/// The script's own reply came, that of the PERSIST behind it was lost: asked again, granted.
#[test]
fn reply_of_the_persist_behind_a_script_lost() {
    let Some(mut stage) = Stage::start() else { return };
    for fault in [Fault::LoseReply, Fault::LoseCommand] {
        stage.proxy.next(GUARDED, fault);
        assert_eq!(stage.client.ask(&eval(ACQUIRE, &format!("{TOKEN} 30000"))), ONE);
        stage.assert_held("lock:a", TOKEN);
        assert_eq!(stage.subject.client().ask(&take("lock:a", OTHER)), NIL);
        assert_eq!(stage.client.ask(&eval(RELEASE, TOKEN)), ONE);
    }
}

/// No new link after the PERSIST behind a script: an error that says so, and a lock that people
/// can see and that its token can take over.
#[test]
fn no_new_link_behind_a_script() {
    let Some(mut stage) = Stage::start() else { return };
    stage.proxy.next(GUARDED, Fault::HoldReply);
    stage.client.send_line(&eval(ACQUIRE, &format!("{TOKEN} 30000")));
    stage.proxy.wait_held(1);
    stage.proxy.refuse(true);
    stage.proxy.cut_all();
    assert_unknown(&stage.client.text());
    stage.proxy.refuse(false);
    stage.assert_held("lock:a", TOKEN);
    let mut people = stage.subject.client();
    assert!(people.ask("LOCKSIDE OWNER lock:a").contains("unconfirmed"));
    assert_eq!(people.ask(&take("lock:a", TOKEN)), OK);
}

/// The client closes while the PERSIST behind its script is under way: nothing stays.
#[test]
fn client_gone_behind_a_script() {
    let Some(mut stage) = Stage::start() else { return };
    for fault in [Fault::HoldCommand, Fault::HoldReply] {
        stage.proxy.next(GUARDED, fault);
        let mut client = stage.subject.client();
        client.send_line(&eval(ACQUIRE, &format!("{TOKEN} 30000")));
        stage.proxy.wait_held(1);
        drop(client);
        stage.gone_is_seen();
        stage.proxy.release();
        stage.wait_free("lock:a");
    }
}

/// EXEC has taken two locks; the PERSIST for both lost its reply.
#[test]
fn reply_of_the_persist_behind_exec_lost() {
    let Some(mut stage) = Stage::start() else { return };
    for fault in [Fault::LoseReply, Fault::LoseCommand] {
        stage.proxy.next(" 3 lock:a lock:b lockside:fence:", fault);
        assert_eq!(stage.client.ask("MULTI"), OK);
        for line in [take("lock:a", TOKEN), take("lock:b", OTHER), "SET plain 1".into()] {
            assert_eq!(stage.client.ask(&line), "+QUEUED\r\n");
        }
        assert_eq!(stage.client.ask("EXEC"), "*3\r\n+OK\r\n+OK\r\n+OK\r\n");
        stage.assert_held("lock:a", TOKEN);
        stage.assert_held("lock:b", OTHER);
        assert_eq!(stage.client.ask("DEL lock:a lock:b"), ":2\r\n");
    }
}

/// EXEC's own reply lost: nobody knows, and what was taken runs out.
#[test]
fn reply_of_exec_lost() {
    let Some(mut stage) = Stage::short() else { return };
    stage.proxy.next("EXEC", Fault::LoseReply);
    assert_eq!(stage.client.ask("MULTI"), OK);
    assert_eq!(stage.client.ask(&take("lock:a", TOKEN)), "+QUEUED\r\n");
    assert_unknown(&stage.client.ask("EXEC"));
    stage.wait_free("lock:a");
    assert_eq!(stage.subject.client().ask(&take("lock:a", OTHER)), OK);
}

/// A read whose reply was lost is asked again, under the timeout as under a cut.
#[test]
fn reply_of_a_get_lost() {
    let upstream = "command_timeout = \"300ms\"";
    let Some(mut stage) = Stage::with(Settings { upstream, ..Settings::default() }) else { return };
    assert_eq!(stage.client.ask(&take("lock:a", TOKEN)), OK);
    for fault in [Fault::LoseReply, Fault::LoseCommand, Fault::HoldReply] {
        stage.proxy.next("GET lock:a", fault);
        assert_eq!(stage.client.ask("GET lock:a"), bulk(TOKEN));
        stage.proxy.release();
    }
}
