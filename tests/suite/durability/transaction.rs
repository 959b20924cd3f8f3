//! A transaction that takes one lock and releases another, whose Lockside dies at each of its steps,
//! in strict mode and while Redis is down. Redis has done both by the time the ledger hears of them:
//! there they are one group, and the ledger has both or neither. Without Redis the claims come first,
//! for the transaction has only happened if they win: who was told nothing may find that he has taken
//! the one and not released the other, which he still holds.

use super::rig::{A, B, C, NIL, OK, STRANGER, Stage, Told, give, reply, take, wait_gone};

/// Takes `lock:b` and releases `lock:a`, and what its client is told.
struct Transaction {
    take: String,
    release: String,
}

impl Transaction {
    fn of_commands() -> Self {
        Self { take: take("lock:b", B), release: "DEL lock:a".to_owned() }
    }

    fn of_scripts() -> Self {
        let text = "return redis.call('set', KEYS[1], ARGV[1], 'NX', 'PX', 30000)";
        Self { take: format!("EVAL \"{text}\" 1 lock:b {B}"), release: give("lock:a", A) }
    }

    fn run(&self, stage: &mut Stage, place: &str) -> Told {
        let mut client = stage.client();
        client.ask(&take("lock:a", A));
        // The scripts' texts are known, so that each is one step.
        assert_eq!(client.ask(&self.take.replace("lock:b", "lock:never")), OK);
        assert_eq!(client.ask(&give("lock:never", B)), ":1\r\n");
        stage.last_exec(&mut client, place, &[&self.take, &self.release])
    }
}

/// What became of both, by the ledger: that `A` has `lock:a`, that `B` has `lock:b`.
type Both = (bool, bool);

fn both(stage: &Stage) -> Both {
    let is_listed = |key: &str| {
        let listed = stage.client().ask(&format!("LOCKSIDE LOCKS {key}"));
        listed.contains(&format!("\r\n{key}\r\n"))
    };
    (is_listed("lock:a"), is_listed("lock:b"))
}

/// What must hold of an end like this, and goes on to hold; `allowed`: the ends there may be.
fn decided(stage: &mut Stage, told: &Told, allowed: &[Both]) -> Both {
    let after = both(stage);
    assert!(allowed.contains(&after), "{after:?} is none of {allowed:?}");
    if *told != Told::Nothing {
        assert_eq!(*told, reply("*2\r\n+OK\r\n:1\r\n"));
        assert_eq!(after, (false, true), "what was acknowledged is lost");
    }
    stage.assert_others_unharmed();
    stage.crash_again();
    assert_eq!(both(stage), after, "it was decided otherwise before");
    for (key, is_held) in [("lock:a", after.0), ("lock:b", after.1)] {
        if is_held {
            assert_eq!(stage.client().ask(&take(key, STRANGER)), NIL);
        }
    }
    after
}

/// Redis is in line, and both locks can be released and taken.
fn in_line(stage: &mut Stage, after: Both) {
    // What was taken provisionally and is no lock.
    if !after.1 {
        wait_gone(&stage.redis, "lock:b");
    }
    let held = [("lock:a", A, after.0), ("lock:b", B, after.1)];
    let held = held.iter().filter(|(.., is_held)| *is_held);
    let held: Vec<_> = held.map(|(key, token, _)| (*key, *token)).collect();
    stage.assert_locks(&held);
    for (key, token) in held {
        assert_eq!(stage.client().ask(&give(key, token)), ":1\r\n");
    }
    assert_eq!(stage.client().ask(&take("lock:a", C)), OK);
    assert_eq!(stage.client().ask(&take("lock:b", C)), OK);
    stage.assert_locks(&[("lock:a", C), ("lock:b", C)]);
}

fn cut_off(transaction: &Transaction, place: &str, allowed: &[Both], redis_dies: bool) {
    let Some(mut stage) = Stage::start() else { return };
    let told = transaction.run(&mut stage, place);
    assert_eq!(told == Told::Nothing, !place.ends_with("-told"), "{told:?}");
    stage.start_again(redis_dies);
    let after = decided(&mut stage, &told, allowed);
    if redis_dies {
        stage.redis.start_again();
        stage.wait_mode("healthy");
    }
    in_line(&mut stage, after);
}

const BEFORE: Both = (true, false);
const AFTER: Both = (false, true);
/// Without Redis: taken, and the other not released yet.
const CLAIMED: Both = (true, true);

macro_rules! places {
    ($($name:ident: $transaction:expr, $place:literal, $allowed:expr;)*) => {$(
        mod $name {
            use super::*;

            #[test]
            fn and_redis_dies_too() {
                cut_off(&$transaction, $place, $allowed, true);
            }

            #[test]
            fn and_redis_stays() {
                cut_off(&$transaction, $place, $allowed, false);
            }
        }
    )*};
}

places! {
    once_exec_is_sent: Transaction::of_commands(), "exec-sent", &[BEFORE];
    once_exec_is_answered: Transaction::of_commands(), "exec-answered", &[BEFORE];
    once_the_ledger_is_asked: Transaction::of_commands(), "ledger-asked", &[BEFORE, AFTER];
    before_the_commit: Transaction::of_commands(), "exchange-begun", &[BEFORE];
    after_the_commit: Transaction::of_commands(), "exchange-committed", &[AFTER];
    once_the_client_is_told: Transaction::of_commands(), "exec-told", &[AFTER];
    by_script_once_exec_is_answered: Transaction::of_scripts(), "exec-answered", &[BEFORE];
    by_script_before_the_commit: Transaction::of_scripts(), "exchange-begun", &[BEFORE];
    by_script_after_the_commit: Transaction::of_scripts(), "exchange-committed", &[AFTER];
    by_script_once_the_client_is_told: Transaction::of_scripts(), "exec-told", &[AFTER];
}

fn without_redis(transaction: &Transaction, place: &str, allowed: &[Both]) {
    let Some(mut stage) = Stage::without_redis() else { return };
    let told = transaction.run(&mut stage, place);
    assert_eq!(told == Told::Nothing, !place.ends_with("-told"), "{told:?}");
    stage.subject.start_again();
    let after = decided(&mut stage, &told, allowed);
    stage.redis.start_again();
    stage.wait_mode("healthy");
    in_line(&mut stage, after);
}

#[test]
fn without_redis_once_the_ledger_is_asked() {
    without_redis(&Transaction::of_commands(), "ledger-asked", &[BEFORE, CLAIMED, AFTER]);
}

#[test]
fn without_redis_before_the_commit() {
    without_redis(&Transaction::of_commands(), "exchange-begun", &[BEFORE]);
}

#[test]
fn without_redis_after_the_commit() {
    without_redis(&Transaction::of_commands(), "exchange-committed", &[CLAIMED, AFTER]);
}

#[test]
fn without_redis_once_the_client_is_told() {
    without_redis(&Transaction::of_commands(), "served-told", &[AFTER]);
}

#[test]
fn without_redis_by_script_after_the_commit() {
    without_redis(&Transaction::of_scripts(), "exchange-committed", &[CLAIMED, AFTER]);
}

#[test]
fn without_redis_by_script_once_the_client_is_told() {
    without_redis(&Transaction::of_scripts(), "served-told", &[AFTER]);
}

/// Takes `lock:a` and `lock:b`, of which the second is another's, in the ledger alone: Redis has lost
/// it.
fn lose_the_second(stage: &mut Stage, place: &str) -> Told {
    let mut client = stage.client();
    assert_eq!(client.ask(&take("lock:b", C)), OK);
    // Until a repair has put it back: then Redis says no to it, and nothing is withdrawn.
    assert_eq!(stage.redis.client().ask("DEL lock:b"), ":1\r\n");
    stage.last_exec(&mut client, place, &[&take("lock:a", A), &take("lock:b", B)])
}

/// Who was told that he has not acquired finds that he has not, whenever Lockside dies: what has won
/// beside a claim that has lost is withdrawn before that is told.
#[test]
fn what_was_refused_is_not_held_after_a_crash() {
    for place in ["withdrawal-asked", "withdrawal-begun", "withdrawal-committed", "exec-refused"] {
        let Some(mut stage) = Stage::start() else { return };
        let told = lose_the_second(&mut stage, place);
        stage.start_again(false);
        let after = both(&stage);
        match told {
            Told::Nothing => assert_ne!(place, "exec-refused"),
            Told::Reply(reply) => {
                assert_eq!(reply.matches("-TRYAGAIN lockside: not acquired: lost to").count(), 2);
                assert_eq!(after, (false, true), "refused, and held");
            }
        }
        assert!(after.1, "{C} was granted lock:b");
        if place == "withdrawal-committed" {
            assert!(!after.0, "it was withdrawn");
        }
        stage.assert_others_unharmed();
    }
}
