//! How Lockside starts: its configuration, its ports, its upstream, its environment.

use std::fs;

use super::{USAGE, run, text};
use crate::support::lockside::{command, direct};
use crate::support::process::{Process, directory, free_port};
use crate::support::{Client, PATIENCE, Redis, Settings, Subject, wait_until};

/// Each bad line, where it is, and the key that the message must name.
const BAD: &[(&str, usize, &str)] = &[
    ("lissten = [\"127.0.0.1:1\"]", 1, "lissten"),
    ("listen = \"nonsense\"", 1, "listen"),
    ("listen = [\"127.0.0.1:99999\"]", 1, "listen"),
    ("threads = 0", 1, "threads"),
    ("threads = \"two\"", 1, "threads"),
    ("\nheld_cache = \"5 parsecs\"", 2, "held_cache"),
    ("drain_timeout = -1", 1, "drain_timeout"),
    ("[upstream]\nurl = \"http://127.0.0.1\"", 2, "url"),
    ("[upstream]\nurl = 5", 2, "url"),
    ("[upstream]\ncommand_timeout = \"soon\"", 2, "command_timeout"),
    ("guarantee = \"firm\"", 1, "guarantee"),
    ("conflict = \"upstream\"", 1, "conflict"),
    ("[ledger]\nkind = \"sheets\"", 2, "kind"),
    ("[upstream]\nmin_replicas = -1", 2, "min_replicas"),
    ("[[user]]\nname = \"a\"\npassword_sha256 = \"b\"", 3, "password_sha256"),
    ("[limits]\nmax_bulk = \"lots\"", 2, "max_bulk"),
    ("[limits]\nmax_clients = -1", 2, "max_clients"),
    ("[limits]\n\nno_such = 1", 3, "no_such"),
    ("[[rule]]\nname = \"r\"\nkeys = []", 3, "keys"),
    ("[[rule]]\nname = \"r\"\nkeys = [\"lock:*\"]\nmode = \"sometimes\"", 4, "mode"),
    ("[[rule]]\nname = \"r\"\nkeys = [\"lock:*\"]\nstamp = \"perhaps\"", 4, "stamp"),
    ("[[rule]]\nname = \"r\"\nkeys = [\"lock:*\"]\nsafety_ttl = \"0s\"", 4, "safety_ttl"),
];

/// File, line, key, what was expected; nothing is bound.
#[test]
fn bad_configurations() {
    if direct() {
        return;
    }
    let folder = directory("bad");
    let file = folder.path().join("bad.toml");
    for (content, line, key) in BAD {
        fs::write(&file, content).unwrap();
        let name = file.to_str().unwrap();
        for arguments in [&["--config", name][..], &["check", "--config", name]] {
            let output = run(arguments);
            let told = text(&output);
            assert_eq!(output.status.code(), Some(USAGE), "{arguments:?} {content}: {told}");
            assert!(told.contains(&format!("{name}:{line}")), "{content}: {told}");
            assert!(told.contains(key), "{content}: {told}");
        }
    }
}

#[test]
fn bad_usage() {
    if direct() {
        return;
    }
    for arguments in [
        &["--config", "/nonexistent/lockside.toml"][..],
        &["--no-such-flag"],
        &["no-such-command"],
        &["--listen", "nonsense"],
        &["--upstream", "http://x"],
        &["owner"],
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(USAGE), "{arguments:?}: {}", text(&output));
    }
    let help = run(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    assert!(text(&help).contains("--config"));
}

/// A bad configuration is found before the port is taken: nobody ever listens there.
#[test]
fn nothing_is_bound_before_the_configuration_is_valid() {
    if direct() {
        return;
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = directory("bad");
    let file = folder.path().join("bad.toml");
    let port = taken.local_addr().unwrap().port();
    fs::write(&file, format!("listen = [\"127.0.0.1:{port}\"]\nthreads = 0\n")).unwrap();
    let output = run(&["--config", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(USAGE), "{}", text(&output));
    assert!(text(&output).contains("threads"), "not the port that is in use: {}", text(&output));
}

/// Workers of one process share their port; two processes do not.
#[test]
fn a_port_is_not_shared_with_another_process() {
    let redis = Redis::start();
    let subject = Subject::with(&redis, Settings { top: "threads = 2", ..Settings::default() });
    if !subject.is_lockside() {
        return;
    }
    (0..8).for_each(|_| subject.client().fence());
    let listen = format!("127.0.0.1:{}", subject.port());
    let second = run(&["--listen", &listen, "--threads", "2", "--upstream", &redis.url()]);
    assert_eq!(second.status.code(), Some(1), "{}", text(&second));
    assert!(text(&second).contains(&listen), "{}", text(&second));
}

/// A Lockside that is its own upstream is refused at once.
#[test]
fn its_own_upstream() {
    if direct() {
        return;
    }
    for listen in ["127.0.0.1", "0.0.0.0"] {
        let port = free_port();
        let upstream = format!("redis://127.0.0.1:{port}");
        let output = run(&["--listen", &format!("{listen}:{port}"), "--upstream", &upstream]);
        assert_eq!(output.status.code(), Some(1), "{}", text(&output));
        assert!(text(&output).contains("must be a Redis"), "{}", text(&output));
    }
}

/// A port that is in use is another kind of failure, and says which.
#[test]
fn port_in_use() {
    if direct() {
        return;
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = run(&["--listen", &address, "--upstream", "redis://127.0.0.1:1"]);
    assert!(!matches!(output.status.code(), Some(0 | USAGE)), "{}", text(&output));
    assert!(text(&output).contains(&address), "{}", text(&output));
}

/// `--listen` and `--upstream` are enough.
#[test]
fn flags_alone() {
    if direct() {
        return;
    }
    let redis = Redis::start();
    let (port, state) = (free_port(), directory("flags"));
    let mut lockside = command();
    lockside.args(["--listen", &format!("127.0.0.1:{port}"), "--upstream", &redis.url()]);
    lockside.env("LOCKSIDE_STATE_DIR", state.path());
    let process = Process::start("lockside", &mut lockside, directory("out"));
    wait_until("it serves", || serves(port));
    drop(process);
}

/// The environment names of the original service.
#[test]
fn names_of_the_original_service() {
    if direct() {
        return;
    }
    let redis = Redis::start();
    let (port, state) = (free_port(), directory("env"));
    let mut lockside = command();
    lockside.args(["--listen", &format!("127.0.0.1:{port}")]);
    lockside.env("LOCKSIDE_STATE_DIR", state.path()).env("REDIS_URL", redis.url());
    lockside.env("REDIS_PERSISTENT_LOCKS", "false").env("REDIS_LOCK_TTL_SECONDS", "77");
    let process = Process::start("lockside", &mut lockside, directory("out"));
    wait_until("it serves", || serves(port));
    let mut client = Client::connect(port);
    assert_eq!(client.ask("SETNX lock:a 550e8400-e29b-41d4-a716-446655440000"), ":1\r\n");
    let ttl = redis.ask("TTL lock:a");
    assert!([":77\r\n", ":76\r\n", ":75\r\n"].contains(&ttl.as_str()), "{ttl}");
    drop(process);
}

/// True if a PING at this port is answered.
fn serves(port: u16) -> bool {
    Client::attempt(port).is_ok_and(|mut client| {
        let sent = client.try_send(b"PING\r\n").is_ok();
        sent && client.frame_within(PATIENCE).is_ok_and(|reply| reply == b"+PONG\r\n")
    })
}
