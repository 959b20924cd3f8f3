//! What a client is told after an outage is the answer to what it asked, and a question alone
//! changes nothing.

use super::rig::{A, B, C, NIL, OK, ONE, SHORT, STRANGER, Stage, bulk, take};
use crate::support::wait_until;

/// What Lockside took in Redis's place is said to the new link, and not all of it is known there:
/// CLIENT SETINFO came with Redis 7.2.
#[test]
fn a_client_that_came_during_the_outage() {
    let Some(mut stage) = Stage::without_redis() else { return };
    let mut client = stage.client();
    assert!(client.ask("HELLO 3").starts_with('%'));
    assert_eq!(client.ask("CLIENT SETINFO LIB-NAME redis-py"), OK);
    assert_eq!(client.ask("CLIENT SETINFO LIB-VER 8.1.0"), OK);
    assert_eq!(client.ask(&take("lock:a", A)), OK);
    stage.redis.start_again();
    stage.wait_mode("healthy");
    for _ in 0..3 {
        assert_eq!(client.ask("GET lock:a"), bulk(A));
        assert_eq!(client.ask(&take("lock:a", STRANGER)), "_\r\n");
    }
    assert_eq!(client.ask("DEL lock:a"), ONE);
    assert_eq!(client.ask("GET lock:always"), bulk(C));
    assert_eq!(client.ask("PING"), "+PONG\r\n");
}

/// Redis has lost a lock behind Lockside's back: who asks for its owner does not make it free.
#[test]
fn who_asks_for_the_owner_of_a_lost_key() {
    let Some(mut stage) = Stage::start() else { return };
    assert_eq!(stage.client().ask(&take("lock:a", A)), OK);
    assert_eq!(stage.redis.ask("DEL lock:a"), ONE);
    let owner = stage.client().ask("LOCKSIDE OWNER lock:a");
    assert!(owner.contains(&A[..8]), "it is held: {owner}");
    stage.redis.kill();
    stage.wait_mode("degraded");
    assert!(stage.holds("lock:a", A));
    assert_eq!(stage.client().ask(&take("lock:a", STRANGER)), NIL);
    stage.redis.start_again();
    stage.assert_locks(&[("lock:a", A)]);
}

/// A client that does not read gets a lock, and goes before its OK could be written: the lock is
/// given back, in the ledger too.
#[test]
fn an_ok_that_could_not_be_written() {
    // More than the sockets hold, and less than may wait.
    let tables = format!("[limits]\nclient_output = \"64MiB\"\n{SHORT}");
    let Some(mut stage) = Stage::with(&tables) else { return };
    let (mut client, mut other) = (stage.client(), stage.client());
    let big = vec![b'x'; 32 << 20];
    assert_eq!(stage.redis.client().call(&[b"SET".as_slice(), b"big", &big]), OK.as_bytes());
    client.send_line("GET big");
    client.send_line(&take("lock:a", A));
    let mut taken = || other.ask("LOCKSIDE LOCKS lock:a").contains("\r\nlock:a\r\n");
    wait_until("it is taken", &mut taken);
    drop(client);
    wait_until("it is given back", || !taken());
    assert_eq!(stage.client().ask(&take("lock:a", B)), OK);
    assert!(stage.holds("lock:a", B));
    stage.crash_again();
    stage.assert_locks(&[("lock:a", B)]);
}
