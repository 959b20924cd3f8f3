//! The SQLite store does what every store does; what its file is like, and how it fails.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;

use super::*;
use crate::ledger::fold::Fold;
use crate::ledger::store::testing::tests_of_a_store;
use crate::ledger::testing::{claim, key, row, start};

/// Keeps nothing that a snapshot stands for.
const NOTHING: Kept = Kept { history: 0, step: 1 };

tests_of_a_store!(|| {
    let folder = tempfile::tempdir().unwrap();
    move || Sqlite::new(folder.path().join("ledger.db")).keeping(NOTHING)
});

fn place() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state/ledger.db");
    (folder, path)
}

fn opened(path: &Path) -> (Sqlite, u64) {
    let mut store = Sqlite::new(path);
    let log = store.open(&start()).unwrap();
    (store, log)
}

fn claims(log: u64, seqs: std::ops::Range<u64>) -> Vec<Row> {
    seqs.map(|seq| row(log, seq, Entry::Claim(claim(&format!("k{seq}"), "v")))).collect()
}

#[test]
fn only_the_owner_may_read_it() {
    let (_folder, path) = place();
    let (mut store, log) = opened(&path);
    store.exchange(&claims(log, 2..3)).unwrap();
    for entry in fs::read_dir(path.parent().unwrap()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{:?}", entry.path());
    }
    let folder = fs::metadata(path.parent().unwrap()).unwrap();
    assert_eq!(folder.permissions().mode() & 0o777, 0o700);
}

#[test]
fn what_is_committed_is_there_for_the_next_process() {
    let (_folder, path) = place();
    let (mut store, log) = opened(&path);
    store.exchange(&claims(log, 2..50)).unwrap();
    drop(store);
    let (mut store, next) = opened(&path);
    assert!(next > log);
    let seen = store.exchange(&[]).unwrap();
    assert_eq!(seen.rows[1..49], claims(log, 2..50));
    let mut reader = Sqlite::new(&path);
    assert_eq!(reader.read().unwrap(), seen);
    assert!(reader.exchange(&[]).unwrap().rows.is_empty());
}

#[test]
fn people_can_read_the_columns() {
    let (_folder, path) = place();
    let (mut store, log) = opened(&path);
    store.exchange(&claims(log, 2..3)).unwrap();
    let connection = Connection::open(&path).unwrap();
    let found: (String, String, String, i64, String) = connection
        .query_row(
            "SELECT kind, key, value, asked_ttl_ms, rule FROM entries WHERE kind = 'claim'",
            [],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)),
        )
        .unwrap();
    let text = |text: &str| text.to_owned();
    assert_eq!(found, (text("claim"), text("k2"), text("v"), 30_000, text("default")));
}

fn mismatch(path: &Path) -> String {
    match Sqlite::new(path).open(&start()) {
        Err(OpenError::Mismatch(text)) => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_file_of_something_else_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.db");
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE t (a)").unwrap();
    let before = fs::read(&path).unwrap();
    assert!(mismatch(&path).contains("something else"));
    assert_eq!(fs::read(&path).unwrap(), before);
    let path = folder.path().join("text");
    fs::write(&path, "this is no database, and long enough to have a header ".repeat(9)).unwrap();
    assert!(mismatch(&path).contains("no SQLite file"));
}

#[test]
fn tables_of_a_newer_version_are_refused() {
    let (_folder, path) = place();
    drop(opened(&path));
    let connection = Connection::open(&path).unwrap();
    connection.execute("UPDATE meta SET value = 2 WHERE name = 'schema'", []).unwrap();
    assert!(mismatch(&path).contains("version 2"));
}

#[test]
fn a_damaged_file_is_named() {
    let (_folder, path) = place();
    let (mut store, log) = opened(&path);
    store.exchange(&claims(log, 2..500)).unwrap();
    drop(store);
    let mut bytes = fs::read(&path).unwrap();
    bytes[4096..].fill(0x55);
    fs::write(&path, bytes).unwrap();
    let opened = Sqlite::new(&path).open(&start());
    assert!(opened.is_err_and(|error| error.to_string().contains("damaged")));
}

#[test]
fn a_place_that_cant_be_written_to_is_named() {
    let error = Sqlite::new("/proc/nowhere/ledger.db").open(&start()).unwrap_err();
    let OpenError::Store(error) = error else { panic!("{error:?}") };
    assert_eq!(error.applied, Applied::No);
    assert!(error.text.contains("/proc/nowhere") && error.text.contains("state directory"));
    let nothing = Sqlite::new("/proc/nowhere/ledger.db").read().unwrap_err();
    assert!(nothing.to_string().contains("no ledger at"));
}

#[test]
fn a_file_that_was_replaced_is_noticed() {
    let (_folder, path) = place();
    let (mut store, log) = opened(&path);
    store.exchange(&claims(log, 2..4)).unwrap();
    let aside = path.with_extension("aside");
    fs::rename(&path, &aside).unwrap();
    let error = store.exchange(&claims(log, 4..5)).unwrap_err();
    assert!(error.text.contains("removed or replaced"), "{error}");
    // Another file in its place does not know this run.
    drop(opened(&path));
    let error = store.exchange(&claims(log, 4..5)).unwrap_err();
    assert!(error.text.contains("lost entries of this run"), "{error}");
    for old in ["db", "db-wal", "db-shm"] {
        let _ = fs::remove_file(path.with_extension(old));
    }
    fs::rename(&aside, &path).unwrap();
}

/// Another run has begun a ledger of its own at the path, and its log has the number of this one's
/// and more entries: they are not taken for this run's.
#[test]
fn entries_of_another_run_do_not_pass_for_the_own() {
    let (_folder, path) = place();
    let (mut store, log) = opened(&path);
    store.exchange(&claims(log, 2..4)).unwrap();
    for old in ["db", "db-wal", "db-shm"] {
        let _ = fs::remove_file(path.with_extension(old));
    }
    store.exchange(&[]).unwrap_err();
    let mut other = Sqlite::new(&path);
    assert_eq!(other.open(&Start { at_ms: start().at_ms + 1, ..start() }).unwrap(), log);
    other.exchange(&claims(log, 2..9)).unwrap();
    for own in [&claims(log, 4..5)[..], &claims(log, 9..10), &[]] {
        let error = store.exchange(own).unwrap_err();
        assert!(error.text.contains("its log is another run's"), "{error}");
    }
    assert!(store.compact(&Snapshot::default()).is_err());
    assert_eq!(other.exchange(&[]).unwrap().rows, []);
}

#[test]
fn a_full_file_is_an_error_until_there_is_room() {
    let (_folder, path) = place();
    let (mut store, log) = opened(&path);
    store.exchange(&claims(log, 2..4)).unwrap();
    // The open connection may use no more pages than it has.
    let pages = |limit: i64, store: &Sqlite| {
        let open = store.open.as_ref().unwrap();
        open.connection.pragma_update(None, "max_page_count", limit).unwrap();
    };
    pages(1, &store);
    let error = store.exchange(&claims(log, 4..2000)).unwrap_err();
    assert_eq!(error.applied, Applied::No);
    assert!(error.text.contains("is full"), "{error}");
    let seen = store.exchange(&claims(log, 4..2000)).unwrap();
    assert_eq!(seen.rows, claims(log, 4..2000));
}

#[test]
fn another_writer_in_the_way_is_waited_for_and_then_an_error() {
    let (_folder, path) = place();
    let (mut store, log) = opened(&path);
    store.exchange(&[]).unwrap();
    let open = store.open.as_ref().unwrap();
    open.connection.busy_timeout(Duration::ZERO).unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = store.exchange(&claims(log, 2..3)).unwrap_err();
    assert_eq!(error.applied, Applied::No);
    assert!(error.text.contains("another process"), "{error}");
    other.execute_batch("COMMIT").unwrap();
    assert_eq!(store.exchange(&claims(log, 2..3)).unwrap().rows.len(), 1);
}

#[test]
fn a_commit_of_unknown_fate_is_carried_over_before_it_is_believed() {
    let (_folder, path) = place();
    let (mut store, log) = opened(&path);
    store.exchange(&claims(log, 2..9)).unwrap();
    (store.is_suspect, store.open) = (true, None);
    store.exchange(&claims(log, 2..9)).unwrap();
    assert!(!store.is_suspect);
    assert_eq!(fs::metadata(path.with_extension("db-wal")).unwrap().len(), 0);
}

#[test]
fn the_file_does_not_grow_without_end() {
    let (_folder, path) = place();
    let (store, log) = opened(&path);
    let mut store = store.keeping(Kept { history: 100, step: 100 });
    let mut fold = Fold::default();
    let (mut seq, mut sizes) = (2, Vec::new());
    for _ in 0..8 {
        for _ in 0..10 {
            let mut rows = claims(log, seq..seq + 50);
            let ends = claims(log, seq..seq + 50).into_iter().map(|claimed| Entry::Withdraw {
                key: key(&format!("k{}", claimed.at.seq)),
                claim: claimed.at,
            });
            rows.extend((seq + 50..).zip(ends).map(|(seq, entry)| row(log, seq, entry)));
            seq += 100;
            let seen = store.exchange(&rows).unwrap();
            seen.rows.iter().for_each(|row| drop(fold.apply(row)));
        }
        store.compact(&fold.snapshot()).unwrap();
        let open = &store.open.as_ref().unwrap().connection;
        sizes
            .push(open.pragma_query_value(None, "page_count", |row| row.get::<_, i64>(0)).unwrap());
    }
    assert!(fold.is_empty());
    let [.., before, last] = sizes[..] else { panic!("{sizes:?}") };
    // What is dead is kept, 16 bytes for each; the rows are not.
    assert!(last - before < 12, "pages: {sizes:?}");
    let kept: i64 = Connection::open(&path)
        .unwrap()
        .query_row("SELECT count(*) FROM entries", [], |row| row.get(0))
        .unwrap();
    assert_eq!(kept, 100);
    assert_eq!(store.history(&key(&format!("k{}", seq - 51)), 9).unwrap().len(), 2);
}

/// Measures: `cargo nextest run --lib --run-ignored only measure --no-capture`.
#[test]
#[ignore = "a measurement"]
fn measure_exchanges() {
    let (_folder, path) = place();
    let (mut store, log) = opened(&path);
    let mut seq = 2;
    for size in [1_u64, 50, 500] {
        let (began, mut exchanges) = (std::time::Instant::now(), 0_u32);
        let mut slowest = Duration::ZERO;
        while began.elapsed() < Duration::from_secs(3) {
            let one = std::time::Instant::now();
            store.exchange(&claims(log, seq..seq + size)).unwrap();
            slowest = slowest.max(one.elapsed());
            seq += size;
            exchanges += 1;
        }
        let rate = f64::from(exchanges) / began.elapsed().as_secs_f64();
        println!("{size} rows an exchange: {rate:.0} exchanges/s, slowest {slowest:?}");
    }
}
