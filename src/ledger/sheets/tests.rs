//! The store on an emulated Google: the tests of every store, and what Google and people do to it.

use std::sync::Arc;

use emulated_sheets::{Emulator, Options};

use super::*;
use crate::ledger::store::testing::tests_of_a_store;

mod checkpoints;
mod faults;
mod people;
mod projection;
mod sidecars;

/// A spreadsheet of its own for each test.
#[derive(Clone)]
struct Google(Arc<Emulator>);

impl Google {
    fn new() -> Self {
        Self::with(Options::default())
    }

    fn with(options: Options) -> Self {
        let quota = emulated_sheets::Quota::unlimited();
        Self(Arc::new(Emulator::start(Options { quota, ..options }).unwrap()))
    }

    fn settings(&self) -> Settings {
        let credentials = Credentials::KeyJson(self.0.key(1).to_string());
        Settings {
            base_url: self.0.base_url().into(),
            quota: Quota { writes_a_minute: 60_000, reads_a_minute: 60_000, at_once: 1_000 },
            ..Settings::new(self.0.spreadsheet_id(), credentials)
        }
    }

    fn store(&self) -> Sheets {
        Sheets::new(self.settings())
    }
}

fn a_google() -> impl Fn() -> Sheets {
    let google = Google::new();
    move || google.store()
}

tests_of_a_store!(a_google);
