//! Who is at an SQLite ledger: sidecars that serve from it, or one who changes it by hand.
//!
//! A lock of the system on a file beside the ledger: sidecars share it, a command that must have
//! the ledger to itself (`lockside eject`, `lockside ledger import`) takes it alone. The system
//! drops it with its process, however that ends, so there is no stale one. It says nothing of
//! sidecars elsewhere: an SQLite ledger has none. So who begins knows whether anybody else lives:
//! starts go one after the other, by the lock on a second file.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;
use std::time::Duration;

/// Being there, until dropped.
#[derive(Debug)]
pub struct Presence {
    _file: File,
    was_alone: bool,
    /// Nobody else begins meanwhile.
    starting: Option<File>,
}

/// How often it is tried to be the one who starts: for a second. A start takes microseconds.
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(10);

impl Presence {
    /// Serves from the ledger at `path`. None while somebody has it alone. Makes the directory.
    ///
    /// # Errors
    /// When the file beside the ledger can't be made or locked.
    pub fn serve(path: &Path) -> io::Result<Option<Self>> {
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        let file = open(path, "live")?;
        let Some(starting) = starting(path)? else {
            return Self::take(file, false, File::try_lock_shared);
        };
        let was_alone = match file.try_lock() {
            Ok(()) => true,
            Err(TryLockError::WouldBlock) => false,
            Err(TryLockError::Error(error)) => return Err(error),
        };
        if was_alone {
            file.unlock()?;
        }
        let presence = Self::take(file, was_alone, File::try_lock_shared)?;
        Ok(presence.map(|presence| Self { starting: Some(starting), ..presence }))
    }

    /// The ledger was opened and read: others may begin. Until then a start of theirs waits, for a second
    /// at most.
    pub fn begun(&mut self) {
        self.starting = None;
    }

    /// True if nobody else served from the ledger when this began: whoever has written to it before
    /// is dead. False if that is not known.
    pub fn was_alone(&self) -> bool {
        self.was_alone
    }

    /// Has the ledger at `path` alone. None while a sidecar serves from it, or another command has
    /// it alone. The ledger's directory must exist.
    ///
    /// # Errors
    /// When the file beside the ledger can't be made or locked.
    pub fn alone(path: &Path) -> io::Result<Option<Self>> {
        Self::take(open(path, "live")?, true, File::try_lock)
    }

    fn take(
        file: File,
        was_alone: bool,
        lock: fn(&File) -> Result<(), TryLockError>,
    ) -> io::Result<Option<Self>> {
        match lock(&file) {
            Ok(()) => Ok(Some(Self { _file: file, was_alone, starting: None })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

/// Until it is dropped nobody else begins. None if others did not come to an end with that.
fn starting(path: &Path) -> io::Result<Option<File>> {
    let file = open(path, "starting")?;
    for _ in 0..TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::WouldBlock) => std::thread::park_timeout(PAUSE),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Ok(None)
}

/// `ledger.db` has `ledger.db.live` beside it, also where a link leads to it. Never removed: who still
/// has the old file open would be alone with it.
fn open(path: &Path, what: &str) -> io::Result<File> {
    // The ledger itself may not be there yet.
    let target = path.read_link().map(|target| path.parent().unwrap_or(path).join(target));
    let path = path.canonicalize().or(target).unwrap_or_else(|_| path.to_path_buf());
    let mut name = path.into_os_string();
    name.push(".");
    name.push(what);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).open(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sidecars_share_a_ledger_and_one_alone_shares_it_with_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/ledger.db");
        assert!(Presence::alone(&path).is_err(), "there is no directory");
        let mut first = Presence::serve(&path).unwrap().unwrap();
        first.begun();
        let second = Presence::serve(&path).unwrap().unwrap();
        assert!(first.was_alone() && !second.was_alone());
        assert!(Presence::alone(&path).unwrap().is_none());
        drop(first);
        assert!(Presence::alone(&path).unwrap().is_none());
        drop(second);
        let alone = Presence::alone(&path).unwrap().unwrap();
        assert!(Presence::alone(&path).unwrap().is_none());
        assert!(Presence::serve(&path).unwrap().is_none());
        drop(alone);
        assert!(Presence::serve(&path).unwrap().is_some());
        assert!(!path.exists(), "the ledger itself is not touched");
    }

    #[test]
    fn one_at_most_of_those_who_begin_together_is_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.db");
        for _ in 0..20 {
            let begin = || {
                let mut presence = Presence::serve(&path).unwrap().unwrap();
                presence.begun();
                presence
            };
            let all: Vec<Presence> = std::thread::scope(|scope| {
                let begun: Vec<_> = (0..4).map(|_| scope.spawn(begin)).collect();
                begun.into_iter().map(|one| one.join().unwrap()).collect()
            });
            assert_eq!(all.iter().filter(|one| one.was_alone()).count(), 1);
        }
        // A start that hangs keeps nobody away, but nobody knows who is there.
        let _hangs = starting(&path).unwrap().unwrap();
        assert!(!Presence::serve(&path).unwrap().unwrap().was_alone());
    }

    #[cfg(unix)]
    #[test]
    fn a_link_leads_to_the_same_ledger() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("ledger.db"), folder.path().join("link.db"));
        std::os::unix::fs::symlink("ledger.db", &link).unwrap();
        for is_there in [false, true] {
            if is_there {
                std::fs::write(&path, "").unwrap();
            }
            let mut first = Presence::serve(&link).unwrap().unwrap();
            first.begun();
            assert!(!Presence::serve(&path).unwrap().unwrap().was_alone(), "{is_there}");
            assert!(Presence::alone(&link).unwrap().is_none());
        }
    }
}
