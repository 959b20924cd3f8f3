//! Transactions of a lock that Redis alone has lost, and that nobody has put back yet: no element says
//! that it is not there, or not its holder's (SPEC 2). What the transaction itself has ended is gone.

use super::company::{OTHER, bulk, in_company, lock};
use super::strict::{CLAIM, Did, Strict, record, touched};
use super::*;
use crate::ledger::{Cause, Outcome};
use crate::mode::Mode;

const NIL: &str = "$-1\r\n";
const RELEASE: &str =
    "if redis.call('get',KEYS[1])==ARGV[1] then return redis.call('del',KEYS[1]) else return 0 end";

/// Queues these in a transaction and sends EXEC.
fn queue(strict: &mut Strict, lines: &[&str]) {
    strict.ask("MULTI", OK);
    lines.iter().for_each(|line| assert_eq!(strict.ask(line, QUEUED), QUEUED, "{line}"));
    strict.sent();
    strict.client(&["EXEC"]);
}

/// A client that holds `lock:a`, and these in a transaction; Redis has this reply to EXEC.
fn execute(lines: &[&str], reply: &str) -> Strict {
    let mut strict = Strict::held_by(TOKEN);
    queue(&mut strict, lines);
    strict.assert_sent(&["EXEC"]);
    strict.redis(reply);
    strict
}

fn release() -> String {
    format!("EVAL \"{RELEASE}\" 1 lock:a {TOKEN}")
}

#[test]
fn a_look_is_answered_by_the_ledger() {
    for (line, reply, told) in [
        ("GET lock:a", NIL, bulk(TOKEN)),
        ("GET lock:a", &*bulk(OTHER), bulk(TOKEN)),
        ("MGET plain lock:a lock:b", "*3\r\n$-1\r\n$-1\r\n$-1\r\n", {
            format!("*3\r\n$-1\r\n{}$-1\r\n", bulk(TOKEN))
        }),
        ("EXISTS lock:a", ":0\r\n", ":1\r\n".to_owned()),
        ("PTTL lock:a", ":-2\r\n", ":-1\r\n".to_owned()),
        ("TYPE lock:a", "+none\r\n", "+string\r\n".to_owned()),
    ] {
        let mut strict = execute(&[line, "SET plain 1"], &format!("*2\r\n{reply}+OK\r\n"));
        assert_eq!(strict.told(), format!("*2\r\n{told}+OK\r\n"), "{line}");
        assert_eq!(strict.did(), [touched()], "{line}");
        strict.assert_sent(&[]);

        // Nobody holds it.
        let mut strict = Strict::new();
        queue(&mut strict, &[line]);
        strict.redis(&format!("*1\r\n{reply}"));
        assert_eq!((strict.told(), strict.did()), (format!("*1\r\n{reply}"), vec![]), "{line}");
    }
}

#[test]
fn a_look_in_another_database() {
    let mut strict = Strict::new();
    strict.shared.table.grant(LockKey::new(3, b"lock:a"), record(TOKEN));
    queue(&mut strict, &["GET lock:a", "SELECT 3", "GET lock:a", "SELECT 0"]);
    strict.redis("*4\r\n$-1\r\n+OK\r\n$-1\r\n+OK\r\n");
    assert_eq!(strict.told(), format!("*4\r\n{NIL}+OK\r\n{}+OK\r\n", bulk(TOKEN)));
}

/// What the transaction has ended is gone, and is released once.
#[test]
fn what_was_ended_before_is_gone() {
    for (first, reply, told) in [
        ("DEL lock:a", ":0\r\n", ":1\r\n".to_owned()),
        ("DEL lock:a", ":1\r\n", ":1\r\n".to_owned()),
        ("GETDEL lock:a", NIL, bulk(TOKEN)),
    ] {
        let lines =
            [first, "GET lock:a", "EXISTS lock:a", "PTTL lock:a", "DEL lock:a", "GETDEL lock:a"];
        let rest = "$-1\r\n:0\r\n:-2\r\n:0\r\n$-1\r\n";
        let mut strict = execute(&lines, &format!("*6\r\n{reply}{rest}"));
        assert_eq!(strict.asked(), [Ask::Release(lock(), CLAIM, Cause::Client)], "{first}");
        strict.answer(1, Outcome::Released);
        assert_eq!(strict.told(), format!("*6\r\n{told}{rest}"), "{first}");
    }
    let mut strict = execute(&["FLUSHALL", "GET lock:a"], "*2\r\n+OK\r\n$-1\r\n");
    strict.did();
    strict.answer(1, Outcome::Released);
    assert_eq!(strict.told(), "*2\r\n+OK\r\n$-1\r\n");
}

/// A look before it is corrected all the same.
#[test]
fn a_look_before_its_release() {
    let mut strict = execute(&["GET lock:a", "DEL lock:a"], "*2\r\n$-1\r\n:0\r\n");
    assert!(strict.did().contains(&touched()));
    strict.answer(1, Outcome::Released);
    assert_eq!(strict.told(), format!("*2\r\n{}:1\r\n", bulk(TOKEN)));
}

/// Redis says after EXEC whether it has the lock at all.
#[test]
fn a_script_that_says_no_is_not_believed() {
    for (is_lost, there) in [(true, NIL), (true, &*bulk(OTHER)), (false, &*bulk(TOKEN))] {
        let mut strict = execute(&[&release(), "SET plain 1"], "*2\r\n:0\r\n+OK\r\n");
        strict.assert_sent(&["GET lock:a"]);
        assert_eq!(strict.told(), "");
        strict.redis(there);
        let told = strict.told();
        if is_lost {
            assert!(told.starts_with("*2\r\n-TRYAGAIN lockside: the transaction was"), "{told}");
            assert!(told.ends_with(": lock:a\r\n+OK\r\n"), "{told}");
            assert_eq!(strict.did(), [touched()]);
        } else {
            assert_eq!((told.as_str(), strict.did()), ("*2\r\n:0\r\n+OK\r\n", vec![]));
        }
    }
}

#[test]
fn a_computed_command_that_says_no_is_not_believed() {
    let mut strict = execute(&["EXPIRE lock:a 30"], "*1\r\n:0\r\n");
    strict.assert_sent(&["GET lock:a"]);
    strict.redis(NIL);
    assert!(strict.told().starts_with("*1\r\n-TRYAGAIN lockside"));

    // A yes asks nothing, nor does what only wants a lock.
    for (line, reply) in [("EXPIRE lock:a 30", ":1\r\n"), ("MSETNX lock:a 1", ":0\r\n")] {
        let mut strict = execute(&[line], &format!("*1\r\n{reply}"));
        strict.assert_sent(&[]);
        assert_eq!((strict.told(), strict.did()), (format!("*1\r\n{reply}"), vec![]), "{line}");
    }
}

/// Several scripts on one lock, one question; a lock of another database.
#[test]
fn redis_is_asked_once() {
    let mut strict = Strict::held_by(TOKEN);
    strict.shared.table.grant(LockKey::new(3, b"lock:a"), record(OTHER));
    let release = release();
    queue(&mut strict, &[&release, &release, "SELECT 3", &release, "SELECT 0"]);
    strict.sent();
    strict.redis("*5\r\n:0\r\n:0\r\n+OK\r\n:0\r\n+OK\r\n");
    strict.assert_sent(&["GET lock:a", "SELECT 3", "GET lock:a", "SELECT 0"]);
    strict.redis(&format!("{NIL}+OK\r\n{}+OK\r\n", bulk(OTHER)));
    let told = strict.told();
    let elements: Vec<&str> = told.split_terminator("\r\n").collect();
    assert!(
        matches!(elements[..], ["*5", one, two, "+OK", ":0", "+OK"]
            if one.starts_with("-TRYAGAIN") && two.starts_with("-TRYAGAIN")),
        "{told}"
    );
}

/// A repair that was made meanwhile may have put it back just after the "no".
#[test]
fn a_no_during_repairs_is_not_believed() {
    let mut strict = Strict::held_by(TOKEN);
    queue(&mut strict, &[&release()]);
    strict.redis("*1\r\n:0\r\n");
    strict.session.state.repairs_before = 1;
    strict.redis(&bulk(TOKEN));
    assert!(strict.told().starts_with("*1\r\n-TRYAGAIN lockside"));
}

/// Another has released it since: that is why Redis has nothing.
#[test]
fn a_lock_that_is_released_meanwhile() {
    let mut strict = execute(&[&release()], "*1\r\n:0\r\n");
    strict.shared.table.release(&lock());
    strict.redis(NIL);
    assert_eq!((strict.told().as_str(), strict.did()), ("*1\r\n:0\r\n", vec![]));
}

/// The transaction has ended it itself.
#[test]
fn a_script_behind_a_release_is_believed() {
    let mut strict = execute(&["DEL lock:a", &release()], "*2\r\n:1\r\n:0\r\n");
    strict.asked();
    strict.answer(1, Outcome::Released);
    strict.assert_sent(&[]);
    assert_eq!(strict.told(), "*2\r\n:1\r\n:0\r\n");
}

/// Nobody can tell any more; what the rest has taken is held, for the ledger has it.
#[test]
fn a_link_that_is_lost_before_redis_has_said() {
    let mut strict = execute(&[&release()], "*1\r\n:0\r\n");
    strict.cut();
    assert!(strict.told().starts_with("*1\r\n-TRYAGAIN lockside"));
    assert_eq!(strict.did(), [touched()]);
    assert!(!strict.session.has_operation());

    let mut strict = execute(&[&TAKE.replace(":a", ":b"), &release()], "*2\r\n+OK\r\n:0\r\n");
    strict.asked();
    strict.win(1);
    strict.assert_sent(&["EVALSHA"]);
    strict.cut();
    let told = strict.told();
    assert!(told.starts_with("*2\r\n+OK\r\n-TRYAGAIN lockside"), "{told}");
}

/// Where others write to the ledger it is read before an EXEC's looks are believed.
#[test]
fn in_company_the_ledger_is_read_first() {
    for (line, reply, told) in [
        ("GET lock:a", NIL, bulk(TOKEN)),
        ("PTTL lock:a", ":-2\r\n", ":-1\r\n".to_owned()),
        (&*release(), ":0\r\n", "-TRYAGAIN lockside".to_owned()),
    ] {
        for is_late in [false, true] {
            let mut strict = in_company();
            queue(&mut strict, &[line]);
            strict.redis(&format!("*1\r\n{reply}"));
            assert_eq!(strict.told(), "", "{line}");
            if is_late {
                strict.be_late();
                assert_eq!(strict.told(), format!("*1\r\n{reply}"), "{line}: what is known");
                continue;
            }
            strict.sent();
            strict.read(1, Some(TOKEN));
            if line.starts_with("EVAL") {
                strict.assert_sent(&["GET lock:a"]);
                strict.redis(NIL);
            }
            let said = strict.told();
            assert!(said.starts_with(&format!("*1\r\n{told}")), "{line}: {said}");
        }
    }
}

/// The link is lost while the ledger is read: what was taken is claimed, and made good by a repair.
#[test]
fn a_link_that_is_lost_while_the_ledger_is_read() {
    let mut strict = in_company();
    queue(&mut strict, &["GET lock:b", TAKE]);
    strict.redis("*2\r\n$-1\r\n+OK\r\n");
    assert_eq!(strict.asked(), []);
    strict.cut();
    assert!(matches!(&strict.did()[..], [Did::Forgot(_), Did::Asked(_, asks)]
        if matches!(asks[..], [Ask::Claim(_)])));
    strict.win(2);
    assert_eq!(strict.told(), "*2\r\n$-1\r\n+OK\r\n");
}

/// A link that has met another run of Redis queues nothing before a repair was made.
#[test]
fn a_new_link_is_asked_before_multi() {
    let mut strict = Strict::held_by(TOKEN);
    strict.shared.board.show(Mode::Healthy, true);
    strict.shared.reports.expect(Some("run1".into()));
    strict.client(&["MULTI"]);
    strict.assert_sent(&["INFO server"]);
    strict.redis("$12\r\nrun_id:run2\n\r\n");
    strict.assert_sent(&[]);
    assert_eq!(strict.told(), "");
    assert!(strict.session.awaits_ledger());
    // The pass has ended.
    strict.shared.reports.expect(Some("run2".into()));
    strict.with(|session, cx| session.timed_out(cx));
    strict.client(&["MULTI"]);
    strict.assert_sent(&["INFO server"]);
    strict.redis("$12\r\nrun_id:run2\n\r\n");
    strict.client(&["MULTI"]);
    strict.assert_sent(&["MULTI"]);
    strict.redis(OK);
    strict.ask("DISCARD", OK);
    strict.sent();
    // The same link again.
    strict.client(&["MULTI"]);
    strict.assert_sent(&["MULTI"]);
}
