//! What group commit is worth: 50 clients that take and release locks on a store that needs 5 ms for
//! each exchange, by the committer's own thread as it is built and by the same with groups of one.
//!
//! In one run, turn about. `cargo bench --bench ledger` measures; without `--bench` (a test run) it
//! only shows that it works.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lockside::ledger::committer::GROUP_ROWS;
use lockside::ledger::entry::FORMAT;
use lockside::ledger::fold::{Holder, Snapshot};
use lockside::ledger::memory::{Medium, Memory};
use lockside::ledger::store::{OpenError, Seen, Store, StoreError};
use lockside::ledger::thread::{Ledger, Post, Settings, Watcher};
use lockside::ledger::{
    Answer, Ask, Asker, Cause, Claim, Door, Guarantee, Outcome, Position, Row, Start, Told,
};
use lockside::lock::record::LockKey;

const CLIENTS: usize = 50;
/// What an exchange takes: a slow disk's sync.
const EXCHANGE: Duration = Duration::from_millis(5);
/// The least that is promised.
const LEAST: f64 = 10.0;

/// The store in memory, with a sync of its own.
struct Slow(Memory);

impl Store for Slow {
    fn is_ordered(&self) -> bool {
        self.0.is_ordered()
    }
    fn open(&mut self, start: &Start) -> Result<u64, OpenError> {
        self.0.open(start)
    }
    #[allow(clippy::disallowed_methods, reason = "a sync takes its time")]
    fn exchange(&mut self, own: &[Row]) -> Result<Seen, StoreError> {
        std::thread::sleep(EXCHANGE);
        self.0.exchange(own)
    }
    fn compact(&mut self, snapshot: &Snapshot) -> Result<(), StoreError> {
        self.0.compact(snapshot)
    }
    fn history(&mut self, key: &LockKey, count: usize) -> Result<Vec<Row>, StoreError> {
        self.0.history(key, count)
    }
}

/// One client waits for one answer at a time.
struct Answers(Vec<SyncSender<Answer>>);

impl Post for Answers {
    fn deliver(&self, _: usize, answers: Vec<((usize, u32), Answer)>) {
        for ((client, _), answer) in answers {
            // Each has room for the one that its client waits for.
            let _ = self.0[client].try_send(answer);
        }
    }
    fn tell(&self, _: usize, _: (usize, u32), _: Told) {}
}

struct Nobody;

impl Watcher for Nobody {
    fn held(&self, _: &Arc<Holder>, _: bool) {}
    fn over(&self, _: &LockKey, _: u64) {}
    fn freed(&self, _: &LockKey, _: Position) {}
    fn reset(&self, _: &[Arc<Holder>], _: &BTreeSet<u64>) {}
    fn doubted(&self, _: &LockKey) {}
    fn turned(&self, _: &Arc<Holder>, _: bool) {}
}

fn start(group_rows: usize) -> (Ledger, Vec<Receiver<Answer>>) {
    let terms = Start {
        format: FORMAT,
        namespace: "bench".into(),
        guarantee: Guarantee::Strict,
        upstream: "none".into(),
        writer: "bench".into(),
        at_ms: 0,
    };
    let (senders, receivers) = (0..CLIENTS).map(|_| sync_channel(1)).unzip();
    let store = Slow(Memory::new(Arc::new(Mutex::new(Medium::ordered()))));
    let settings = Settings { group_rows, ..Settings::new(terms) };
    let ledger =
        Ledger::start(settings, Box::new(store), Arc::new(Answers(senders)), Arc::new(Nobody));
    (ledger.expect("a store in memory opens"), receivers)
}

fn claim(client: usize, turn: u64) -> Claim {
    Claim {
        key: LockKey::new(0, format!("lock:{client}").as_bytes()),
        stored: format!("{client}:{turn}").into_bytes().into(),
        other: None,
        rule: "default".into(),
        client: "bench".into(),
        at_ms: turn,
        asked_ttl_ms: None,
        expires_at_ms: None,
        marker: None,
    }
}

/// Takes and releases one lock until the time is over; gives how often it was granted.
fn work(ledger: &Ledger, answers: &Receiver<Answer>, client: usize, until: Instant) -> u64 {
    let ask = |ask| {
        ledger.submit(Asker::Session(0, (client, 0)), vec![ask]).expect("the ledger takes it");
        answers.recv().expect("an answer").outcomes.remove(0)
    };
    let mut granted = 0;
    while Instant::now() < until {
        let claim = claim(client, granted);
        let key = claim.key.clone();
        match ask(Ask::Claim(claim)) {
            Outcome::Won { claim, .. } => {
                granted += 1;
                assert_eq!(ask(Ask::Release(key, claim, Cause::Client)), Outcome::Released);
            }
            other => panic!("nobody else asks for it: {other:?}"),
        }
    }
    granted
}

/// Grants a second.
fn measure(group_rows: usize, time: Duration) -> f64 {
    let (ledger, answers) = start(group_rows);
    let began = Instant::now();
    let until = began + time;
    let granted: u64 = std::thread::scope(|scope| {
        let ledger = &ledger;
        let clients: Vec<_> = answers
            .into_iter()
            .enumerate()
            .map(|(client, answers)| scope.spawn(move || work(ledger, &answers, client, until)))
            .collect();
        clients.into_iter().map(|client| client.join().expect("a client ends")).sum()
    });
    let taken = began.elapsed().as_secs_f64();
    ledger.stop(Duration::from_secs(10)).expect("all is written");
    granted as f64 / taken
}

fn median(mut all: Vec<f64>) -> (f64, f64, f64) {
    all.sort_by(f64::total_cmp);
    (all[all.len() / 2], all[0], all[all.len() - 1])
}

#[allow(clippy::print_stdout, reason = "it is what a benchmark is for")]
fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    if words.iter().any(|word| word == "--list") {
        return ExitCode::SUCCESS;
    }
    let is_real = words.iter().any(|word| word == "--bench");
    let (rounds, time) = if is_real { (5, 2000) } else { (1, 100) };
    let time = Duration::from_millis(time);
    let (mut built, mut single, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        // Turn about, so that what else goes on meets both.
        let order = if round % 2 == 0 { [GROUP_ROWS, 1] } else { [1, GROUP_ROWS] };
        let mut rates = [0.0; 2];
        for rows in order {
            rates[usize::from(rows == 1)] = measure(rows, time);
        }
        built.push(rates[0]);
        single.push(rates[1]);
        ratios.push(rates[0] / rates[1]);
    }
    let rows = [("as built", median(built)), ("groups of one", median(single))];
    println!("{CLIENTS} clients, {} ms an exchange, {rounds} rounds", EXCHANGE.as_millis());
    for (name, (middle, least, most)) in rows {
        println!("{name}: {middle:.0} grants a second ({least:.0}-{most:.0})");
    }
    let (ratio, least, most) = median(ratios);
    println!("ratio: {ratio:.1} ({least:.1}-{most:.1}), at least {LEAST} wanted");
    if is_real && ratio < LEAST { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
