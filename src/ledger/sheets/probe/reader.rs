//! The one who only looks: when does a read show what was acknowledged?

use std::sync::mpsc::Receiver;
use std::time::Duration;

use super::pace::Clock;
use super::{Ack, note, opened, patiently};
use crate::ledger::entry::Start;
use crate::ledger::sheets::meter::{End, Sample};
use crate::ledger::sheets::quota::Gate;
use crate::ledger::sheets::{Pace, Settings, Sheets};
use crate::ledger::store::{OpenError, Store};

/// Between two looks at what is not there yet.
const BETWEEN: Duration = Duration::from_millis(100);
/// A row that is not there after so long is looked for no more.
const PATIENT: Duration = Duration::from_secs(30);

/// A reader, and what it has seen.
pub(super) struct Reader {
    store: Sheets,
    clock: Clock,
    logs: Vec<u64>,
    saw: Vec<u64>,
    pub(super) delays: Vec<Duration>,
    pub(super) late: usize,
    pub(super) never: usize,
    pub(super) odd: usize,
}

/// A row that is looked for.
struct Wanted {
    ack: Ack,
    /// A read behind it has not shown it.
    is_late: bool,
}

impl Reader {
    pub(super) fn open(
        settings: &Settings,
        (gate, clock): (&Gate, &Clock),
        start: &Start,
        logs: &[u64],
    ) -> Result<Self, OpenError> {
        let mut store = opened(settings, gate, Box::new(clock.clone()))?;
        let mut saw = vec![0; logs.len()];
        let seen = patiently(clock, || store.survey(start))?.seen;
        note(&seen.map(|seen| seen.rows).unwrap_or_default(), logs, &mut saw);
        let (clock, logs) = (clock.clone(), logs.to_vec());
        Ok(Self { store, clock, logs, saw, delays: Vec::new(), late: 0, never: 0, odd: 0 })
    }

    /// Looks for each row from its acknowledgement on, until all are there and no more can come. Once a row
    /// was given up there is no more looking: it would take as long each time.
    pub(super) fn follow(&mut self, acks: &Receiver<Ack>) {
        let mut wanted: Vec<Wanted> = Vec::new();
        let new = |ack| Wanted { ack, is_late: false };
        loop {
            if wanted.is_empty() {
                match acks.recv() {
                    Ok(ack) => wanted.push(new(ack)),
                    Err(_) => return,
                }
            }
            if self.clock.is_over() || self.never > 0 {
                return;
            }
            let read = self.read();
            // What came meanwhile may be in it already.
            wanted.extend(acks.try_iter().map(new));
            if let Some(at) = read {
                wanted.retain_mut(|wanted| self.is_missing(wanted, at));
            }
            if !wanted.is_empty() {
                self.clock.wait(BETWEEN);
            }
        }
    }

    /// Reads. When the call was sent, if it was answered.
    fn read(&mut self) -> Option<Duration> {
        let read = self.store.exchange(&[]);
        let last = self.store.api.as_mut()?.meter()?.last()?;
        let at = (last.end == End::Answered).then_some(last.at)?;
        match read {
            Ok(seen) => note(&seen.rows, &self.logs, &mut self.saw),
            Err(_) if self.clock.is_over() => return None,
            Err(_) => self.odd += 1,
        }
        Some(at)
    }

    /// Judges a row by a read that was sent at this time. True if it is still to be looked for.
    fn is_missing(&mut self, wanted: &mut Wanted, at: Duration) -> bool {
        let behind = at.saturating_sub(wanted.ack.acked);
        if self.saw.get(wanted.ack.writer).is_some_and(|last| *last >= wanted.ack.seq) {
            self.delays.push(if wanted.is_late { behind } else { Duration::ZERO });
            return false;
        }
        if at < wanted.ack.acked {
            return true;
        }
        self.late += usize::from(!wanted.is_late);
        wanted.is_late = true;
        let is_given_up = behind > PATIENT;
        self.never += usize::from(is_given_up);
        !is_given_up
    }

    /// Calls since the last time.
    pub(super) fn samples(&mut self) -> Vec<Sample> {
        super::samples(&mut self.store)
    }
}
