//! When Redis itself ends a connection or turns it away: its client sees that, the others do not.

use crate::support::scenario::Pair;
use crate::support::{Client, Redis, Settings, Subject, poll_for, wait_until};

/// Redis is killed and started again: whoever was connected is closed or told so, and who connects
/// afterwards is served. Lockside itself stays.
#[test]
fn redis_is_started_again() {
    let mut redis = Redis::start();
    let subject = Subject::start(&redis);
    let mut clients: Vec<Client> = (0..5).map(|_| subject.client()).collect();
    clients.iter_mut().for_each(Client::fence);
    redis.kill();
    for client in &mut clients {
        let _ = client.try_send(b"GET k\r\n");
        let end = client.frame_within(crate::support::PATIENCE);
        let told = end.as_ref().is_ok_and(|reply| reply[0] == b'-');
        assert!(told || end.is_err_and(|e| e.kind() != std::io::ErrorKind::TimedOut));
    }
    redis.start_again();
    wait_until("new clients are served", || {
        Client::attempt(subject.port()).is_ok_and(|mut client| {
            client.try_send(b"PING\r\n").is_ok()
                && client.frame_within(crate::support::PATIENCE).is_ok_and(|r| r == b"+PONG\r\n")
        })
    });
}

/// Clients that connect while nobody answers get an error or a close at once, not silence.
#[test]
fn redis_is_down() {
    let mut redis = Redis::start();
    let subject = Subject::start(&redis);
    redis.kill();
    if !subject.is_lockside() {
        return; // nobody listens there
    }
    for line in ["GET k", "SET lock:a 1 NX", "PING"] {
        let mut client = subject.client();
        client.send_line(line);
        let end = client.frame_within(crate::support::PATIENCE);
        // A lock is served by the ledger, for a client that is known to be let in.
        let is_served = ["SET lock:a 1 NX", "PING"].contains(&line);
        let told = end.as_ref().is_ok_and(|reply| reply[0] == b'-' || is_served);
        let closed = end.is_err_and(|error| error.kind() != std::io::ErrorKind::TimedOut);
        assert!(told || closed, "{line}");
    }
}

/// The password in the configuration is for `lockside check`: it lets no client in.
#[test]
fn a_configured_password_opens_no_link() {
    let redis = Redis::start();
    assert_eq!(redis.ask("CONFIG SET requirepass secret"), "+OK\r\n");
    let settings = Settings { credentials: ":secret@", ..Settings::default() };
    let subject = Subject::with(&redis, settings);
    let mut client = subject.client();
    for line in ["GET k", "SET lock:a 1 NX", "EVAL return(1) 1 lock:a"] {
        let refused = client.ask(line);
        assert!(refused.starts_with("-NOAUTH"), "{line}: {refused}");
    }
    assert_eq!(client.ask("AUTH secret"), "+OK\r\n");
    assert_eq!(client.ask("SET lock:a 1 NX"), "+OK\r\n");
}

/// Redis refuses one client more than it takes: that client hears it in Redis's words.
#[test]
fn redis_has_no_room() {
    let redis = Redis::with(&["--maxclients", "20"]);
    let subject = Subject::start(&redis);
    let (mut served, mut refused) = (Vec::new(), None);
    for _ in 0..25 {
        let mut client = subject.client();
        if client.try_send(b"PING\r\n").is_err() {
            break;
        }
        match client.frame_within(crate::support::PATIENCE) {
            Ok(reply) if reply == b"+PONG\r\n" => served.push(client),
            other => {
                refused = Some(other);
                break;
            }
        }
    }
    let reply = refused.expect("one is refused").expect("and is told why");
    assert_eq!(String::from_utf8_lossy(&reply), "-ERR max number of clients reached\r\n");
    assert!(served.len() > 10);
    served.iter_mut().for_each(Client::fence);
}

/// Redis closes connections that are idle for long: so are their clients closed.
#[test]
fn idle_connections_are_closed_by_redis() {
    let pair = Pair::start();
    let mut clients = [pair.reference().port(), pair.subject().port()].map(Client::connect);
    clients.iter_mut().for_each(Client::fence);
    for redis in [pair.reference(), pair.upstream()] {
        assert_eq!(redis.ask("CONFIG SET timeout 1"), "+OK\r\n");
    }
    for client in &mut clients {
        assert!(client.rest().is_empty());
    }
}

/// Redis pauses its clients: their commands wait and are answered afterwards, in order.
#[test]
fn paused_clients() {
    let pair = Pair::start();
    let mut client = pair.subject().client();
    client.fence();
    let mut admin = pair.upstream().client();
    assert_eq!(admin.ask("CLIENT PAUSE 10000 WRITE"), "+OK\r\n");
    client.send_line("GET k");
    client.send_line("SET k v");
    client.send_line("SET lock:a 550e8400-e29b-41d4-a716-446655440000 NX EX 30");
    client.send_line("GET k");
    assert_eq!(client.text(), "$-1\r\n");
    wait_until("the SET waits", || admin.ask("INFO clients").contains("blocked_clients:1\r"));
    assert_eq!(admin.ask("CLIENT UNPAUSE"), "+OK\r\n");
    let replies: Vec<String> = (0..3).map(|_| client.text()).collect();
    assert_eq!(replies, ["+OK\r\n", "+OK\r\n", "$1\r\nv\r\n"]);
    poll_for("settled", crate::support::PATIENCE, || {
        (!pair.subject().is_lockside() || admin.ask("PTTL lock:a") == ":-1\r\n").then_some(())
    });
}
