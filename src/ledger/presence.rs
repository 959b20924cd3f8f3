//! Who is at an SQLite ledger: sidecars that serve from it, or one who changes it by hand.
//!
//! A lock of the system on a file beside the ledger: sidecars share it, a command that must have
//! the ledger to itself (`lockside eject`, `lockside ledger import`) takes it alone. The system
//! drops it with its process, however that ends, so there is no stale one. It says nothing of
//! sidecars elsewhere: an SQLite ledger has none.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// Being there, until dropped.
#[derive(Debug)]
pub struct Presence {
    _file: File,
}

impl Presence {
    /// Serves from the ledger at `path`. None while somebody has it alone. Makes the directory.
    ///
    /// # Errors
    /// When the file beside the ledger can't be made or locked.
    pub fn serve(path: &Path) -> io::Result<Option<Self>> {
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        Self::take(path, File::try_lock_shared)
    }

    /// Has the ledger at `path` alone. None while a sidecar serves from it, or another command has
    /// it alone. The ledger's directory must exist.
    ///
    /// # Errors
    /// When the file beside the ledger can't be made or locked.
    pub fn alone(path: &Path) -> io::Result<Option<Self>> {
        Self::take(path, File::try_lock)
    }

    fn take(path: &Path, lock: fn(&File) -> Result<(), TryLockError>) -> io::Result<Option<Self>> {
        // Never removed: who still has the old file open would be alone with it.
        let mut options = OpenOptions::new();
        let file =
            options.read(true).write(true).create(true).truncate(false).open(beside(path))?;
        match lock(&file) {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

/// `ledger.db` has `ledger.db.live` beside it.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".live");
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sidecars_share_a_ledger_and_one_alone_shares_it_with_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/ledger.db");
        assert!(Presence::alone(&path).is_err(), "there is no directory");
        let first = Presence::serve(&path).unwrap().unwrap();
        let second = Presence::serve(&path).unwrap().unwrap();
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
}
