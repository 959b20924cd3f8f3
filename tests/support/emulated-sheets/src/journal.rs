//! What was asked and what was answered, for assertions and for people.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde_json::{Value, json};

/// Entries that are kept; older ones are only counted.
const KEPT: usize = 100_000;

/// One call.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// When it arrived, since the start.
    pub at: Duration,
    /// How long it took until its answer was ready.
    pub took: Duration,
    /// The method, such as `spreadsheets.batchUpdate`; `token` and `metadata` for credentials.
    pub method: String,
    /// True for a write, false for a read, none for credentials.
    pub write: Option<bool>,
    /// Who called, if that was found out.
    pub account: Option<String>,
    /// Bytes of its body.
    pub bytes_in: usize,
    /// Bytes of the answer's body.
    pub bytes_out: usize,
    /// The status that was answered; 0 where no answer was sent.
    pub status: u16,
    /// True if its effect came, with an answer or without, or comes later (a late write).
    pub applied: bool,
    /// The fault that it met.
    pub fault: Option<String>,
}

impl Entry {
    /// For people and scripts.
    pub(crate) fn describe(&self) -> Value {
        json!({
            "at_ms": u64::try_from(self.at.as_millis()).unwrap_or(u64::MAX),
            "took_ms": u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX),
            "method": self.method,
            "write": self.write,
            "account": self.account,
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
            "status": self.status,
            "applied": self.applied,
            "fault": self.fault,
        })
    }
}

/// Calls of one minute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Minute {
    /// Reads, those that were refused included.
    pub reads: u64,
    /// Writes, those that were refused included.
    pub writes: u64,
    /// Calls for credentials.
    pub tokens: u64,
    /// Calls that were answered 429.
    pub refused: u64,
}

/// All calls so far.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    entries: VecDeque<Entry>,
    minutes: BTreeMap<u64, Minute>,
}

impl Journal {
    /// Writes a call down.
    pub(crate) fn add(&mut self, entry: Entry) {
        let minute = self.minutes.entry(entry.at.as_secs() / 60).or_default();
        match entry.write {
            Some(true) => minute.writes += 1,
            Some(false) => minute.reads += 1,
            None => minute.tokens += 1,
        }
        minute.refused += u64::from(entry.status == 429);
        if self.entries.len() == KEPT {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
    }

    /// The calls that are kept, oldest first.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// Calls by the minute since the start.
    pub(crate) fn minutes(&self) -> &BTreeMap<u64, Minute> {
        &self.minutes
    }

    /// Forgets all.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}
