//! A Redis for simulations: one process with its keys, its connections and its run.
//!
//! It carries out whole commands as they arrive, runs every script in Lua, and fails loudly on a
//! command that it was not taught. `commands` says what each command does.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::clock;

mod commands;
mod script;

/// What stands under a key.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) value: Vec<u8>,
    /// In milliseconds since the Unix epoch.
    pub(crate) expires_at: Option<u64>,
}

/// All keys.
pub(crate) type Data = BTreeMap<Vec<u8>, Entry>;

/// What a restart begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    Empty,
    /// What it had when it ended.
    Kept,
    /// What it had at the last [`Redis::save`].
    Old,
}

/// The server.
#[derive(Debug, Default)]
pub(crate) struct Redis {
    pub(crate) data: Data,
    saved: Data,
    connections: BTreeMap<u64, Connection>,
    scripts: BTreeSet<[u8; 40]>,
    /// How often each key was changed, for WATCH.
    changes: BTreeMap<Vec<u8>, u64>,
    runs: u64,
    pub(crate) is_up: bool,
    /// SIGSTOP: connections are accepted by the kernel, and nothing is answered.
    pub(crate) is_paused: bool,
    /// New connections are refused, those that stand go on.
    pub(crate) refuses: bool,
    /// Who has not said who it is may do nothing.
    pub(crate) has_users: bool,
    /// A planted bug: what a script took is not told.
    pub(crate) loses_reports: bool,
    /// What came while it was paused.
    pub(crate) backlog: VecDeque<(u64, Option<Vec<u8>>)>,
}

/// Who may connect, if that is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum User {
    /// May do everything.
    Worker,
    /// May not touch locks.
    Guest,
}

/// The right password of each user.
pub(crate) const PASSWORD: &str = "open sesame";

#[derive(Debug, Default)]
struct Connection {
    /// None: it has not said who it is.
    user: Option<User>,
    /// The start of a command.
    input: Vec<u8>,
    /// Commands of an open MULTI.
    queued: Option<Vec<Vec<Vec<u8>>>>,
    /// Something could not be queued.
    is_aborted: bool,
    watched: BTreeMap<Vec<u8>, u64>,
}

impl Redis {
    /// A new run.
    pub(crate) fn start(&mut self, with: Start) {
        self.runs += 1;
        match with {
            Start::Empty => self.data.clear(),
            Start::Kept => {}
            Start::Old => self.data = self.saved.clone(),
        }
        (self.is_up, self.is_paused, self.refuses) = (true, false, false);
        self.scripts.clear();
        self.changes.clear();
    }

    /// kill -9; gives the connections that have ended.
    pub(crate) fn kill(&mut self) -> Vec<u64> {
        (self.is_up, self.is_paused) = (false, false);
        self.backlog.clear();
        std::mem::take(&mut self.connections).into_keys().collect()
    }

    /// Takes a snapshot, from which a later run may start.
    pub(crate) fn save(&mut self) {
        self.saved = self.data.clone();
    }

    /// Which run this is.
    pub(crate) fn run_id(&self) -> String {
        format!("{:040x}", self.runs)
    }

    /// `is_own`: Lockside's own user, who may do everything.
    pub(crate) fn connect(&mut self, link: u64, is_own: bool) {
        let user = (is_own || !self.has_users).then_some(User::Worker);
        self.connections.insert(link, Connection { user, ..Connection::default() });
    }

    pub(crate) fn knows(&self, link: u64) -> bool {
        self.connections.contains_key(&link)
    }

    pub(crate) fn disconnect(&mut self, link: u64) {
        self.connections.remove(&link);
    }

    /// Bytes of a connection; gives the replies.
    pub(crate) fn receive(&mut self, link: u64, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let Some(connection) = self.connections.get_mut(&link) else { return out };
        connection.input.extend_from_slice(bytes);
        let mut input = std::mem::take(&mut connection.input);
        self.expire();
        while let Some((words, len)) = parse(&input) {
            input.drain(..len);
            self.command(link, words, &mut out);
        }
        if let Some(connection) = self.connections.get_mut(&link) {
            connection.input = input;
        }
        out
    }

    /// Takes away what has run out.
    pub(crate) fn expire(&mut self) {
        let now = clock::unix_ms();
        let over = |entry: &Entry| entry.expires_at.is_some_and(|at| at <= now);
        let gone: Vec<_> =
            self.data.iter().filter(|(_, entry)| over(entry)).map(|(key, _)| key.clone()).collect();
        for key in gone {
            self.remove(&key);
        }
    }

    fn put(&mut self, key: &[u8], value: &[u8], ttl_ms: Option<u64>) {
        let expires_at = ttl_ms.map(|ttl| clock::unix_ms() + ttl);
        self.data.insert(key.to_vec(), Entry { value: value.to_vec(), expires_at });
        self.changed(key);
    }

    fn remove(&mut self, key: &[u8]) -> Option<Entry> {
        let entry = self.data.remove(key)?;
        self.changed(key);
        Some(entry)
    }

    fn changed(&mut self, key: &[u8]) {
        *self.changes.entry(key.to_vec()).or_default() += 1;
    }

    fn version(&self, key: &[u8]) -> u64 {
        self.changes.get(key).copied().unwrap_or_default()
    }
}

/// The command at the start of `bytes`, and its length; none if it is not complete.
fn parse(bytes: &[u8]) -> Option<(Vec<Vec<u8>>, usize)> {
    let (count, mut at) = header(bytes, 0, b'*')?;
    let mut words = Vec::new();
    for _ in 0..count {
        let (len, start) = header(bytes, at, b'$')?;
        words.push(bytes.get(start..start + len)?.to_vec());
        at = start + len + 2;
        bytes.get(at - 1)?;
    }
    Some((words, at))
}

fn header(bytes: &[u8], at: usize, kind: u8) -> Option<(usize, usize)> {
    let rest = bytes.get(at..)?;
    let end = rest.iter().position(|byte| *byte == b'\n')?;
    assert_eq!(rest[0], kind, "Redis was sent {:?}", String::from_utf8_lossy(rest));
    let number = std::str::from_utf8(&rest[1..end - 1]).unwrap().parse().unwrap();
    Some((number, at + end + 1))
}
