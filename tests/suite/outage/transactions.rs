//! MULTI and EXEC over links that break at any moment: each reply is one of its command, EXEC ends
//! the transaction whatever it answers, and what it answers is so.

use std::time::Duration;

use super::{A, NIL, OK, ONE, Stage, answer, bulk, take};
use crate::support::{Client, Trouble, poll_for};

const ROUNDS: usize = 60;

/// Sends a transaction of one command, breaks what there is to break, and gives EXEC's reply.
fn transact(client: &mut Client, line: &str, harm: impl FnOnce()) -> String {
    for line in ["MULTI", line, "EXEC"] {
        client.send_line(line);
    }
    harm();
    let replies = [0; 3].map(|_| match client.frame_within(super::ANSWER) {
        Ok(frame) => String::from_utf8_lossy(&frame).into_owned(),
        Err(error) => panic!("{line}: no answer: {error}"),
    });
    let after = answer(client, "PING");
    assert!(!after.contains("QUEUED"), "EXEC has ended the transaction: {replies:?}");
    replies.into_iter().next_back().unwrap()
}

/// Some microseconds, different in each round, so that the harm meets each moment.
fn moment(round: usize) {
    std::thread::park_timeout(Duration::from_micros(u64::try_from(round * 40).unwrap()));
}

#[test]
fn an_acquire_in_a_transaction_whose_link_breaks() {
    let Some(mut stage) = Stage::start() else { return };
    for round in 0..ROUNDS {
        let key = format!("lock:{round}");
        let relay = &stage.relay;
        let reply = transact(&mut stage.holder, &take(&key, A), || {
            moment(round);
            relay.reset();
        });
        if reply == format!("*1\r\n{OK}") {
            assert_eq!(answer(&mut stage.holder, &format!("GET {key}")), bulk(A), "round {round}");
            assert_eq!(answer(&mut stage.holder, &format!("DEL {key}")), ONE, "round {round}");
        } else {
            assert!(reply.starts_with('-'), "round {round}: {reply}");
        }
    }
}

#[test]
fn a_release_in_a_transaction_whose_link_breaks() {
    let Some(mut stage) = Stage::start() else { return };
    for round in 0..ROUNDS {
        let key = format!("lock:{round}");
        stage.take(&key, A);
        assert_eq!(answer(&mut stage.holder, &format!("WATCH {key}")), OK);
        let relay = &stage.relay;
        let reply = transact(&mut stage.holder, &format!("DEL {key}"), || {
            moment(round);
            relay.reset();
        });
        check_release(&mut stage.holder, &key, &reply);
    }
}

/// Redis is silent for a while, shorter than the patience with it and longer.
#[test]
fn a_release_in_a_transaction_that_is_late() {
    for silence in [300, 900, 1500] {
        let Some(mut stage) = Stage::start() else { return };
        stage.take("lock:a", A);
        assert_eq!(answer(&mut stage.holder, "WATCH lock:a"), OK);
        assert_eq!(answer(&mut stage.holder, "GET lock:a"), bulk(A));
        let relay = &stage.relay;
        relay.set(Trouble::BlackHole);
        let reply = transact(&mut stage.holder, "DEL lock:a", || {
            std::thread::park_timeout(Duration::from_millis(silence));
            relay.set(Trouble::None);
        });
        check_release(&mut stage.holder, "lock:a", &reply);
    }
}

/// `:1` and the lock is gone; or an error or an abort, and its holder can release it if it is
/// there. Never `:0`: it was held.
fn check_release(holder: &mut Client, key: &str, reply: &str) {
    let get = format!("GET {key}");
    if reply == format!("*1\r\n{ONE}") {
        poll_for("gone", super::ANSWER, || (answer(holder, &get) == NIL).then_some(()));
        return;
    }
    assert!(reply.starts_with('-') || reply == "*-1\r\n", "{key}: {reply}");
    let there = answer(holder, &get);
    assert!(there == NIL || there == bulk(A), "{key}: {there} after {reply}");
    let released = answer(holder, &super::script(super::RELEASE, key, A));
    assert!(released.starts_with(':'), "{key}: {released}");
}

/// Connections without a link yet, and the link that MULTI needs can't be opened.
#[test]
fn a_transaction_whose_link_can_not_be_opened() {
    let Some(mut stage) = Stage::start() else { return };
    stage.take("lock:a", A);
    let mut clients: Vec<Client> = (0..20).map(|_| stage.subject.client()).collect();
    stage.relay.set(Trouble::Refuse);
    for client in &mut clients {
        let reply = transact(client, &take("lock:b", A), || {});
        assert!(reply.starts_with('-') || reply.starts_with("*1\r\n"), "{reply}");
    }
}
