//! A store in memory, for tests, the simulator and the model: several handles on one [`Medium`],
//! with faults.
//!
//! Deterministic: what goes wrong is scripted, or drawn by a function that is handed in; nothing
//! sleeps and nothing is random by itself. What is *late* stays in the medium until somebody says
//! [`Medium::land`].

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::entry::{Row, Start};
use super::fold::Snapshot;
use super::store::{OpenError, Seen, Store, StoreError};
use crate::lock::record::LockKey;

mod gate;
mod medium;

pub use gate::Gate;
pub use medium::{Cursor, Medium};

/// What happens to one call.
#[derive(Debug, Clone, Default)]
pub enum Fault {
    /// Nothing goes wrong.
    #[default]
    None,
    /// It fails before anything is written, and says so.
    Refused,
    /// It fails, nothing was written, and nobody knows.
    Lost,
    /// It is written, and then fails; nobody knows.
    Ambiguous,
    /// It fails, nobody knows, and it is written when [`Medium::land`] is called.
    Late,
    /// The last so many rows of other logs are not shown yet. In an ordered store only a read can
    /// be stale; what writes shows everything.
    Stale(usize),
    /// The call waits until the gate is open, then goes on without fault.
    Hangs(Gate),
}

/// Where the next fault comes from.
enum Faults {
    Script(VecDeque<Fault>),
    Drawn(Box<dyn FnMut() -> Fault + Send>),
}

/// One reader and writer of a medium.
pub struct Memory {
    medium: Arc<Mutex<Medium>>,
    cursor: Cursor,
    faults: Faults,
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Memory").field("cursor", &self.cursor).finish_non_exhaustive()
    }
}

impl Memory {
    /// A handle that has read nothing yet.
    pub fn new(medium: Arc<Mutex<Medium>>) -> Self {
        Self { medium, cursor: Cursor::default(), faults: Faults::Script(VecDeque::new()) }
    }

    /// The same, with these faults for its next calls; after them nothing goes wrong.
    pub fn with_faults(medium: Arc<Mutex<Medium>>, faults: Vec<Fault>) -> Self {
        Self { faults: Faults::Script(faults.into()), ..Self::new(medium) }
    }

    /// The same, with a fault drawn for each call.
    pub fn with_drawn_faults(
        medium: Arc<Mutex<Medium>>,
        draw: impl FnMut() -> Fault + Send + 'static,
    ) -> Self {
        Self { faults: Faults::Drawn(Box::new(draw)), ..Self::new(medium) }
    }

    /// What goes wrong next, behind what is scripted already. No effect on drawn faults.
    pub fn script(&mut self, fault: Fault) {
        if let Faults::Script(script) = &mut self.faults {
            script.push_back(fault);
        }
    }

    /// The medium, for as long as the guard is held.
    pub fn medium(&self) -> MutexGuard<'_, Medium> {
        self.medium.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fault(&mut self) -> Fault {
        match &mut self.faults {
            Faults::Script(script) => script.pop_front().unwrap_or_default(),
            Faults::Drawn(draw) => draw(),
        }
    }
}

impl Store for Memory {
    fn is_ordered(&self) -> bool {
        self.medium().is_ordered()
    }

    fn open(&mut self, start: &Start) -> Result<u64, OpenError> {
        let fault = self.fault();
        match fault {
            Fault::Refused => return Err(refused().into()),
            Fault::Lost | Fault::Late => return Err(unknown().into()),
            Fault::Hangs(gate) => gate.wait(),
            Fault::Ambiguous => {
                self.medium().open(start)?;
                return Err(unknown().into());
            }
            Fault::None | Fault::Stale(_) => {}
        }
        let log = self.medium().open(start)?;
        self.cursor = Cursor::of(log);
        Ok(log)
    }

    fn exchange(&mut self, own: &[Row]) -> Result<Seen, StoreError> {
        let mut hidden = 0;
        let fault = self.fault();
        match fault {
            Fault::Refused => return Err(refused()),
            Fault::Lost => return Err(unknown()),
            Fault::Late => {
                self.medium().write_later(own);
                return Err(unknown());
            }
            Fault::Ambiguous => {
                self.medium().write(own);
                return Err(unknown());
            }
            Fault::Hangs(gate) => gate.wait(),
            Fault::Stale(rows) => hidden = rows,
            Fault::None => {}
        }
        let mut medium = self.medium.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(medium.exchange(&mut self.cursor, own, hidden))
    }

    fn compact(&mut self, snapshot: &Snapshot) -> Result<(), StoreError> {
        let fault = self.fault();
        match fault {
            Fault::None | Fault::Stale(_) => {}
            Fault::Hangs(gate) => gate.wait(),
            _ => return Err(refused()),
        }
        let mut medium = self.medium.lock().unwrap_or_else(PoisonError::into_inner);
        medium.compact(&self.cursor, snapshot);
        Ok(())
    }

    fn history(&mut self, key: &LockKey, count: usize) -> Result<Vec<Row>, StoreError> {
        let fault = self.fault();
        match fault {
            Fault::None | Fault::Stale(_) => {}
            Fault::Hangs(gate) => gate.wait(),
            _ => return Err(refused()),
        }
        Ok(self.medium().history(key, count))
    }
}

fn refused() -> StoreError {
    StoreError::not_applied("the store in memory refuses")
}

fn unknown() -> StoreError {
    StoreError::unknown("the store in memory does not say what it did")
}

#[cfg(test)]
mod tests;
