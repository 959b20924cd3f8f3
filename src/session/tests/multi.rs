//! Transactions with lock commands: what is queued, dropped and refused; and a MULTI whose link is lost
//! before its reply, behind which nothing may run alone.

use super::*;

#[test]
fn a_multi_that_is_lost_goes_on_without_redis() {
    let mut rig = Rig::new();
    rig.client(&["MULTI"]);
    rig.cut();
    assert_eq!(rig.told(), OK);
    rig.client(&[TAKE]);
    assert_eq!(rig.told(), "+QUEUED\r\n");
    rig.client(&["DISCARD"]);
    assert_eq!(rig.told(), OK);
}

#[test]
fn a_multi_that_is_lost_with_commands_of_it_is_aborted() {
    let mut rig = Rig::new();
    rig.client(&["PING", "MULTI", "SET plain 1"]);
    rig.cut();
    let told = rig.told();
    let replies: Vec<&str> = told.split_terminator("\r\n").collect();
    assert!(
        matches!(replies[..], [ping, "+OK", set] if ping.starts_with('-') && set.starts_with('-')),
        "{told}"
    );
    rig.client(&[TAKE]);
    rig.told();
    rig.client(&["EXEC"]);
    assert!(rig.told().starts_with("-EXECABORT"), "nothing of it runs");
}

#[test]
fn a_transaction_whose_end_was_sent_is_over() {
    let mut rig = Rig::new();
    rig.client(&["MULTI", "SET plain 1", "EXEC"]);
    rig.cut();
    assert!(rig.told().split_terminator("\r\n").all(|reply| reply.starts_with('-')));
    assert!(rig.session.state.held_back.is_none());
}

#[test]
fn questions_inside_multi_have_a_place() {
    let mut rig = Rig::new();
    assert_eq!(rig.ask("MULTI", OK), OK);
    for line in ["INFO", "SCRIPT EXISTS 0", TAKE] {
        assert_eq!(rig.ask(line, QUEUED), QUEUED);
    }
    rig.client(&["EXEC"]);
    rig.sent();
    rig.redis("*3\r\n$1\r\nx\r\n*1\r\n:0\r\n+OK\r\n");
    rig.assert_sent(&["EVALSHA"]);
    rig.redis(HELD_NOW);
    assert_eq!(rig.told(), "*3\r\n$1\r\nx\r\n*1\r\n:0\r\n+OK\r\n");
    assert_eq!(rig.confidence(), Some(Confidence::Held));
}

#[test]
fn a_transaction_that_was_dropped_leaves_nothing_to_the_next() {
    for (end, said) in [("DISCARD", OK), ("RESET", "+RESET\r\n")] {
        let mut rig = Rig::new();
        rig.ask("MULTI", OK);
        rig.ask(TAKE, QUEUED);
        assert_eq!(rig.ask(end, said), said);
        rig.ask("MULTI", OK);
        rig.ask("SET n 1", QUEUED);
        rig.sent();
        assert_eq!(rig.ask("EXEC", "*1\r\n+OK\r\n"), "*1\r\n+OK\r\n");
        rig.assert_sent(&["EXEC"]);
        assert!(rig.session.is_idle() && rig.shared.table.is_empty());
    }
}

#[test]
fn what_is_refused_inside_multi_fails_the_transaction_in_redis() {
    for (room, line, said) in [
        (1000, "RENAME lock:a b", "-ERR lockside: RENAME"),
        (0, TAKE, "-OOM lockside"),
        (0, "SETEX lock:a 10 v", "-OOM lockside"),
        (1000, "EVALSHA 0000000000000000000000000000000000000000 1 lock:a", "-NOSCRIPT"),
    ] {
        let mut rig = Rig::with_room_for(room);
        rig.ask("MULTI", OK);
        rig.sent();
        rig.client(&[line]);
        assert_eq!(rig.sent(), ["EVALSHA"], "{line}");
        rig.redis("-ERR wrong number of arguments\r\n");
        let told = rig.told();
        assert!(told.starts_with(said), "{told}");
    }
}

#[test]
fn what_exec_refused_changes_nothing() {
    let mut rig = Rig::new();
    rig.ask("MULTI", OK);
    rig.ask("SELECT 3", QUEUED);
    rig.ask("SELECT 99", QUEUED);
    rig.ask("EXEC", "*2\r\n+OK\r\n-ERR DB index is out of range\r\n");
    assert_eq!(rig.session.state.db, 3);
}

#[test]
fn exec_without_multi_ends_no_watch() {
    let mut rig = Rig::new();
    rig.ask("WATCH n", OK);
    rig.ask("EXEC", "-ERR EXEC without MULTI\r\n");
    assert!(!rig.session.state.is_replayable());
}
