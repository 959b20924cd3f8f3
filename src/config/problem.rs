//! What is wrong with a configuration, in the words that the operator reads.
//!
//! One line for each problem: `PLACE: KEY: what is wrong; expected ...`. A line never shows a
//! URL, since a URL can hold a password.

use std::fmt;
use std::path::PathBuf;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A line of the configuration file, from 1.
    File(PathBuf, usize),
    /// The process's environment; the problem's key is the variable.
    Environment,
    /// The command line; the problem's key is the flag.
    Flag,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Environment => f.write_str("environment"),
            Self::Flag => f.write_str("flags"),
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where the value stands.
    pub place: Place,
    /// The key with its tables (`upstream.url`), the variable or the flag. Empty for a file that
    /// can't be read as TOML at all.
    pub key: String,
    /// What is wrong and what was expected.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, key, message } = self;
        match key.as_str() {
            "" => write!(f, "{place}: {message}"),
            key => write!(f, "{place}: {key}: {message}"),
        }
    }
}

/// All problems of a configuration; shown one a line.
#[derive(Debug, Clone, Default, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n"))]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// Notes one more problem.
    pub fn push(&mut self, place: Place, key: impl Into<String>, message: impl fmt::Display) {
        self.0.push(Problem { place, key: key.into(), message: message.to_string() });
    }

    /// Every problem, in the order in which they are shown.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }

    /// Ok if there are none; else all of them, by source and line.
    ///
    /// # Errors
    /// The problems themselves.
    pub fn into_result(mut self) -> Result<(), Self> {
        // Stable: problems of one line stay in the order in which they were met.
        self.0.sort_by(|one, other| one.place.cmp(&other.place));
        if self.0.is_empty() { Ok(()) } else { Err(self) }
    }
}

/// Why one value can't be used: `what; expected expected`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) what: String,
    pub(super) expected: String,
}

impl Wrong {
    pub(super) fn new(what: impl Into<String>, expected: impl Into<String>) -> Self {
        Self { what: what.into(), expected: expected.into() }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; expected {}", self.what, self.expected)
    }
}
