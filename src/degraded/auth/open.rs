//! What the state directory keeps: which rules clients may use without a password. No secret.
//!
//! A small file, written whole or not at all, by a thread of its own; the last order counts. It
//! says which Redis it is about, and which keys each rule had: of another one it says nothing.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use serde_json::{Value as Json, json};

use crate::lock::rule::{Rule, Rules};

/// The file's name in the state directory.
pub(super) const NAME: &str = "without-password.json";
/// A larger file was not written here.
const MAX_BYTES: u64 = 4 << 20;
const FORMAT: u64 = 1;

/// The file and who writes it.
pub(super) struct OpenFile {
    latest: Arc<Mutex<BTreeSet<Box<str>>>>,
    orders: Option<SyncSender<()>>,
    writer: Option<JoinHandle<()>>,
}

/// What the writer knows.
struct Writer {
    place: PathBuf,
    upstream: String,
    namespace: String,
    rules: Rules,
    latest: Arc<Mutex<BTreeSet<Box<str>>>>,
}

impl OpenFile {
    /// The file in this directory, and the rules that it names.
    pub(super) fn open(
        directory: &Path,
        upstream: &str,
        namespace: &str,
        rules: &Rules,
    ) -> io::Result<(Self, BTreeSet<Box<str>>)> {
        fs::create_dir_all(directory)?;
        let writer = Writer {
            place: directory.join(NAME),
            upstream: upstream.to_owned(),
            namespace: namespace.to_owned(),
            rules: rules.clone(),
            latest: Arc::default(),
        };
        let open = match read(&writer.place) {
            Ok(text) => writer.understand(&text).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeSet::new(),
            Err(error) => {
                tracing::warn!(file = NAME, %error, "can't read who needs no password");
                BTreeSet::new()
            }
        };
        let latest = writer.latest.clone();
        // One order that waits is enough: it is carried out with what holds by then.
        let (orders, waiting) = sync_channel(1);
        let writer =
            std::thread::Builder::new().name("auth".into()).spawn(move || writer.run(&waiting))?;
        Ok((Self { latest, orders: Some(orders), writer: Some(writer) }, open))
    }

    /// Has the file say this, soon.
    pub(super) fn keep(&self, rules: &BTreeSet<Box<str>>) {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone_from(rules);
        if let Some(orders) = &self.orders {
            // Full: the order that waits will see it.
            let _ = orders.try_send(());
        }
    }
}

impl Drop for OpenFile {
    /// What was ordered is done before the process ends.
    fn drop(&mut self) {
        self.orders = None;
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

impl Writer {
    fn run(&self, orders: &Receiver<()>) {
        while orders.recv().is_ok() {
            let rules = self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if let Err(error) = self.write(&rules) {
                tracing::warn!(
                    file = NAME,
                    %error,
                    "can't keep who needs no password: after a restart without Redis, clients may \
                     be refused, or not be refused, by what the file says now"
                );
            }
        }
    }

    fn write(&self, rules: &BTreeSet<Box<str>>) -> io::Result<()> {
        if rules.is_empty() {
            match fs::remove_file(&self.place) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => return self.sync_directory(),
            }
        }
        let partial = self.place.with_extension("part");
        let mut file = File::create(&partial)?;
        file.write_all(self.text(rules).as_bytes())?;
        file.sync_all()?;
        fs::rename(partial, &self.place)?;
        self.sync_directory()
    }

    fn sync_directory(&self) -> io::Result<()> {
        match self.place.parent() {
            Some(directory) => File::open(directory)?.sync_all(),
            None => Ok(()),
        }
    }

    fn text(&self, open: &BTreeSet<Box<str>>) -> String {
        let rules: Vec<Json> = self
            .rules
            .iter()
            .filter(|(_, rule)| open.contains(rule.name.as_str()))
            .map(|(_, rule)| described(rule))
            .collect();
        let all = json!({
            "format": FORMAT,
            "upstream": self.upstream,
            "namespace": self.namespace,
            "rules": rules,
        });
        format!("{all}\n")
    }

    /// The rules that a file names; none if it is about another Redis, or makes no sense.
    fn understand(&self, text: &[u8]) -> Option<BTreeSet<Box<str>>> {
        let all: Json = serde_json::from_slice(text).ok()?;
        let same = all["format"] == FORMAT
            && all["upstream"] == *self.upstream
            && all["namespace"] == *self.namespace;
        let there = all["rules"].as_array().filter(|_| same)?;
        // A rule that has other keys now has not been seen in use on those.
        let known = self.rules.iter().filter(|(_, rule)| there.contains(&described(rule)));
        Some(known.map(|(_, rule)| rule.name.as_str().into()).collect())
    }
}

fn described(rule: &Rule) -> Json {
    let texts = |globs: &[crate::lock::rule::Glob]| -> Vec<String> {
        globs.iter().map(|glob| glob.source().escape_ascii().to_string()).collect()
    };
    json!({
        "name": rule.name,
        "keys": texts(&rule.keys),
        "exclude": texts(&rule.exclude),
        "companions": texts(&rule.companions),
    })
}

fn read(place: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(place)?.take(MAX_BYTES).read_to_end(&mut text)?;
    Ok(text)
}
