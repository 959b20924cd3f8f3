//! Looks at locks by one of several sidecars: nobody is told that he holds nothing before the ledger was
//! read (SPEC 2). Who is alone, and who only wants a lock that another has, does not wait for that.

use super::company::{OTHER, bulk, in_company, lock};
use super::strict::{CLAIM, Did, Strict, record, touched};
use super::*;
use crate::ledger::{Cause, Outcome};
use crate::mode::Mode;

const NIL: &str = "$-1\r\n";
const EXTEND: &str = "if redis.call('get',KEYS[1])==ARGV[1] then return redis.call('pexpire',KEYS[1],ARGV[2]) else return 0 end";

/// Without Redis.
fn degraded_in_company() -> Strict {
    let strict = in_company();
    strict.shared.board.show(Mode::Degraded, false);
    strict
}

#[test]
fn a_look_is_believed_once_the_ledger_was_read() {
    for (line, reply, told) in [
        ("GET lock:a", NIL, bulk(TOKEN)),
        ("GET lock:a", &*bulk(OTHER), bulk(TOKEN)),
        ("EXISTS lock:a", ":0\r\n", ":1\r\n".to_owned()),
        ("EXISTS lock:b plain lock:a", ":1\r\n", ":1\r\n".to_owned()),
        (
            "MGET plain lock:a lock:b",
            "*3\r\n$1\r\nx\r\n$-1\r\n$-1\r\n",
            format!("*3\r\n$1\r\nx\r\n{}{NIL}", bulk(TOKEN)),
        ),
    ] {
        let mut strict = in_company();
        strict.client(&[line]);
        strict.assert_sent(&[line]);
        strict.redis(reply);
        assert_eq!(strict.told(), "", "{line}");
        strict.read(1, Some(TOKEN));
        assert_eq!(strict.told(), told, "{line}");

        // The ledger does not answer in time: what is known is shown.
        let mut strict = in_company();
        strict.client(&[line]);
        strict.redis(reply);
        strict.be_late();
        assert_eq!(strict.told(), reply, "{line}");

        let mut strict = Strict::new();
        strict.client(&[line]);
        strict.redis(reply);
        assert_eq!((strict.told().as_str(), strict.did()), (reply, vec![]), "{line}: alone");
    }
}

/// Where there is no lock that only Lockside ends, nothing is read.
#[test]
fn what_is_no_persistent_lock_is_not_read() {
    let mut strict = in_company();
    let mode = crate::lock::rule::Mode::Ttl;
    let rule = Rule { mode, ..Rule::new("r", vec![Glob::new(b"lock:*")]) };
    strict.rig.shared.rules = Rules::new(vec![rule]);
    for line in ["GET lock:a", "GET plain"] {
        strict.client(&[line]);
        strict.redis(NIL);
        assert_eq!((strict.told().as_str(), strict.did()), (NIL, vec![]), "{line}");
    }
}

/// A "no" to who only wants the lock is right when Redis says that another has it.
#[test]
fn a_contended_acquire_reads_nothing() {
    let mut strict = in_company();
    strict.client(&[TAKE]);
    strict.redis(NIL);
    assert_eq!((strict.told().as_str(), strict.did()), (NIL, vec![]));

    let mut strict = degraded_in_company();
    strict.shared.table.grant(lock(), record(OTHER));
    strict.client(&[TAKE]);
    assert_eq!((strict.told().as_str(), strict.did()), (NIL, vec![]));
}

/// Runs a script that Redis knows, up to its reply.
fn run(strict: &mut Strict, text: &str, args: &str, reply: &str) {
    strict.client(&[&format!("EVAL \"{text}\" 1 lock:a {args}")]);
    strict.redis("$40\r\n0000000000000000000000000000000000000000\r\n");
    strict.sent();
    strict.redis(reply);
}

/// A script that says no to a holder of whom this sidecar has not read yet: the ledger carries it out.
#[test]
fn a_script_is_believed_once_the_ledger_was_read() {
    for (text, args, told) in [
        (EXTEND, format!("{TOKEN} 30000"), ":1\r\n".to_owned()),
        ("return redis.call('get',KEYS[1])", String::new(), bulk(TOKEN)),
    ] {
        let mut strict = in_company();
        run(&mut strict, text, &args, ":0\r\n");
        assert_eq!(strict.told(), "");
        strict.read(1, Some(TOKEN));
        strict.assert_sent(&["GET lock:a"]);
        strict.redis(NIL);
        // Carried out without Redis, it is read first as anything.
        assert!(matches!(&strict.did()[..], [touch, Did::Asked(_, asks)]
            if *touch == touched() && asks.is_empty()));
        strict.answers(2, Vec::new());
        assert_eq!(strict.told(), told, "{text}");
    }
    let mut strict = in_company();
    run(&mut strict, EXTEND, TOKEN, ":0\r\n");
    strict.read(1, None);
    strict.assert_sent(&[]);
    assert_eq!(strict.told(), ":0\r\n", "nobody holds it");
}

/// A command that finds no lock, where the ledger has one: also by who is alone.
#[test]
fn a_command_that_finds_nothing_is_doubted() {
    let mut strict = Strict::held_by(TOKEN);
    strict.client(&["EXPIRE lock:a 30"]);
    strict.sent();
    strict.redis(":0\r\n");
    strict.assert_sent(&["GET lock:a"]);
    strict.redis(NIL);
    // It may end a hold, in the past: so it is read first, whoever is known to be there.
    assert_eq!(strict.did().len(), 2);
    strict.answers(1, Vec::new());
    assert_eq!(strict.told(), ":1\r\n");

    // A yes is believed, and what only wants a lock is not asked again.
    for (line, reply) in [("EXPIRE lock:a 30", ":1\r\n"), ("MSETNX lock:a 1", ":0\r\n")] {
        let mut strict = in_company();
        strict.shared.table.grant(lock(), record(TOKEN));
        strict.client(&[line]);
        strict.sent();
        strict.redis(reply);
        assert_eq!((strict.told().as_str(), strict.did()), (reply, vec![]), "{line}");
    }
}

#[test]
fn a_look_without_redis_reads_first() {
    for (line, told) in [
        ("GET lock:a", bulk(TOKEN)),
        ("EXISTS lock:a", ":1\r\n".to_owned()),
        ("TTL lock:a", ":-1\r\n".to_owned()),
        ("SET lock:a x XX", OK.to_owned()),
    ] {
        let mut strict = degraded_in_company();
        strict.client(&[line]);
        assert_eq!(strict.told(), "", "{line}");
        strict.read(1, Some(TOKEN));
        if line.starts_with("SET") {
            strict.answers(2, vec![Outcome::Released, Outcome::Won { claim: CLAIM, fence: 2 }]);
            strict.did();
            continue;
        }
        assert_eq!((strict.told(), strict.did()), (told, vec![]), "{line}");
    }
    // Another has released it, and this sidecar had not read of that.
    let mut strict = degraded_in_company();
    strict.shared.table.grant(lock(), record(OTHER));
    strict.client(&["GET lock:a"]);
    strict.read(1, None);
    assert_eq!(strict.told(), NIL);
}

/// Reads of known locks work without the ledger (SPEC 2); a release does not.
#[test]
fn a_look_without_redis_and_without_the_ledger() {
    let mut strict = degraded_in_company();
    strict.shared.table.grant(lock(), record(TOKEN));
    strict.client(&["GET lock:a"]);
    strict.be_late();
    assert_eq!(strict.told(), bulk(TOKEN));
    strict.did();
    strict.client(&["DEL lock:a"]);
    strict.be_late();
    assert!(strict.told().starts_with("-TRYAGAIN lockside: nothing was done"));
}

/// A release in company, without Redis: it is read, then written.
#[test]
fn a_release_without_redis_reads_first() {
    let mut strict = degraded_in_company();
    strict.client(&["DEL lock:a"]);
    strict.read(1, Some(TOKEN));
    assert_eq!(strict.asked(), [Ask::Release(lock(), CLAIM, Cause::Client)]);
    strict.answer(2, Outcome::Released);
    assert_eq!(strict.told(), ":1\r\n");
}

/// Redis has lost it, and nobody has noticed yet: who asks by TTL or TYPE is told what the ledger has.
#[test]
fn a_lock_that_redis_has_lost_has_its_ttl_and_type() {
    for (line, reply, told) in [
        ("PTTL lock:a", ":-2\r\n", ":-1\r\n"),
        ("TTL lock:a", ":-2\r\n", ":-1\r\n"),
        ("EXPIRETIME lock:a", ":-2\r\n", ":-1\r\n"),
        ("TYPE lock:a", "+none\r\n", "+string\r\n"),
        ("TOUCH lock:a", ":0\r\n", ":1\r\n"),
    ] {
        let mut strict = Strict::held_by(TOKEN);
        strict.client(&[line]);
        strict.assert_sent(&[line]);
        strict.redis(reply);
        assert_eq!((strict.told().as_str(), strict.did()), (told, vec![touched()]), "{line}");
        // What Redis has is shown as it says it, and so is what nobody holds.
        let mut strict = Strict::new();
        strict.client(&[line]);
        strict.redis(reply);
        assert_eq!((strict.told().as_str(), strict.did()), (reply, vec![]), "{line}: free");
    }
    let mut strict = in_company();
    strict.client(&["PTTL lock:a"]);
    strict.redis(":-2\r\n");
    assert_eq!(strict.told(), "");
    strict.read(1, Some(TOKEN));
    assert_eq!(strict.told(), ":-1\r\n");
}
