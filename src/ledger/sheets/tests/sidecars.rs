//! Three sidecars on one spreadsheet with everything that can go wrong with it, checkpoints among it, drawn by a
//! seed: the property test of a store without order, on this one.

use std::time::Duration;

use emulated_sheets::{Kind, Target};

use super::faults::Jumps;
use super::*;
use crate::ledger::committer::decide::tests::{Ground, Scripted, run_on};
use crate::ledger::memory::Fault;

/// A store whose next call meets a fault.
struct Faulty {
    google: Google,
    store: Sheets,
}

impl Store for Faulty {
    fn is_ordered(&self) -> bool {
        self.store.is_ordered()
    }

    fn open(&mut self, start: &Start) -> Result<u64, OpenError> {
        self.store.open(start)
    }

    fn exchange(&mut self, own: &[Row]) -> Result<Seen, StoreError> {
        let seen = self.store.exchange(own);
        self.google.0.clear_faults();
        seen
    }

    fn compact(&mut self, snapshot: &Snapshot) -> Result<(), StoreError> {
        self.store.compact(snapshot)
    }

    fn history(&mut self, key: &LockKey, count: usize) -> Result<Vec<Row>, StoreError> {
        self.store.history(key, count)
    }
}

impl Scripted for Faulty {
    fn script_next(&mut self, fault: Fault) {
        let kind = match fault {
            Fault::Refused => Kind::Status { code: 403, applied: false },
            Fault::Lost => Kind::CutBefore,
            Fault::Ambiguous => Kind::CutAfter,
            Fault::Late => Kind::Late { after: Duration::from_millis(400) },
            Fault::Stale(much) => Kind::Stale { by: Duration::from_millis(10 * much as u64) },
            Fault::None | Fault::Hangs(_) => return,
        };
        self.google.breaks(Target::Any, kind);
    }
}

struct Sheet(Google);

impl Ground for Sheet {
    fn store(&self) -> Box<dyn Scripted> {
        let mut settings = self.0.settings();
        settings.call_timeout = Duration::from_millis(250);
        let store = Sheets::with_pace(settings, Box::new(Jumps::default()));
        Box::new(Faulty { google: self.0.clone(), store })
    }

    fn land(&self) -> bool {
        false
    }

    fn compacts(&self) -> bool {
        true
    }
}

#[test]
fn no_lock_is_held_twice_and_none_is_lost() {
    let mut told = [0, 0];
    for seed in 0..4 {
        let run = run_on(Box::new(Sheet(Google::new())), seed, 300);
        let [won, lost] = run.unwrap_or_else(|why| panic!("seed {seed}: {why}"));
        told = [told[0] + won, told[1] + lost];
    }
    assert!(told[0] > 10 && told[1] > 10, "{told:?}");
}
