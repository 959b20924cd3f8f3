//! Taking a lock: every form of SET NX, the two steps, nil.

use super::{NIL, OK, ONE, OTHER, Stage, TOKEN, ZERO, as_bulk};
use crate::support::scenario::Pair;
use crate::support::{Monitor, Settings, wait_until};

/// Every way to write an acquire, with what it answers on a free and on a held key.
const FORMS: &[(&str, &str, &str)] = &[
    ("SET {} {v} NX", OK, NIL),
    ("SET {} {v} NX EX 30", OK, NIL),
    ("SET {} {v} NX PX 30000", OK, NIL),
    ("SET {} {v} EX 30 NX", OK, NIL),
    ("SET {} {v} PX 30000 NX", OK, NIL),
    ("set {} {v} px 30000 nx", OK, NIL),
    ("sEt {} {v} nX eX 30", OK, NIL),
    ("SET {} {v} NX EXAT 4102444800", OK, NIL),
    ("SET {} {v} PXAT 4102444800000 NX", OK, NIL),
    ("SET {} {v} NX KEEPTTL", OK, NIL),
    ("SET {} {v} KEEPTTL NX", OK, NIL),
    ("SETNX {} {v}", ONE, ZERO),
    ("setnx {} {v}", ONE, ZERO),
];

#[test]
fn every_form() {
    let mut stage = Stage::start();
    for (number, (form, free, held)) in FORMS.iter().enumerate() {
        let key = format!("lock:{number}");
        let line = |value: &str| form.replace("{}", &key).replace("{v}", value);
        assert_eq!(stage.client.ask(&line(TOKEN)), *free, "{form}");
        stage.assert_permanent(&key);
        let mut second = stage.subject.client();
        assert_eq!(second.ask(&line(OTHER)), *held, "{form}");
        assert_eq!(second.ask(&format!("GET {key}")), as_bulk(TOKEN), "{form}");
        assert_eq!(stage.stored(&key), TOKEN);
        assert_eq!(stage.client.ask(&format!("DEL {key}")), ONE, "{form}");
        assert_eq!(second.ask(&line(OTHER)), *free, "{form}");
        assert_eq!(stage.stored(&key), OTHER);
    }
}

/// SET NX GET answers the old value: nil means taken, a value means held.
#[test]
fn set_nx_get() {
    let mut stage = Stage::start();
    assert_eq!(stage.client.ask(&format!("SET lock:a 93:{TOKEN} NX GET PX 30000")), NIL);
    stage.assert_permanent("lock:a");
    let mut second = stage.subject.client();
    let old = second.ask(&format!("SET lock:a {OTHER} GET NX EX 3"));
    assert_eq!(old, as_bulk(&format!("93:{TOKEN}")));
    stage.assert_permanent("lock:a");
}

/// Redis's own words for what is wrong, and nothing is taken.
#[test]
fn wrong_forms() {
    Pair::start().compare_all(
        r#"
a> SET lock:a v NX XX
a> SET lock:a v NX EX
a> SET lock:a v NX EX 0
a> SET lock:a v NX PX -5
a> SET lock:a v NX EX x
a> SET lock:a v NX EX 10 PX 10
a> SET lock:a v NX KEEPTTL EX 10
a> SET lock:a v NX NX NOPE
a> SET lock:a v NX EX 9223372036854775807
a> SET lock:a v NX PX 9223372036854775807
a> SET lock:a v NX EXAT 0
a> SETNX lock:a
a> SETNX lock:a v w
a> SET lock:a
a> EXISTS lock:a

a> LPUSH lock:a x
a> SET lock:a v NX
a> SET lock:a v NX GET
a> SETNX lock:a v
a> GET lock:a
a> LRANGE lock:a 0 -1
"#,
    );
}

/// The two steps in Redis's own words: the safety TTL of 10 s first, then one guarded script that
/// makes the key permanent; a nil is followed by nothing.
#[test]
fn two_steps_and_nothing_after_nil() {
    let Some(mut stage) = Stage::lockside("") else { return };
    stage.client.fence();
    let mut second = stage.subject.client();
    second.fence();
    let mut monitor = Monitor::start(&stage.redis);
    stage.take("lock:a", TOKEN);
    let seen = monitor.seen_with("lock:a");
    assert!(seen[0].starts_with(&format!("\"SET\" \"lock:a\" \"{TOKEN}\"")), "{seen:?}");
    let first = seen[0].to_uppercase();
    assert!(first.contains("\"NX\"") && first.contains("\"EX\" \"10\""), "{seen:?}");
    assert!(!first.contains("30000"), "the client's own TTL is not used: {seen:?}");
    assert!(seen[1].starts_with("\"EVAL"), "{seen:?}");
    let inside: Vec<_> = seen[1..].iter().filter(|command| command.starts_with("lua ")).collect();
    assert!(
        inside.iter().any(|command| command.to_uppercase().contains("\"PERSIST\"")),
        "{seen:?}"
    );
    assert!(!seen.iter().any(|command| command.to_uppercase().starts_with("\"PERSIST\"")));
    stage.assert_permanent("lock:a");
    monitor.seen();

    assert_eq!(second.ask(&format!("SET lock:a {OTHER} NX PX 30000")), NIL);
    // What this test itself asked Redis is no matter.
    let mut seen = monitor.seen_with("lock:a");
    seen.retain(|command| !command.starts_with("\"PTTL\""));
    assert!(seen.len() <= 1, "{seen:?}");
    assert!(seen.iter().all(|command| command.starts_with("\"SET\"")), "{seen:?}");
}

/// An acquire takes two round trips when the script is known: no EVAL with text, no read-back.
#[test]
fn two_round_trips() {
    let Some(mut stage) = Stage::lockside("") else { return };
    stage.take("lock:warm", TOKEN);
    let mut monitor = Monitor::start(&stage.redis);
    stage.take("lock:a", TOKEN);
    let seen = monitor.seen();
    let sent: Vec<_> = seen.iter().filter(|command| !command.starts_with("lua ")).collect();
    assert_eq!(sent.len(), 2, "{seen:?}");
    assert!(sent[1].starts_with("\"EVALSHA\""), "{seen:?}");
}

/// A key that another wrote into Redis without TTL is held, and stays as it is.
#[test]
fn held_by_a_stranger() {
    let mut stage = Stage::start();
    assert_eq!(stage.direct.ask(&format!("SET lock:a {OTHER} EX 100")), OK);
    assert_eq!(stage.client.ask(&format!("SET lock:a {TOKEN} NX EX 5")), NIL);
    assert_eq!(stage.client.ask("GET lock:a"), as_bulk(OTHER));
    let ttl = stage.direct.ask("TTL lock:a");
    assert!(ttl == ":100\r\n" || ttl == ":99\r\n", "a provisional key stays provisional: {ttl}");
}

/// A user who may not run scripts still gets permanent locks, and one who may not write the key
/// hears Redis's own refusal.
#[test]
fn users_with_few_rights() {
    let mut stage = Stage::start();
    assert_eq!(stage.direct.ask("ACL SETUSER carol on >pw ~* +@all -@scripting"), OK);
    assert_eq!(stage.direct.ask("ACL SETUSER dave on >pw ~other:* +@all"), OK);
    assert_eq!(stage.direct.ask("ACL SETUSER erin on >pw ~lock:* +set +get +del"), OK);
    let mut carol = stage.subject.client();
    assert_eq!(carol.ask("AUTH carol pw"), OK);
    assert_eq!(carol.ask(&format!("SET lock:a {TOKEN} NX EX 30")), OK);
    stage.assert_permanent("lock:a");
    assert_eq!(carol.ask("GET lock:a"), as_bulk(TOKEN));
    assert_eq!(carol.ask("DEL lock:a"), ONE);
    let mut dave = stage.subject.client();
    assert_eq!(dave.ask("AUTH dave pw"), OK);
    let refused =
        "-NOPERM this user has no permissions to access one of the keys used as arguments\r\n";
    assert_eq!(dave.ask(&format!("SET lock:a {TOKEN} NX EX 30")), refused);
    assert_eq!(dave.ask("GET lock:a"), refused);
    assert_eq!(stage.direct.ask("EXISTS lock:a"), ZERO);
    // Neither scripts nor PERSIST: never a false OK for a key that runs out.
    let mut erin = stage.subject.client();
    assert_eq!(erin.ask("AUTH erin pw"), OK);
    let told = erin.ask(&format!("SET lock:b {TOKEN} NX EX 30"));
    if told == OK {
        stage.assert_permanent("lock:b");
    } else {
        assert!(told.starts_with('-'), "{told}");
    }
}

/// Locks are per database.
#[test]
fn databases() {
    let mut stage = Stage::start();
    stage.take("lock:a", TOKEN);
    assert_eq!(stage.client.ask("SELECT 1"), OK);
    stage.take("lock:a", OTHER);
    assert_eq!(stage.client.ask("GET lock:a"), as_bulk(OTHER));
    assert_eq!(stage.client.ask("DEL lock:a"), ONE);
    assert_eq!(stage.client.ask("SELECT 0"), OK);
    assert_eq!(stage.client.ask("GET lock:a"), as_bulk(TOKEN));
    stage.assert_permanent("lock:a");
}

/// Acquires in a pipeline among other commands: the replies keep the order of the commands.
#[test]
fn in_a_pipeline() {
    Pair::start().compare_all(
        r#"
a> SET k v
a> SET lock:a 550e8400-e29b-41d4-a716-446655440000 NX PX 30000
a> GET lock:a
a> SET lock:a 6ba7b810-9dad-41d1-80b4-00c04fd430c8 NX PX 30000
a> GET k
a> SETNX lock:b 6ba7b810-9dad-41d1-80b4-00c04fd430c8
a> MGET lock:a k lock:b nothing
a> EXISTS lock:a lock:b
a> DEL lock:a k lock:b
a> SETNX lock:b x
a> EXISTS lock:b
a> DEL lock:b lock:b
"#,
    );
}

#[test]
fn in_resp3() {
    Pair::start().compare_all(
        r#"
a>~ HELLO 3
a> SET lock:a 93:550e8400-e29b-41d4-a716-446655440000 NX PX 30000
a> SET lock:a x NX
a> GET lock:a
a> GETDEL lock:a
a> GET lock:a
a> SET lock:a x NX GET
a> SET lock:a y NX GET
"#,
    );
}

/// A pipeline of thousands of acquires and releases.
#[test]
fn heavy_many_locks() {
    const COUNT: usize = 2000;
    let mut stage = Stage::start();
    for number in 0..COUNT {
        stage.client.send_line(&format!("SET lock:{number} {number}-{TOKEN} NX EX 30"));
        stage.client.send_line(&format!("SET lock:{number} {OTHER} NX EX 30"));
    }
    for _ in 0..COUNT {
        assert_eq!([stage.client.text(), stage.client.text()], [OK, NIL]);
    }
    stage.assert_permanent("lock:0");
    stage.assert_permanent(&format!("lock:{}", COUNT - 1));
    (0..COUNT).for_each(|number| stage.client.send_line(&format!("DEL lock:{number}")));
    assert!((0..COUNT).all(|_| stage.client.text() == ONE));
    wait_until("Redis is empty", || stage.direct.ask("DBSIZE") == ZERO);
}

/// A user who lacks a permission that step 4 needs: where the ledger decides, Redis is brought in
/// line by Lockside's own user; where it follows in calm times, such a user's acquires go by claims.
#[test]
fn missing_permissions() {
    let users = |nopersist, least| {
        [
            ("noget", "+@all -get", OK),
            ("noeval", "+@all -@scripting", OK),
            ("nopersist", "+@all -persist", nopersist),
            ("least", "-@all +set +get +del", least),
        ]
    };
    take_with_few_rights("guarantee = \"strict\"", &users(OK, OK));
    take_with_few_rights("guarantee = \"fast\"", &users(OK, OK));
}

fn take_with_few_rights(top: &str, users: &[(&str, &str, &str)]) {
    let mut stage = Stage::with(Settings { top, ..Settings::default() });
    if !stage.is_lockside() {
        return;
    }
    for (user, rights, reply) in users {
        let set = format!("ACL SETUSER {user} on >p ~* {rights}");
        assert_eq!(stage.direct.ask(&set), OK);
        let mut client = stage.subject.client();
        assert_eq!(client.ask(&format!("AUTH {user} p")), OK);
        let told = client.ask(&format!("SET lock:{user} {TOKEN} NX"));
        assert!(told.starts_with(reply), "{user}: {told}");
        if told == OK {
            stage.assert_permanent(&format!("lock:{user}"));
        } else {
            assert_ne!(stage.direct.ask(&format!("PTTL lock:{user}")), ":-1\r\n", "{user}");
        }
    }
}
