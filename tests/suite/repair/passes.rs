//! The repair thread against a real redis-server: passes, dirty keys, and what ends them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use lockside::config::Conflict;
use lockside::ledger::fold::Holder;
use lockside::ledger::{
    Ask, Asker, Claim, Door, Guarantee, Position, Ticket, Unavailable, Withdrawal,
};
use lockside::lock::record::LockKey;
use lockside::lock::rule::Rules;
use lockside::mode::{Board, Mode};
use lockside::repair::command::{Answer, look};
use lockside::repair::link::Link;
use lockside::repair::plan::Found;
use lockside::repair::{Databases, Dirty, Events, Parts, Policy, Repair, Standing, Truth};

use super::real::upstream;
use crate::support::{PATIENCE, Redis, poll_for, wait_until};

/// A ledger of strings that are held for ever, and its door: an observation on a free key wins.
#[derive(Default)]
pub(super) struct Book(Mutex<Pages>);

#[derive(Default)]
struct Pages {
    holders: BTreeMap<LockKey, Arc<Holder>>,
    dead: BTreeSet<(LockKey, Vec<u8>)>,
    releasing: BTreeSet<LockKey>,
    last: u64,
}

impl Book {
    pub(super) fn grant(&self, key: &LockKey, stored: &[u8]) {
        let mut pages = self.0.lock().unwrap();
        pages.last += 1;
        let at = Position { log: 1, seq: pages.last };
        let claim = Claim {
            key: key.clone(),
            stored: stored.into(),
            other: None,
            rule: "default".into(),
            client: "client".into(),
            at_ms: 0,
            asked_ttl_ms: None,
            expires_at_ms: None,
            marker: None,
        };
        let holder = Holder { at, claim, fence: at.seq, heard: true };
        pages.holders.insert(key.clone(), Arc::new(holder));
    }

    fn release(&self, key: &LockKey) {
        let mut pages = self.0.lock().unwrap();
        let holder = pages.holders.remove(key).expect("held");
        pages.dead.insert((key.clone(), holder.claim.stored.to_vec()));
    }
}

impl Truth for Book {
    fn holder(&self, key: &LockKey) -> Option<Arc<Holder>> {
        self.0.lock().unwrap().holders.get(key).cloned()
    }

    fn standing(&self, key: &LockKey, stored: &[u8]) -> Standing {
        let pages = self.0.lock().unwrap();
        if pages.holders.get(key).is_some_and(|holder| *holder.claim.stored == *stored) {
            return Standing::Holder;
        }
        let dead = pages.dead.contains(&(key.clone(), stored.to_vec()));
        if dead { Standing::Dead } else { Standing::Unknown }
    }

    fn holders(&self) -> Vec<Arc<Holder>> {
        self.0.lock().unwrap().holders.values().cloned().collect()
    }
}

impl Door for Book {
    fn submit(&self, asker: Asker, asks: Vec<Ask>) -> Result<Ticket, Unavailable> {
        assert_eq!(asker, Asker::Nobody);
        for ask in asks {
            let Ask::Observe(claim) = ask else { panic!("repair only observes: {ask:?}") };
            if self.holder(&claim.key).is_none() {
                self.grant(&claim.key, &claim.stored);
            }
        }
        Ok(Ticket(1))
    }

    fn withdraw(&self, _: Ticket) -> Withdrawal {
        Withdrawal::Done
    }

    fn forget(&self, _: Ticket) {}

    fn trouble(&self) -> Option<Arc<str>> {
        None
    }

    fn is_releasing(&self, key: &LockKey) -> bool {
        self.0.lock().unwrap().releasing.contains(key)
    }
}

struct Told {
    ended: Mutex<Sender<(String, bool)>>,
    runs: Mutex<Sender<String>>,
}

impl Events for Told {
    fn pass_ended(&self, run_id: &str, complete: bool) {
        self.ended.lock().unwrap().send((run_id.into(), complete)).unwrap();
    }

    fn met_run(&self, run_id: &str) {
        self.runs.lock().unwrap().send(run_id.into()).unwrap();
    }
}

/// A redis-server and the repair thread beside it.
pub(super) struct Rig {
    pub(super) redis: Redis,
    pub(super) book: Arc<Book>,
    board: Arc<Board>,
    dirty: Arc<Dirty>,
    databases: Arc<Databases>,
    pub(super) repair: Repair,
    ended: Receiver<(String, bool)>,
    runs: Receiver<String>,
}

impl Rig {
    pub(super) fn start(mode: Mode) -> Self {
        Self::with(mode, Duration::from_secs(3600))
    }

    fn with(mode: Mode, interval: Duration) -> Self {
        Self::start_with(mode, interval, 1000)
    }

    fn start_with(mode: Mode, interval: Duration, most_dirty: usize) -> Self {
        let redis = Redis::start();
        let book = Arc::<Book>::default();
        let (board, dirty) = (Arc::<Board>::default(), Arc::new(Dirty::with_limit(most_dirty)));
        let databases = Arc::<Databases>::default();
        board.show(mode, true);
        let ((send_ended, ended), (send_runs, runs)) = (channel(), channel());
        let told = Told { ended: Mutex::new(send_ended), runs: Mutex::new(send_runs) };
        let mut place = upstream(&redis);
        place.command_timeout = Duration::from_millis(500);
        let parts = Parts {
            upstream: place,
            policy: Policy {
                rules: Arc::new(Rules::default()),
                guarantee: Guarantee::Strict,
                conflict: Conflict::Ledger,
                fence_counter: b"lockside:fence:test".to_vec(),
            },
            truth: book.clone(),
            door: book.clone(),
            board: board.clone(),
            unheard: Arc::default(),
            was_alone: false,
            dirty: dirty.clone(),
            databases: databases.clone(),
            counters: Arc::default(),
            events: Arc::new(told),
            interval,
            unix_ms,
            observed: None,
        };
        let repair = Repair::start(parts).unwrap();
        Self { redis, book, board, dirty, databases, repair, ended, runs }
    }

    pub(super) fn run_id(&self) -> String {
        let info = self.redis.ask("INFO server");
        info.lines().find_map(|line| line.strip_prefix("run_id:")).unwrap().to_owned()
    }

    /// A pass for this run of Redis; true if it was complete.
    pub(super) fn pass(&self) -> bool {
        let run_id = self.run_id();
        self.repair.start_pass(run_id.as_str().into());
        let (ended, complete) = self.ended.recv_timeout(PATIENCE).unwrap();
        assert_eq!(ended, run_id);
        complete
    }

    fn value(&self, key: &str) -> Option<String> {
        let reply = self.redis.ask(&format!("GET {key}"));
        (reply != "$-1\r\n").then(|| reply.lines().nth(1).unwrap().to_owned())
    }

    fn count(&self, name: &str) -> u64 {
        let counts = self.repair.counters().list();
        counts.iter().find(|(counted, _)| *counted == name).expect(name).1
    }
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

fn lock(name: &str) -> LockKey {
    LockKey::new(0, format!("lock:{name}").as_bytes())
}

#[test]
fn a_pass_brings_an_empty_redis_and_an_old_one_in_line() {
    let rig = Rig::start(Mode::Recovering);
    let keys: Vec<_> = (0..250)
        .map(|n| LockKey::new(if n < 5 { 9 } else { 0 }, format!("lock:{n}").as_bytes()))
        .collect();
    keys.iter().for_each(|key| rig.book.grant(key, b"v"));
    rig.book.grant(&lock("old"), b"released");
    rig.book.release(&lock("old"));
    rig.databases.note(3);
    let mut client = rig.redis.client();
    client.ask("SET lock:old released");
    client.ask("SET lock:7 v EX 10");
    client.ask("SET page:1 hello");
    client.ask("SELECT 3");
    client.ask("SET lock:unknown u");
    assert!(rig.pass());
    assert_eq!((rig.value("lock:old"), rig.value("lock:200")), (None, Some("v".into())));
    assert_eq!(rig.redis.ask("PTTL lock:7"), ":-1\r\n");
    assert_eq!(rig.value("page:1"), Some("hello".into()));
    assert_eq!(client.ask("GET lock:unknown"), "$1\r\nu\r\n");
    assert!(rig.book.holder(&LockKey::new(3, b"lock:unknown")).is_some());
    client.ask("SELECT 9");
    assert_eq!(client.ask("DBSIZE"), ":5\r\n");
    let counts = ["repairs_set", "repairs_deleted", "repairs_persisted", "repair_adopted"];
    assert_eq!(counts.map(|name| rig.count(name)), [249, 1, 1, 1]);
    // A second one has nothing to do, and writes nothing.
    assert!(rig.pass());
    assert_eq!(counts.map(|name| rig.count(name)), [249, 1, 1, 1]);
    rig.repair.stop();
}

#[test]
fn a_pass_is_for_one_run_of_redis() {
    let mut rig = Rig::start(Mode::Recovering);
    rig.book.grant(&lock("a"), b"v");
    rig.repair.start_pass("another".into());
    let ended = rig.ended.recv_timeout(PATIENCE).unwrap();
    assert_eq!(ended, ("another".into(), false));
    assert_eq!(rig.value("lock:a"), None);
    let first = rig.run_id();
    assert_eq!(rig.runs.recv_timeout(PATIENCE).unwrap(), first);
    assert!(rig.pass());
    rig.redis.kill();
    rig.redis.start_again();
    rig.repair.start_pass(first.as_str().into());
    assert_eq!(rig.ended.recv_timeout(PATIENCE).unwrap(), (first, false));
    assert!(rig.pass());
    assert_eq!(rig.runs.recv_timeout(PATIENCE).unwrap(), rig.run_id());
    assert_eq!(rig.value("lock:a"), Some("v".into()));
    rig.repair.stop();
}

#[test]
fn a_pass_waits_for_anothers_provisional_key() {
    let rig = Rig::start(Mode::Recovering);
    rig.book.grant(&lock("a"), b"v");
    rig.redis.ask("SET lock:a other PX 700");
    assert!(rig.pass());
    assert_eq!(rig.value("lock:a"), Some("v".into()));
    rig.repair.stop();
}

#[test]
fn a_pass_ends_when_it_is_cancelled_and_when_redis_hangs() {
    let rig = Rig::start(Mode::Recovering);
    rig.book.grant(&lock("a"), b"v");
    rig.redis.ask("SET lock:a other PX 600000");
    let run_id = rig.run_id();
    rig.repair.start_pass(run_id.as_str().into());
    // Somewhere in it, or before it: it never ends by itself.
    rig.repair.cancel_pass();
    assert_eq!(rig.ended.recv_timeout(PATIENCE).unwrap(), (run_id.clone(), false));
    rig.redis.process().signal("STOP");
    rig.repair.start_pass(run_id.as_str().into());
    assert_eq!(rig.ended.recv_timeout(PATIENCE).unwrap(), (run_id, false));
    rig.redis.process().signal("CONT");
    assert_eq!(rig.value("lock:a"), Some("other".into()));
    rig.repair.stop();
}

#[test]
fn dirty_keys_are_repaired_as_soon_as_redis_is_usable() {
    let rig = Rig::start(Mode::Degraded);
    rig.redis.ask("SET lock:gone old");
    rig.book.grant(&lock("gone"), b"old");
    rig.book.release(&lock("gone"));
    rig.book.grant(&lock("new"), b"v");
    for name in ["gone", "new"] {
        rig.dirty.touch(lock(name));
    }
    assert!(rig.dirty.contains(&lock("gone")) && !rig.dirty.contains(&lock("other")));
    rig.board.show(Mode::Recovering, true);
    rig.dirty.ring();
    wait_until("all is clean", || rig.dirty.is_empty());
    assert_eq!((rig.value("lock:gone"), rig.value("lock:new")), (None, Some("v".into())));
    // One that has to wait stays, and others do not wait for it.
    rig.book.grant(&lock("waits"), b"v");
    rig.redis.ask("SET lock:waits other PX 600000");
    rig.dirty.touch(lock("waits"));
    rig.book.release(&lock("new"));
    rig.dirty.touch(lock("new"));
    wait_until("the other is clean", || !rig.dirty.contains(&lock("new")));
    assert!(rig.dirty.contains(&lock("waits")));
    rig.redis.ask("DEL lock:waits");
    wait_until("it is clean", || rig.dirty.is_empty());
    assert_eq!(rig.value("lock:waits"), Some("v".into()));
    rig.repair.stop();
}

#[test]
fn a_hash_that_was_released_while_redis_was_away_is_deleted() {
    let rig = Rig::start(Mode::Degraded);
    for name in ["released", "changed"] {
        rig.redis.ask(&format!("HSET lock:{name} owner 1"));
    }
    // As the acquire made it: with its expiry then, and the hash of its content.
    let mut link = Link::open(&upstream(&rig.redis)).unwrap();
    let Answer::Found(found) = link.ask(&look(0, &[lock("released")])) else { panic!() };
    let Found::Other { guard, .. } = &found[0] else { panic!("{found:?}") };
    let sum = guard.strip_prefix(b"0:").unwrap();
    let guard: Arc<[u8]> = [b"1764000000000:", sum].concat().into();
    rig.redis.ask("HSET lock:changed owner 2");
    for name in ["released", "changed"] {
        rig.dirty.touch_ended(lock(name), guard.clone());
    }
    rig.board.show(Mode::Recovering, true);
    wait_until("all is clean", || rig.dirty.is_empty());
    assert_eq!(rig.redis.ask("EXISTS lock:released lock:changed"), ":1\r\n");
    rig.repair.stop();
}

#[test]
fn a_redis_that_refuses_scan_gets_its_locks_all_the_same() {
    let rig = Rig::start(Mode::Recovering);
    rig.book.grant(&lock("a"), b"v");
    rig.redis.ask("ACL SETUSER default -scan");
    assert!(rig.pass());
    assert_eq!(rig.value("lock:a"), Some("v".into()));
    // Without the right to run scripts nothing can be repaired.
    rig.redis.ask("ACL SETUSER default -evalsha");
    assert!(!rig.pass());
    rig.repair.stop();
}

#[test]
fn too_many_dirty_keys_make_a_pass_over_all() {
    let rig = Rig::start_with(Mode::Degraded, Duration::from_secs(3600), 10);
    for n in 0..50 {
        rig.book.grant(&lock(&n.to_string()), b"v");
        rig.dirty.touch(lock(&n.to_string()));
    }
    assert!(rig.dirty.has_overflowed() && rig.dirty.contains(&lock("any")));
    rig.board.show(Mode::Recovering, true);
    wait_until("all is clean", || rig.dirty.is_empty());
    assert_eq!(rig.redis.ask("DBSIZE"), ":50\r\n");
    rig.repair.stop();
}

#[test]
fn a_release_on_its_way_is_not_undone() {
    let rig = Rig::start(Mode::Healthy);
    rig.book.grant(&lock("a"), b"v");
    rig.book.0.lock().unwrap().releasing.insert(lock("a"));
    rig.dirty.touch(lock("a"));
    rig.dirty.touch(lock("b"));
    wait_until("a round was made", || !rig.dirty.contains(&lock("b")));
    assert_eq!(rig.value("lock:a"), None);
    rig.book.release(&lock("a"));
    wait_until("it is clean", || rig.dirty.is_empty());
    assert_eq!(rig.count("repairs_set"), 0);
    rig.repair.stop();
}

#[test]
fn the_background_puts_back_what_vanished() {
    let rig = Rig::with(Mode::Healthy, Duration::from_millis(200));
    rig.book.grant(&lock("a"), b"v");
    poll_for("the lock is there", PATIENCE, || rig.value("lock:a"));
    rig.redis.ask("DEL lock:a");
    poll_for("the lock is there again", PATIENCE, || rig.value("lock:a"));
    wait_until("it is counted", || rig.count("repairs_set") == 2);
    rig.redis.ask("SET lock:unknown u");
    wait_until("it is adopted", || rig.book.holder(&lock("unknown")).is_some());
    wait_until("a pass is complete", || rig.count("repair_passes_complete") > 0);
    rig.repair.stop();
}

/// Prints how long a pass takes and what a PING beside it waits. Run alone, in release:
/// `cargo test --release --test suite repair::passes::speed -- --ignored --nocapture`.
#[test]
#[ignore = "prints figures"]
fn speed() {
    for count in [1_000, 10_000] {
        for (what, redis_has) in [("an empty Redis", false), ("a Redis that is in line", true)] {
            measure(count, what, redis_has);
        }
    }
}

#[allow(clippy::print_stdout, reason = "the figures are what it is for")]
fn measure(count: u32, what: &str, redis_has: bool) {
    let rig = Rig::start(Mode::Recovering);
    for n in 0..count {
        let value = format!("worker-{n}:550e8400-e29b-41d4-a716-{n:012}:23-11-2026 13:20:05");
        rig.book.grant(&lock(&n.to_string()), value.as_bytes());
    }
    if redis_has {
        assert!(rig.pass());
    }
    let calm = pings(&rig, || Duration::from_millis(500), |_| {});
    let mut took = Duration::ZERO;
    let busy = pings(
        &rig,
        || Duration::ZERO,
        |ended| {
            let began = Instant::now();
            assert!(rig.pass());
            took = began.elapsed();
            ended();
        },
    );
    let (p99, longest) = busy;
    println!(
        "{count} locks, {what}: {took:.1?}; PING p99 {p99:.0?}, longest {longest:.0?} (without a \
         pass: {:.0?}, {:.0?})",
        calm.0, calm.1
    );
    rig.repair.stop();
}

/// PINGs on a connection of their own while `work` runs, at least for `least`: p99 and the longest.
fn pings(
    rig: &Rig,
    least: impl Fn() -> Duration,
    work: impl FnOnce(&dyn Fn()),
) -> (Duration, Duration) {
    use std::sync::atomic::AtomicBool;

    let (over, until) = (AtomicBool::new(false), Instant::now() + least());
    let mut client = rig.redis.client();
    let mut times = std::thread::scope(|scope| {
        let pinger = scope.spawn(|| {
            let mut times = Vec::new();
            while !over.load(Ordering::Relaxed) || Instant::now() < until {
                let began = Instant::now();
                assert_eq!(client.ask("PING"), "+PONG\r\n");
                times.push(began.elapsed());
            }
            times
        });
        work(&|| over.store(true, Ordering::Relaxed));
        over.store(true, Ordering::Relaxed);
        pinger.join().unwrap()
    });
    times.sort();
    (times[times.len() * 99 / 100], times[times.len() - 1])
}
