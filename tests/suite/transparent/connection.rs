//! The state of a connection: database, user, name, protocol, transaction, tracking, the end.

use crate::support::scenario::Pair;
use crate::support::{Monitor, wait_until};

#[test]
fn databases_and_names() {
    Pair::start().compare_all(
        r#"
a> SELECT 3
a> SET k in3
a> SELECT 0
a> GET k
a> MOVE k 1
a> SELECT 3
a> GET k
a> MOVE k 4
a> FLUSHDB
a> SWAPDB 4 3
a> GET k

a> CLIENT GETNAME
a> CLIENT SETNAME worker-1
a> CLIENT GETNAME
a> CLIENT SETNAME "with space"
a> CLIENT SETINFO LIB-NAME redis-py
a> CLIENT SETINFO LIB-VER 8
a>~ CLIENT ID
a>~ CLIENT INFO
a> CLIENT NO-EVICT ON
a> CLIENT NO-TOUCH ON
a> CLIENT MAINT_NOTIFICATIONS ON moving-endpoint-type internal-ip
a> CLIENT TRACKINGINFO
a> CLIENT GETREDIR
a> CLIENT UNPAUSE
a> CLIENT KILL ID 999999
a> CLIENT KILL 1.2.3.4:5
a> CLIENT LIST ID 999999
a> CLIENT SETNAME ""
a> CLIENT GETNAME

a>~ HELLO
a>~ HELLO 3 SETNAME me
a> CLIENT GETNAME
a> GET nothing
a> HELLO 4
a> HELLO x
a> HELLO 3 AUTH nobody nothing
a> HELLO 2 NOPE
a>~ HELLO 2
a> GET nothing

a> PING
a> PING hello
a> PING a b
a>~ TIME
a> ROLE
a> SET k v
a> OBJECT FREQ k
a> MEMORY USAGE nothing
a> LATENCY LATEST
a> SLOWLOG GET 0
a> READONLY
a> READWRITE
a> ASKING
a> CLUSTER INFO
a> MODULE LIST
"#,
    );
}

#[test]
fn silent_replies() {
    Pair::start().compare_all(
        r#"
a>0 CLIENT REPLY OFF
a>0 SET k v
a>0 GET k
a>0 NOSUCH
a> CLIENT REPLY ON
a> GET k

a>0 CLIENT REPLY SKIP
a>0 SET k v
a> GET k
a>0 CLIENT REPLY SKIP
a>0 NOSUCH
a> GET k
a> CLIENT REPLY NOPE

a>0 CLIENT REPLY SKIP
a>0 CLIENT REPLY SKIP
a>0 SET k v
a> PING

a>0 CLIENT REPLY OFF
a>0 CLIENT REPLY SKIP
a>0 PING
a>0 MULTI
a>0 SET k w
a>0 EXEC
a> CLIENT REPLY ON
a> GET k
"#,
    );
}

#[test]
fn transactions() {
    Pair::start().compare_all(
        r#"
a> MULTI
a> SET k v
a> INCR k
a> GET k
a> EXEC

a> MULTI
a> SET k v
a> NOSUCH
a> GET
a> EXEC
a> GET k

a> MULTI
a> MULTI
a> WATCH k
a> SET k v
a> EXEC

a> MULTI
a> EXEC
a> MULTI
a> SET k v
a> DISCARD
a> GET k
a> EXEC
a> DISCARD
a> UNWATCH

a> WATCH k
a> SET k v
a> MULTI
a> GET k
a> EXEC
a> MULTI
a> GET k
a> EXEC

a> WATCH k
a> UNWATCH
a> SET k v
a> MULTI
a> SELECT 2
a> SET k in2
a> SELECT 0
a> GET k
a> EXEC
a> SELECT 2
a> GET k

a> MULTI
a> BLPOP nothing 0
a> SUBSCRIBE ch
a> EXEC
a> UNSUBSCRIBE ch
a> GET k

a> MULTI
a> SUBSCRIBE x y
a> INCR k
a>2 EXEC
a>2^ UNSUBSCRIBE
a> GET k

a>~ HELLO 3
a> MULTI
a> HGETALL nothing
a> EXEC
a> WATCH x
a> SET x 1
a> MULTI
a> EXEC

a> WATCH k
b> SET k other
a> MULTI
a> SET k mine
a> EXEC
a> GET k

a> WATCH k
b> SET other x
a> MULTI
a> SET k mine
a> EXEC
b> GET k

a> MULTI
a> SET k v
a.
b> GET k
"#,
    );
}

#[test]
fn transaction_with_wrong_words() {
    Pair::start().compare_all(
        r#"
a> MULTI x
a> MULTI
a> EXEC x
a> EXEC

a> MULTI
a> DISCARD x
a> DISCARD
a> GET k

a> MULTI
a> WATCH
a> EXEC

a> WATCH
a> MULTI
a> RESET
a> EXEC
a> GET k
"#,
    );
}

#[test]
fn password() {
    let pair = Pair::start();
    pair.compare_all(
        r#"
%> CONFIG SET requirepass secret
a> GET k
a> AUTH wrong
a> AUTH
a> AUTH a b c
a> MULTI
a> HELLO 3
a> PING
a> NOSUCH
a> SUBSCRIBE x
a> AUTH secret
a> GET k
a> AUTH default secret
a> AUTH wrong
a> GET k
a> RESET
a> GET k
a>~ HELLO 3 AUTH default secret SETNAME me
a> CLIENT GETNAME
a> ACL WHOAMI
"#,
    );
}

#[test]
fn users() {
    let pair = Pair::start();
    pair.compare_all(
        r#"
%> ACL SETUSER alice on >pw ~alice:* &news:* +@all -flushall -eval
%> ACL SETUSER bob on >pw2 ~* +get +ping
a> AUTH alice nope
a> AUTH nobody pw
a> AUTH alice pw
a> ACL WHOAMI
a> SET alice:1 v
a> SET other v
a> GET other
a> MGET alice:1 other
a> FLUSHALL
a> EVAL "return 1" 0
a> SUBSCRIBE secret
a> PUBLISH secret x
a> MULTI
a> SET other v
a> EXEC
a> AUTH bob pw2
a> GET alice:1
a> SET alice:1 v
a> ACL WHOAMI
a> RESET
a> ACL WHOAMI

%> ACL SETUSER alice on >pw ~alice:* +@all
%> ACL SETUSER bob on >pw2 ~* +get +ping +acl|whoami
a> AUTH alice pw
b> AUTH bob pw2
a> SET alice:1 v
b> SET alice:1 w
b> GET alice:1
a> ACL WHOAMI
b> ACL WHOAMI
"#,
    );
}

#[test]
fn the_end_of_a_connection() {
    Pair::start().compare_all(
        r#"
a> SET k v
a> QUIT
a#

a> SET k v
a! "QUIT\r\n"
a!0 "GET k\r\n"
a#

a> MULTI
a> SET k v
a> QUIT
a#

a>~ HELLO 3
a> SELECT 2
a> CLIENT SETNAME me
a> MULTI
a> SET k v
a> RESET
a> GET nothing
a> CLIENT GETNAME
a> SELECT 0
a> GET k

a> RESET
a> RESET x
a> QUIT now
a#
"#,
    );
}

#[test]
fn killed_by_another_client() {
    let pair = Pair::start();
    for port in [pair.reference().port(), pair.subject().port()] {
        let (mut victim, mut killer) =
            (crate::support::Client::connect(port), crate::support::Client::connect(port));
        let id = victim.ask("CLIENT ID").trim_start_matches(':').trim().to_owned();
        assert_eq!(killer.ask(&format!("CLIENT KILL ID {id}")), ":1\r\n");
        assert_eq!(victim.rest(), b"");
        let own = killer.ask("CLIENT ID").trim_start_matches(':').trim().to_owned();
        assert!(killer.ask(&format!("CLIENT LIST ID {own}")).contains(&format!("id={own} ")));
        // The one who kills itself still gets its reply.
        assert_eq!(killer.ask(&format!("CLIENT KILL ID {own} SKIPME no")), ":1\r\n");
        assert_eq!(killer.rest(), b"");
    }
}

#[test]
fn tracking() {
    Pair::start().compare_all(
        r#"
a>~ HELLO 3
a> CLIENT TRACKING ON
a> SET k v
a> GET k
b> SET k w
a<
a> GET k
b> FLUSHALL
a<
a> CLIENT TRACKING OFF

a>~ HELLO 3
a> CLIENT TRACKING ON BCAST PREFIX user: PREFIX order:
b> SET user:1 x
a<
b> SET other x
b> SET order:1 x
a<
a> CLIENT TRACKINGINFO
a> CLIENT TRACKING OFF

a> CLIENT TRACKING ON
a> CLIENT TRACKING ON REDIRECT 999999
a> CLIENT CACHING YES
"#,
    );
}

/// RESP2 tracking names the connection for invalidations by its CLIENT ID, so ids must be Redis's.
#[test]
fn tracking_by_redirection() {
    let pair = Pair::start();
    for port in [pair.reference().port(), pair.subject().port()] {
        let connect = || crate::support::Client::connect(port);
        let (mut ear, mut reader, mut writer) = (connect(), connect(), connect());
        let id = ear.ask("CLIENT ID").trim_start_matches(':').trim().to_owned();
        let subscribed = "*3\r\n$9\r\nsubscribe\r\n$20\r\n__redis__:invalidate\r\n:1\r\n";
        assert_eq!(ear.ask("SUBSCRIBE __redis__:invalidate"), subscribed);
        assert_eq!(reader.ask(&format!("CLIENT TRACKING ON REDIRECT {id}")), "+OK\r\n");
        assert_eq!(reader.ask("GET k"), "$-1\r\n");
        assert_eq!(writer.ask("SET k v"), "+OK\r\n");
        let message = "*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n*1\r\n$1\r\nk\r\n";
        assert_eq!(ear.text(), message);
        assert_eq!(reader.ask("PING"), "+PONG\r\n");
    }
}

/// MONITOR streams what everybody does until RESET; then the connection is an ordinary one.
#[test]
fn monitor_and_reset() {
    let pair = Pair::start();
    for port in [pair.reference().port(), pair.subject().port()] {
        let connect = || crate::support::Client::connect(port);
        let (mut watcher, mut worker) = (connect(), connect());
        assert_eq!(watcher.ask("MONITOR"), "+OK\r\n");
        for number in 0..20 {
            assert_eq!(worker.ask(&format!("SET k{number} v")), "+OK\r\n");
        }
        let told: Vec<String> = (0..20).map(|_| watcher.text()).collect();
        for (number, line) in told.iter().enumerate() {
            assert!(line.contains(&format!("\"SET\" \"k{number}\" \"v\"")), "{line}");
        }
        watcher.send_line("RESET");
        wait_until("RESET is answered", || watcher.text() == "+RESET\r\n");
        assert_eq!(watcher.ask("GET k3"), "$1\r\nv\r\n");
    }
}

/// What goes upstream for ordinary commands is what the client sent, and nothing else.
#[test]
fn nothing_is_added_upstream() {
    let pair = Pair::start();
    let mut client = pair.subject().client();
    client.fence();
    let mut monitor = Monitor::start(pair.upstream());
    assert_eq!(client.ask("set  Key  \"a b\""), "+OK\r\n");
    client.send(b"get Key\r\n*0\r\n\r\nMULTI\r\nINCR n\r\nEXEC\r\n");
    assert_eq!(client.frames(4).concat(), b"$3\r\na b\r\n+OK\r\n+QUEUED\r\n*1\r\n:1\r\n");
    let expected =
        ["\"set\" \"Key\" \"a b\"", "\"get\" \"Key\"", "\"MULTI\"", "\"INCR\" \"n\"", "\"EXEC\""];
    // Its own connections are its own.
    let own = |line: &String| {
        line.contains("lockside") || line.starts_with("\"SCAN\"") || OWN.contains(&line.as_str())
    };
    let mut seen = monitor.seen();
    seen.retain(|line| !own(line));
    assert_eq!(seen, expected);
}

/// What Lockside's probe asks besides.
const OWN: [&str; 2] = ["\"INFO\" \"server\"", "\"PING\""];
