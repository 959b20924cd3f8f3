//! What Lockside finds at its start in place of its ledger: what is none, is damaged or was written
//! under other terms is refused in clear words; what may get better is waited for.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;

use super::rig::{A, NIL, OK, QUICK, SHORT, STRANGER, bulk, take};
use crate::support::lockside::command;
use crate::support::process::{Process, directory, free_port};
use crate::support::{Client, PATIENCE, Redis, Settings, direct, poll_for};

/// A directory that Lockside is started in again and again.
struct House {
    redis: Redis,
    directory: Arc<TempDir>,
    port: u16,
}

impl House {
    fn new() -> Option<Self> {
        if direct() {
            return None;
        }
        let directory = Arc::new(directory("lockside"));
        std::fs::create_dir(directory.path().join("state")).unwrap();
        Some(Self { redis: Redis::start(), directory, port: free_port() })
    }

    fn ledger(&self) -> PathBuf {
        self.directory.path().join("state").join("ledger.db")
    }

    fn start(&self, top: &str) -> Process {
        self.start_before(top, &self.redis)
    }

    fn start_before(&self, top: &str, redis: &Redis) -> Process {
        let file = self.directory.path().join("lockside.toml");
        let settings = Settings { top, upstream: QUICK, tables: SHORT, ..Settings::default() };
        std::fs::write(&file, settings.text(self.port, &redis.url())).unwrap();
        let mut command = command();
        command.arg("--config").arg(file);
        command.env("LOCKSIDE_STATE_DIR", self.directory.path().join("state"));
        Process::start_in("lockside", &mut command, self.directory.clone())
    }

    /// A ledger with one lock, and Lockside's orderly end.
    fn lived_in() -> Option<Self> {
        let house = Self::new()?;
        let mut process = house.start("");
        let mut client = house.client();
        assert_eq!(client.ask(&take("lock:a", A)), OK);
        drop(client);
        process.signal("TERM");
        poll_for("lockside ends", PATIENCE, || process.exit_code());
        Some(house)
    }

    /// A connection to a Lockside that answers.
    fn client(&self) -> Client {
        poll_for("lockside answers", PATIENCE, || {
            let mut client = Client::attempt(self.port).ok()?;
            client.try_send(b"LOCKSIDE MODE\r\n").ok()?;
            client.frame_within(PATIENCE).ok()?;
            Some(client)
        })
    }

    /// Lockside does not start, and says so.
    #[track_caller]
    fn refuses(&self, top: &str, words: &[&str]) {
        self.ends(self.start(top), words);
    }

    #[track_caller]
    fn ends(&self, mut process: Process, words: &[&str]) {
        let code = poll_for("lockside ends", PATIENCE, || process.exit_code());
        let output = process.output();
        assert!(code > 0, "ended with {code}: {output}");
        for word in words {
            assert!(output.contains(word), "no {word:?} in: {output}");
        }
        assert!(!output.contains(A), "a token: {output}");
        assert!(!output.contains("panicked"), "{output}");
    }

    /// The ledger as it was is served.
    fn is_fine(&self) {
        let _process = self.start("");
        let mut client = self.client();
        poll_for("healthy", PATIENCE, || {
            client.ask("LOCKSIDE MODE").contains("healthy").then_some(())
        });
        assert_eq!(client.ask("GET lock:a"), bulk(A));
        assert_eq!(client.ask(&take("lock:a", STRANGER)), NIL);
    }
}

#[test]
fn a_file_that_is_no_ledger() {
    let Some(house) = House::new() else { return };
    std::fs::write(house.ledger(), b"this was never an SQLite file\n".repeat(400)).unwrap();
    let before = std::fs::read(house.ledger()).unwrap();
    house.refuses("", &["ledger.db", "is no SQLite file, or is damaged", "backup"]);
    assert_eq!(std::fs::read(house.ledger()).unwrap(), before, "it is left as it was");
}

#[test]
fn a_file_of_something_else() {
    let Some(house) = House::new() else { return };
    let other = rusqlite::Connection::open(house.ledger()).unwrap();
    other.execute_batch("CREATE TABLE customers (name TEXT)").unwrap();
    drop(other);
    house.refuses("", &["ledger.db", "something else", "name another file"]);
}

/// The tables are damaged, not the header.
#[test]
fn a_damaged_ledger() {
    let Some(house) = House::lived_in() else { return };
    let file = std::fs::File::options().write(true).open(house.ledger()).unwrap();
    let pages = std::fs::metadata(house.ledger()).unwrap().len() / 4096;
    assert!(pages > 2, "there is something to damage");
    for page in 1..pages {
        file.write_all_at(&[0xa5; 4096], page * 4096).unwrap();
    }
    house.refuses("", &["ledger.db", "damaged", "backup"]);
}

#[test]
fn a_ledger_of_another_namespace() {
    let Some(house) = House::lived_in() else { return };
    house.refuses("namespace = \"other\"", &["namespace", "other", "default"]);
    house.is_fine();
}

#[test]
fn a_ledger_of_another_guarantee() {
    let Some(house) = House::lived_in() else { return };
    house.refuses("guarantee = \"fast\"", &["guarantee", "fast", "strict"]);
    house.is_fine();
}

/// One namespace names one Redis.
#[test]
fn a_ledger_of_another_upstream() {
    let Some(house) = House::lived_in() else { return };
    let other = Redis::start();
    house.ends(house.start_before("", &other), &["written with upstream", "127.0.0.1"]);
    house.is_fine();
}

/// What stands in the way of the ledger at the start, and goes away later.
fn unusable_at_first(block: impl Fn(&Path), clear: impl Fn(&Path)) {
    let Some(house) = House::new() else { return };
    block(&house.ledger());
    let _process = house.start("");
    let mut client = house.client();
    poll_for("blocked", PATIENCE, || {
        let mode = client.ask("LOCKSIDE MODE");
        (mode.contains("blocked") && mode.contains("ledger")).then_some(())
    });
    let refused = client.ask(&take("lock:a", A));
    assert!(refused.starts_with('-') && refused.contains("ledger"), "{refused}");
    assert_eq!(client.ask("SET plain 1"), OK, "other keys are none of its business");
    clear(&house.ledger());
    poll_for("healthy", PATIENCE, || client.ask("LOCKSIDE MODE").contains("healthy").then_some(()));
    assert_eq!(client.ask(&take("lock:a", A)), OK);
    assert_eq!(client.ask(&take("lock:a", STRANGER)), NIL);
}

#[test]
fn a_directory_in_its_place() {
    unusable_at_first(
        |path| std::fs::create_dir(path).unwrap(),
        |path| {
            std::fs::remove_dir(path).unwrap();
        },
    );
}

/// Another process has the file for itself when Lockside starts.
#[test]
fn a_file_that_is_locked_at_the_start() {
    let other = std::cell::RefCell::new(None);
    let block = |path: &Path| {
        let connection = rusqlite::Connection::open(path).unwrap();
        connection.execute_batch("BEGIN EXCLUSIVE").unwrap();
        *other.borrow_mut() = Some(connection);
    };
    unusable_at_first(block, |_| drop(other.borrow_mut().take()));
}
