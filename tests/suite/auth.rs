//! Who may use locks while Redis is down (SPEC 6): never more than Redis would let in.
//!
//! Each test lets users do things with Redis there, ends Redis as a crash does, and asks again.

use crate::support::locks::{self, A, B, NIL, OK, QUICK};
use crate::support::{Client, Redis, Settings, Subject, direct, poll_for, wait_until};

const RULES: &str = "[[rule]]\nname = \"jobs\"\nkeys = [\"lock:*\"]\n\
    [[rule]]\nname = \"other\"\nkeys = [\"mutex:*\"]\n";
const ANN: &str = "[[user]]\nname = \"ann\"\npassword = \"local\"\nrules = [\"jobs\"]\n";

/// A Redis with users, and Lockside with one of its own before it.
struct Stage {
    redis: Redis,
    admin: Client,
    subject: Subject,
}

impl Stage {
    /// `full` may everything, `narrow` nothing under the second rule; the default user needs no
    /// password until it is told otherwise. None in direct mode.
    fn start() -> Option<Self> {
        if direct() {
            return None;
        }
        let redis = Redis::start();
        let mut admin = redis.client();
        for user in ["side on >side ~*", "full on >full ~*", "narrow on >narrow ~lock:*"] {
            assert_eq!(admin.ask(&format!("ACL SETUSER {user} &* +@all")), OK);
        }
        let tables = format!("{RULES}{ANN}");
        let settings = Settings {
            upstream: QUICK,
            tables: &tables,
            credentials: "side:side@",
            ..Settings::default()
        };
        let subject = Subject::with(&redis, settings);
        wait_mode(&subject, "healthy");
        Some(Self { redis, admin, subject })
    }

    /// From here on nobody is anybody without a password.
    fn strangers_off(&mut self) {
        assert_eq!(self.admin.ask("ACL SETUSER default off"), OK);
    }

    fn login(&self, user: &str, password: &str) -> Client {
        let mut client = self.subject.client();
        assert_eq!(client.ask(&format!("AUTH {user} {password}")), OK, "{user}");
        client
    }

    fn outage(&mut self) {
        self.redis.kill();
        wait_mode(&self.subject, "degraded");
    }

    /// What the state directory says of strangers is there, or is gone.
    fn wait_file(&self, there: bool) {
        let directory = self.subject.process().unwrap().directory();
        let file = directory.path().join("state").join("without-password.json");
        wait_until("the file follows", || file.exists() == there);
    }
}

fn wait_mode_as(client: &mut Client, word: &str) {
    poll_for(word, crate::support::PATIENCE, || {
        client.ask("LOCKSIDE MODE").contains(word).then_some(())
    });
}

/// The mode is told also where strangers are let in to nothing else.
fn wait_mode(subject: &Subject, word: &str) {
    locks::wait_mode(subject.port(), word);
}

fn take(key: &str) -> String {
    format!("SET {key} {A} NX PX 30000")
}

#[track_caller]
fn assert_refused(client: &mut Client, line: &str, code: &str) {
    let reply = client.ask(line);
    assert!(reply.starts_with(&format!("-{code} ")), "{line}: {reply}");
    assert!(!reply.contains("550e8400"), "{line} tells of a holder: {reply}");
}

#[test]
fn users_go_on_with_what_redis_let_them_do() {
    let Some(mut stage) = Stage::start() else { return };
    stage.strangers_off();
    let (mut full, mut narrow) = (stage.login("full", "full"), stage.login("narrow", "narrow"));
    for key in ["lock:a", "mutex:a"] {
        assert_eq!(full.ask(&take(key)), OK);
    }
    assert_eq!(narrow.ask(&take("lock:b")), OK);
    assert_refused(&mut narrow, &take("mutex:b"), "NOPERM");
    stage.outage();

    // On connections from before.
    assert_eq!(full.ask("GET lock:a"), format!("$36\r\n{A}\r\n"));
    assert_eq!(full.ask(&take("mutex:b")), OK);
    assert_eq!(narrow.ask(&take("lock:c")), OK);
    for line in [&take("mutex:c"), "GET mutex:a", "DEL mutex:a"] {
        assert_refused(&mut narrow, line, "NOPERM");
    }
    // On new ones.
    let mut full = stage.login("full", "full");
    assert_eq!(full.ask("DEL mutex:b"), ":1\r\n");
    let mut narrow = stage.subject.client();
    let hello = narrow.ask("HELLO 3 AUTH narrow narrow");
    assert!(hello.starts_with("%7\r\n"), "{hello}");
    assert_eq!(narrow.ask(&take("lock:d")), OK);
    assert_refused(&mut narrow, &take("mutex:d"), "NOPERM");
    assert_eq!(narrow.ask("MULTI"), OK);
    for line in [take("lock:e"), take("mutex:e")] {
        assert_eq!(narrow.ask(&line), "+QUEUED\r\n");
    }
    assert_refused(&mut narrow, "EXEC", "NOPERM");
    assert_eq!(full.ask("GET lock:e"), NIL, "nothing of it was done");
}

/// Each way to use a lock is a proof; to read one is none.
#[test]
fn scripts_transactions_and_releases_are_seen() {
    let Some(mut stage) = Stage::start() else { return };
    stage.strangers_off();
    let script = "\"return redis.call('set', KEYS[1], ARGV[1], 'NX', 'PX', 30000)\"";
    let mut full = stage.login("full", "full");
    assert_eq!(full.ask(&format!("EVAL {script} 1 lock:a {A}")), OK);
    assert_eq!(full.ask("MULTI"), OK);
    assert_eq!(full.ask(&take("mutex:a")), "+QUEUED\r\n");
    assert_eq!(full.ask("EXEC"), "*1\r\n+OK\r\n");
    let mut narrow = stage.login("narrow", "narrow");
    assert_eq!(narrow.ask("DEL lock:none"), ":0\r\n");
    let mut reader = stage.login("side", "side");
    assert_eq!(reader.ask("GET lock:a"), format!("$36\r\n{A}\r\n"));
    stage.outage();
    assert_eq!(full.ask(&take("lock:b")), OK);
    assert_eq!(full.ask(&take("mutex:b")), OK);
    assert_eq!(narrow.ask(&take("lock:c")), OK);
    assert_refused(&mut reader, "GET lock:a", "NOPERM");
    assert_refused(&mut reader, "LOCKSIDE LOCKS", "NOAUTH");
}

#[test]
fn whom_redis_never_let_in_is_told_nothing() {
    let Some(mut stage) = Stage::start() else { return };
    stage.strangers_off();
    assert_eq!(stage.login("full", "full").ask(&take("lock:a")), OK);
    stage.outage();
    let mut stranger = stage.subject.client();
    for line in [
        "AUTH full wrong",
        "AUTH full",
        "AUTH nobody full",
        "AUTH default full",
        "AUTH default side",
        "HELLO 3 AUTH full wrong",
        "HELLO 2 AUTH nobody full",
    ] {
        assert_refused(&mut stranger, line, "WRONGPASS");
    }
    for line in [
        &*take("lock:b"),
        "GET lock:a",
        "DEL lock:a",
        "WATCH lock:a",
        "LOCKSIDE LOCKS",
        "LOCKSIDE OWNER lock:a",
        "LOCKSIDE HISTORY lock:a",
        "EVAL \"return redis.call('get', KEYS[1])\" 1 lock:a",
        "SCRIPT LOAD \"return 1\"",
    ] {
        assert_refused(&mut stranger, line, "NOAUTH");
    }
    assert_eq!(stranger.ask("MULTI"), OK);
    assert_eq!(stranger.ask("DEL lock:a"), "+QUEUED\r\n");
    assert_refused(&mut stranger, "EXEC", "NOAUTH");
    assert_eq!(stranger.ask("PING"), "+PONG\r\n");
    // A refused login changes nothing of who the client is.
    let mut full = stage.login("full", "full");
    assert_refused(&mut full, "AUTH narrow wrong", "WRONGPASS");
    assert_eq!(full.ask("GET lock:a"), format!("$36\r\n{A}\r\n"));
}

#[test]
fn what_redis_refuses_is_forgotten() {
    let Some(mut stage) = Stage::start() else { return };
    for user in ["full", "narrow"] {
        assert_eq!(stage.login(user, user).ask(&take(&format!("lock:{user}"))), OK);
    }
    assert_eq!(stage.admin.ask("ACL SETUSER full resetpass >new"), OK);
    let mut client = stage.subject.client();
    assert_refused(&mut client, "AUTH full full", "WRONGPASS");
    let mut narrow = stage.login("narrow", "narrow");
    assert_eq!(narrow.ask("DEL lock:narrow"), ":1\r\n");
    assert_eq!(stage.admin.ask("ACL SETUSER narrow resetkeys ~x"), OK);
    assert_refused(&mut narrow, &take("lock:narrow"), "NOPERM");
    stage.outage();
    assert_refused(&mut stage.subject.client(), "AUTH full full", "WRONGPASS");
    assert_refused(&mut stage.login("narrow", "narrow"), &take("lock:b"), "NOPERM");
    assert_refused(&mut narrow, "GET lock:full", "NOPERM");
}

/// Redis gets a password while it runs. Connections from before go on in Redis; they are no proof
/// that a stranger would be let in.
#[test]
fn a_password_for_the_default_user_ends_what_strangers_may() {
    let Some(mut stage) = Stage::start() else { return };
    let mut old = stage.subject.client();
    assert_eq!(old.ask(&take("lock:a")), OK);
    stage.wait_file(true);
    assert_eq!(stage.admin.ask("CONFIG SET requirepass secret"), OK);
    let mut stranger = stage.subject.client();
    assert_refused(&mut stranger, &take("lock:b"), "NOAUTH");
    stage.wait_file(false);
    assert_eq!(old.ask(&take("lock:c")), OK, "as Redis does");
    let mut known = stage.subject.client();
    assert_eq!(known.ask("AUTH secret"), OK);
    assert_eq!(known.ask(&take("lock:d")), OK);
    stage.outage();
    for client in [&mut old, &mut stranger, &mut stage.subject.client()] {
        assert_refused(client, "GET lock:a", "NOAUTH");
    }
    assert_eq!(known.ask("DEL lock:d"), ":1\r\n");
    let mut late = stage.subject.client();
    assert_refused(&mut late, "AUTH guess", "WRONGPASS");
    assert_eq!(late.ask("AUTH secret"), OK);
    assert_eq!(late.ask(&take("lock:e")), OK);
}

#[test]
fn strangers_go_on_after_a_restart_without_redis() {
    let Some(mut stage) = Stage::start() else { return };
    assert_eq!(stage.subject.client().ask(&take("lock:a")), OK);
    assert_eq!(stage.login("full", "full").ask(&take("mutex:a")), OK);
    stage.wait_file(true);
    stage.redis.kill();
    stage.subject.kill();
    stage.subject.start_again();
    wait_mode(&stage.subject, "degraded");
    let mut stranger = stage.subject.client();
    assert_eq!(stranger.ask(&format!("SET lock:a {B} NX PX 30000")), NIL);
    assert_eq!(stranger.ask(&take("lock:b")), OK);
    assert_refused(&mut stranger, "GET mutex:a", "NOPERM");
    // What was a secret is gone with the process, and the error says what helps.
    let reply = stranger.ask("AUTH full full");
    assert!(reply.starts_with("-WRONGPASS ") && reply.contains("[[user]]"), "{reply}");
}

/// Until the first repair pass is complete locks are served by the ledger; Redis answers, and is
/// asked who may.
#[test]
fn redis_is_asked_about_users_right_after_a_start() {
    let Some(mut stage) = Stage::start() else { return };
    stage.strangers_off();
    for round in 0..3 {
        stage.subject.kill();
        stage.subject.start_again();
        let (mut full, mut narrow) = (stage.login("full", "full"), stage.login("narrow", "narrow"));
        assert_eq!(full.ask(&take(&format!("mutex:{round}"))), OK);
        assert_eq!(narrow.ask(&take(&format!("lock:{round}"))), OK);
        assert_refused(&mut narrow, &take("mutex:no"), "NOPERM");
        assert_refused(&mut stage.subject.client(), &take("lock:no"), "NOAUTH");
        wait_mode_as(&mut full, "healthy");
        assert_eq!(stage.admin.ask("EXISTS lock:no mutex:no"), ":0\r\n");
    }
}

/// LOCKS shows the locks of the rules that the client may use, and of others those that it may read.
#[test]
fn a_list_has_only_what_its_reader_may_see() {
    let Some(mut stage) = Stage::start() else { return };
    let users = ["some on >some ~lock:a* &* +@all", "looks on >looks %R~mutex:* &* +@all"];
    for user in users {
        assert_eq!(stage.admin.ask(&format!("ACL SETUSER {user}")), OK);
    }
    stage.strangers_off();
    let mut full = stage.login("full", "full");
    for key in ["lock:a1", "lock:b1", "mutex:a1"] {
        assert_eq!(full.ask(&take(key)), OK);
    }
    let listed = |client: &mut Client, line: &str| {
        let list = client.ask(line);
        let keys = ["lock:a1", "lock:b1", "mutex:a1"];
        keys.into_iter().filter(|key| list.contains(*key)).collect::<Vec<_>>()
    };
    let mut narrow = stage.login("narrow", "narrow");
    let (mut some, mut looks) = (stage.login("some", "some"), stage.login("looks", "looks"));
    assert_eq!(listed(&mut full, "LOCKSIDE LOCKS"), ["lock:a1", "lock:b1", "mutex:a1"]);
    assert_eq!(listed(&mut narrow, "LOCKSIDE LOCKS"), ["lock:a1", "lock:b1"]);
    assert_eq!(listed(&mut narrow, "LOCKSIDE LOCKS *a1"), ["lock:a1"]);
    assert_eq!(listed(&mut narrow, "LOCKSIDE LOCKS mutex:*"), [""; 0]);
    assert_eq!(listed(&mut some, "LOCKSIDE LOCKS"), ["lock:a1"], "rights finer than the rule");
    assert_eq!(listed(&mut looks, "LOCKSIDE LOCKS"), ["mutex:a1"]);
    assert_refused(&mut stage.subject.client(), "LOCKSIDE LOCKS", "NOAUTH");
    for line in ["LOCKSIDE OWNER lock:b1", "LOCKSIDE FENCE lock:b1", "LOCKSIDE HISTORY lock:b1"] {
        assert_refused(&mut some, line, "NOPERM");
    }
    assert_eq!(narrow.ask(&take("lock:b2")), OK);
    stage.outage();
    assert_eq!(listed(&mut narrow, "LOCKSIDE LOCKS"), ["lock:a1", "lock:b1"]);
    assert_refused(&mut looks, "LOCKSIDE LOCKS", "NOAUTH");
    // Redis has seen this one take a lock under one rule.
    assert_eq!(listed(&mut full, "LOCKSIDE LOCKS"), ["lock:a1", "lock:b1", "mutex:a1"]);
}

/// Lockside's own connection, without a password, finds that Redis wants one now: nobody is let in
/// without any more, though no client has been refused.
#[test]
fn what_lockside_itself_is_refused_closes_the_gate() {
    if direct() {
        return;
    }
    let redis = Redis::start();
    let settings = Settings { upstream: QUICK, tables: RULES, ..Settings::default() };
    let mut stage =
        Stage { admin: redis.client(), subject: Subject::with(&redis, settings), redis };
    wait_mode(&stage.subject, "healthy");
    {
        let mut client = stage.subject.client();
        assert_eq!(client.ask(&take("lock:a")), OK);
        stage.wait_file(true);
    }
    assert_eq!(stage.admin.ask("CONFIG SET requirepass secret"), OK);
    stage.admin.ask("CLIENT KILL TYPE normal SKIPME yes");
    stage.wait_file(false);
}

#[test]
fn configured_users_need_no_redis() {
    let Some(mut stage) = Stage::start() else { return };
    stage.strangers_off();
    stage.redis.kill();
    stage.subject.kill();
    stage.subject.start_again();
    wait_mode(&stage.subject, "degraded");
    assert_refused(&mut stage.subject.client(), &take("lock:a"), "NOAUTH");
    let mut ann = stage.subject.client();
    assert_refused(&mut ann, "AUTH ann wrong", "WRONGPASS");
    assert_eq!(ann.ask("AUTH ann local"), OK);
    assert_eq!(ann.ask(&take("lock:a")), OK);
    assert_refused(&mut ann, &take("mutex:a"), "NOPERM");
    let locks = ann.ask("LOCKSIDE LOCKS");
    assert!(locks.starts_with("*1\r\n") && locks.contains("lock:a"), "{locks}");
}

/// Nobody has used a lock through this Lockside before Redis goes: it has asked Redis itself what a
/// client without a password may.
#[test]
fn strangers_that_were_never_seen_may_what_redis_lets_strangers_do() {
    if direct() {
        return;
    }
    let mut redis = Redis::start();
    assert_eq!(redis.ask("ACL SETUSER default resetkeys ~lock:* ~lockside:*"), OK);
    let settings = Settings { upstream: QUICK, tables: RULES, ..Settings::default() };
    let subject = Subject::with(&redis, settings);
    wait_mode(&subject, "healthy");
    redis.kill();
    wait_mode(&subject, "degraded");
    let mut stranger = subject.client();
    assert_eq!(stranger.ask(&take("lock:a")), OK);
    assert_refused(&mut stranger, &take("mutex:a"), "NOPERM");
}

const DELETES: &str = "\"return redis.call('del', KEYS[1])\"";
const SETS: &str = "\"return redis.call('set', KEYS[1], ARGV[1], 'NX', 'PX', 30000)\"";
const REFUSED: &str = "-ERR The user executing the script can't run this command or subcommand";

/// Rights to some commands alone are no more without Redis than with it.
#[test]
fn commands_that_redis_refuses_a_user_are_refused_without_it() {
    let Some(mut stage) = Stage::start() else { return };
    for user in
        ["ends on >ends ~* &* +@all -set", "keeps on >keeps ~* &* +@all -del -unlink -getdel"]
    {
        assert_eq!(stage.admin.ask(&format!("ACL SETUSER {user}")), OK);
    }
    stage.strangers_off();
    let (mut ends, mut keeps) = (stage.login("ends", "ends"), stage.login("keeps", "keeps"));
    assert_eq!(ends.ask("DEL lock:none"), ":0\r\n");
    assert_refused(&mut ends, &take("lock:x"), "NOPERM");
    assert_eq!(ends.ask("DEL lock:none"), ":0\r\n");
    assert_eq!(keeps.ask(&take("lock:a")), OK);
    assert_refused(&mut keeps, "DEL lock:a", "NOPERM");
    stage.outage();

    for line in [&take("lock:x"), &take("lock:a")] {
        assert_refused(&mut ends, line, "NOPERM");
    }
    let by_script = ends.ask(&format!("EVAL {SETS} 1 lock:x {A}"));
    assert!(by_script.starts_with(REFUSED), "{by_script}");
    assert_eq!(ends.ask("MULTI"), OK);
    assert_eq!(ends.ask(&take("lock:x")), "+QUEUED\r\n");
    assert_refused(&mut ends, "EXEC", "NOPERM");
    assert_eq!(ends.ask("EXISTS lock:x"), ":0\r\n");

    for line in ["DEL lock:a", "UNLINK lock:a", "GETDEL lock:a"] {
        assert_refused(&mut keeps, line, "NOPERM");
    }
    let by_script = keeps.ask(&format!("EVAL {DELETES} 1 lock:a"));
    assert!(by_script.starts_with(REFUSED), "{by_script}");
    assert_eq!(keeps.ask("GET lock:a"), format!("$36\r\n{A}\r\n"));
    assert_eq!(keeps.ask(&take("lock:b")), OK);
    // Another connection of the same user, and who may.
    assert_refused(&mut stage.login("keeps", "keeps"), "DEL lock:a", "NOPERM");
    assert_eq!(ends.ask("DEL lock:a"), ":1\r\n");
}

/// The same of clients that say nothing of who they are.
#[test]
fn commands_that_redis_refuses_strangers_are_refused_without_it() {
    if direct() {
        return;
    }
    let mut redis = Redis::start();
    assert_eq!(redis.client().ask("ACL SETUSER default -del"), OK);
    let settings = Settings { upstream: QUICK, tables: RULES, ..Settings::default() };
    let subject = Subject::with(&redis, settings);
    wait_mode(&subject, "healthy");
    let mut stranger = subject.client();
    assert_eq!(stranger.ask(&take("lock:a")), OK);
    assert_refused(&mut stranger, "DEL lock:a", "NOPERM");
    redis.kill();
    wait_mode(&subject, "degraded");
    assert_refused(&mut stranger, "DEL lock:a", "NOPERM");
    assert_eq!(stranger.ask(&take("lock:b")), OK);
    assert_eq!(stranger.ask("UNLINK lock:b"), ":1\r\n");
    let by_script = stranger.ask(&format!("EVAL {DELETES} 1 lock:a"));
    assert!(by_script.starts_with(REFUSED), "{by_script}");
}
