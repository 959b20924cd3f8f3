//! Of two clients one holds the lock, and nobody can say which: their sidecars died before they did.

use std::sync::Arc;

use super::strict::{Did, Strict};
use super::*;
use crate::ledger::fold::Holder;
use crate::ledger::testing::{at, claim};
use crate::ledger::{Cause, Claim, Guarantee, Outcome};
use crate::lock::record::Confidence;
use crate::mode::Mode;

const OTHER: &str = "6ba7b810-9dad-11d1-80b4-00c04fd430c8";
const THIRD: &str = "7d444840-9dc0-11d1-b245-5ffdce74fad2";
const UNKNOWN: &str = "-TRYAGAIN lockside: unknown outcome: it is not known which";
const COMPARE: &str = "if redis.call('get',KEYS[1]) == ARGV[1] then";

/// Without Redis; the table shows the first of the two.
fn contested(guarantee: Guarantee) -> Strict {
    let mut strict = Strict::new();
    strict.rig.shared.guarantee = guarantee;
    let holder = |log, value: &str| {
        let claim = Claim { stored: value.as_bytes().into(), ..claim("lock:a", value) };
        Arc::new(Holder { at: at(log, 2), claim, fence: 0, heard: false })
    };
    let both = vec![holder(1, TOKEN), holder(2, OTHER)];
    strict.shared.table.hold(&both[0], Confidence::Unconfirmed);
    *strict.ledger.contested.lock().unwrap() = both;
    strict.shared.board.show(Mode::Degraded, false);
    strict
}

#[test]
fn neither_client_is_told_yes_or_no() {
    for guarantee in [Guarantee::Strict, Guarantee::Fast] {
        for token in [TOKEN, OTHER] {
            for line in [
                format!("SET lock:a {token} NX PX 30000"),
                format!("SETNX lock:a {token}"),
                format!(
                    "EVAL \"{COMPARE} return redis.call('pexpire',KEYS[1],ARGV[2]) end return 0\" 1 lock:a {token} 30000"
                ),
                format!("EVAL \"{COMPARE} return 1 end return 0\" 1 lock:a {token}"),
                "GET lock:a".into(),
                "GETDEL lock:a".into(),
                "DEL lock:a".into(),
                format!("SET lock:a {token}"),
                "EVAL \"return redis.call('get',KEYS[1])\" 1 lock:a".into(),
                format!("EVAL \"{COMPARE} return 1 end return 0\" 1 lock:a {TOKEN} {OTHER}"),
            ] {
                let mut strict = contested(guarantee);
                strict.client(&[&line]);
                let told = strict.told();
                assert!(told.starts_with(UNKNOWN), "{guarantee:?} {line}: {told}");
                assert_eq!(strict.did(), [], "{line}");
            }
        }
    }
}

#[test]
fn everybody_else_is_told_that_it_is_held() {
    for (line, reply) in [
        (format!("SET lock:a {THIRD} NX PX 30000"), "$-1\r\n"),
        ("EXISTS lock:a".into(), ":1\r\n"),
        (
            format!(
                "EVAL \"if redis.call('set',KEYS[1],ARGV[1],'NX','PX',9000) then return 1 end return 0\" 1 lock:a {THIRD}"
            ),
            ":0\r\n",
        ),
    ] {
        let mut strict = contested(Guarantee::Strict);
        strict.client(&[&line]);
        if strict.told() != reply {
            // The ledger is read before a script is told no.
            strict.answer(1, Outcome::Noted);
        }
        let did = strict.did();
        assert!(!format!("{did:?}").contains("Claim"), "{line}: {did:?}");
    }
    let mut strict = contested(Guarantee::Strict);
    strict.client(&[&format!("SET lock:a {THIRD} NX")]);
    assert_eq!(strict.told(), "$-1\r\n");
}

#[test]
fn each_may_release_its_own() {
    for (log, token) in [(1, TOKEN), (2, OTHER)] {
        let mut strict = contested(Guarantee::Strict);
        let script = format!("{COMPARE} return redis.call('del',KEYS[1]) end return 0");
        strict.client(&[&format!("EVAL \"{script}\" 1 lock:a {token}")]);
        let release = Ask::Release(LockKey::new(0, b"lock:a"), at(log, 2), Cause::Client);
        assert_eq!(strict.asked(), [release], "{token}");
        strict.answer(1, Outcome::Released);
        assert_eq!(strict.told(), ":1\r\n");
        assert!(strict.did().iter().any(|did| matches!(did, Did::Touched(_))));
    }
}

#[test]
fn what_has_run_out_is_not_contested() {
    let mut strict = contested(Guarantee::Strict);
    let mut both = strict.ledger.contested.lock().unwrap().clone();
    Arc::make_mut(&mut both[1]).claim.expires_at_ms = Some(1);
    *strict.ledger.contested.lock().unwrap() = both;
    strict.client(&["GET lock:a"]);
    assert_eq!(strict.told(), format!("${}\r\n{TOKEN}\r\n", TOKEN.len()));
}

/// Redis has let it through, and the ledger has not.
#[test]
fn an_acquire_with_one_of_the_tokens_is_not_told_no_while_redis_is_well() {
    let mut strict = contested(Guarantee::Strict);
    strict.shared.table.release(&LockKey::new(0, b"lock:a"));
    strict.shared.board.show(Mode::Healthy, true);
    strict.client(&[TAKE]);
    strict.redis(OK);
    strict.asked();
    strict.answer(1, Outcome::Lost { holder: None });
    strict.redis(HELD_NOW);
    let told = strict.told();
    assert!(told.starts_with(UNKNOWN), "{told}");
}
