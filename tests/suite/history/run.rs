//! One run: clients at random before a subject, faults at random behind it, and the verdict.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use emulated_sheets::Emulator;

use super::checker::{Verdict, judge};
use super::event::{Ending, Event, Token, What};
use super::journal::Journal;
use super::nemesis::{Fault, Nemesis, wait_healthy};
use super::player::{Plan, Player, name};
use super::random::Random;
use crate::outage::WITHOUT_REDIS;
use crate::support::locks::{QUICK, SHORT, bulk as bulk_of};
use crate::support::process::directory;
use crate::support::{Client, Redis, Relay, Settings, Subject};

/// How long Redis may take to be as clients were told, once Lockside says that it is healthy:
/// what nobody finished runs out.
const SETTLING: Duration = Duration::from_secs(30);
/// The same where a sheet with its quota is to be told of all that.
const SETTLING_SHEET: Duration = Duration::from_secs(120);
/// A pause between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// The seed: `LOCKSIDE_HISTORY_SEED`, else the time.
pub(crate) fn seed() -> u64 {
    let given = std::env::var("LOCKSIDE_HISTORY_SEED").ok().and_then(|seed| seed.parse().ok());
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos();
    given.unwrap_or_else(|| u64::from(now()))
}

/// How long the random run takes: `LOCKSIDE_HISTORY_SECONDS`, else this.
pub(crate) fn time_or(default: Duration) -> Duration {
    let given = std::env::var("LOCKSIDE_HISTORY_SECONDS").ok().and_then(|time| time.parse().ok());
    given.map_or(default, Duration::from_secs)
}

/// Clients at random at these ports, each at one of them, and something else beside them; then all that was said.
pub(crate) fn play(
    ports: &[u16],
    plan: Plan,
    random: &Random,
    beside: impl FnOnce(&Journal),
) -> Vec<Event> {
    let journal = Journal::new();
    std::thread::scope(|scope| {
        for number in 0..plan.clients {
            let own = random.fork(u64::try_from(number).unwrap());
            let port = ports[number % ports.len()];
            let player = Player::new(number, port, plan, &journal, own);
            scope.spawn(move || player.play());
        }
        let _ended = Ended(&journal);
        beside(&journal);
    });
    journal.events()
}

/// Ends the journal even if the one beside the clients panics.
struct Ended<'a>(&'a Journal);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Clients before so many Locksides, faults around them, and what is there at the end.
pub(crate) fn before_lockside(sidecars: usize, plan: Plan, faults: &[Fault], seed: u64) -> Verdict {
    let shared = directory("ledger");
    let ledger = format!("[ledger]\npath = \"{}\"\n", shared.path().join("ledger.db").display());
    before_lockside_with(&vec![ledger; sidecars], plan, faults, None, seed)
}

/// The same with these tables of a ledger, one for each Lockside; it may be a sheet, which fails as well.
pub(crate) fn before_lockside_with(
    ledgers: &[String],
    plan: Plan,
    faults: &[Fault],
    google: Option<&Emulator>,
    seed: u64,
) -> Verdict {
    let random = Random::new(seed);
    let mut redis = Redis::with(&["--appendonly", "yes", "--appendfsync", "no"]);
    let relay = Relay::before(redis.port());
    let mut subjects: Vec<_> = ledgers.iter().map(|ledger| start(&relay, ledger)).collect();
    let ports: Vec<u16> = subjects.iter().map(Subject::port).collect();
    let mut done = 0;
    let events = play(&ports, plan, &random, |journal| {
        let random = random.fork(999);
        let mut nemesis =
            Nemesis::new((&mut redis, &relay), &mut subjects, journal, random, faults);
        nemesis.google = google;
        nemesis.rage(plan.time);
        done = nemesis.done;
    });
    ports.iter().for_each(|&port| wait_healthy(port));
    let settling = if google.is_some() { SETTLING_SHEET } else { SETTLING };
    let verdict = settle(&events, plan, &redis, ports[0], settling);
    let longest = events.iter().map(|event| event.replied - event.called).max().unwrap_or(0);
    eprintln!("seed {seed}: {verdict}, {done} faults, {:?}", count(&events));
    eprintln!("longest call {longest} us; open at the end: {:?}", verdict.open);
    if !verdict.findings.is_empty() {
        keep(&events, seed);
        ports.iter().for_each(|&port| {
            eprintln!("{}", Client::connect(port).ask("LOCKSIDE LOCKS").replace("\r\n", " "));
        });
        let outputs = subjects.iter().filter_map(Subject::process);
        outputs.for_each(|process| eprintln!("{}", process.output()));
    }
    verdict
}

/// A Lockside on this ledger.
fn start(relay: &Relay, ledger: &str) -> Subject {
    let (mut tables, mut upstream) = (SHORT.to_owned(), "");
    if WITHOUT_REDIS {
        tables = format!("{ledger}{SHORT}");
        upstream = QUICK;
    }
    let top = "guarantee = \"strict\"";
    let settings = Settings { top, upstream, tables: &tables, ..Settings::default() };
    Subject::before(relay.port(), settings)
}

/// Looks until what is there is what clients were told, or for as long as that may take.
fn settle(events: &[Event], plan: Plan, redis: &Redis, port: u16, settling: Duration) -> Verdict {
    let deadline = Instant::now() + settling;
    // What was wrong before the end stays wrong.
    let before = judge(events, &BTreeMap::new()).findings.len();
    loop {
        let verdict = judge(events, &endings(events, plan, redis, port));
        if verdict.findings.len() == before || Instant::now() > deadline {
            return verdict;
        }
        std::thread::park_timeout(LOOK);
    }
}

/// What is there now, of every key that clients used and of every other under the rule.
fn endings(events: &[Event], plan: Plan, redis: &Redis, port: u16) -> BTreeMap<usize, Ending> {
    let tokens = tokens(events);
    let (mut direct, mut client) = (redis.client(), Client::connect(port));
    let listed = client.ask("LOCKSIDE LOCKS");
    let all = direct.ask("KEYS lock:*");
    let count = all[1..].lines().next().and_then(|count| count.parse().ok()).unwrap_or(0);
    let mut known = 0;
    let mut endings = BTreeMap::new();
    for key in 0..plan.keys {
        let name = name(key);
        let stored = bulk(&direct.ask(&format!("GET {name}")));
        known += usize::from(stored.is_some());
        let ttl = direct.ask(&format!("PTTL {name}"))[1..].trim_end().parse().unwrap();
        let redis = stored.map(|stored| (client_value(&stored, &tokens), ttl));
        let shown = bulk(&client.ask(&format!("GET {name}")));
        endings
            .insert(key, Ending { redis, shown, listed: Some(listed.contains(&bulk_of(&name))) });
    }
    if count > known {
        // A key that nobody took: as an orphan of a key of its own.
        endings.insert(plan.keys, Ending { redis: Some((all.into(), -1)), ..Ending::default() });
    }
    endings
}

fn tokens(events: &[Event]) -> BTreeSet<Token> {
    let token = |event: &Event| match &event.what {
        What::Acquire(token, _) => Some(token.clone()),
        _ => None,
    };
    events.iter().filter_map(token).collect()
}

fn bulk(frame: &str) -> Option<Token> {
    let (_, body) = frame.strip_prefix('$')?.split_once("\r\n")?;
    Some(body.strip_suffix("\r\n")?.into())
}

/// The client value of a stored value: what stands before the stamp.
fn client_value(stored: &str, tokens: &BTreeSet<Token>) -> Token {
    let ends = stored.match_indices(':').map(|(at, _)| at).chain([stored.len()]);
    let known = ends.filter_map(|end| tokens.get(&stored[..end])).next_back();
    known.cloned().unwrap_or_else(|| stored.into())
}

/// How often each kind of answer came.
pub(crate) fn count(events: &[Event]) -> BTreeMap<String, usize> {
    let mut counted = BTreeMap::new();
    for event in events {
        let kind = match &event.what {
            What::Acquire(_, told) => format!("acquire {told:?}"),
            What::Release(_, told) => format!("release {told:?}"),
            What::Saw(Some(_)) => "saw a value".into(),
            What::Saw(None) => "saw none".into(),
            What::NotMine(_) => "not mine".into(),
            What::Fence(..) => "fence".into(),
            What::Hung(_) => "hung".into(),
            What::Odd(_) => "odd".into(),
        };
        *counted.entry(kind).or_default() += 1;
    }
    counted
}

/// Writes the whole history into a file of the build's, for people.
fn keep(events: &[Event], seed: u64) {
    let mut events: Vec<&Event> = events.iter().collect();
    events.sort_by_key(|event| (event.key, event.called));
    let text: String = events.iter().map(|event| format!("{event}\n")).collect();
    eprintln!("the whole history: {}", keep_text("history", seed, &text));
}

/// Writes a text into a file of the build's, and says where.
pub(crate) fn keep_text(name: &str, seed: u64, text: &str) -> String {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{seed}.txt"));
    std::fs::write(&file, text).unwrap();
    file.display().to_string()
}
