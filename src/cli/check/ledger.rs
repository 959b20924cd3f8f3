//! Can the ledger be kept where it is configured, and how long does a durable write take there.
//!
//! The ledger's own file is read, never written; the time is measured on a file of this
//! check's own beside it, which is deleted.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::statvfs;

use super::findings::Finding;
use crate::cli::advice;
use crate::cli::ledger::{fold, start, terms};
use crate::config::Settings;
use crate::config::text::{show_duration, show_size};
use crate::ledger::Guarantee;
use crate::ledger::store::{OpenError, check_terms};

/// Below this a busy ledger could fill the disk before somebody looks.
const LITTLE_SPACE: u64 = 256 << 20;
/// What to do about a ledger that can't be read.
const RESTORE: &str = "look at the disk, or restore the file from a copy";
/// How an SQLite file begins.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// Durable writes that are timed. The fastest counts: others may use the disk.
const TRIES: usize = 5;
/// What one of them writes: a page of SQLite.
const PAGE: [u8; 4096] = [0; 4096];

/// Looks at the ledger's place.
pub(super) fn judge(settings: &Settings) -> Vec<Finding> {
    let path = &settings.ledger.path;
    let shown = path.display();
    let Some(directory) = path.parent() else {
        return vec![Finding::fail(format!("ledger {shown} is no file: correct ledger.path"))];
    };
    let mut found = vec![match exists(path) {
        Ok(true) => contents(settings),
        Ok(false) => Finding::ok(format!("ledger {shown} will be made")),
        Err(error) if error.kind() == io::ErrorKind::Other => {
            Finding::fail(format!("ledger {shown}: {error}: correct ledger.path"))
        }
        Err(error) => Finding::fail(format!("ledger {shown}: {}", advice::file(&error))),
    }];
    if directory.is_dir() {
        found.push(latency(directory, settings));
    } else {
        found.push(parent(directory, "ledger.path"));
    }
    if settings.state_dir != directory {
        found.extend(state(&settings.state_dir));
    }
    found.extend(space(directory));
    found
}

/// The directory beside the ledger: of texts of scripts, and of what else a run keeps. None if all is well.
fn state(directory: &Path) -> Option<Finding> {
    if !directory.is_dir() {
        return Some(parent(directory, "state_dir"));
    }
    let error = try_directory(directory).err()?;
    let (directory, error) = (directory.display(), advice::file(&error));
    Some(Finding::fail(format!("can't write into state_dir {directory}: {error}")))
}

/// True for a file of SQLite, false where there is nothing yet.
fn exists(path: &Path) -> io::Result<bool> {
    let mut file = match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let mut head = Vec::new();
    Read::by_ref(&mut file).take(MAGIC.len() as u64).read_to_end(&mut head)?;
    match head.is_empty() || head == MAGIC {
        true => Ok(!head.is_empty()),
        false => Err(io::Error::other("it is no SQLite file")),
    }
}

/// What the ledger holds, and whether a Lockside with these settings may go on with it.
fn contents(settings: &Settings) -> Finding {
    let shown = settings.ledger.path.display();
    let fold = match fold(settings) {
        Ok(fold) => fold,
        Err(OpenError::Mismatch(text)) => return Finding::fail(format!("ledger {shown}: {text}")),
        Err(OpenError::Store(error)) => {
            return Finding::fail(format!("ledger {shown}: {error}: {RESTORE}"));
        }
    };
    match terms(&fold).map(|known| check_terms(&known, &start(settings))) {
        Some(Err(error)) => Finding::fail(format!("ledger {shown}: {error}")),
        _ => Finding::ok(format!("ledger {shown} has {} held locks", fold.len())),
    }
}

/// How long an OK waits at least.
fn latency(directory: &Path, settings: &Settings) -> Finding {
    let took = match durable_write(directory) {
        Ok(took) => took,
        Err(error) => {
            let directory = directory.display();
            let error = advice::file(&error);
            return Finding::fail(format!("can't write a file in {directory}: {error}"));
        }
    };
    let millis = took.as_secs_f64() * 1000.0;
    let text = match settings.guarantee {
        Guarantee::Strict => {
            format!("guarantee strict: OK waits for a durable write, {millis:.1} ms here")
        }
        Guarantee::Fast => format!(
            "guarantee fast: a loss of Redis may overturn grants of the last {}; a durable write \
             takes {millis:.1} ms here",
            show_duration(settings.ledger.mirror_interval)
        ),
    };
    if took < settings.ledger.stall_after {
        return Finding::ok(text);
    }
    let stall = show_duration(settings.ledger.stall_after);
    Finding::warn(format!(
        "{text}: longer than ledger.stall_after ({stall}) counts as an \
                           outage: use a faster disk, or raise it"
    ))
}

/// The fastest of some durable writes of a page.
fn durable_write(directory: &Path) -> io::Result<Duration> {
    let path = directory.join(format!(".lockside-check-{}", std::process::id()));
    let mut file = OpenOptions::new().write(true).create_new(true).open(&path)?;
    let mut fastest = Ok(Duration::MAX);
    for _ in 0..TRIES {
        let began = Instant::now();
        let written = file.write_all(&PAGE).and_then(|()| file.sync_data());
        fastest = fastest.and_then(|fastest| written.map(|()| fastest.min(began.elapsed())));
    }
    fs::remove_file(&path)?;
    fastest
}

/// A directory that will be made has to be possible. `key` names it in the configuration.
fn parent(directory: &Path, key: &str) -> Finding {
    let shown = directory.display();
    match can_make(directory) {
        Ok(()) => Finding::ok(format!("directory {shown} will be made")),
        Err((at, error)) => {
            let (at, error) = (at.display(), advice::directory(&error));
            Finding::fail(format!("can't make {shown}: {at}: {error}, or correct {key}"))
        }
    }
}

/// Whether a directory and those above it could be made; else where not.
fn can_make(directory: &Path) -> Result<(), (&Path, io::Error)> {
    // A relative path begins here.
    let paths =
        directory.ancestors().map(|it| if it == Path::new("") { Path::new(".") } else { it });
    for path in paths {
        match (path.metadata(), path.symlink_metadata()) {
            (Ok(found), _) if found.is_dir() => {
                return try_directory(path).map_err(|error| (path, error));
            }
            (Ok(_), _) => return Err((path, io::ErrorKind::NotADirectory.into())),
            (Err(_), Ok(_)) => return Err((path, io::Error::other("a link to what is not there"))),
            (Err(error), _) if error.kind() != io::ErrorKind::NotFound => {
                return Err((path, error));
            }
            _ => {}
        }
    }
    Err((directory, io::ErrorKind::NotFound.into()))
}

/// Makes a directory of this check's own there, and removes it: rights alone don't tell.
fn try_directory(above: &Path) -> io::Result<()> {
    let path = above.join(format!(".lockside-check-{}.d", std::process::id()));
    fs::create_dir(&path)?;
    fs::remove_dir(&path)
}

/// None where there is enough, or where nobody can tell.
fn space(directory: &Path) -> Option<Finding> {
    let there = directory.ancestors().find(|path| path.exists())?;
    let disk = statvfs(there).ok()?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    (free < LITTLE_SPACE).then(|| {
        let free = show_size(usize::try_from(free >> 20).unwrap_or(usize::MAX) << 20);
        let shown = directory.display();
        Finding::warn(format!(
            "{free} are free for {shown}: with a full disk no lock is granted or released: make room"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::sqlite::Sqlite;
    use crate::ledger::store::Store;

    fn lines(path: &Path) -> Vec<String> {
        let mut settings = Settings::default();
        settings.ledger.path = path.to_owned();
        judge(&settings).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_place_for_a_ledger() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.db");
        let shown = path.display();
        let found = lines(&path);
        assert_eq!(found[0], format!("ok    ledger {shown} will be made"));
        assert!(found[1].contains("guarantee strict: OK waits for a durable write, "), "{found:?}");
        assert!(!path.exists(), "nothing is made");
        let left: Vec<_> = fs::read_dir(&folder).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, [] as [std::ffi::OsString; 0]);
    }

    #[test]
    fn a_ledger_of_other_terms_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = Settings::default();
        settings.ledger.path = folder.path().join("ledger.db");
        let shown = settings.ledger.path.display().to_string();
        Sqlite::new(&settings.ledger.path).open(&start(&settings)).unwrap();
        let line = contents(&settings).to_string();
        assert_eq!(line, format!("ok    ledger {shown} has 0 held locks"));
        settings.namespace = "other".into();
        let line = contents(&settings).to_string();
        assert!(line.starts_with(&format!("fail  ledger {shown}: ")), "{line}");
        assert!(line.contains("namespace"), "{line}");
    }

    #[test]
    fn a_directory_that_is_not_there_yet() {
        let folder = tempfile::tempdir().unwrap();
        let found = lines(&folder.path().join("a/b/ledger.db"));
        assert!(found[1].starts_with("ok    directory "), "{found:?}");
        fs::write(folder.path().join("a"), "").unwrap();
        let found = lines(&folder.path().join("a/b/ledger.db"));
        assert!(found.iter().any(|line| line.starts_with("fail  ")), "{found:?}");
    }

    #[test]
    fn a_file_that_is_no_ledger() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.db");
        fs::write(&path, "a shopping list").unwrap();
        let found = lines(&path);
        assert!(
            found[0].starts_with("fail  ") && found[0].contains("it is no SQLite file: correct")
        );
    }

    #[test]
    fn a_slow_disk_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = Settings::default();
        settings.ledger.stall_after = Duration::ZERO;
        let line = latency(folder.path(), &settings).to_string();
        assert!(line.starts_with("warn  guarantee strict"), "{line}");
        settings.guarantee = Guarantee::Fast;
        let line = latency(folder.path(), &settings).to_string();
        assert!(line.contains("a loss of Redis may overturn grants of the last 1s"), "{line}");
    }
}
