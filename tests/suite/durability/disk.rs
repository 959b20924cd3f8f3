//! The ledger can't be written any more, and then it can (SPEC 2, `blocked`): a full disk, a file
//! that may not grow, a file that became read-only, another process that has it. Meanwhile errors
//! come in time, nothing is granted that is not durable, and what is known can be read.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::rig::{A, B, NIL, OK, ONE, QUICK, SHORT, STRANGER, bulk, give, locks_of, take};
use crate::support::{Client, PATIENCE, Redis, Settings, Subject, direct, poll_for, wait_until};

/// Longest wait for an error: `acquire_timeout`, which is the safety TTL of a second, `release_wait`
/// of another; as long again for the withdrawal; and a machine that has other things to do.
const ERROR: Duration = Duration::from_secs(12);
const LEDGER: &str = "[ledger]\nrelease_wait = \"1s\"\n";

struct Stage {
    redis: Redis,
    subject: Subject,
    client: Client,
}

/// What happens to the ledger, and what ends that.
struct Trouble<'t> {
    hurt: &'t dyn Fn(&Stage),
    heal: &'t dyn Fn(&Stage),
    /// A word of the reason, in the error or in LOCKSIDE MODE.
    reason: &'t str,
    /// The ledger is there after the end of Lockside.
    outlives: bool,
}

impl Stage {
    fn start(through: &[&str], ledger: &str) -> Option<Self> {
        if direct() {
            return None;
        }
        let redis = Redis::with(&["--appendonly", "yes"]);
        let tables = format!("{ledger}{SHORT}");
        let settings =
            Settings { upstream: QUICK, tables: &tables, through, ..Settings::default() };
        let subject = Subject::with(&redis, settings);
        let client = subject.client();
        let mut stage = Self { redis, subject, client };
        stage.wait_mode("healthy");
        for (key, token) in [("lock:a", A), ("lock:b", B)] {
            assert_eq!(stage.client.ask(&take(key, token)), OK);
        }
        Some(stage)
    }

    fn pid(&self) -> u32 {
        self.subject.process().unwrap().pid()
    }

    fn state(&self) -> PathBuf {
        self.subject.process().unwrap().path("state")
    }

    fn mode(&self) -> String {
        self.subject.client().ask("LOCKSIDE MODE")
    }

    fn wait_mode(&mut self, word: &str) {
        poll_for(&format!("mode {word}"), PATIENCE, || self.mode().contains(word).then_some(()));
    }

    /// An answer that comes in time, whatever it is.
    #[track_caller]
    fn answer(&mut self, line: &str) -> String {
        let begun = Instant::now();
        let answer = self.client.ask(line);
        assert!(begun.elapsed() < ERROR, "{line} took {:?}: {answer}", begun.elapsed());
        assert!(!answer.starts_with('-') || !answer.contains(STRANGER), "a token: {answer}");
        answer
    }

    #[track_caller]
    fn refused(&mut self, line: &str) -> String {
        let answer = self.answer(line);
        assert!(answer.starts_with('-') && answer.contains("lockside"), "{line}: {answer}");
        answer
    }

    /// Takes and releases until an error comes; the key that it was about, and the error.
    fn use_up(&mut self) -> (String, String) {
        for number in 0..20_000 {
            let key = format!("lock:n{number}");
            for line in [take(&key, STRANGER), format!("DEL {key}")] {
                let reply = self.answer(&line);
                if reply.starts_with('-') {
                    return (key, reply);
                }
            }
        }
        panic!("the ledger can't be written, and acquires go on");
    }
}

/// The whole story, with Redis there or not.
fn blocked_and_back(mut stage: Stage, trouble: &Trouble<'_>, without_redis: bool) {
    if without_redis {
        stage.redis.kill();
        stage.wait_mode("degraded");
    }
    (trouble.hurt)(&stage);
    let (last, error) = stage.use_up();
    stage.wait_mode("blocked");
    let said = format!("{error}{}", stage.mode());
    assert!(said.contains(trouble.reason), "not the reason: {said}");
    // What is known is read, what changes a lock is refused.
    assert_eq!(stage.answer("GET lock:a"), bulk(A));
    assert_eq!(stage.answer("GET lock:b"), bulk(B));
    stage.refused(&take("lock:new", STRANGER));
    let held = stage.answer(&take("lock:a", STRANGER));
    assert!(held == NIL || held.starts_with('-'), "{held}");
    let undone = [stage.refused("DEL lock:b"), stage.refused(&give("lock:a", A))];
    assert!(undone.iter().all(|error| error.contains("nothing was done")), "{undone:?}");
    assert_eq!(stage.answer("GET lock:b"), bulk(B));
    if !without_redis {
        assert_eq!(stage.answer("SET plain 1"), OK, "other keys are none of its business");
    }
    (trouble.heal)(&stage);
    if without_redis {
        stage.wait_mode("degraded");
    } else {
        stage.wait_mode("healthy");
    }
    // As the errors said: not acquired, and not released.
    for key in ["lock:new", &last] {
        wait_until("what was refused is free", || stage.client.ask(&take(key, STRANGER)) == OK);
        assert_eq!(stage.answer(&format!("DEL {key}")), ONE);
    }
    assert_eq!(stage.answer("GET lock:a"), bulk(A));
    assert_eq!(stage.answer(&give("lock:b", B)), ONE);
    if without_redis {
        stage.redis.start_with_data();
        stage.wait_mode("healthy");
    }
    wait_until("Redis has what is held", || {
        locks_of(&stage.redis).into_iter().eq([("lock:a".to_owned(), A.to_owned())])
    });
    if trouble.outlives {
        survives(stage);
    }
}

/// All that is durable, too.
fn survives(mut stage: Stage) {
    stage.redis.kill();
    stage.subject.kill();
    stage.subject.start_again();
    stage.client = stage.subject.client();
    assert_eq!(stage.answer("GET lock:a"), bulk(A));
    assert_eq!(stage.answer("GET lock:b"), NIL);
    let locks = stage.answer("LOCKSIDE LOCKS");
    assert_eq!(locks.matches("\r\nlock:").count(), 1, "{locks}");
}

/// A shell that ignores SIGXFSZ, so that a file that may not grow is an error and no end.
const NO_SIGNAL: &[&str] = &["sh", "-c", "trap '' XFSZ; exec \"$0\" \"$@\""];

fn limit_files(stage: &Stage, size: &str) {
    // The hard limit stays, so that it can be taken back without rights.
    let limit = format!("--fsize={size}:");
    let done = Command::new("prlimit").args(["--pid", &stage.pid().to_string(), &limit]).status();
    assert!(done.unwrap().success(), "prlimit {limit}");
}

/// A file that may not grow: what a quota does.
fn file_limit(without_redis: bool) {
    let Some(stage) = Stage::start(NO_SIGNAL, LEDGER) else { return };
    let hurt = |stage: &Stage| limit_files(stage, "131072");
    let heal = |stage: &Stage| limit_files(stage, "unlimited");
    let trouble = Trouble { hurt: &hurt, heal: &heal, reason: "ledger", outlives: true };
    blocked_and_back(stage, &trouble, without_redis);
}

#[test]
fn a_file_that_may_not_grow() {
    file_limit(false);
}

#[test]
fn a_file_that_may_not_grow_without_redis() {
    file_limit(true);
}

/// True if this command succeeds here; else the test says why it does not run.
fn is_allowed(program: &str, arguments: &[&str]) -> bool {
    let done = Command::new(program).args(arguments).output();
    let allowed = done.is_ok_and(|done| done.status.success());
    if !allowed {
        eprintln!("skipped: {program} {arguments:?} is not allowed here");
    }
    allowed
}

/// A file system of 2 MiB that only Lockside sees, and that is gone with it.
fn disk_full(without_redis: bool) {
    let place = crate::support::process::directory("full");
    let mount = "mount -t tmpfs -o size=2m none";
    let path = place.path().display();
    let script = format!("{mount} {path} && exec \"$0\" \"$@\"");
    let try_it = format!("{mount} {path}");
    if !is_allowed("unshare", &["-m", "sh", "-c", &try_it]) {
        return;
    }
    let through = ["unshare", "-m", "sh", "-c", &script];
    let ledger = format!("{LEDGER}path = \"{path}/ledger.db\"\n");
    let Some(stage) = Stage::start(&through, &ledger) else { return };
    // Seen from the outside.
    let filler = |stage: &Stage| {
        let inside = place.path().join("filler");
        Path::new("/proc")
            .join(stage.pid().to_string())
            .join("root")
            .join(inside.strip_prefix("/").unwrap())
    };
    let hurt = |stage: &Stage| {
        let mut file = std::fs::File::create(filler(stage)).unwrap();
        while file.write_all(&[1; 4096]).is_ok() {}
    };
    let heal = |stage: &Stage| std::fs::remove_file(filler(stage)).unwrap();
    let trouble = Trouble { hurt: &hurt, heal: &heal, reason: "full", outlives: false };
    blocked_and_back(stage, &trouble, without_redis);
}

#[test]
fn the_disk_is_full() {
    disk_full(false);
}

#[test]
fn the_disk_is_full_without_redis() {
    disk_full(true);
}

/// Nobody may write the files: what an administrator or a failing disk does.
fn read_only(without_redis: bool) {
    let probe = crate::support::process::directory("immutable");
    let file = probe.path().join("file").display().to_string();
    let script = format!("touch {file} && chattr +i {file} && chattr -i {file}");
    if !is_allowed("sh", &["-c", &script]) {
        return;
    }
    let Some(stage) = Stage::start(&[], LEDGER) else { return };
    let change = |stage: &Stage, sign: &str| {
        let state = stage.state();
        for name in ["ledger.db", "ledger.db-wal"] {
            let done =
                Command::new("chattr").arg(format!("{sign}i")).arg(state.join(name)).status();
            assert!(done.unwrap().success(), "chattr {sign}i {name}");
        }
    };
    let hurt = |stage: &Stage| change(stage, "+");
    let heal = |stage: &Stage| change(stage, "-");
    let trouble = Trouble { hurt: &hurt, heal: &heal, reason: "ledger", outlives: true };
    blocked_and_back(stage, &trouble, without_redis);
}

#[test]
fn a_file_that_became_read_only() {
    read_only(false);
}

#[test]
fn a_file_that_became_read_only_without_redis() {
    read_only(true);
}

/// Somebody has moved the file, and puts it back.
#[test]
fn a_file_that_was_moved_away() {
    let Some(stage) = Stage::start(&[], LEDGER) else { return };
    let rename = |stage: &Stage, from: &str, to: &str| {
        let state = stage.state();
        std::fs::rename(state.join(from), state.join(to)).unwrap();
    };
    let hurt = |stage: &Stage| rename(stage, "ledger.db", "elsewhere.db");
    let heal = |stage: &Stage| rename(stage, "elsewhere.db", "ledger.db");
    let trouble = Trouble { hurt: &hurt, heal: &heal, reason: "ledger", outlives: true };
    blocked_and_back(stage, &trouble, false);
}

/// Another process has the file for itself, as a backup that went wrong.
#[test]
fn a_file_that_another_process_has() {
    let Some(stage) = Stage::start(&[], LEDGER) else { return };
    let other = std::cell::RefCell::new(None);
    let hurt = |stage: &Stage| {
        let connection = rusqlite::Connection::open(stage.state().join("ledger.db")).unwrap();
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        *other.borrow_mut() = Some(connection);
    };
    let heal = |_: &Stage| drop(other.borrow_mut().take());
    let trouble = Trouble { hurt: &hurt, heal: &heal, reason: "ledger", outlives: true };
    blocked_and_back(stage, &trouble, false);
}

/// Who was told that nothing was acquired has nothing, whatever the ledger gets to hear later, and
/// whether the Lockside that said so lives or not.
#[test]
fn what_was_refused_does_not_appear_after_a_crash() {
    let Some(mut stage) = Stage::start(&[], LEDGER) else { return };
    let other = rusqlite::Connection::open(stage.state().join("ledger.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    // With the claim at a store that does not answer nobody knows; a little later it says that it
    // has written nothing.
    let (last, error) = stage.use_up();
    assert!(error.contains("the ledger has not answered in time"), "{error}");
    assert!(error.contains("not acquired") || error.contains("unknown outcome"), "{error}");
    stage.refused(&take("lock:new", STRANGER));
    stage.redis.kill();
    stage.subject.kill();
    drop(other);
    stage.subject.start_again();
    stage.client = stage.subject.client();
    let locks = stage.answer("LOCKSIDE LOCKS");
    for key in [last.as_str(), "lock:new"] {
        assert!(!locks.contains(&format!("\r\n{key}\r\n")), "{key} in {locks}");
        assert_eq!(stage.answer(&take(key, B)), OK);
    }
    assert_eq!(stage.answer("GET lock:a"), bulk(A));
}
