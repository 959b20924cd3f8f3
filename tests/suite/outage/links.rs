//! The network between Lockside and Redis: what is in flight, and what comes while it lasts.

use std::time::{Duration, Instant};

use super::{A, ANSWER, B, C, NIL, OK, ONE, STRANGER, Stage, answer, bulk, take};
use crate::support::locks::PATIENT;
use crate::support::{Client, PATIENCE, Redis, Settings, Trouble, poll_for, wait_until};

/// Ways to be out of reach, each with the links that stand cut or left as they are.
const TROUBLES: [(Trouble, bool); 5] = [
    (Trouble::Refuse, true),
    (Trouble::Hangup, true),
    (Trouble::BlackHole, false),
    (Trouble::BlackHole, true),
    (Trouble::HalfOpen, false),
];

fn begin(stage: &Stage, (trouble, cuts): (Trouble, bool)) {
    stage.relay.set(trouble);
    if cuts {
        stage.relay.reset();
    }
}

#[test]
fn out_of_reach_in_every_way() {
    for trouble in TROUBLES {
        let Some(mut stage) = Stage::start() else { return };
        stage.take("lock:a", A);
        stage.take("lock:b", B);
        begin(&stage, trouble);
        stage.wait_mode("degraded");
        stage.go_on_without_redis();
        stage.assert_other_keys_refused();
        stage.relay.set(Trouble::None);
        stage.assert_recovers_with(&[("lock:a", A), ("lock:c", C)]);
    }
}

/// The first commands after the network has gone, before anybody knows: each is safe to ask again,
/// so each is answered by what is known.
#[test]
fn the_first_command_is_answered() {
    for trouble in TROUBLES {
        let Some(mut stage) = Stage::start() else { return };
        stage.take("lock:a", A);
        begin(&stage, trouble);
        assert_eq!(answer(&mut stage.holder, "GET lock:a"), bulk(A), "{trouble:?}");
    }
    for spoil in ["KILL", "STOP"] {
        let Some(mut stage) = Stage::start() else { return };
        stage.take("lock:a", A);
        stage.redis.process().signal(spoil);
        assert_eq!(answer(&mut stage.holder, "GET lock:a"), bulk(A), "{spoil}");
    }
}

/// One of each kind, in flight when Redis falls silent: answered, all of them.
#[test]
fn every_kind_of_command_is_answered() {
    const LINES: [&str; 18] = [
        "PING",
        "ECHO hi",
        "HELLO 3",
        "SELECT 1",
        "CLIENT SETNAME me",
        "CLIENT ID",
        "CLIENT NO-EVICT ON",
        "INFO",
        "TIME",
        "COMMAND COUNT",
        "SCRIPT LOAD \"return 1\"",
        "WATCH lock:a",
        "MULTI",
        "GET plain",
        "SET plain 1",
        "EXISTS lock:a",
        "DEL lock:b plain",
        "FLUSHDB",
    ];
    for trouble in [(Trouble::BlackHole, false), (Trouble::HalfOpen, false)] {
        let Some(mut stage) = Stage::start() else { return };
        stage.take("lock:a", A);
        // Some on links that stand, some on links that are opened now.
        let mut clients: Vec<Client> =
            LINES.iter().chain(&LINES).map(|_| stage.subject.client()).collect();
        clients[..LINES.len()].iter_mut().for_each(|client| drop(client.ask("GET plain")));
        begin(&stage, trouble);
        for (line, client) in LINES.iter().cycle().zip(&mut clients) {
            client.send_line(line);
        }
        let (mut silent, end) = (Vec::new(), Instant::now() + ANSWER);
        for (number, client) in clients.iter_mut().enumerate() {
            let left = end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            if client.frame_within(left).is_err() {
                silent.push((LINES[number % LINES.len()], number < LINES.len()));
            }
        }
        assert!(silent.is_empty(), "{trouble:?}: no answer to (command, old link): {silent:?}");
    }
}

/// Lockside starts while Redis says nothing, and does not know it yet when its first clients come.
#[test]
fn a_start_in_silence() {
    for trouble in [Trouble::BlackHole, Trouble::HalfOpen, Trouble::Hangup] {
        let Some(mut stage) = Stage::start() else { return };
        stage.take("lock:a", A);
        stage.relay.set(trouble);
        stage.subject.kill();
        let port = stage.subject.port();
        std::thread::scope(|scope| {
            let early = scope.spawn(|| {
                ["HELLO 3", "GET plain", "GET lock:a", "PING"].map(|line| {
                    let mut client =
                        poll_for("it listens", PATIENCE, || Client::attempt(port).ok());
                    client.send_line(line);
                    (line, client)
                })
            });
            stage.subject.start_again();
            for (line, mut client) in early.join().unwrap() {
                let reply = client.frame_within(ANSWER);
                assert!(reply.is_ok(), "{trouble:?}: {line}: {reply:?}");
            }
        });
    }
}

/// A pause of writes holds a script back for as long as it lasts; its client is answered before.
#[test]
fn the_first_script_of_a_pause_is_answered() {
    let Some(mut stage) = Stage::start() else { return };
    stage.take("lock:a", A);
    assert_eq!(stage.redis.ask("CLIENT PAUSE 60000 WRITE"), OK);
    let reply =
        answer(&mut stage.holder, &super::script(super::EXTEND, "lock:a", &format!("{A} 5000")));
    assert!(reply == ONE || reply.starts_with('-'), "{reply}");
    assert_eq!(stage.redis.ask("CLIENT UNPAUSE"), OK);
}

/// Links break and Redis is there: no outage, and nobody notices. A probe that breaks as well would
/// be one, so each break is looked into before the next.
#[test]
fn broken_links_are_no_outage() {
    let settings = Settings { upstream: PATIENT, ..Settings::default() };
    let Some(mut stage) = Stage::with(&[], settings) else { return };
    stage.take("lock:a", A);
    for _ in 0..10 {
        stage.relay.reset();
        // An idle client whose link Redis seems to have closed in good order would see the same a
        // moment later: both ask at once.
        stage.holder.send_line("GET lock:a");
        stage.stranger.send_line("GET lock:a");
        let before = probes(&stage.redis);
        assert_eq!([stage.holder.text(), stage.stranger.text()], [bulk(A), bulk(A)]);
        stage.assert_held("lock:a", A);
        assert_eq!(answer(&mut stage.holder, &take("lock:b", B)), OK);
        assert_eq!(answer(&mut stage.holder, "DEL lock:b"), ONE);
        // The second comes when the first was answered.
        wait_until("two probes have come", || probes(&stage.redis) >= before + 2);
        assert!(stage.stranger.ask("LOCKSIDE MODE").contains("healthy"));
    }
}

/// How many PINGs Redis has seen: each probe sends one.
fn probes(redis: &Redis) -> u64 {
    let stats = redis.ask("INFO commandstats");
    let calls = stats.lines().find_map(|line| line.strip_prefix("cmdstat_ping:calls="));
    let calls = calls.and_then(|rest| rest.split(',').next()?.parse().ok());
    calls.unwrap_or_default()
}

/// Commands in flight when Redis vanishes are all answered, in their order, on connections that
/// stay open; a grant among them is one.
#[test]
fn commands_in_flight_are_answered() {
    for trouble in TROUBLES {
        let Some(mut stage) = Stage::start() else { return };
        stage.take("lock:a", A);
        let mut clients: Vec<Client> = (0..12).map(|_| stage.subject.client()).collect();
        clients.iter_mut().for_each(|client| client.fence());
        stage.relay.set(trouble.0);
        for (number, client) in clients.iter_mut().enumerate() {
            client.send_line(&take("lock:x", &format!("{number}:{STRANGER}")));
            client.send_line("GET lock:a");
            client.send_line("GET plain");
            client.send_line(&take("lock:a", STRANGER));
        }
        begin(&stage, trouble);
        let granted = clients.iter_mut().map(|client| answers_in_flight(client, trouble));
        let granted = granted.filter(|&granted| granted).count();
        assert!(granted <= 1, "{trouble:?}: {granted} were told OK");
        stage.wait_mode("degraded");
        for client in &mut clients {
            assert_eq!(answer(client, "GET lock:a"), bulk(A), "the same connection goes on");
        }
        stage.relay.set(Trouble::None);
        stage.wait_mode("healthy");
        for client in &mut clients {
            assert_eq!(answer(client, "GET plain"), bulk("1"), "and on");
        }
    }
}

/// True if this client was granted `lock:x`.
fn answers_in_flight(client: &mut Client, trouble: (Trouble, bool)) -> bool {
    let mut next = || match client.frame_within(ANSWER) {
        Ok(frame) => String::from_utf8_lossy(&frame).into_owned(),
        Err(error) => panic!("{trouble:?}: no answer: {error}"),
    };
    let (acquired, held, plain, refused) = (next(), next(), next(), next());
    assert!(acquired == OK || acquired == NIL || acquired.starts_with('-'), "{acquired}");
    assert!(held == bulk(A) || held.starts_with('-'), "{held}");
    assert!(plain == bulk("1") || plain.starts_with('-'), "{plain}");
    assert!(refused == NIL || refused.starts_with('-'), "{refused}");
    acquired == OK
}

/// An acquire, a release and a look while it is late: late, and right.
#[test]
fn a_slow_network() {
    let Some(mut stage) = Stage::start() else { return };
    stage.relay.set(Trouble::Delay(Duration::from_millis(20)));
    stage.take("lock:a", A);
    stage.assert_held("lock:a", A);
    stage.give("lock:a", A);
    stage.relay.set(Trouble::None);
    stage.assert_recovers_with(&[]);
}
