//! Where settings come from, and the draft that the sources write on.
//!
//! [`Sources`] is plain data, so that every test can give its own file and environment. Reading
//! the process's real ones is [`Sources::gather`], and nothing else.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::tz::TimeZone;

use super::environment::{self, Overrides};
use super::{
    Conflict, DEFAULT_NAMESPACE, Ledger, Limits, Listen, Log, Observe, Place, Problems, Projection,
    Settings, Upstream, User,
};
use crate::ledger::Guarantee;
use crate::lock::rule::{Rule, Rules};

/// Everything that settings are read from. No `Debug`: a URL in it can hold a password.
#[derive(Clone, Default)]
pub struct Sources {
    /// The configuration file, if one is named: its path and its text.
    pub file: Option<(PathBuf, String)>,
    /// Variables by name. Names that Lockside doesn't know are ignored.
    pub environment: BTreeMap<String, String>,
    /// The command line's flags.
    pub flags: Overrides,
}

impl Sources {
    /// Reads the process's environment, and the file that `--config` or `LOCKSIDE_CONFIG` names.
    ///
    /// # Errors
    /// The file can't be read, or a variable is not UTF-8.
    pub fn gather(flags: Overrides) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        let mut sources = Self { flags, ..Self::default() };
        for name in environment::VARIABLES.into_iter().chain(environment::OTHERS) {
            match std::env::var(name) {
                Ok(value) => drop(sources.environment.insert(name.into(), value)),
                Err(std::env::VarError::NotPresent) => {}
                Err(std::env::VarError::NotUnicode(_)) => {
                    problems.push(Place::Environment, name, "not UTF-8; expected text");
                }
            }
        }
        if let Some((place, key, path)) = sources.file_name() {
            match std::fs::read(&path).map(String::from_utf8) {
                Ok(Ok(text)) => sources.file = Some((path, text)),
                Ok(Err(error)) => {
                    let at = error.utf8_error().valid_up_to();
                    let (line, what) = not_text(error.as_bytes(), at);
                    problems.push(Place::File(path, line), "", what);
                }
                Err(error) => {
                    let what = format!("can't read {}: {error}; expected a file", path.display());
                    problems.push(place, key, what);
                }
            }
        }
        problems.into_result()?;
        Ok(sources)
    }

    /// The variable's value. An empty one counts as not set, as container tools write it so.
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        self.environment.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    fn file_name(&self) -> Option<(Place, &'static str, PathBuf)> {
        let flag = self.flags.config.as_ref().map(|path| (Place::Flag, "--config", path.clone()));
        flag.or_else(|| {
            let path = self.variable("LOCKSIDE_CONFIG")?;
            Some((Place::Environment, "LOCKSIDE_CONFIG", PathBuf::from(path)))
        })
    }
}

/// The line of the first byte that is no UTF-8, from 1, and what is said of it. `at` counts from 0.
fn not_text(bytes: &[u8], at: usize) -> (usize, String) {
    let before = &bytes[..at];
    let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
    let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let column = at - start + 1;
    let byte = bytes.get(at).copied().unwrap_or_default();
    let what =
        format!("byte {column} of the line (0x{byte:02x}) is not UTF-8; expected text in UTF-8");
    (line, what)
}

/// Settings in the making: the defaults, which each source then overrides.
pub(super) struct Draft {
    pub(super) listen: Vec<Listen>,
    pub(super) threads: usize,
    pub(super) state_dir: PathBuf,
    pub(super) time_zone: TimeZone,
    pub(super) held_cache: Duration,
    pub(super) drain_timeout: Duration,
    pub(super) guarantee: Guarantee,
    pub(super) namespace: String,
    pub(super) conflict: Conflict,
    pub(super) upstream: Upstream,
    pub(super) ledger: Ledger,
    pub(super) projection: Projection,
    pub(super) observe: Observe,
    pub(super) users: Vec<User>,
    pub(super) limits: Limits,
    pub(super) log: Log,
    pub(super) rules: Vec<Rule>,
    pub(super) warnings: Vec<String>,
}

impl Draft {
    /// The defaults; of the sources only the default state directory and the kind of ledger that
    /// the environment asks for are read.
    pub(super) fn new(sources: &Sources) -> Self {
        let kind = environment::kind(sources);
        Self {
            listen: vec![Listen::Tcp(([127, 0, 0, 1], 6380).into())],
            threads: 1,
            state_dir: default_state_dir(sources),
            time_zone: TimeZone::UTC,
            held_cache: Duration::from_millis(5),
            drain_timeout: Duration::from_secs(10),
            guarantee: kind.guarantee(),
            namespace: DEFAULT_NAMESPACE.into(),
            conflict: Conflict::default(),
            upstream: Upstream::default(),
            ledger: Ledger::of(kind),
            projection: Projection::default(),
            observe: Observe::default(),
            users: Vec::new(),
            limits: Limits::default(),
            log: Log::default(),
            rules: vec![Rule::default()],
            warnings: Vec::new(),
        }
    }

    pub(super) fn finish(self) -> Settings {
        // An absolute path replaces the directory.
        let path = self.state_dir.join(&self.ledger.path);
        Settings {
            listen: self.listen,
            threads: self.threads,
            state_dir: self.state_dir,
            time_zone: self.time_zone,
            held_cache: self.held_cache,
            drain_timeout: self.drain_timeout,
            guarantee: self.guarantee,
            namespace: self.namespace,
            conflict: self.conflict,
            upstream: self.upstream,
            ledger: Ledger { path, ..self.ledger },
            projection: self.projection,
            observe: self.observe,
            users: self.users,
            rules: Rules::new(self.rules).with_max_key(self.limits.lock_key),
            limits: self.limits,
            log: self.log,
            warnings: self.warnings,
        }
    }
}

/// systemd's directory, else the user's by the XDG rules (a relative path there is ignored),
/// else the system's.
fn default_state_dir(sources: &Sources) -> PathBuf {
    let absolute = |name| sources.variable(name).map(Path::new).filter(|path| path.is_absolute());
    // systemd joins several directories with colons; the first is the service's own.
    let systemd = sources.variable("STATE_DIRECTORY").and_then(|list| list.split(':').next());
    let user = || absolute("XDG_STATE_HOME").map(|path| path.join("lockside"));
    let home = || absolute("HOME").map(|path| path.join(".local/state/lockside"));
    systemd
        .map(PathBuf::from)
        .or_else(user)
        .or_else(home)
        .unwrap_or_else(|| PathBuf::from("/var/lib/lockside"))
}
