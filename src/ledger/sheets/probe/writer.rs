//! One of the writers: a log of its own, as a sidecar has it.

use std::slice;
use std::sync::mpsc::Sender;

use super::pace::Clock;
use super::pairs::Exchange;
use super::{Ack, PAUSE, TRIES, note, opened, patiently};
use crate::ledger::entry::{Claim, Entry, Position, Row, Start};
use crate::ledger::sheets::meter::{End, Sample};
use crate::ledger::sheets::quota::Gate;
use crate::ledger::sheets::{Pace, Settings, Sheets};
use crate::ledger::store::{OpenError, Store, StoreError};
use crate::lock::record::LockKey;

/// A writer, and what it has seen.
pub(super) struct Writer {
    store: Sheets,
    clock: Clock,
    number: usize,
    pub(super) log: u64,
    /// The log of each writer.
    logs: Vec<u64>,
    /// Of each the last entry that it was shown.
    saw: Vec<u64>,
    pub(super) rows: Vec<Row>,
    pub(super) done: Vec<Exchange>,
    pub(super) again: usize,
    pub(super) odd: usize,
    pub(super) failed: usize,
    pub(super) said: Option<String>,
}

impl Writer {
    pub(super) fn open(
        settings: &Settings,
        (gate, clock): (&Gate, &Clock),
        start: &Start,
        number: usize,
    ) -> Result<Self, OpenError> {
        let mut store = opened(settings, gate, Box::new(clock.clone()))?;
        let log = patiently(clock, || store.open(start))?;
        Ok(Self {
            store,
            clock: clock.clone(),
            number,
            log,
            logs: Vec::new(),
            saw: Vec::new(),
            rows: Vec::new(),
            done: Vec::new(),
            again: 0,
            odd: 0,
            failed: 0,
            said: None,
        })
    }

    /// Reads of the others, so that each of its exchanges is one call.
    pub(super) fn meet(&mut self, logs: &[u64]) -> Result<(), StoreError> {
        (self.logs, self.saw) = (logs.to_vec(), vec![0; logs.len()]);
        let seen = patiently(&self.clock, || self.store.exchange(&[]))?;
        note(&seen.rows, &self.logs, &mut self.saw);
        Ok(())
    }

    /// One exchange with one claim in it. Who has failed once writes no more: rows have to follow each other.
    pub(super) fn exchange(&mut self, start: &Start, acks: &Sender<Ack>) {
        if self.failed > 0 {
            return;
        }
        // The first entry of a log is its start.
        let seq = self.rows.len() as u64 + 2;
        let at = Position { log: self.log, seq };
        let row = Row { at, entry: Entry::Claim(claim(self.number, seq, start)) };
        let began = self.clock.now();
        for _ in 0..TRIES {
            let calls = self.count();
            match self.store.exchange(slice::from_ref(&row)) {
                Ok(seen) => {
                    let acked = self.clock.now();
                    note(&seen.rows, &self.logs, &mut self.saw);
                    let (writer, saw) = (self.number, self.saw.clone());
                    self.done.push(Exchange { writer, seq, began, acked, saw });
                    self.rows.push(row);
                    // Whoever looks may have given up.
                    let _ = acks.send(Ack { writer, seq, acked });
                    return;
                }
                Err(_) if self.clock.is_over() => return,
                Err(error) => self.not_done(error, calls),
            }
            self.clock.wait(PAUSE);
        }
        self.failed += 1;
    }

    fn not_done(&mut self, error: StoreError, calls: usize) {
        self.again += 1;
        // Google has answered, and the answer can't be.
        let meter = self.store.api.as_mut().and_then(|api| api.meter());
        let last = meter.filter(|meter| meter.len() > calls).and_then(|meter| meter.last());
        self.odd += usize::from(last.is_some_and(|sample| sample.end == End::Answered));
        self.said.get_or_insert(error.text);
    }

    fn count(&mut self) -> usize {
        self.store.api.as_mut().and_then(|api| api.meter()).map_or(0, |meter| meter.len())
    }

    /// Calls since the last time.
    pub(super) fn samples(&mut self) -> Vec<Sample> {
        super::samples(&mut self.store)
    }
}

/// A claim as large as a usual one.
fn claim(writer: usize, seq: u64, start: &Start) -> Claim {
    let name = format!("probe:{writer}:{seq}");
    Claim {
        key: LockKey::new(0, name.as_bytes()),
        stored: name.as_bytes().into(),
        other: None,
        rule: "probe".into(),
        client: "lockside check --probe".into(),
        at_ms: start.at_ms,
        asked_ttl_ms: Some(30_000),
        expires_at_ms: None,
        marker: None,
    }
}
