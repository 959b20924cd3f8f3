//! Sessions of one of several sidecars at a ledger, whose lock table may be behind; and of one whose
//! Redis does not have a lock as the ledger has it.

use std::sync::atomic::Ordering;

use super::strict::{CLAIM, Did, Strict, record, touched};
use super::*;
use crate::ledger::{Answer, Cause, Outcome};

pub(super) const OTHER: &str = "0b7e1c7e-6d27-4a53-9d0c-8b7b9a1f0c11";

pub(super) fn in_company() -> Strict {
    let strict = Strict::new();
    strict.ledger.has_company.store(true, Ordering::Relaxed);
    strict
}

pub(super) fn lock() -> LockKey {
    LockKey::new(0, b"lock:a")
}

impl Strict {
    /// The ledger was read: `stored` holds the lock.
    pub(super) fn read(&mut self, ticket: u64, stored: Option<&str>) {
        assert_eq!(self.asked(), [], "nothing is written");
        match stored {
            Some(stored) => self.shared.table.grant(lock(), record(stored)),
            None => drop(self.shared.table.release(&lock())),
        }
        let answer = Answer { ticket: Ticket(ticket), outcomes: Vec::new() };
        self.with(|session, cx| session.ledger_answered(&answer, cx));
    }
}

/// What another sidecar has granted a moment ago is read before the release is sent.
#[test]
fn a_blind_release_reads_first() {
    for (line, reply, told) in [
        ("DEL lock:a", ":1\r\n", ":1\r\n"),
        ("UNLINK lock:a", ":0\r\n", ":1\r\n"),
        ("GETDEL lock:a", "$-1\r\n", &*bulk(TOKEN)),
    ] {
        let mut strict = in_company();
        strict.client(&[line]);
        strict.assert_sent(&[]);
        strict.read(1, Some(TOKEN));
        strict.assert_sent(&[line]);
        strict.redis(reply);
        assert_eq!(strict.asked(), [Ask::Release(lock(), CLAIM, Cause::Client)], "{line}");
        strict.answer(2, Outcome::Released);
        assert_eq!(strict.told(), told, "{line}");
    }
}

#[test]
fn who_is_alone_does_not_read() {
    let mut strict = Strict::held_by(TOKEN);
    strict.client(&["DEL lock:a"]);
    strict.assert_sent(&["DEL lock:a"]);
    assert_eq!(strict.did(), []);
}

#[test]
fn a_ledger_that_can_not_be_read_sends_nothing() {
    let mut strict = in_company();
    strict.client(&["DEL lock:a"]);
    strict.did();
    strict.be_late();
    strict.assert_sent(&[]);
    assert_eq!(strict.did(), [Did::Forgot(Ticket(1))]);
    assert!(strict.told().starts_with("-TRYAGAIN lockside: nothing was done"));

    strict.ask("MULTI", "+OK\r\n");
    strict.ask("DEL lock:a", "+QUEUED\r\n");
    strict.client(&["EXEC"]);
    strict.sent();
    strict.be_late();
    strict.assert_sent(&["DISCARD"]);
    strict.redis("+OK\r\n");
    assert!(strict.told().ends_with("nothing was done\r\n"));
}

/// A link that is lost meanwhile: the ledger alone carries the release out.
#[test]
fn a_link_lost_while_it_reads() {
    let mut strict = in_company();
    strict.shared.table.grant(lock(), record(TOKEN));
    strict.client(&["DEL lock:a"]);
    strict.did();
    strict.cut();
    assert!(matches!(&strict.did()[..], [_, Did::Asked(_, asks)] if asks.is_empty()));
    strict.answers(2, Vec::new());
    assert_eq!(strict.asked(), [Ask::Release(lock(), CLAIM, Cause::Client)]);
    strict.answer(3, Outcome::Released);
    assert_eq!(strict.told(), ":1\r\n");
}

/// An EXEC with a blind release reads, too.
#[test]
fn a_transaction_reads_first() {
    let mut strict = in_company();
    strict.ask("MULTI", "+OK\r\n");
    strict.ask("DEL lock:a", "+QUEUED\r\n");
    strict.sent();
    strict.client(&["EXEC"]);
    strict.assert_sent(&[]);
    strict.read(1, Some(TOKEN));
    strict.assert_sent(&["EXEC"]);
    strict.redis("*1\r\n:1\r\n");
    assert_eq!(strict.asked(), [Ask::Release(lock(), CLAIM, Cause::Client)]);
    strict.told();
    strict.answer(2, Outcome::Released);
    assert_eq!(strict.told(), "*1\r\n:1\r\n");
}

/// What a watching client has read is what its EXEC has deleted: an old value that Redis still had,
/// and not the hold of another client that the table knows by now.
#[test]
fn a_watched_value_is_what_is_released() {
    let mut strict = Strict::new();
    strict.client(&["WATCH lock:a"]);
    strict.redis("+OK\r\n");
    strict.client(&["GET lock:a"]);
    strict.redis(&bulk(TOKEN));
    strict.ask("MULTI", "+OK\r\n");
    strict.ask("DEL lock:a", "+QUEUED\r\n");
    strict.client(&["EXEC"]);
    strict.shared.table.grant(lock(), record(OTHER));
    strict.redis("*1\r\n:1\r\n");
    let by_value = Ask::ReleaseValue {
        key: lock(),
        stored: TOKEN.as_bytes().into(),
        other: None,
        cause: Cause::Client,
        fence: None,
    };
    let did = strict.did();
    assert!(
        matches!(&did[..], [touch, Did::Asked(_, asks)]
        if *touch == touched() && *asks == [by_value]),
        "{did:?}"
    );
}

/// GETDEL says what it has deleted.
#[test]
fn what_was_taken_out_is_what_is_released() {
    let mut strict = Strict::held_by(OTHER);
    strict.client(&["GETDEL lock:a"]);
    strict.redis(&bulk(TOKEN));
    let did = strict.did();
    assert!(
        matches!(&did[..], [_, Did::Asked(_, asks)]
            if matches!(&asks[..], [Ask::ReleaseValue { stored, .. }] if **stored == *TOKEN.as_bytes())),
        "{did:?}"
    );
}

/// A release of whoever holds is not written late: who holds then is another.
#[test]
fn a_late_guess_is_withdrawn() {
    let mut strict = Strict::new();
    strict.client(&["DEL lock:a"]);
    strict.redis(":1\r\n");
    assert_eq!(strict.asked(), [Ask::ReleaseAny(lock(), Cause::Client)]);
    strict.be_late();
    assert_eq!(strict.did(), [Did::Withdrew(Ticket(1))]);
    assert!(strict.told().starts_with("-TRYAGAIN"));
}

/// In fast, while this sidecar says that Redis decides, a lock that is being repaired is not granted by
/// the ledger alone: another sidecar may be granting it by Redis. The acquire waits for the repair.
#[test]
fn an_acquire_of_a_lock_that_is_being_repaired_waits() {
    let mut fast = in_company();
    fast.rig.shared.guarantee = Guarantee::Fast;
    fast.ledger.is_due.store(true, Ordering::Relaxed);
    fast.client(&[TAKE]);
    fast.be_late();
    fast.assert_sent(&[]);
    assert_eq!((fast.told(), fast.did()), (String::new(), vec![]));
    fast.ledger.is_due.store(false, Ordering::Relaxed);
    fast.be_late();
    fast.assert_sent(&[SENT_SET]);

    // Who is alone need not wait.
    let mut alone = Strict::new();
    alone.rig.shared.guarantee = Guarantee::Fast;
    alone.ledger.is_due.store(true, Ordering::Relaxed);
    alone.client(&[TAKE]);
    assert!(matches!(&alone.asked()[..], [Ask::Claim(_)]));
}

/// Redis has lost a lock, or has an old value of it: the ledger is the truth.
#[test]
fn a_get_that_contradicts_the_ledger() {
    for reply in ["$-1\r\n", &bulk(OTHER)] {
        let mut strict = Strict::held_by(TOKEN);
        strict.client(&["GET lock:a"]);
        strict.redis(reply);
        assert_eq!(strict.told(), bulk(TOKEN), "{reply:?}");
        assert_eq!(strict.did(), [touched()], "{reply:?}");

        let mut strict = in_company();
        strict.shared.table.grant(lock(), record(TOKEN));
        strict.client(&["GET lock:a"]);
        strict.redis(reply);
        assert_eq!(strict.told(), "");
        strict.read(1, None);
        assert_eq!(strict.told(), reply, "another sidecar has released it");
        assert_eq!(strict.did(), [], "{reply:?}");
    }
}

/// A script says no to the holder because Redis has lost its lock: the ledger carries it out. Who is
/// no holder has Redis's word.
#[test]
fn a_script_that_does_not_find_the_holder() {
    const RELEASE: &str = "if redis.call('get',KEYS[1])==ARGV[1] then return redis.call('del',KEYS[1]) else return 0 end";
    let eval = |token: &str| format!("EVAL \"{RELEASE}\" 1 lock:a {token}");
    let run = |strict: &mut Strict, token: &str| {
        strict.client(&[&eval(token)]);
        strict.redis("$40\r\n0000000000000000000000000000000000000000\r\n");
        strict.sent();
        // Nothing was taken or released: the script's own reply.
        strict.redis(":0\r\n");
    };
    let mut strict = Strict::held_by(TOKEN);
    run(&mut strict, TOKEN);
    strict.assert_sent(&["GET lock:a"]);
    strict.redis("$-1\r\n");
    let did = strict.did();
    let release = Ask::Release(lock(), CLAIM, Cause::Client);
    assert!(matches!(&did[..], [_, Did::Asked(_, asks)] if *asks == [release]), "{did:?}");
    strict.answer(1, Outcome::Released);
    assert_eq!(strict.told(), ":1\r\n");

    let mut strict = Strict::held_by(TOKEN);
    run(&mut strict, TOKEN);
    strict.assert_sent(&["GET lock:a"]);
    strict.redis(&bulk(TOKEN));
    strict.assert_sent(&["EVALSHA"]);
    strict.redis(":0\r\n");
    strict.assert_sent(&["GET lock:a"]);
    strict.redis(&bulk(TOKEN));
    assert_eq!(strict.told(), ":0\r\n", "Redis has it all the time: the script's own reason");

    let mut strict = Strict::held_by(TOKEN);
    run(&mut strict, OTHER);
    strict.assert_sent(&[]);
    assert_eq!(strict.told(), ":0\r\n");
}

/// A repair puts the lock back between the script's "no" and the question: that "no" does not count.
#[test]
fn a_no_from_before_a_repair_is_not_believed() {
    // One that names the holder, and one that presents nothing.
    for args in [TOKEN, ""] {
        let mut strict = in_company();
        strict.client(&[&format!("EVAL extend 1 lock:a {args}")]);
        strict.redis("$40\r\n0000000000000000000000000000000000000000\r\n");
        strict.redis(":0\r\n");
        strict.sent();
        strict.read(1, Some(TOKEN));
        strict.assert_sent(&["GET lock:a"]);
        strict.redis(&bulk(TOKEN));
        assert_eq!(strict.told(), "");
        strict.assert_sent(&["EVALSHA"]);
        strict.redis(":1\r\n");
        strict.read(2, Some(TOKEN));
        if !args.is_empty() {
            strict.assert_sent(&["GET lock:a"]);
            strict.redis(&bulk(TOKEN));
        }
        assert_eq!(strict.told(), ":1\r\n");
    }
}

const RELEASE_ALL: &str = "local n = 0 for i, k in ipairs(KEYS) do if redis.call('get',k)==ARGV[1] then \
    redis.call('del',k) n = n + 1 end end return n";

/// Of two locks Redis has lost one: a script that releases both is carried out by the ledger.
#[test]
fn a_script_that_releases_two_of_which_redis_has_one() {
    for is_lost in [true, false] {
        let mut strict = Strict::held_by(TOKEN);
        let other = LockKey::new(0, b"lock:b");
        strict.shared.table.grant(other.clone(), record(TOKEN));
        strict.client(&[&format!("EVAL \"{RELEASE_ALL}\" 2 lock:a lock:b {TOKEN}")]);
        strict.redis("$40\r\n0000000000000000000000000000000000000000\r\n");
        strict.sent();
        strict.redis(&format!(
            "*3\r\n$16\r\nhdbaaaaahdbaaaaa\r\n$50\r\nr1 0 0 -1 37 s{TOKEN}\r\n:1\r\n"
        ));
        strict.assert_sent(&["GET lock:b"]);
        assert_eq!(strict.did(), [], "nothing is released yet");
        strict.redis(if is_lost { "$-1\r\n" } else { "$1\r\nx\r\n" });
        let did = strict.did();
        let release = |key: LockKey| Ask::Release(key, CLAIM, Cause::Client);
        let both = [release(lock()), release(other)];
        assert!(matches!(&did[..], [.., Did::Asked(_, asks)] if *asks == both), "{did:?}");
        strict.answers(1, vec![Outcome::Released, Outcome::Released]);
        assert_eq!(strict.told(), ":2\r\n");
    }
}

/// A Redis that hung has carried out an old take late; a script that finds its own token there, and
/// writes nothing, has no lock by that: it claims one.
#[test]
fn what_is_left_of_an_old_take_is_no_lock() {
    const TAKE_AGAIN: &str = "if redis.call('exists',KEYS[1])==0 then redis.call('set',KEYS[1],ARGV[1]) \
        return 'GOT' end if redis.call('get',KEYS[1])==ARGV[1] then return 'MINE' end return 'HELD'";
    let run = |strict: &mut Strict, found: &str| {
        strict.client(&[&format!("EVAL \"{TAKE_AGAIN}\" 1 lock:a {TOKEN}")]);
        strict.redis("$40\r\n0000000000000000000000000000000000000000\r\n");
        strict.sent();
        strict.redis(&bulk("MINE"));
        strict.assert_sent(&["EVAL local k = KEYS[1]"]);
        strict.redis(found);
    };
    // A string, by its value; another type, by what is in it.
    for found in [&*bulk(TOKEN), ":1\r\n"] {
        let mut strict = Strict::new();
        run(&mut strict, found);
        assert_eq!(strict.told(), "");
        let did = strict.did();
        assert!(
            matches!(&did[..], [.., Did::Asked(_, asks)] if matches!(asks[..], [Ask::Claim(_)])),
            "{did:?}"
        );
        strict.answer(1, Outcome::Won { claim: CLAIM, fence: 1 });
        assert_eq!(strict.told(), bulk("GOT"));
    }
    // It stands there for good, or is another's.
    for found in [":0\r\n", &*bulk(OTHER)] {
        let mut strict = Strict::new();
        run(&mut strict, found);
        assert_eq!((strict.told(), strict.did()), (bulk("MINE"), vec![]));
    }
    // The ledger has it.
    let mut strict = Strict::held_by(TOKEN);
    strict.client(&[&format!("EVAL \"{TAKE_AGAIN}\" 1 lock:a {TOKEN}")]);
    strict.redis("$40\r\n0000000000000000000000000000000000000000\r\n");
    strict.sent();
    strict.redis(&bulk("MINE"));
    strict.assert_sent(&["GET lock:a"]);
    strict.redis(&bulk(TOKEN));
    assert_eq!(strict.told(), bulk("MINE"));
}

pub(super) fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}
