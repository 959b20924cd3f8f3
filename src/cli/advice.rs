//! What to do next, behind an error of the command line. Pure.

use std::io;

/// Whom a command asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whom {
    /// The Redis behind.
    Redis,
    /// A running Lockside.
    Lockside,
}

impl Whom {
    /// Nobody answers there.
    pub(super) fn unreachable(self) -> &'static str {
        match self {
            Self::Redis => "start Redis, or correct upstream.url (--upstream)",
            Self::Lockside => "start Lockside, or say where it listens: --at HOST:PORT",
        }
    }

    /// Somebody else answers there.
    pub(super) fn stranger(self) -> &'static str {
        match self {
            Self::Redis => "correct upstream.url (--upstream)",
            Self::Lockside => "say where Lockside listens: --at HOST:PORT",
        }
    }

    /// It answers with this error: code and text.
    pub(super) fn refused(self, words: &str) -> &'static str {
        let code = words.split(' ').next().unwrap_or_default();
        match (code, self) {
            ("NOAUTH" | "WRONGPASS", Self::Redis) => {
                "give upstream.url the user and the password that Redis expects"
            }
            ("NOAUTH" | "WRONGPASS", Self::Lockside) => {
                "say --user NAME, with the password in LOCKSIDE_PASSWORD"
            }
            ("NOPERM", _) => "give the user this right in Redis (ACL SETUSER), or use another one",
            ("READONLY", _) => "this Redis is a replica: name its master in upstream.url",
            ("LOADING" | "BUSY" | "TRYAGAIN", _) => "try again in a moment",
            ("OOM", _) => "give Redis more memory (maxmemory), or free some",
            ("MISCONF", _) => "see to the disk of Redis: its log says what it can't save",
            ("MASTERDOWN", Self::Lockside) => "try again when Redis is back (LOCKSIDE MODE)",
            ("MASTERDOWN" | "CLUSTERDOWN" | "NOREPLICAS", _) => {
                "see to Redis's master and replicas"
            }
            (_, Self::Redis) => "`lockside check` says what it needs of Redis",
            (_, Self::Lockside) => "its log and LOCKSIDE MODE say more",
        }
    }
}

/// A file or directory can't be used.
pub(super) fn of_file(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "correct the path, or make its directory",
        io::ErrorKind::PermissionDenied => "run it as the user that owns it, or change its rights",
        io::ErrorKind::AlreadyExists => "nothing is overwritten: name another, or move it away",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "make room on its disk",
        io::ErrorKind::ReadOnlyFilesystem => "name a place that can be written",
        io::ErrorKind::IsADirectory | io::ErrorKind::NotADirectory => "name a file",
        _ => "see to it, and try again",
    }
}

/// The error of a directory that is to be made, with what to do about it.
pub(super) fn directory(error: &io::Error) -> String {
    let advice = match error.kind() {
        io::ErrorKind::NotFound => "nothing can be made there: name another place",
        io::ErrorKind::NotADirectory => "it is no directory: move it away",
        _ => of_file(error),
    };
    format!("{error}; {advice}")
}

/// The error of a file with what to do about it.
pub(super) fn file(error: &io::Error) -> String {
    format!("{error}; {}", of_file(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_error_has_its_advice() {
        let rows = [
            (Whom::Redis, "WRONGPASS invalid", "give upstream.url"),
            (Whom::Lockside, "NOAUTH Authentication required.", "say --user NAME"),
            (Whom::Redis, "NOPERM no", "ACL SETUSER"),
            (Whom::Redis, "READONLY You", "master"),
            (Whom::Lockside, "MASTERDOWN lockside: upstream", "when Redis is back"),
            (Whom::Redis, "", "lockside check"),
            (Whom::Lockside, "ERR what", "log"),
        ];
        for (whom, words, expected) in rows {
            assert!(whom.refused(words).contains(expected), "{words}");
        }
        let exists = io::Error::from(io::ErrorKind::AlreadyExists);
        assert!(file(&exists).ends_with("name another, or move it away"));
    }
}
