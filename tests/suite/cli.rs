//! The command line and signals: bad configurations, `check`, questions to a running Lockside,
//! the orderly end.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

use crate::support::lockside::{command, direct};
use crate::support::process::{directory, free_port};
use crate::support::{Client, PATIENCE, Redis, Settings, Subject, wait_until};

/// Exit code for a wrong configuration or usage, as in sysexits.h.
const USAGE: i32 = 64;

/// Runs a command line of Lockside to its end.
fn run(arguments: &[&str]) -> Output {
    let state = directory("cli");
    command().args(arguments).env("LOCKSIDE_STATE_DIR", state.path()).output().unwrap()
}

fn text(output: &Output) -> String {
    let all = [output.stdout.as_slice(), &output.stderr].concat();
    String::from_utf8_lossy(&all).into_owned()
}

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
    let process =
        crate::support::process::Process::start("lockside", &mut lockside, directory("out"));
    wait_until("it serves", || serves(port));
    drop(process);
}

#[test]
fn check() {
    if direct() {
        return;
    }
    let redis = Redis::start();
    let folder = directory("check");
    let file = folder.path().join("lockside.toml");
    let name = file.to_str().unwrap();
    fs::write(&file, Settings::default().text(free_port(), &redis.url())).unwrap();
    let good = run(&["check", "--config", name]);
    assert_eq!(good.status.code(), Some(0), "{}", text(&good));
    let nobody = format!("redis://127.0.0.1:{}", free_port());
    fs::write(&file, Settings::default().text(free_port(), &nobody)).unwrap();
    let bad = run(&["check", "--config", name]);
    assert!(!matches!(bad.status.code(), Some(0 | USAGE)), "{}", text(&bad));
    assert!(text(&bad).contains(nobody.trim_start_matches("redis://")), "{}", text(&bad));
}

/// `check` says what is observed, and refuses what can't be.
#[test]
fn check_says_what_is_observed() {
    if direct() {
        return;
    }
    let redis = Redis::start();
    let folder = directory("check");
    let name = folder.path().join("l.toml");
    let check = |rule: &str| {
        let text = format!(
            "state_dir = \"{}\"\nobserve_databases = [0, 3]\n[upstream]\nurl = \"{}\"\n\
             [[rule]]\nname = \"jobs\"\n{rule}\nobserve = true\n",
            folder.path().display(),
            redis.url()
        );
        fs::write(&name, text).unwrap();
        run(&["check", "--config", name.to_str().unwrap()])
    };
    let output = check("keys = [\"job:*\", \"lock:?\"]");
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let expected = "observes locks that others put into Redis: rules jobs, keys that begin with \
                    job: lock:, databases 0 3, all keys searched every 1m";
    assert!(told.contains(expected), "{told}");
    let output = check("keys = [\"*\"]");
    assert_eq!(output.status.code(), Some(64));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("l.toml:8: rule.observe: rule jobs: \"*\" begins with no"), "{told}");
}

/// What `check` says of the Redis behind and of the ledger's place, and its exit code.
#[test]
fn check_judges_redis_and_the_ledger() {
    if direct() {
        return;
    }
    let folder = directory("check");
    let check = |redis: &Redis, ledger: &str| {
        let mut check = command();
        check.args(["check", "--upstream", &redis.url()]);
        check.env("LOCKSIDE_STATE_DIR", folder.path()).env("LOCKSIDE_LEDGER", ledger);
        let output = check.output().unwrap();
        (output.status.code(), text(&output))
    };
    let lru = ["--maxmemory-policy", "allkeys-lru"];
    let (code, told) = check(&Redis::with(&lru), "ledger.db");
    assert_eq!(code, Some(0), "{told}");
    for line in [
        "warn  maxmemory-policy allkeys-lru evicts held locks",
        "warn  persistence is off",
        &format!("ok    ledger {}/ledger.db will be made", folder.path().display()),
        "ok    guarantee strict: OK waits for a durable write, ",
    ] {
        assert!(told.contains(line), "{line}: {told}");
    }
    assert!(!folder.path().join("ledger.db").exists());
    fs::write(folder.path().join("other"), "not a ledger").unwrap();
    let (code, told) = check(&Redis::with(&["--cluster-enabled", "yes"]), "other");
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("fail  Redis runs as a cluster"), "{told}");
    assert!(told.contains("other: it is no SQLite file"), "{told}");
}

/// A command line beside the settings of this sidecar.
fn beside(process: &crate::support::process::Process, arguments: &[&str]) -> Output {
    let mut asking = command();
    asking.args(arguments).arg("--config").arg(process.path("lockside.toml"));
    asking.env("LOCKSIDE_STATE_DIR", process.path("state")).output().unwrap()
}

/// `adopt --dry-run` shows permanent locks that the running Lockside does not know, and no others.
#[test]
fn adopt_shows_what_is_not_known() {
    let redis = Redis::start();
    let subject = Subject::start(&redis);
    let Some(process) = subject.process() else { return };
    let token = "550e8400-e29b-41d4-a716-446655440000";
    let mut client = subject.client();
    assert_eq!(client.ask(&format!("SET lock:known {token} NX PX 30000")), "+OK\r\n");
    let mut before = redis.client();
    before.call(&["SET", "lock:old", &format!("93:{token}:23-11-2024 14:12:20")]);
    before.ask("SET lock:provisional x EX 100");
    before.ask("SET page:1 x");
    before.ask("SET lock-signal:x y");
    before.ask("HSET lock:hash field 1");
    before.ask("SELECT 3");
    before.ask(&format!("SET mutex:other {token}"));
    let output = beside(process, &["adopt", "--dry-run"]);
    let told = text(&output);
    assert_eq!(output.status.code(), Some(0), "{told}");
    for shown in ["lock:old", "93", "550e8400", "23-11-2024 14:12:20", "mutex:other", "2 locks"] {
        assert!(told.contains(shown), "{shown}: {told}");
    }
    assert!(told.contains("1 keys of other types") && told.contains("lock:hash"), "{told}");
    for hidden in ["lock:known", "provisional", "page:1", "lock-signal", token] {
        assert!(!told.contains(hidden), "{hidden}: {told}");
    }
    let nobody = format!("127.0.0.1:{}", free_port());
    let output = beside(process, &["adopt", "--dry-run", "--at", &nobody]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(text(&output).contains("lock:known"), "nobody knows it: {}", text(&output));
    let output = beside(process, &["adopt", "--at", &nobody]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
}

/// `adopt` asks the running Lockside for a repair pass, after it has asked what that one knows.
#[test]
fn adopt_asks_for_a_pass() {
    if direct() {
        return;
    }
    let redis = Redis::start();
    redis.ask("SET lock:old x");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap().to_string();
    // Answers as a Lockside that knows no lock; gives what it was asked.
    let running = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut asked, mut part) = (Vec::new(), [0; 1024]);
        loop {
            let count = stream.read(&mut part).unwrap();
            if count == 0 {
                return String::from_utf8(asked).unwrap();
            }
            asked.extend_from_slice(&part[..count]);
            if asked.ends_with(b"LOCKS\r\n") {
                stream.write_all(b"*0\r\n").unwrap();
            } else if asked.ends_with(b"REPAIR\r\n") {
                stream.write_all(b"+OK\r\n").unwrap();
            }
        }
    });
    let output = run(&["adopt", "--upstream", &redis.url(), "--at", &at]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(text(&output).contains("lock:old") && text(&output).contains("1 lock\n"));
    let asked = running.join().unwrap();
    assert_eq!(
        asked,
        "*2\r\n$8\r\nLOCKSIDE\r\n$5\r\nLOCKS\r\n*2\r\n$8\r\nLOCKSIDE\r\n$6\r\nREPAIR\r\n"
    );
}

/// `eject` gives each permanent lock a TTL, once no sidecar would take it off again.
#[test]
fn eject_gives_every_lock_a_ttl() {
    let redis = Redis::start();
    let mut subject = Subject::start(&redis);
    if !subject.is_lockside() {
        return;
    }
    let token = "550e8400-e29b-41d4-a716-446655440000";
    let mut client = subject.client();
    assert_eq!(client.ask(&format!("SET lock:a 93:{token} NX PX 30000")), "+OK\r\n");
    assert_eq!(client.ask(&format!("SETNX mutex:b {token}")), ":1\r\n");
    let mut other = redis.client();
    other.ask("SET page:1 x");
    other.ask("HSET lock:hash field 1");
    other.ask("SET lock:short x EX 10");
    other.ask("SELECT 3");
    other.ask("SET lock:c x");
    let process = subject.process().unwrap();
    let refused = beside(process, &["eject", "--ttl", "30m"]);
    assert_eq!(refused.status.code(), Some(1), "{}", text(&refused));
    assert!(text(&refused).contains("stop it first"), "{}", text(&refused));
    let dry = beside(process, &["eject", "--ttl", "30m", "--dry-run"]);
    assert!(dry.status.success() && text(&dry).contains("3 locks"), "{}", text(&dry));
    for key in ["lock:a", "mutex:b"] {
        assert_eq!(redis.ask(&format!("TTL {key}")), ":-1\r\n", "{key}");
    }
    process.signal("TERM");
    let process = subject.process_mut().unwrap();
    wait_until("it ends", || process.exit_code().is_some());
    let done = beside(process, &["eject", "--ttl", "30m"]);
    assert_eq!(done.status.code(), Some(0), "{}", text(&done));
    assert!(text(&done).contains("3 of 3 locks have a TTL of 30m now"), "{}", text(&done));
    let ttl = |reply: String| reply.trim_matches([':', '\r', '\n']).parse::<i64>().unwrap();
    for key in ["lock:a", "mutex:b"] {
        assert!((1700..=1800).contains(&ttl(redis.ask(&format!("TTL {key}")))), "{key}");
    }
    assert!((1700..=1800).contains(&ttl(other.ask("TTL lock:c"))));
    assert!(ttl(redis.ask("TTL lock:short")) <= 10);
    for key in ["page:1", "lock:hash"] {
        assert_eq!(redis.ask(&format!("TTL {key}")), ":-1\r\n", "{key}");
    }
    let hash = beside(process, &["eject", "--ttl", "60", "--other-types"]);
    assert!(text(&hash).contains("1 of 1 locks"), "{}", text(&hash));
    assert!(ttl(redis.ask("TTL lock:hash")) <= 60);
    for wrong in ["0", "soon", "4000d"] {
        let output = beside(process, &["eject", "--ttl", wrong]);
        assert_eq!(output.status.code(), Some(USAGE), "{}", text(&output));
    }
}

/// An export of two locks, one with bytes that are no text.
const EXPORT: &str = r#"{"fence_high":40,"guarantee":"strict","lockside_ledger":1,"namespace":"default"}
{"asked_ttl_ms":30000,"at_ms":17,"client":"worker","db":0,"fence":7,"heard":true,"key":"lock:a","rule":"default","stored":"93:550e8400-e29b-41d4-a716-446655440000"}
{"at_ms":18,"client":"worker","db":3,"fence":9,"heard":false,"key":"lock:b","rule":"default","stored_hex":"ff00"}
"#;

/// What was imported is exported again, by a file that its owner alone can read.
#[test]
fn an_export_can_be_imported() {
    if direct() {
        return;
    }
    let folder = directory("ledger");
    let (export, again) = (folder.path().join("export"), folder.path().join("again"));
    fs::write(&export, EXPORT).unwrap();
    let ledger = |arguments: &[&std::ffi::OsStr]| {
        let mut command = command();
        command.arg("ledger").args(arguments).env("LOCKSIDE_STATE_DIR", folder.path());
        let output = command.output().unwrap();
        (output.status.code(), text(&output))
    };
    let (code, told) = ledger(&["export".as_ref(), again.as_ref()]);
    assert_eq!(code, Some(1), "there is none yet: {told}");
    assert!(!again.exists());
    let (code, told) = ledger(&["import".as_ref(), export.as_ref()]);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("2 locks imported"), "{told}");
    let (code, told) = ledger(&["export".as_ref(), again.as_ref()]);
    assert_eq!(code, Some(0), "{told}");
    assert_eq!(fs::read_to_string(&again).unwrap(), EXPORT);
    assert_eq!(fs::metadata(&again).unwrap().permissions().mode() & 0o777, 0o600);
    let (code, told) = ledger(&["export".as_ref(), again.as_ref()]);
    assert_eq!(code, Some(1), "it is there already: {told}");
    let (code, told) = ledger(&["import".as_ref(), export.as_ref()]);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("0 locks imported\n2 are in the ledger already"), "{told}");
    let (code, told) = ledger(&["export".as_ref(), "-".as_ref()]);
    assert!(code == Some(0) && told.starts_with(EXPORT), "{told}");
    fs::write(&export, EXPORT.replace("hex\":\"ff", "hex\":\"f")).unwrap();
    let (code, told) = ledger(&["import".as_ref(), export.as_ref()]);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains(":3: stored_hex is no hexadecimal text"), "{told}");
    fs::write(&export, EXPORT.replace("default\"}", "other\"}")).unwrap();
    let (code, told) = ledger(&["import".as_ref(), export.as_ref()]);
    assert!(code == Some(1) && told.contains("namespace \"other\""), "{told}");
}

/// An import wants the ledger for itself.
#[test]
fn nothing_is_imported_under_a_running_lockside() {
    let redis = Redis::start();
    let subject = Subject::start(&redis);
    let Some(process) = subject.process() else { return };
    let export = process.path("export");
    fs::write(&export, EXPORT).unwrap();
    let output = beside(process, &["ledger", "import", export.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("stop it first"), "{}", text(&output));
}

/// Passwords are never shown.
#[test]
fn check_hides_passwords() {
    if direct() {
        return;
    }
    let redis = Redis::start();
    let url = format!("redis://default:hunter2secret@127.0.0.1:{}", redis.port());
    let output = run(&["check", "--upstream", &url]);
    assert!(!text(&output).contains("hunter2secret"), "{}", text(&output));
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
    let process =
        crate::support::process::Process::start("lockside", &mut lockside, directory("out"));
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

/// `locks`, `owner` and `release` ask the running Lockside.
#[test]
fn questions_to_a_running_lockside() {
    let redis = Redis::start();
    let subject = Subject::start(&redis);
    let Some(process) = subject.process() else { return };
    let file = process.path("lockside.toml");
    let ask = |arguments: &[&str]| {
        let mut asking: Command = command();
        asking.args(arguments).arg("--config").arg(&file);
        asking.env("LOCKSIDE_STATE_DIR", process.path("state")).output().unwrap()
    };
    let mut client = subject.client();
    let token = "550e8400-e29b-41d4-a716-446655440000";
    assert_eq!(client.ask(&format!("SET lock:a 93:{token} NX PX 30000")), "+OK\r\n");
    assert_eq!(client.ask(&format!("SET lock:b {token} NX PX 30000")), "+OK\r\n");
    let locks = ask(&["locks"]);
    assert_eq!(locks.status.code(), Some(0), "{}", text(&locks));
    assert!(text(&locks).contains("lock:a") && text(&locks).contains("lock:b"), "{}", text(&locks));
    assert!(!text(&locks).contains(token), "{}", text(&locks));
    let owner = ask(&["owner", "lock:a"]);
    assert!(owner.status.success() && text(&owner).contains("93"), "{}", text(&owner));
    assert!(!text(&owner).contains(token), "{}", text(&owner));
    let release = ask(&["release", "lock:a", "--yes"]);
    assert_eq!(release.status.code(), Some(0), "{}", text(&release));
    assert_eq!(redis.ask("EXISTS lock:a lock:b"), ":1\r\n");
    assert!(!text(&ask(&["locks"])).contains("lock:a"));
    assert_eq!(client.ask(&format!("SET lock:a {token} NX PX 30000")), "+OK\r\n");
}

/// SIGTERM: what is in flight is answered, nobody new comes in, exit code 0.
#[test]
fn orderly_end() {
    let redis = Redis::start();
    let mut subject = Subject::start(&redis);
    if !subject.is_lockside() {
        return;
    }
    let port = subject.port();
    let (mut working, mut blocked, mut idle) =
        (subject.client(), subject.client(), subject.client());
    idle.fence();
    blocked.send_line("BLPOP queue 0");
    let mut admin = redis.client();
    wait_until("blocked", || admin.ask("INFO clients").contains("blocked_clients:1\r"));
    // About half a second in Redis.
    working.send_line(
        "EVAL \"local t = redis.call('TIME') repeat local n = redis.call('TIME') until (n[1] - t[1]) * 1000000 + n[2] - t[2] > 500000 return 'done'\" 0",
    );
    working.send_line("SET behind it");
    wait_until("the script runs", || redis_is_busy(&redis));
    subject.process().unwrap().signal("TERM");
    assert_eq!(working.text(), "$4\r\ndone\r\n");
    assert_eq!(working.text(), "+OK\r\n");
    wait_until("nobody new comes in", || Client::attempt(port).is_err());
    assert_eq!(redis.ask("RPUSH queue item"), ":1\r\n");
    assert_eq!(blocked.text(), "*2\r\n$5\r\nqueue\r\n$4\r\nitem\r\n");
    assert!(idle.rest().is_empty());
    let process = subject.process_mut().unwrap();
    wait_until("it ends", || process.exit_code().is_some());
    assert_eq!(process.exit_code(), Some(0));
}

/// True while Redis answers nobody: it runs a script.
fn redis_is_busy(redis: &Redis) -> bool {
    let mut client = redis.client();
    client.send_line("PING");
    client.frame_within(std::time::Duration::from_millis(100)).is_err()
}

/// What does not finish within `drain_timeout` does not keep it from ending.
#[test]
fn the_end_has_a_limit() {
    let redis = Redis::start();
    let mut subject =
        Subject::with(&redis, Settings { top: "drain_timeout = \"300ms\"", ..Default::default() });
    if !subject.is_lockside() {
        return;
    }
    let mut blocked = subject.client();
    blocked.send_line("BLPOP queue 0");
    let mut admin = redis.client();
    wait_until("blocked", || admin.ask("INFO clients").contains("blocked_clients:1\r"));
    subject.process().unwrap().signal("TERM");
    let process = subject.process_mut().unwrap();
    wait_until("it ends", || process.exit_code().is_some());
    assert_eq!(process.exit_code(), Some(0));
    blocked.rest();
    wait_until("Redis is left", || admin.ask("INFO clients").contains("blocked_clients:0\r"));
}
