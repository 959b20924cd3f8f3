//! Texts of scripts that were seen, by their SHA1, each with its envelope (SPEC 5).
//!
//! Bounded in count and bytes: past a limit the oldest goes, and its clients send it again, as
//! after a restart of Redis. Kept in the state directory, so that an EVALSHA inside MULTI, where
//! a client can't be asked for the text, works after a restart too.

use std::collections::{HashMap, VecDeque};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, PoisonError, RwLock};

use crate::lock::envelope::{self, Envelope};

/// A script's SHA1 in lower-case hex.
pub type Sha = [u8; 40];

/// How many files may wait to be written; past that a text is only kept in memory.
const MAX_WAITING: usize = 1024;

/// One script.
#[derive(Debug)]
pub struct Script {
    /// The client's text.
    pub text: Vec<u8>,
    /// The envelope around it.
    pub envelope: Envelope,
}

impl Script {
    /// A script and its envelope.
    pub fn new(text: &[u8]) -> Self {
        Self { text: text.to_vec(), envelope: Envelope::wrap(text) }
    }
}

#[derive(Debug, Default)]
struct Texts {
    by_sha: HashMap<Sha, Arc<Script>>,
    /// Oldest first.
    order: VecDeque<Sha>,
    bytes: usize,
}

/// Limits of the store.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// How many texts.
    pub count: usize,
    /// How many bytes they may have together.
    pub bytes: usize,
}

/// What is to happen to the directory.
enum Job {
    Write(Arc<Script>),
    Remove(Sha),
}

/// The store.
#[derive(Debug)]
pub struct Scripts {
    texts: RwLock<Texts>,
    bounds: Bounds,
    jobs: Option<SyncSender<Job>>,
}

impl Scripts {
    /// A store that forgets everything with the process.
    pub fn in_memory(bounds: Bounds) -> Self {
        Self { texts: RwLock::default(), bounds, jobs: None }
    }

    /// A store that keeps its texts in `directory`, and has those that are there.
    pub fn open(directory: &Path, bounds: Bounds) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let store = Self::in_memory(bounds);
        for text in read_all(directory, bounds)? {
            store.keep(&text);
        }
        Ok(Self { jobs: Some(start_writer(directory.to_path_buf())?), ..store })
    }

    /// The script of this SHA1, in any case.
    pub fn find(&self, sha: &[u8]) -> Option<Arc<Script>> {
        let mut sha: Sha = sha.try_into().ok()?;
        sha.make_ascii_lowercase();
        self.texts.read().unwrap_or_else(PoisonError::into_inner).by_sha.get(&sha).cloned()
    }

    /// The script of this text, if it is kept.
    pub fn known(&self, text: &[u8]) -> Option<Arc<Script>> {
        self.find(&envelope::sha1_hex(text))
    }

    /// How many texts are kept.
    pub fn len(&self) -> usize {
        self.texts.read().unwrap_or_else(PoisonError::into_inner).by_sha.len()
    }

    /// True when no text is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Keeps a text that Redis has accepted; gives its script.
    pub fn insert(&self, text: &[u8]) -> Arc<Script> {
        let (script, new, removed) = self.keep(text);
        if new {
            self.order(Job::Write(script.clone()));
        }
        removed.into_iter().for_each(|sha| self.order(Job::Remove(sha)));
        script
    }

    /// SCRIPT FLUSH: Redis has forgotten them all.
    pub fn clear(&self) {
        let mut texts = self.texts.write().unwrap_or_else(PoisonError::into_inner);
        let forgotten = std::mem::take(&mut *texts);
        drop(texts);
        forgotten.order.into_iter().for_each(|sha| self.order(Job::Remove(sha)));
    }

    fn keep(&self, text: &[u8]) -> (Arc<Script>, bool, Vec<Sha>) {
        if let Some(known) = self.known(text) {
            return (known, false, Vec::new());
        }
        let script = Arc::new(Script::new(text));
        let sha = script.envelope.client_sha;
        if text.len() > self.bounds.bytes {
            return (script, false, Vec::new());
        }
        let mut texts = self.texts.write().unwrap_or_else(PoisonError::into_inner);
        texts.by_sha.insert(sha, script.clone());
        texts.order.push_back(sha);
        texts.bytes += text.len();
        let mut removed = Vec::new();
        while texts.order.len() > self.bounds.count || texts.bytes > self.bounds.bytes {
            let Some(oldest) = texts.order.pop_front() else { break };
            if let Some(script) = texts.by_sha.remove(&oldest) {
                texts.bytes -= script.text.len();
            }
            removed.push(oldest);
        }
        (script, true, removed)
    }

    /// Files are written beside the path of commands. One that can't be queued is lost with the
    /// process, which costs its clients one more SCRIPT LOAD.
    fn order(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            let _ = jobs.try_send(job);
        }
    }
}

fn read_all(directory: &Path, bounds: Bounds) -> io::Result<Vec<Vec<u8>>> {
    let mut texts = Vec::new();
    let mut bytes = 0;
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "lua") {
            continue;
        }
        let text = fs::read(&path)?;
        bytes += text.len();
        if texts.len() >= bounds.count || bytes > bounds.bytes {
            break;
        }
        texts.push(text);
    }
    Ok(texts)
}

fn start_writer(directory: PathBuf) -> io::Result<SyncSender<Job>> {
    let (jobs, waiting) = sync_channel::<Job>(MAX_WAITING);
    std::thread::Builder::new().name("scripts".into()).spawn(move || {
        for job in waiting {
            if let Err(error) = carry_out(&directory, &job) {
                tracing::warn!(%error, "a script's text could not be kept in the state directory");
            }
        }
    })?;
    Ok(jobs)
}

fn carry_out(directory: &Path, job: &Job) -> io::Result<()> {
    match job {
        Job::Write(script) => {
            let path = file(directory, &script.envelope.client_sha);
            // Whole or not at all: a crash leaves no half a script under its name.
            let partial = path.with_extension("part");
            fs::write(&partial, &script.text)?;
            fs::rename(partial, path)
        }
        Job::Remove(sha) => match fs::remove_file(file(directory, sha)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        },
    }
}

fn file(directory: &Path, sha: &Sha) -> PathBuf {
    directory.join(format!("{}.lua", String::from_utf8_lossy(sha)))
}
