//! The thread against a running redis-server in every trouble that SPEC 2 names.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex};

use super::*;
use crate::config::Address;
use crate::ledger::{Ticket, Unavailable, Withdrawal};
use crate::lock::record::LockKey;
use crate::mode::{Cause, Sign};

mod server;
mod unusable;

use server::{LIMIT, Server};

/// A ledger that is in trouble when the test says so, and remembers what it was asked for.
#[derive(Default)]
struct Ledger {
    trouble: Mutex<Option<Arc<str>>>,
    notes: Mutex<Vec<Ask>>,
    full: Mutex<bool>,
}

impl Door for Ledger {
    fn submit(&self, asker: Asker, asks: Vec<Ask>) -> Result<Ticket, Unavailable> {
        assert_eq!(asker, Asker::Nobody);
        if *self.full.lock().unwrap() {
            return Err(Unavailable::Full);
        }
        self.notes.lock().unwrap().extend(asks);
        Ok(Ticket(0))
    }

    fn withdraw(&self, _: Ticket) -> Withdrawal {
        Withdrawal::Done
    }

    fn forget(&self, _: Ticket) {}

    fn trouble(&self) -> Option<Arc<str>> {
        self.trouble.lock().unwrap().clone()
    }

    fn is_releasing(&self, _: &LockKey) -> bool {
        false
    }
}

/// A health thread with a repair whose passes are complete at once.
struct Watch {
    health: Option<Health>,
    board: Arc<Board>,
    history: Arc<History>,
    ledger: Arc<Ledger>,
    reports: Reports,
    passes: Arc<Mutex<Vec<Arc<str>>>>,
    news: Arc<(Mutex<()>, Condvar)>,
}

fn settings(upstream: &Arc<Upstream>) -> Settings {
    let terms = Terms {
        recover_after: Duration::from_millis(200),
        probe_interval: Duration::from_millis(100),
        command_timeout: Duration::from_millis(300),
        needs_ledger: true,
    };
    let probe_timeout = PROBE_TIMEOUT;
    Settings {
        terms,
        probe_timeout,
        upstream: upstream.clone(),
        username: None,
        password: None,
        samples: Vec::new(),
    }
}

/// Nothing but what is reported makes it probe.
fn rarely(upstream: &Arc<Upstream>) -> Settings {
    let mut settings = settings(upstream);
    settings.terms.probe_interval = Duration::from_secs(3600);
    settings
}

impl Watch {
    fn start(settings: Settings) -> Self {
        let board = Arc::new(Board::default());
        let (history, ledger) = (Arc::new(History::default()), Arc::new(Ledger::default()));
        let reports = Reports::default();
        let passes = Arc::new(Mutex::new(Vec::new()));
        let news = Arc::new((Mutex::new(()), Condvar::new()));
        let (inlet, started, wake) = (reports.clone(), passes.clone(), news.clone());
        let callbacks = Callbacks {
            view_changed: Box::new(move || wake.1.notify_all()),
            start_pass: Box::new(move |run| {
                started.lock().unwrap().push(run.clone());
                inlet.pass_ended(run, true);
            }),
            stop_pass: Box::new(|| {}),
            closed: Box::new(|| {}),
            open: Box::new(|_, _, _| {}),
            epoch: Box::new(|| 0),
        };
        let parts = Parts {
            board: board.clone(),
            history: history.clone(),
            door: ledger.clone(),
            reports: reports.clone(),
            callbacks,
        };
        let health = Some(Health::start(settings, parts).unwrap());
        Self { health, board, history, ledger, reports, passes, news }
    }

    fn healthy(settings: Settings) -> Self {
        let watch = Self::start(settings);
        watch.until(Mode::Healthy, true);
        watch
    }

    /// Waits for a condition; it is looked at now and then, and at each new view.
    fn wait(&self, what: &str, condition: impl Fn() -> bool) {
        let (lock, wake) = &*self.news;
        let start = Instant::now();
        let mut guard = lock.lock().unwrap();
        while !condition() {
            assert!(start.elapsed() < LIMIT, "{what}: {:?}", self.history.events());
            guard = wake.wait_timeout(guard, Duration::from_millis(10)).unwrap().0;
        }
    }

    fn until(&self, mode: Mode, reachable: bool) {
        let is_so = || {
            let view = self.board.view();
            let noted = self.history.last().is_some_and(|event| event.change.to == mode);
            noted && (view.mode, view.reachable) == (mode, reachable)
        };
        self.wait(&format!("{mode:?}, reachable {reachable}"), is_so);
    }

    /// Waits for the outage, which must have been found by this sign.
    fn until_lost(&self, sign: Sign) -> Change {
        self.until(Mode::Degraded, sign.is_reachable());
        let change = self.history.last().unwrap().change;
        assert!(matches!(&change.cause, Cause::Lost(by, _) if *by == sign), "{change:?}");
        assert_eq!(self.history.lost().as_ref(), Some(&change.cause));
        change
    }

    fn modes(&self) -> Vec<Mode> {
        self.history.events().iter().map(|event| event.change.to).collect()
    }

    fn notes(&self) -> Vec<Ask> {
        self.ledger.notes.lock().unwrap().clone()
    }
}

fn seconds(change: &Change) -> f64 {
    change.detected_after.unwrap().as_secs_f64()
}

#[test]
fn from_start_over_a_kill_to_healthy_again() {
    let mut server = Server::start();
    let watch = Watch::healthy(settings(&server.upstream));
    assert_eq!(watch.modes(), [Mode::Recovering, Mode::Healthy], "at once");
    let first: Arc<str> = server.info("server", "run_id").into();
    server.kill();
    watch.until_lost(Sign::Refused);
    server.restart();
    watch.until(Mode::Healthy, true);
    let second: Arc<str> = server.info("server", "run_id").into();
    assert_ne!(first, second);
    let expected = [Ask::Healthy(first.clone()), Ask::Degraded, Ask::Healthy(second.clone())];
    assert_eq!(watch.notes(), expected);
    assert_eq!(*watch.passes.lock().unwrap(), [first, second]);
    assert_eq!(watch.history.lost(), None);
}

#[test]
fn started_without_redis_it_is_degraded_until_there_is_one() {
    let mut server = Server::away();
    let watch = Watch::start(settings(&server.upstream));
    watch.until_lost(Sign::Refused);
    assert_eq!(watch.notes(), [Ask::Degraded]);
    server.restart();
    watch.until(Mode::Healthy, true);
    use Mode::{Degraded, Healthy, Recovering};
    assert_eq!(watch.modes(), [Recovering, Degraded, Recovering, Healthy]);
}

#[test]
fn a_report_is_looked_into_at_once() {
    let mut server = Server::start();
    let watch = Watch::healthy(rarely(&server.upstream));
    server.kill();
    watch.reports.note(Report::Reset);
    let change = watch.until_lost(Sign::Refused);
    assert!(seconds(&change) < 0.5, "{change:?}");
}

#[test]
fn a_hung_process_is_found_by_its_silence() {
    let server = Server::start();
    let watch = Watch::healthy(settings(&server.upstream));
    server.signal("-STOP");
    let change = watch.until_lost(Sign::Silent);
    assert!((0.4..2.0).contains(&seconds(&change)), "{change:?}");
    let start = Instant::now();
    server.signal("-CONT");
    watch.until(Mode::Healthy, true);
    assert!(start.elapsed() >= Duration::from_millis(200), "recover_after");
}

#[test]
fn the_end_waits_for_one_probe_at_most() {
    let server = Server::start();
    let mut watch = Watch::healthy(settings(&server.upstream));
    server.signal("-STOP");
    watch.until_lost(Sign::Silent);
    let start = Instant::now();
    watch.health.take().unwrap().stop();
    assert!(start.elapsed() < LIMIT, "{:?}", start.elapsed());
}

#[test]
fn another_run_is_met() {
    let mut server = Server::start();
    let watch = Watch::healthy(rarely(&server.upstream));
    watch.reports.verify(&server.info("server", "run_id"));
    server.restart();
    watch.reports.verify(&server.info("server", "run_id"));
    watch.until(Mode::Recovering, true);
    assert_eq!(watch.history.last().unwrap().change.cause, Cause::OtherRun);
    watch.until(Mode::Healthy, true);
    use Mode::{Healthy, Recovering};
    assert_eq!(watch.modes(), [Recovering, Healthy, Recovering, Healthy]);
    let run: Arc<str> = server.info("server", "run_id").into();
    assert_eq!(watch.notes()[1..], [Ask::Degraded, Ask::Healthy(run)]);
}

#[test]
fn a_restart_that_no_probe_failed_at_is_found_by_the_broken_connection() {
    let mut server = Server::start();
    let watch = Watch::healthy(rarely(&server.upstream));
    server.restart();
    watch.reports.note(Report::ReadTimeout);
    watch.wait("another run", || watch.modes().len() == 4);
    use Mode::{Healthy, Recovering};
    assert_eq!(watch.modes(), [Recovering, Healthy, Recovering, Healthy]);
}

#[test]
fn without_a_user_a_probe_says_only_that_redis_answers() {
    let mut server = Server::start();
    server.ok("CONFIG SET requirepass secret");
    let watch = Watch::healthy(settings(&server.upstream));
    assert!(watch.notes().iter().all(|note| matches!(note, Ask::Healthy(run)
        if run.starts_with(crate::mode::UNTOLD))));
    server.ok("AUTH secret");
    let connections = |server: &mut Server| server.info("stats", "total_connections_received");
    let before = connections(&mut server);
    watch.reports.note(Report::Reset);
    let cell = Mutex::new(&mut server);
    watch.wait("a fresh probe", || connections(&mut cell.lock().unwrap()) != before);
    let probes = |server: &mut Server| server.info("commandstats", "cmdstat_ping");
    let before = probes(&mut cell.lock().unwrap());
    watch.wait("the next probe", || probes(&mut cell.lock().unwrap()) != before);
    assert_eq!(watch.modes(), [Mode::Recovering, Mode::Healthy], "the old connection stands");
    watch.reports.note(Report::Error(Sign::ReadOnly));
    watch.until_lost(Sign::ReadOnly);
    watch.until(Mode::Healthy, true);
    server.kill();
    watch.until_lost(Sign::Refused);
}

#[test]
fn with_a_password_a_probe_writes() {
    let mut server = Server::start();
    server.ok("CONFIG SET requirepass secret");
    let password = Some(Secret::new("secret"));
    let watch = Watch::healthy(Settings { password, ..settings(&server.upstream) });
    server.ok("AUTH secret");
    assert_eq!(watch.notes(), [Ask::Healthy(server.info("server", "run_id").into())]);
    server.ok("CONFIG SET maxmemory 1");
    watch.until_lost(Sign::OutOfMemory);
}

#[test]
fn a_user_without_the_right_to_write_still_sees_a_replica() {
    let mut server = Server::start();
    server.ok("ACL SETUSER health on >secret +ping +info");
    let who = Settings {
        username: Some("health".into()),
        password: Some(Secret::new("secret")),
        ..settings(&server.upstream)
    };
    let watch = Watch::healthy(who);
    server.ok("REPLICAOF 127.0.0.1 1");
    watch.until_lost(Sign::ReadOnly);
}

#[test]
fn no_room_for_the_probe_is_no_outage() {
    let mut server = Server::start();
    let watch = Watch::healthy(rarely(&server.upstream));
    server.ok("CONFIG SET maxclients 2");
    let refused = |server: &mut Server| server.info("stats", "rejected_connections");
    watch.reports.note(Report::Refused);
    let server = Mutex::new(server);
    watch.wait("a refused probe", || refused(&mut server.lock().unwrap()) == "1");
    let stats = || server.lock().unwrap().info("stats", "rejected_connections");
    watch.reports.note(Report::Refused);
    watch.wait("another one", || stats() == "2");
    assert_eq!(watch.modes(), [Mode::Recovering, Mode::Healthy]);
}

#[test]
fn without_the_ledger_it_is_blocked() {
    let server = Server::start();
    let watch = Watch::healthy(settings(&server.upstream));
    *watch.ledger.trouble.lock().unwrap() = Some("the disk is full".into());
    watch.until(Mode::Blocked, true);
    *watch.ledger.trouble.lock().unwrap() = None;
    watch.until(Mode::Healthy, true);
    let watch = Watch::healthy(rarely(&server.upstream));
    *watch.ledger.trouble.lock().unwrap() = Some("the disk is full".into());
    watch.reports.note(Report::Ledger);
    watch.until(Mode::Blocked, true);
}

#[test]
fn a_note_is_written_when_there_is_room() {
    let server = Server::start();
    let watch = Watch::healthy(rarely(&server.upstream));
    *watch.ledger.full.lock().unwrap() = true;
    watch.reports.verify("another");
    watch.wait("healthy once more", || watch.modes().len() == 4);
    assert_eq!(watch.notes().len(), 1, "{:?}", watch.notes());
    *watch.ledger.full.lock().unwrap() = false;
    watch.wait("the notes", || watch.notes().len() == 3);
    let notes = watch.notes();
    assert_eq!(notes, [notes[0].clone(), Ask::Degraded, notes[0].clone()]);
}

#[test]
fn in_calm_times_a_probe_writes_nothing() {
    let mut server = Server::start();
    let mut settings = settings(&server.upstream);
    settings.terms.probe_interval = Duration::from_millis(5);
    let watch = Watch::healthy(settings);
    let count = |server: &mut Server, what: &str| -> u64 {
        let stat = server.info("commandstats", &format!("cmdstat_{what}"));
        stat.split(['=', ',']).nth(1).unwrap().parse().unwrap()
    };
    let cell = Mutex::new(&mut server);
    watch.wait("the key of the first probe has gone", || {
        cell.lock().unwrap().ask("DBSIZE") == ":0\r\n"
    });
    let before = server.info("persistence", "rdb_changes_since_last_save");
    let sets = count(&mut server, "set");
    let cell = Mutex::new(&mut server);
    watch.wait("probes", || count(&mut cell.lock().unwrap(), "set") > sets + 20);
    assert_eq!(server.info("persistence", "rdb_changes_since_last_save"), before);
    assert_eq!(server.ask("DBSIZE"), ":0\r\n");
    assert_eq!(watch.modes(), [Mode::Recovering, Mode::Healthy]);
}

/// An upstream at a TCP port of the test's own.
fn listener() -> (TcpListener, Arc<Upstream>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let upstream = Upstream::new(Address::Tcp { host: "127.0.0.1".into(), port });
    upstream.resolve().unwrap();
    (listener, Arc::new(upstream))
}

#[test]
fn who_accepts_and_says_nothing_is_not_there() {
    let (listener, upstream) = listener();
    let watch = Watch::start(settings(&upstream));
    watch.until_lost(Sign::Silent);
    drop(listener);
    watch.wait("refused", || matches!(watch.history.lost(), Some(Cause::Lost(Sign::Refused, _))));
    assert_eq!(watch.modes(), [Mode::Recovering, Mode::Degraded], "one outage");
}

#[test]
fn who_speaks_no_resp_is_no_redis() {
    let (listener, upstream) = listener();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            // The prober may have gone.
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let watch = Watch::start(settings(&upstream));
    watch.until_lost(Sign::NotRedis);
}

/// Passes bytes on until its connection is one of those that are cut, unseen by both ends.
fn pass_on(mut from: impl Read, mut to: impl Write, is_cut: impl Fn() -> bool) {
    let mut chunk = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut chunk) {
        if !is_cut() && to.write_all(&chunk[..count]).is_err() {
            return;
        }
    }
}

/// A way to the Redis at `socket` on which the first connections, as many as the number says, can
/// be made to lose every byte.
fn lossy(socket: PathBuf) -> (Arc<Upstream>, Arc<AtomicUsize>) {
    let (listener, upstream) = listener();
    let cut = Arc::new(AtomicUsize::new(0));
    let shared = cut.clone();
    std::thread::spawn(move || {
        for (number, client) in listener.incoming().map_while(Result::ok).enumerate() {
            let redis = UnixStream::connect(&socket).unwrap();
            let (ask, reply) = (client.try_clone().unwrap(), redis.try_clone().unwrap());
            let (one, other) = (shared.clone(), shared.clone());
            let is_cut = move |cut: &AtomicUsize| number < cut.load(Ordering::SeqCst);
            std::thread::spawn(move || pass_on(ask, redis, || is_cut(&one)));
            std::thread::spawn(move || pass_on(reply, client, || is_cut(&other)));
        }
    });
    (upstream, cut)
}

#[test]
fn a_connection_that_has_died_unseen_is_no_outage() {
    let mut server = Server::start();
    let (upstream, cut) = lossy(server.directory.path().join("redis.sock"));
    let watch = Watch::healthy(settings(&upstream));
    let connections = |server: &mut Server| server.info("stats", "total_connections_received");
    let before = connections(&mut server);
    cut.store(1, Ordering::SeqCst);
    let cell = Mutex::new(&mut server);
    watch.wait("a new connection", || connections(&mut cell.lock().unwrap()) != before);
    let probes = |server: &mut Server| server.info("commandstats", "cmdstat_ping");
    let before = probes(&mut cell.lock().unwrap());
    watch.wait("the next probe", || probes(&mut cell.lock().unwrap()) != before);
    assert_eq!(watch.modes(), [Mode::Recovering, Mode::Healthy]);
    cut.store(usize::MAX, Ordering::SeqCst);
    watch.until_lost(Sign::Silent);
    cut.store(0, Ordering::SeqCst);
    watch.until(Mode::Healthy, true);
}

/// A way to the Redis at `socket` on which connections break, so many from now on, with their first
/// bytes.
fn brittle(socket: PathBuf) -> (Arc<Upstream>, Arc<AtomicUsize>) {
    let (listener, upstream) = listener();
    let breaks = Arc::new(AtomicUsize::new(0));
    let shared = breaks.clone();
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let left =
                shared.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
            if left.is_ok() {
                // What breaks it is the close that follows.
                let _ = (&client).read(&mut [0]);
                continue;
            }
            let redis = UnixStream::connect(&socket).unwrap();
            let (ask, reply) = (client.try_clone().unwrap(), redis.try_clone().unwrap());
            std::thread::spawn(move || pass_on(ask, redis, || false));
            std::thread::spawn(move || pass_on(reply, client, || false));
        }
    });
    (upstream, breaks)
}

#[test]
fn a_new_connection_that_breaks_once_is_no_outage_and_one_that_breaks_twice_is() {
    let server = Server::start();
    let (upstream, breaks) = brittle(server.directory.path().join("redis.sock"));
    let watch = Watch::healthy(rarely(&upstream));
    let before = watch.reports.good_probes();
    breaks.store(1, Ordering::SeqCst);
    watch.reports.note(Report::Reset);
    watch.wait("a good probe", || watch.reports.good_probes() > before);
    assert_eq!(breaks.load(Ordering::SeqCst), 0);
    assert_eq!(watch.modes(), [Mode::Recovering, Mode::Healthy]);
    breaks.store(usize::MAX, Ordering::SeqCst);
    watch.reports.note(Report::Reset);
    let change = watch.until_lost(Sign::Reset);
    assert!(seconds(&change) < 0.5, "{change:?}");
}
