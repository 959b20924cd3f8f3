//! Commands that wait: woken, timed out, given up, with commands queued behind them.

use crate::support::scenario::Pair;
use crate::support::wait_until;

#[test]
fn waits() {
    let pair = Pair::start();
    pair.compare_lines(
        r#"
a> BLPOP nothing 0.01
a> PING
a> BLPOP nothing -1
a> BLPOP nothing x
a> RPUSH l v
a> BLPOP nothing l 0
a> BLMOVE l m LEFT RIGHT 0.01
a> BZPOPMIN z 0.01
a> XREAD BLOCK 10 STREAMS st $
a> WAIT 0 0
a> WAIT 1 10
"#,
    );
    pair.compare_all(
        r#"
a>0 BLPOP l 0
%? "blocked_clients:1" INFO clients
b> RPUSH l woken
a<
a> GET k

a>0 BLPOP l 0
%? "blocked_clients:1" INFO clients
a>0 SET k first
a>0 GET k
b> RPUSH l woken
a<3

a>0 XREAD BLOCK 0 STREAMS st $
%? "blocked_clients:1" INFO clients
b> XADD st 5-5 f v
a<

a>0 BZPOPMAX z 0
%? "blocked_clients:1" INFO clients
b> ZADD z 1 m
a<

a>~ HELLO 3
a>0 BRPOP l 0
%? "blocked_clients:1" INFO clients
b> LPUSH l x
a<

a>0 BLPOP l 0
%? "blocked_clients:1" INFO clients
a.
%? "blocked_clients:0" INFO clients
b> RPUSH l stays
b> LLEN l

a>0 BLPOP l 0
b>0 BLPOP l 0
%? "blocked_clients:2" INFO clients
c> RPUSH l one two
a<
b<

a>0 BLPOP l 0
%? "blocked_clients:1" INFO clients
b> SET l string
b> DEL l
b> MULTI
b> RPUSH l x
b> LPOP l
b> RPUSH l y
b> EXEC
a<
"#,
    );
}

/// CLIENT UNBLOCK by the id that the blocked client was told.
#[test]
fn unblocked_by_id() {
    let pair = Pair::start();
    for (redis, port) in
        [(pair.reference(), pair.reference().port()), (pair.upstream(), pair.subject().port())]
    {
        let mut blocked = crate::support::Client::connect(port);
        let mut other = crate::support::Client::connect(port);
        let id = blocked.ask("CLIENT ID").trim_start_matches(':').trim().to_owned();
        for (how, reply) in [
            ("TIMEOUT", "*-1\r\n"),
            ("ERROR", "-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n"),
        ] {
            blocked.send_line("BLPOP l 0");
            let mut admin = redis.client();
            wait_until("blocked", || admin.ask("INFO clients").contains("blocked_clients:1\r"));
            assert_eq!(other.ask(&format!("CLIENT UNBLOCK {id} {how}")), ":1\r\n");
            assert_eq!(blocked.text(), reply);
        }
    }
}

/// A client that goes leaves no connection behind in Redis, blocked or not.
#[test]
fn gone_clients_free_their_links() {
    let pair = Pair::start();
    let (redis, subject) = (pair.upstream(), pair.subject());
    let mut admin = redis.client();
    let count =
        |admin: &mut crate::support::Client| admin.ask("CLIENT LIST").matches("id=").count();
    let mut clients: Vec<_> = (0..20).map(|_| subject.client()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.fence();
        if number % 2 == 0 {
            client.send_line("BLPOP nothing 0");
        }
    }
    wait_until("ten are blocked", || admin.ask("INFO clients").contains("blocked_clients:10\r"));
    assert!(count(&mut admin) >= 21);
    drop(clients);
    wait_until("their connections are gone", || count(&mut admin) <= 3);
}

/// The same for clients that go in the middle of a command, or with a reply not read.
#[test]
fn gone_in_the_middle_of_a_command() {
    let pair = Pair::start();
    let mut admin = pair.upstream().client();
    assert_eq!(admin.call(&["SET", "big", &"v".repeat(1 << 20)]), b"+OK\r\n");
    let rests: [&[u8]; 6] = [
        b"*2\r\n$3\r\nGET\r\n$1",
        b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1000\r\nvvv",
        b"PIN",
        b"*3\r\n$3\r\nSET\r\n$6\r\nlock:a\r\n$1",
        b"MULTI\r\n*2\r\n$3\r\nGE",
        b"GET big\r\nGET big\r\nGET bi",
    ];
    for (number, rest) in rests.iter().cycle().take(60).enumerate() {
        let mut client = pair.subject().client();
        client.fence();
        client.send(rest);
        if number % 2 == 0 {
            client.finish();
        }
    }
    let mut count = || admin.ask("CLIENT LIST").matches("id=").count();
    wait_until("their connections are gone", || count() <= 3);
}

/// A client that half-closes after its commands gets all replies that Redis would send.
#[test]
fn finished_writers_get_their_replies() {
    let pair = Pair::start();
    let mut transcripts = Vec::new();
    for port in [pair.reference().port(), pair.subject().port()] {
        let mut client = crate::support::Client::connect(port);
        client.send(b"SET k v\r\nGET k\r\nPING\r\n");
        let replies = client.frames(3).concat();
        client.finish();
        transcripts.push((replies, client.rest()));
    }
    assert_eq!(transcripts[0], transcripts[1]);
}

/// The same with the end right behind the commands, as `printf ... | nc` sends it.
#[test]
fn written_and_ended_at_once() {
    let pair = Pair::start();
    for port in [pair.reference().port(), pair.subject().port()] {
        for _ in 0..50 {
            let mut client = crate::support::Client::connect(port);
            client.send(b"SET k v\r\nGET k\r\nPING\r\n");
            client.finish();
            assert_eq!(client.rest(), b"+OK\r\n$1\r\nv\r\n+PONG\r\n");
        }
    }
}
