//! Reads of what stands under a lock that is no string, and that Redis alone may have lost: nobody is told
//! that there is nothing where the ledger has a holder (SPEC 2). What nobody holds is forwarded as it came.

use std::sync::atomic::Ordering;

use super::company::{bulk, in_company, lock};
use super::strict::{CLAIM, Did, Strict, record, touched};
use super::*;
use crate::ledger::{Answer, Cause, Outcome};
use crate::lock::content;
use crate::lock::record::Record;

const NIL: &str = "$-1\r\n";
const NONE: &str = "*0\r\n";
const HASH: &str = "h2:me1:2";
const WRONG_TYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";

/// A lock with this content, as a mark has it.
fn content(text: &str) -> Record {
    let mark = [b"0:", text.as_bytes()].concat();
    Record { other: Some(content::canonical(&mark)), ..record("") }
}

fn held(text: &str) -> Strict {
    let strict = Strict::new();
    strict.shared.table.grant(lock(), content(text));
    strict
}

/// Larger than is kept.
const LARGE: &str = "#h3d8861010b28f1b25b3821fab11e448a357306a0";

#[test]
fn what_redis_has_lost_is_told_by_the_ledger() {
    for (held_as, line, nothing, question, told) in [
        (HASH, "HGET lock:a me", NIL, "HKEYS lock:a", bulk("2")),
        (HASH, "HLEN lock:a", ":0\r\n", "HKEYS lock:a", ":1\r\n".to_owned()),
        (
            HASH,
            "HGETALL lock:a",
            NONE,
            "HKEYS lock:a",
            format!("*2\r\n{}{}", bulk("me"), bulk("2")),
        ),
        ("z2:me1:5", "ZSCORE lock:a me", NIL, "ZRANGE lock:a 0 -1", bulk("5")),
        // Nothing, and the first place.
        ("z2:me1:5", "ZRANK lock:a me", NIL, "ZRANGE lock:a 0 -1", ":0\r\n".to_owned()),
        ("s2:me", "SISMEMBER lock:a me", ":0\r\n", "SMEMBERS lock:a", ":1\r\n".to_owned()),
        (
            "l2:me",
            "LRANGE lock:a 0 -1",
            NONE,
            "LRANGE lock:a 0 -1",
            format!("*1\r\n{}", bulk("me")),
        ),
    ] {
        for there in [NONE, WRONG_TYPE, &*format!("*1\r\n{}", bulk("another"))] {
            let mut strict = held(held_as);
            strict.client(&[line]);
            strict.assert_sent(&[line]);
            strict.redis(nothing);
            strict.assert_sent(&[question]);
            assert_eq!(strict.told(), "", "{line}");
            strict.redis(there);
            assert_eq!((strict.told().as_str(), strict.did()), (&*told, vec![touched()]), "{line}");
        }
        // It is there: the field has gone since, by somebody whom the ledger has not heard of yet. A user
        // who may not ask has Redis's word.
        for there in [&*format!("*2\r\n{}{}", bulk("me"), bulk("x")), "-NOPERM no\r\n"] {
            let mut strict = held(held_as);
            strict.client(&[line]);
            strict.redis(nothing);
            strict.redis(there);
            assert_eq!((strict.told().as_str(), strict.did()), (nothing, vec![]), "{line}");
        }
    }
}

/// Nothing is asked where Redis and the ledger say the same, or the client may not ask.
#[test]
fn what_redis_has_is_its_own_word() {
    for (line, reply) in [
        ("HGET lock:a me", bulk("2")),
        ("HGET lock:a nobody", NIL.to_owned()),
        ("HEXISTS lock:a nobody", ":0\r\n".to_owned()),
        ("HGET lock:a me", "-NOPERM no\r\n".to_owned()),
        ("HRANDFIELD lock:a", bulk("me")),
    ] {
        let mut strict = held(HASH);
        assert_eq!(strict.ask(line, &reply), reply, "{line}");
        strict.assert_sent(&[line]);
        assert_eq!(strict.did(), [], "{line}");
    }
}

/// Also a string's, where the hash is another key's: many on the way at once.
#[test]
fn what_nobody_holds_so_is_forwarded() {
    let mut strict = Strict::held_by(TOKEN);
    let lines = ["HGET lock:a me", "HGETALL lock:b", "HGET plain me", "LLEN lock:b"];
    assert_eq!(strict.client(&lines), 0);
    strict.assert_sent(&lines);
    strict.redis(&format!("{NIL}{NONE}{NIL}:0\r\n"));
    assert_eq!((strict.told(), strict.did()), (format!("{NIL}{NONE}{NIL}:0\r\n"), vec![]));

    // Where Redis decides.
    let mut strict = held(HASH);
    strict.rig.shared.guarantee = Guarantee::Fast;
    assert_eq!(strict.client(&["HLEN lock:a", "HLEN lock:a"]), 0);
    strict.assert_sent(&["HLEN lock:a", "HLEN lock:a"]);
}

#[test]
fn a_content_that_is_not_kept_is_not_nothing() {
    for (held_as, line, question, gone, there) in [
        (LARGE, "HGET lock:a me", "TYPE lock:a", "+none\r\n", "+hash\r\n"),
        (LARGE, "HGET lock:a me", "TYPE lock:a", "+string\r\n", "+hash\r\n"),
        // A command that the ledger can't answer.
        (HASH, "HRANDFIELD lock:a", "HKEYS lock:a", NONE, "*1\r\n$2\r\nme\r\n"),
    ] {
        let mut strict = held(held_as);
        strict.client(&[line]);
        strict.redis(NIL);
        strict.sent();
        strict.redis(gone);
        let told = strict.told();
        assert!(told.starts_with("-TRYAGAIN lockside: nothing was read: "), "{line}: {told}");
        assert_eq!(strict.did(), [touched()]);
        assert_eq!(strict.ask(line, NIL), "");
        strict.assert_sent(&[line, question]);
        strict.redis(there);
        assert_eq!((strict.told().as_str(), strict.did()), (NIL, vec![]), "{line}");
    }
}

/// The same while it is being repaired.
#[test]
fn a_lock_that_is_being_repaired() {
    for (held_as, line, told) in [
        (HASH, "HGET lock:a me", bulk("2")),
        (LARGE, "HGET lock:a me", "-TRYAGAIN lockside: nothing was read: ".to_owned()),
        (HASH, "HRANDFIELD lock:a", "-TRYAGAIN lockside: nothing was read: ".to_owned()),
    ] {
        let mut strict = held(held_as);
        strict.ledger.is_due.store(true, Ordering::Relaxed);
        strict.client(&[line]);
        let reply = strict.told();
        assert!(reply.starts_with(&told), "{line}: {reply}");
        strict.assert_sent(&[]);
    }
}

/// A repair may have put it back just after the "no"; and another may have released it.
#[test]
fn what_has_happened_meanwhile() {
    let mut strict = held(HASH);
    strict.client(&["HGET lock:a me"]);
    strict.redis(NIL);
    strict.session.state.repairs_before = 1;
    strict.redis("*1\r\n$2\r\nme\r\n");
    assert_eq!(strict.told(), bulk("2"));

    let mut strict = held(HASH);
    strict.client(&["HGET lock:a me"]);
    strict.redis(NIL);
    strict.shared.table.release(&lock());
    strict.redis(NONE);
    assert_eq!((strict.told().as_str(), strict.did()), (NIL, vec![]));
}

/// The ledger alone answers where the link is lost, at whatever step.
#[test]
fn a_link_that_is_lost() {
    for replies in [vec![], vec![NIL]] {
        let mut strict = held(HASH);
        strict.client(&["HGET lock:a me"]);
        replies.iter().for_each(|reply| strict.redis(reply));
        strict.cut();
        assert_eq!((strict.told(), strict.did()), (bulk("2"), vec![touched()]));
    }
}

#[test]
fn in_company_the_ledger_is_read_first() {
    for is_late in [false, true] {
        let mut strict = in_company();
        strict.client(&["HGET lock:a me"]);
        strict.redis(NIL);
        assert_eq!((strict.told().as_str(), strict.asked()), ("", vec![]));
        if is_late {
            strict.be_late();
            assert_eq!(strict.told(), NIL, "what is known");
            continue;
        }
        strict.shared.table.grant(lock(), content(HASH));
        let answer = Answer { ticket: Ticket(1), outcomes: Vec::new() };
        strict.with(|session, cx| session.ledger_answered(&answer, cx));
        strict.assert_sent(&["HGET lock:a", "HKEYS lock:a"]);
        strict.redis(NONE);
        assert_eq!(strict.told(), bulk("2"));
    }
    // What nobody is known to hold is its client's own, and what is held is read.
    let one = "*1\r\n$2\r\nxx\r\n";
    let mut strict = in_company();
    assert_eq!(strict.ask("HKEYS lock:a", one), one);
    assert_eq!(strict.did(), []);
    strict.shared.table.grant(lock(), content(HASH));
    assert_eq!(strict.ask("HKEYS lock:a", one), "");
    assert_eq!(strict.asked(), []);
    // The link is lost while it is read.
    let mut strict = in_company();
    strict.client(&["HGET lock:a me"]);
    strict.redis(NIL);
    strict.cut();
    strict.be_late();
    assert_eq!(strict.told(), NIL);
}

/// With others, `fast`, and a Redis that does not decide.
#[test]
fn fast_believes_the_ledger_while_redis_does_not_decide() {
    let mut strict = in_company();
    strict.rig.shared.guarantee = Guarantee::Fast;
    strict.ledger.is_uncalm.store(true, Ordering::Relaxed);
    strict.shared.table.grant(lock(), content(HASH));
    strict.client(&["HGET lock:a me"]);
    strict.redis(NIL);
    strict.be_late();
    strict.redis(NONE);
    assert_eq!(strict.told(), bulk("2"));
}

#[test]
fn a_client_of_resp3() {
    let mut strict = held("h2:me1:22:xx1:1");
    strict.ask("HELLO 3", "%1\r\n+proto\r\n:3\r\n");
    strict.client(&["HGETALL lock:a"]);
    strict.redis("%0\r\n");
    strict.redis(NONE);
    let all = ["me", "2", "xx", "1"].map(bulk).concat();
    assert_eq!(strict.told(), format!("%2\r\n{all}"));
    // In another order it is the same.
    let turned = format!("%2\r\n{}", ["xx", "1", "me", "2"].map(bulk).concat());
    strict.client(&["HGETALL lock:a"]);
    strict.redis(&turned);
    strict.redis(&format!("*2\r\n{}", ["xx", "me"].map(bulk).concat()));
    assert_eq!(strict.told(), turned);
}

/// Queues these in a transaction and sends EXEC; Redis has this reply to it.
fn execute(strict: &mut Strict, lines: &[&str], reply: &str) {
    strict.ask("MULTI", OK);
    lines.iter().for_each(|line| assert_eq!(strict.ask(line, QUEUED), QUEUED, "{line}"));
    strict.sent();
    strict.client(&["EXEC"]);
    strict.assert_sent(&["EXEC"]);
    strict.redis(reply);
}

#[test]
fn in_a_transaction() {
    let lines = ["HGET lock:a me", "SET plain 1", "HLEN lock:a", "HGET lock:a nobody"];
    for (there, told) in [
        (NONE, format!("*4\r\n{}+OK\r\n:1\r\n{NIL}", bulk("2"))),
        (WRONG_TYPE, format!("*4\r\n{}+OK\r\n:1\r\n{NIL}", bulk("2"))),
        ("*1\r\n$2\r\nme\r\n", format!("*4\r\n{NIL}+OK\r\n:0\r\n{NIL}")),
        ("-NOPERM no\r\n", format!("*4\r\n{NIL}+OK\r\n:0\r\n{NIL}")),
    ] {
        let mut strict = held(HASH);
        execute(&mut strict, &lines, &format!("*4\r\n{NIL}+OK\r\n:0\r\n{NIL}"));
        strict.assert_sent(&["HKEYS lock:a"]);
        strict.redis(there);
        assert_eq!(strict.told(), told, "{there}");
        assert_eq!(strict.did().is_empty(), !told.contains(":1"));
    }
    // Nobody holds it.
    let mut strict = Strict::new();
    execute(&mut strict, &["HGET lock:a me"], &format!("*1\r\n{NIL}"));
    assert_eq!((strict.told(), strict.did()), (format!("*1\r\n{NIL}"), vec![]));
}

/// What the transaction has ended is gone behind that, and was there before.
#[test]
fn what_a_transaction_has_ended() {
    let mut strict = held(HASH);
    let lines = ["HGET lock:a me", "DEL lock:a", "HGET lock:a me"];
    execute(&mut strict, &lines, &format!("*3\r\n{NIL}:0\r\n{NIL}"));
    let did = strict.did();
    let release = Ask::Release(lock(), CLAIM, Cause::Client);
    assert!(matches!(&did[..], [Did::Asked(_, asks)] if *asks == [release]), "{did:?}");
    strict.answer(1, Outcome::Released);
    strict.assert_sent(&["HKEYS lock:a"]);
    strict.redis(NONE);
    assert_eq!(strict.told(), format!("*3\r\n{}:1\r\n{NIL}", bulk("2")));
}

#[test]
fn what_a_transaction_can_not_be_told() {
    for (held_as, line, there) in
        [(LARGE, "HGET lock:a me", "+none\r\n"), (HASH, "HRANDFIELD lock:a", NONE)]
    {
        let mut strict = held(held_as);
        execute(&mut strict, &[line, "SET plain 1"], &format!("*2\r\n{NIL}+OK\r\n"));
        strict.redis(there);
        let told = strict.told();
        assert!(told.starts_with("*2\r\n-TRYAGAIN lockside: the transaction was"), "{told}");
        assert!(told.ends_with(": lock:a\r\n+OK\r\n"), "{told}");
    }
    // Nobody can tell any more.
    for (held_as, told) in [(HASH, bulk("2")), (LARGE, "-TRYAGAIN lockside".to_owned())] {
        let mut strict = held(held_as);
        execute(&mut strict, &["HGET lock:a me"], &format!("*1\r\n{NIL}"));
        strict.cut();
        assert!(strict.told().starts_with(&format!("*1\r\n{told}")));
    }
}

#[test]
fn in_company_the_ledger_is_read_before_a_transaction_is_told() {
    let mut strict = in_company();
    execute(&mut strict, &["HGET lock:a me"], &format!("*1\r\n{NIL}"));
    assert_eq!((strict.told().as_str(), strict.asked()), ("", vec![]));
    strict.shared.table.grant(lock(), content(HASH));
    let answer = Answer { ticket: Ticket(1), outcomes: Vec::new() };
    strict.with(|session, cx| session.ledger_answered(&answer, cx));
    strict.assert_sent(&["HKEYS lock:a"]);
    strict.redis(NONE);
    assert_eq!(strict.told(), format!("*1\r\n{}", bulk("2")));
}
