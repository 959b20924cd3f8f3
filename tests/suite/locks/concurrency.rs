//! Many clients at once, and clients that vanish.

use std::sync::Barrier;

use super::{NIL, OK, ONE, OTHER, Stage, TOKEN, ZERO, as_bulk};
use crate::support::{Monitor, wait_until};

/// Of many clients that ask at once exactly one is told OK, round after round.
#[test]
fn one_winner() {
    const CLIENTS: usize = 20;
    const ROUNDS: usize = 20;
    let mut stage = Stage::start();
    for round in 0..ROUNDS {
        let key = format!("lock:{round}");
        let barrier = Barrier::new(CLIENTS);
        let port = stage.subject.port();
        let winners: Vec<usize> = std::thread::scope(|scope| {
            let asking: Vec<_> = (0..CLIENTS)
                .map(|number| {
                    let (barrier, key) = (&barrier, &key);
                    scope.spawn(move || {
                        let mut client = crate::support::Client::connect(port);
                        client.fence();
                        barrier.wait();
                        client.ask(&format!("SET {key} {number}:{TOKEN} NX PX 30000")) == OK
                    })
                })
                .collect();
            let told = asking.into_iter().map(|asked| asked.join().unwrap());
            told.enumerate().filter(|(_, won)| *won).map(|(number, _)| number).collect()
        });
        assert_eq!(winners.len(), 1, "round {round}");
        assert_eq!(
            stage.client.ask(&format!("GET {key}")),
            as_bulk(&format!("{}:{TOKEN}", winners[0]))
        );
        stage.assert_permanent(&key);
    }
}

/// Clients that ask for a held key at once share an answer: Redis sees far fewer commands.
#[test]
fn heavy_coalesced() {
    const CLIENTS: usize = 200;
    let mut stage = Stage::start();
    stage.take("lock:a", TOKEN);
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| stage.subject.client()).collect();
    clients.iter_mut().for_each(|client| client.fence());
    let mut monitor = Monitor::start(&stage.redis);
    for (number, client) in clients.iter_mut().enumerate() {
        client.send_line(&format!("SET lock:a {number}:{OTHER} NX PX 30000"));
    }
    assert!(clients.iter_mut().all(|client| client.text() == NIL));
    let seen = monitor.seen_with("lock:a").len();
    assert!(seen < CLIENTS / 2 || !stage.is_lockside(), "Redis saw {seen} of {CLIENTS}");
    // A release seen drops what was remembered: the next one gets the lock at once.
    assert_eq!(stage.client.ask("DEL lock:a"), ONE);
    assert_eq!(clients[0].ask(&format!("SET lock:a {OTHER} NX PX 30000")), OK);
    assert_eq!(clients[1].ask("SET lock:a x NX PX 30000"), NIL);
}

/// The answer for one user or database is not the answer for another.
#[test]
fn not_coalesced_across_databases_and_users() {
    let mut stage = Stage::start();
    assert_eq!(stage.direct.ask("ACL SETUSER bob on >pw ~other:* +@all"), OK);
    stage.take("lock:a", TOKEN);
    let mut bob = stage.subject.client();
    assert_eq!(bob.ask("AUTH bob pw"), OK);
    let mut other = stage.subject.client();
    assert_eq!(other.ask("SELECT 1"), OK);
    let line = format!("SET lock:a {OTHER} NX PX 30000");
    let mut third = stage.subject.client();
    third.send_line(&line);
    bob.send_line(&line);
    other.send_line(&line);
    assert_eq!(third.text(), NIL);
    assert!(bob.text().starts_with("-NOPERM "));
    assert_eq!(other.text(), OK);
}

/// With the cache off each acquire is answered by what Redis has now.
#[test]
fn held_cache_off() {
    let Some(stage) = super::Stage::lockside("") else { return };
    let uncached = crate::support::Subject::with(
        &stage.redis,
        crate::support::Settings { top: "held_cache = \"0ms\"", ..Default::default() },
    );
    let (mut client, mut holder) = (uncached.client(), uncached.client());
    assert_eq!(holder.ask(&format!("SET lock:b {TOKEN} NX")), OK);
    assert_eq!(client.ask(&format!("SET lock:b {OTHER} NX")), NIL);
    assert_eq!(holder.ask("DEL lock:b"), ONE);
    assert_eq!(client.ask(&format!("SET lock:b {OTHER} NX")), OK);
}

/// The connection broke before the caller read its OK; it connects again and sends the same: OK,
/// it is the same grant. A stranger gets nil, before and after.
#[test]
fn the_same_token_again() {
    let Some(mut stage) = Stage::lockside("") else { return };
    for token in [TOKEN.to_owned(), format!("93:{TOKEN}")] {
        let line = format!("SET lock:a {token} NX PX 30000");
        let mut first = stage.subject.client();
        first.send_line(&line);
        // Seen as granted from outside; the reply itself is never read.
        wait_until("granted", || stage.direct.ask("PTTL lock:a") == ":-1\r\n");
        assert_eq!(first.text(), OK);
        drop(first);
        let mut retry = stage.subject.client();
        assert_eq!(stage.client.ask(&format!("SET lock:a {OTHER} NX PX 30000")), NIL);
        wait_until("the same token is let in again", || retry.ask(&line) == OK);
        // Now it is confirmed: this connection goes on.
        assert_eq!(retry.ask("GET lock:a"), as_bulk(&token));
        assert_eq!(stage.subject.client().ask(&line), NIL, "a confirmed grant is given once");
        assert_eq!(retry.ask("DEL lock:a"), ONE);
    }
}

/// A grant whose connection went on is confirmed: the same token from elsewhere is a second claim.
#[test]
fn a_confirmed_grant_is_given_once() {
    let mut stage = Stage::start();
    stage.take("lock:a", TOKEN);
    stage.client.fence();
    let port = stage.subject.port();
    let mut second = crate::support::Client::connect(port);
    assert_eq!(second.ask(&format!("SET lock:a {TOKEN} NX PX 30000")), NIL);
    stage.client = crate::support::Client::connect(port);
    assert_eq!(second.ask(&format!("SET lock:a {TOKEN} NX PX 30000")), NIL);
}

/// A value that repeats says nothing about who asks: nil, even if its connection broke.
#[test]
fn a_constant_token_is_never_let_in_again() {
    let mut stage = Stage::start();
    stage.take("lock:a", "1");
    stage.client = stage.subject.client();
    for _ in 0..20 {
        assert_eq!(stage.client.ask("SET lock:a 1 NX PX 30000"), NIL);
    }
}

/// A client that sends its release and closes at once, without reading: the lock is free.
#[test]
fn released_and_gone() {
    const SCRIPT: &str = "EVAL \"if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) else return 0 end\" 1";
    let mut stage = Stage::start();
    for round in 0..40 {
        let (key, token) = (format!("lock:{round}"), format!("{round}:{TOKEN}"));
        stage.take(&key, &token);
        let mut client = stage.subject.client();
        client.send_line(&match round % 4 {
            0 => format!("DEL {key}"),
            1 => format!("GETDEL {key}"),
            2 => format!("EXPIRE {key} 0"),
            _ => format!("{SCRIPT} {key} {token}"),
        });
        if round % 8 < 4 {
            client.finish();
        }
        drop(client);
        wait_until(&format!("round {round} is free"), || {
            stage.direct.ask(&format!("EXISTS {key}")) == ZERO
        });
    }
}

/// A client that closes right behind its SET NX leaves no permanent key behind that nobody owns:
/// it is gone, or it runs out, or (the grant was complete) the same token is let in again.
#[test]
fn gone_behind_the_command() {
    let Some(mut stage) =
        Stage::lockside("[[rule]]\nname = \"r\"\nkeys = [\"lock:*\"]\nsafety_ttl = \"1s\"")
    else {
        return;
    };
    for round in 0..50 {
        let key = format!("lock:{round}");
        let line = format!("SET {key} {round}:{TOKEN} NX PX 30000");
        let mut client = stage.subject.client();
        client.send_line(&line);
        drop(client);
        wait_until("gone, or let in again", || {
            stage.direct.ask(&format!("EXISTS {key}")) == ZERO || stage.client.ask(&line) == OK
        });
    }
}
