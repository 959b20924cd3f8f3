//! People and clients on one ledger: what people write into the tab goes through the committer, by the thread.

use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use serde_json::json;

use super::faults::Jumps;
use super::projection::{a_tab, business, cell, held, shown};
use super::*;
use crate::ledger::committer::Timing;
use crate::ledger::fold::Holder;
use crate::ledger::sheets::projection::Setup;
use crate::ledger::testing::{key, start};
use crate::ledger::thread::{self, Ledger, Post, Watcher};
use crate::ledger::{Answer, Asker, Cause, Claim, Door, Entry, Outcome, Position, Ticket, Told};

const LONG: Duration = Duration::from_secs(30);
const SESSION: Asker = Asker::Session(0, (1, 1));

#[derive(Default)]
struct Ears(Mutex<Vec<Answer>>, Condvar, Mutex<Vec<LockKey>>);

impl Post for Ears {
    fn deliver(&self, _: usize, answers: Vec<((usize, u32), Answer)>) {
        self.0.lock().unwrap().extend(answers.into_iter().map(|(_, answer)| answer));
        self.1.notify_all();
    }

    fn tell(&self, _: usize, _: (usize, u32), _: Told) {}
}

impl Watcher for Ears {
    fn doubted(&self, key: &LockKey) {
        self.2.lock().unwrap().push(key.clone());
    }

    fn over(&self, _: &LockKey, _: u64) {}
    fn turned(&self, _: &Arc<Holder>, _: bool) {}
    fn held(&self, _: &Arc<Holder>, _: bool) {}
    fn freed(&self, _: &LockKey, _: Position) {}
    fn reset(&self, _: &[Arc<Holder>], _: &std::collections::BTreeSet<u64>) {}
}

struct Sidecar {
    google: Google,
    ledger: Ledger,
    ears: Arc<Ears>,
}

impl Sidecar {
    /// How often the tab is read says `poll`.
    fn new(google: &Google, poll: Duration) -> Self {
        let store = Sheets::with_pace(google.settings(), Box::new(Jumps::default()));
        let store = store.with_projection(Setup {
            projection: business(),
            time_zone: TimeZone::UTC,
            mirror_interval: Duration::ZERO,
            poll,
            rule: Box::new(|_| Some("spools".into())),
        });
        let timing = Timing { poll: Duration::from_millis(20), ..Timing::default() };
        let settings = thread::Settings {
            stall_after: LONG,
            open_wait: LONG,
            timing,
            ..thread::Settings::new(start())
        };
        let ears = Arc::new(Ears::default());
        let ledger = Ledger::start(settings, Box::new(store), ears.clone(), ears.clone()).unwrap();
        Self { google: google.clone(), ledger, ears }
    }

    fn says(&self, ask: Ask) {
        self.ledger.submit(Asker::Nobody, vec![ask]).unwrap();
    }

    fn claim(&self, name: &str, worker: &str) -> Outcome {
        // The ledger's thread has the system's clock, and a hold of yesterday with a free cell is given up.
        let at_ms = u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap();
        let ask = Ask::Claim(Claim { at_ms, ..held(name, worker) });
        let mut ticket: Option<Ticket> = None;
        until("the ledger takes the claim", || {
            ticket = self.ledger.submit(SESSION, vec![ask.clone()]).ok();
            ticket.is_some()
        });
        let is_it = |answer: &&Answer| Some(answer.ticket) == ticket;
        let has_none = |all: &mut Vec<Answer>| !all.iter().any(|answer| is_it(&answer));
        let all = self.ears.0.lock().unwrap();
        let (all, waited) = self.ears.1.wait_timeout_while(all, LONG, has_none).unwrap();
        assert!(!waited.timed_out(), "no answer");
        all.iter().find(is_it).unwrap().outcomes[0].clone()
    }

    fn holder(&self, name: &str) -> Option<Arc<Holder>> {
        self.ledger.holder(&lock(name))
    }

    fn cell(&self, row: usize) -> String {
        cell(&shown(&self.google, 0), row, 1).to_owned()
    }

    /// The tab as it is now was read.
    fn is_read(&self) {
        let readings = || {
            let calls = self.google.0.journal();
            calls.iter().filter(|call| call.method.contains("batchGetByDataFilter")).count()
        };
        let before = readings();
        // The first of them may have begun before.
        until("the tab is read", || readings() >= before + 2);
    }

    fn types(&self, range: &str, text: &str) {
        self.google.0.type_in(&format!("Bodega!{range}"), &[vec![json!(text)]]).unwrap();
    }
}

fn lock(name: &str) -> LockKey {
    key(&format!("spool_lock:{name}"))
}

#[expect(
    clippy::disallowed_methods,
    reason = "another thread works meanwhile; this waits for what it does"
)]
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + LONG;
    while !is_so() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn a_business() -> Google {
    let google = Google::new();
    a_tab(&google, &[["MK-1", "DISPONIBLE", "", "a"], ["MK-2", "DISPONIBLE", "", "b"]]);
    google
}

#[test]
fn people_are_shown_holders_and_obeyed_while_redis_is_away() {
    let sidecar = Sidecar::new(&a_business(), Duration::ZERO);
    sidecar.says(Ask::Healthy("run".into()));
    sidecar.says(Ask::Degraded);
    assert!(matches!(sidecar.claim("MK-1", "93"), Outcome::Won { .. }));
    until("the cell names the holder", || sidecar.cell(1) == "93");
    sidecar.is_read();
    sidecar.types("B2", "disponible ");
    until("a cleared cell releases", || sidecar.holder("MK-1").is_none());
    let history = sidecar.ledger.history(&lock("MK-1"), 10).unwrap();
    let is_sheet = |row: &Row| matches!(row.entry, Entry::Release { cause: Cause::Sheet, .. });
    assert!(history.iter().any(is_sheet), "{history:?}");
    // Redis is to be told of both.
    until("a repair looks at it", || *sidecar.ears.2.lock().unwrap() == [lock("MK-1")]);
    // A person takes it.
    sidecar.types("B2", "Juan");
    until("a filled cell is a hold", || sidecar.holder("MK-1").is_some());
    until("a repair looks again", || sidecar.ears.2.lock().unwrap().len() == 2);
    let holder = sidecar.holder("MK-1").unwrap();
    assert!(holder.claim.stored.starts_with(b"Juan:~") && &*holder.claim.client == "in the sheet");
    let Outcome::Lost { holder: Some(told) } = sidecar.claim("MK-1", "94") else { panic!("won") };
    assert_eq!(told.at, holder.at);
    assert_eq!(sidecar.cell(1), "Juan");
}

#[test]
fn a_claim_just_after_a_person_is_lost_and_one_after_a_release_is_not() {
    // The tab is read once.
    let sidecar = Sidecar::new(&a_business(), LONG);
    sidecar.says(Ask::Healthy("run".into()));
    sidecar.says(Ask::Degraded);
    let Outcome::Won { claim, .. } = sidecar.claim("MK-2", "93") else { panic!("lost") };
    until("the cell names the holder", || sidecar.cell(2) == "93");
    sidecar.says(Ask::Release(lock("MK-2"), claim, Cause::Client));
    // The cell may say that the lock is held still: that is Lockside's own writing.
    let other = held("MK-2", "94");
    let fresh =
        crate::ledger::Claim { stored: b"94:another-token-0123456789".as_slice().into(), ..other };
    let ticket = sidecar.ledger.submit(SESSION, vec![Ask::Claim(fresh)]).unwrap();
    until("an answer", || sidecar.ears.0.lock().unwrap().iter().any(|a| a.ticket == ticket));
    assert!(sidecar.holder("MK-2").is_some_and(|holder| holder.claim.stored.starts_with(b"94:")));
    sidecar.types("B2", "Juan");
    assert_eq!(sidecar.claim("MK-1", "93"), Outcome::Lost { holder: None });
    assert!(sidecar.holder("MK-1").is_none());
    assert_eq!(sidecar.cell(1), "Juan");
}

#[test]
fn at_the_start_a_named_holder_is_taken_in_when_redis_was_compared() {
    let google = a_business();
    google.0.type_in("Bodega!B2", &[vec![json!("MR(93)")]]).unwrap();
    let sidecar = Sidecar::new(&google, Duration::ZERO);
    sidecar.says(Ask::Degraded);
    assert_eq!(sidecar.claim("MK-1", "93"), Outcome::Lost { holder: None });
    assert!(sidecar.holder("MK-1").is_none());
    sidecar.says(Ask::Healthy("run".into()));
    until("the holder is taken in", || sidecar.holder("MK-1").is_some());
    assert!(sidecar.holder("MK-1").unwrap().claim.stored.starts_with(b"MR(93):~"));
    assert_eq!(sidecar.cell(1), "MR(93)");
}

#[test]
fn one_of_two_sidecars_writes_and_both_ask_the_cells() {
    let google = a_business();
    let all = [(); 2].map(|()| Sidecar::new(&google, Duration::ZERO));
    for sidecar in &all {
        sidecar.says(Ask::Healthy("run".into()));
        sidecar.says(Ask::Degraded);
    }
    assert!(matches!(all[0].claim("MK-1", "93"), Outcome::Won { .. }));
    assert!(matches!(all[1].claim("MK-2", "94"), Outcome::Won { .. }));
    until("both are shown", || all[0].cell(1) == "93" && all[0].cell(2) == "94");
    let is_held = |name: &str| all.iter().all(|sidecar| sidecar.holder(name).is_some());
    until("both know", || is_held("MK-1") && is_held("MK-2"));
}
