//! Follows what others change in Redis, by RESP3 client-side-caching tracking (SPEC 6, `observe`).
//!
//! The thread "tracker" has a connection of its own, with the credentials of Lockside's own links.
//! Redis tells it of every key that was changed under the prefixes of observed rules, whoever did it
//! and in whichever database (`CLIENT TRACKING ON BCAST PREFIX …`, Redis 6). It hands the keys to an
//! [`Eye`] and decides nothing: what such a key means is looked up by the repair thread, which also
//! searches all keys slowly. That search is all there is where tracking can't be: in a Redis older
//! than 6, or where its ACL forbids it.
//!
//! `speech` is the pure part: what is said to Redis, and what its frames mean. Every wait has an end.

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::Upstream;
use crate::config::Secret;
use crate::lock::rule::Rules;

mod run;
pub mod speech;

/// What is told of changes. Called on the tracker's thread; must not block.
pub trait Eye: Send + Sync {
    /// These keys have changed, in some database.
    fn changed(&self, keys: Vec<Vec<u8>>);
    /// Anything may have changed: all keys are to be searched.
    fn missed(&self);
    /// The tracker's own connection has met this run of Redis.
    fn met_run(&self, run_id: &str);
}

/// What the tracker needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The Redis. Its name is looked up by others.
    pub upstream: Arc<Upstream>,
    /// Lockside's own user.
    pub username: Option<String>,
    /// Its password.
    pub password: Option<Secret>,
    /// Longest wait for a connection, and for one answer.
    pub connect_timeout: Duration,
    /// As the first: what is asked on a connection that stands.
    pub command_timeout: Duration,
    /// How observed keys begin.
    pub prefixes: BTreeSet<Vec<u8>>,
}

/// How observed keys begin: shortest first, and none that another one covers, which Redis refuses.
pub fn prefixes(rules: &Rules) -> BTreeSet<Vec<u8>> {
    let observed = rules.iter().filter(|(_, rule)| rule.observe);
    let all: BTreeSet<Vec<u8>> = observed
        .flat_map(|(_, rule)| rule.keys.iter().map(|glob| glob.prefix().to_vec()))
        .filter(|prefix| !prefix.is_empty())
        .collect();
    let is_covered =
        |prefix: &Vec<u8>| all.iter().any(|other| other != prefix && prefix.starts_with(other));
    all.iter().filter(|prefix| !is_covered(prefix)).cloned().collect()
}

/// How changes are followed now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Redis tells of them.
    Tracking,
    /// They are found by the search through all keys alone: why.
    SearchAlone(Arc<str>),
    /// There is no connection: why.
    Away(Arc<str>),
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tracking => f.write_str("tracking"),
            Self::SearchAlone(why) => write!(f, "search alone ({why})"),
            Self::Away(why) => write!(f, "no connection ({why})"),
        }
    }
}

/// What the thread shares with those who look at it.
#[derive(Debug)]
pub struct Outlook {
    state: Mutex<State>,
    /// Keys that were told of.
    told: AtomicU64,
    stop: AtomicBool,
}

impl Default for Outlook {
    fn default() -> Self {
        Self {
            state: Mutex::new(State::Away("not connected yet".into())),
            told: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        }
    }
}

impl Outlook {
    /// How changes are followed now.
    pub fn state(&self) -> State {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many changed keys were told of since the process began.
    pub fn told(&self) -> u64 {
        self.told.load(Ordering::Relaxed)
    }

    fn show(&self, state: State) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }
}

/// The running thread.
#[derive(Debug)]
pub struct Tracker {
    outlook: Arc<Outlook>,
    thread: JoinHandle<()>,
}

impl Tracker {
    /// Starts the thread. It connects at once, and again whenever it has lost its connection.
    ///
    /// # Errors
    /// When the system starts no thread.
    pub fn start(settings: Settings, eye: Arc<dyn Eye>, outlook: Arc<Outlook>) -> io::Result<Self> {
        let runner = run::Runner::new(settings, eye, outlook.clone());
        let thread = std::thread::Builder::new().name("tracker".into()).spawn(|| runner.run())?;
        Ok(Self { outlook, thread })
    }

    /// Ends the thread and waits for it: a moment, or the connect that is under way.
    pub fn stop(self) {
        self.outlook.stop.store(true, Ordering::Release);
        self.thread.thread().unpark();
        if self.thread.join().is_err() {
            tracing::error!("the tracker has panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::rule::{Glob, Rule};

    #[test]
    fn only_observed_globs_and_none_twice() {
        let rule = |keys: &[&str], observe| Rule {
            observe,
            ..Rule::new("r", keys.iter().map(|key| Glob::new(key.as_bytes())).collect())
        };
        let rules = Rules::new(vec![
            rule(&["lock:a:*", "lock:*", "job[0-9]"], true),
            rule(&["other:*"], false),
            rule(&["lock:?", "k"], true),
        ]);
        let expected = [b"job".to_vec(), b"k".to_vec(), b"lock:".to_vec()];
        assert_eq!(prefixes(&rules), expected.into());
    }
}
