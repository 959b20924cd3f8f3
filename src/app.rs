//! Builds every part from the settings, starts them, and drains them in order. The only place
//! that knows all parts.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use tokio::signal::unix::{SignalKind, signal};

use crate::config::{Address, LedgerKind, Listen, Settings};
use crate::degraded::auth::Doorman;
use crate::degraded::{self, Companions};
use crate::ledger::Door;
use crate::ledger::committer::MOST_SIDECARS;
use crate::ledger::presence::Presence;
use crate::ledger::store::OpenError;
use crate::ledger::thread::Ledger;
use crate::mode::Mode;
use crate::resp::request;
use crate::scripts::{Bounds, Scripts};
use crate::session::{Clock, Locals, Replicas, Shared, Stamper};
use crate::upstream::Upstream;
use crate::worker::{Common, Limits, Listener, Mailbox, Worker};

mod parts;
mod start;
pub(crate) mod store;
mod sweep;

use parts::Menders;
use start::{Foundation, Guards, ledger, stop_ledger};
use sweep::Sweeper;

/// How often the upstream's name is looked up again, and locks that ran out and have no claim are
/// forgotten.
const HOUSEKEEPING: Duration = Duration::from_secs(5);
/// Longest wait for the first probe and repair pass before clients are served.
const FIRST_MODE: Duration = Duration::from_secs(1);
/// Commands that wait for one link before its client is not read any more.
const UPSTREAM_OUTPUT: usize = 256 * 1024;
/// An unfinished command above this is passed on as it comes, where it may be.
const STREAM_ABOVE: usize = 32 * 1024;
/// How long a connection whose client has gone waits for Redis to close its end.
const LINGER: Duration = Duration::from_secs(5);

/// Serves clients until SIGTERM or SIGINT, then lets what is in flight finish.
pub fn run(settings: Settings) -> ExitCode {
    match serve(settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Why the process could not start or go on.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("can't listen at {place}: {error}; is another process there? see `listen`")]
    Listen { place: String, error: io::Error },
    #[error("listen and upstream are both {place}; the upstream must be a Redis")]
    Loop { place: String },
    #[error("can't use the state directory {place}: {error}; see `state_dir`")]
    State { place: String, error: io::Error },
    #[error("can't use the ledger {place}: {error}")]
    Ledger { place: String, error: OpenError },
    #[error("a lockside command has the ledger {place} to itself; try again when it has ended")]
    Occupied { place: String },
    #[error("can't start: {0}")]
    Start(#[from] io::Error),
    #[error(
        "{MOST_SIDECARS} other sidecars use the spreadsheet, and Google's quota is not enough for more: this \
         one ends. Let several services of a machine share one Lockside, or give some of them another \
         spreadsheet and another service account, with a namespace and a Redis of their own"
    )]
    Surplus,
    #[error("a worker has died: {0}")]
    Worker(String),
}

fn serve(settings: Settings) -> Result<(), Failure> {
    let origin = Instant::now();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Held until the end of the process.
    let mut presence = presence(&settings)?;
    // Of a sheet it says nothing: others may write to it from elsewhere.
    let was_alone = settings.ledger.kind == LedgerKind::Sqlite
        && presence.as_ref().is_some_and(Presence::was_alone);
    let foundation = Foundation::new(&settings, was_alone);
    let ledger = ledger(&settings, &foundation)?;
    if ledger.trouble().is_some() {
        // Others may begin before it is read.
        ledger.may_have_company();
    }
    presence.iter_mut().for_each(Presence::begun);
    let common = Arc::new(common(&settings, &foundation, &ledger)?);
    if let Err(error) = common.upstream.resolve() {
        tracing::warn!(upstream = %common.upstream.address(), %error, "can't look up the upstream");
    }
    refuse_loop(&settings, &common.upstream)?;
    let places = claim_places(&settings)?;
    let guards = Guards::start(&settings, &foundation, &common, &ledger)?;
    await_first_mode(&foundation);
    let mut crew = Vec::new();
    for index in 0..settings.threads {
        let listeners = listeners(&places, settings.threads, index)?;
        let worker = Worker::new(index, common.clone(), listeners, settings.held_cache, origin)?;
        crew.push(spawn(index, worker)?);
    }
    let listening: Vec<String> = settings.listen.iter().map(ToString::to_string).collect();
    tracing::info!(
        listen = listening.join(", "),
        upstream = %common.upstream.address(),
        workers = settings.threads,
        rules = common.shared.rules.len(),
        guarantee = settings.guarantee.word(),
        version = env!("CARGO_PKG_VERSION"),
        "serving"
    );
    let sweeper = Sweeper::new(&settings.rules, settings.ledger.max_clock_skew);
    let watched = runtime.block_on(watch(&common, &crew, &sweeper, &ledger));
    let drained = drain(&common, crew);
    guards.stop();
    stop_ledger(ledger, settings.drain_timeout);
    watched.and(drained)
}

fn common(
    settings: &Settings,
    foundation: &Foundation,
    ledger: &Arc<Ledger>,
) -> Result<Common, Failure> {
    let limits = &settings.limits;
    let place = settings.state_dir.join("scripts");
    let bounds = Bounds { count: limits.script_texts, bytes: limits.script_bytes };
    let scripts = Scripts::open(&place, bounds)
        .map_err(|error| Failure::State { place: place.display().to_string(), error })?;
    let doorman = Doorman::open(settings).map_err(|error| Failure::State {
        place: settings.state_dir.display().to_string(),
        error,
    })?;
    let clock = Clock { unix_ms, random };
    let shared = Shared {
        rules: settings.rules.clone(),
        table: foundation.table.clone(),
        scripts,
        stamper: Stamper::new(settings.time_zone.clone()),
        clock,
        request_limits: request::Limits {
            max_bulk: limits.max_bulk as u64,
            max_args: u32::try_from(limits.max_args).unwrap_or(u32::MAX),
            max_inline: limits.max_inline,
        },
        stream_above: STREAM_ABOVE,
        max_lock_value: limits.lock_value,
        max_computed_argument: limits.client_output,
        max_captured: limits.client_buffer,
        door: ledger.clone(),
        guarantee: settings.guarantee,
        fence_counter: crate::ledger::fence_counter(&settings.namespace).into(),
        board: foundation.board.clone(),
        history: foundation.history.clone(),
        reports: foundation.reports.clone(),
        repairs: Arc::new(Menders {
            dirty: foundation.dirty.clone(),
            unheard: foundation.unheard.clone(),
            counters: foundation.counters.clone(),
            observed: foundation.observed.clone().map(|it| (it, foundation.outlook.clone())),
        }),
        companions: Companions::new(degraded::Bounds::default()),
        locals: Locals::default(),
        gate: Arc::new(doorman),
        bell: foundation.postman.clone(),
        replicas: Replicas {
            least: settings.upstream.min_replicas,
            within: settings.upstream.replica_timeout,
        },
        acquire_timeout: settings.ledger.acquire_timeout,
        release_wait: settings.ledger.release_wait,
        command_timeout: settings.upstream.command_timeout,
        upstream: settings.upstream.address.to_string().into(),
        started_ms: unix_ms(),
    };
    Ok(Common {
        shared,
        upstream: foundation.upstream.clone(),
        limits: Limits {
            max_clients: limits.max_clients,
            client_buffer: limits.client_buffer,
            client_output: limits.client_output,
            upstream_output: UPSTREAM_OUTPUT,
            // Each worker counts its own.
            total_buffer: limits.total_buffer / settings.threads,
            connect_timeout: settings.upstream.connect_timeout,
            linger: LINGER,
            drain_timeout: settings.drain_timeout,
        },
        clients: AtomicUsize::new(0),
        draining: AtomicBool::new(false),
        mail: foundation.postman.mail.clone(),
    })
}

/// Gives the first repair pass a moment, so that clients meet a mode that stays. Nothing depends on
/// it: what is recovering is served as in an outage.
fn await_first_mode(foundation: &Foundation) {
    let until = Instant::now() + FIRST_MODE;
    while foundation.board.view().mode == Mode::Recovering {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        // Woken when the mode changes.
        std::thread::park_timeout(left);
    }
}

/// A Lockside that is its own Redis would connect to itself until nothing is left.
fn refuse_loop(settings: &Settings, upstream: &Upstream) -> Result<(), Failure> {
    let own = |place: &&Listen| match place {
        Listen::Tcp(address) => upstream.is_at(*address),
        Listen::Unix(path) => *upstream.address() == Address::Unix(path.clone()),
    };
    match settings.listen.iter().find(own) {
        Some(place) => Err(Failure::Loop { place: place.to_string() }),
        None => Ok(()),
    }
}

/// Tells `lockside eject` and others that a sidecar serves from this ledger.
fn presence(settings: &Settings) -> Result<Option<Presence>, Failure> {
    let path = &settings.ledger.path;
    match Presence::serve(path) {
        Ok(None) => Err(Failure::Occupied { place: path.display().to_string() }),
        Ok(there) => Ok(there),
        Err(error) => {
            tracing::warn!(ledger = %path.display(), %error, "can't tell others that this serves");
            Ok(None)
        }
    }
}

/// Where to listen, with ports chosen. Workers share a port by SO_REUSEPORT, which would let
/// another process share it too, unseen: so each port is bound alone for a moment first.
fn claim_places(settings: &Settings) -> Result<Vec<Listen>, Failure> {
    let claim = |place: &Listen| match place {
        Listen::Tcp(address) if settings.threads > 1 => {
            let failed = |error| Failure::Listen { place: place.to_string(), error };
            let alone = Listener::tcp(*address, false).map_err(failed)?;
            Ok(Listen::Tcp(alone.local_addr().unwrap_or(*address)))
        }
        place => Ok(place.clone()),
    };
    settings.listen.iter().map(claim).collect()
}

/// The listeners of one worker. Workers share a TCP port; a unix socket has one owner.
fn listeners(places: &[Listen], threads: usize, worker: usize) -> Result<Vec<Listener>, Failure> {
    let mut listeners = Vec::new();
    for place in places {
        let listener = match place {
            Listen::Tcp(address) => Listener::tcp(*address, threads > 1),
            Listen::Unix(path) if worker == 0 => Listener::unix(path),
            Listen::Unix(_) => continue,
        };
        let failed = |error| Failure::Listen { place: place.to_string(), error };
        listeners.push(listener.map_err(failed)?);
    }
    Ok(listeners)
}

type Hand = JoinHandle<io::Result<usize>>;

fn spawn(index: usize, worker: Worker) -> io::Result<Hand> {
    std::thread::Builder::new().name(format!("worker-{index}")).spawn(move || worker.run())
}

/// The control thread: waits for the end, and keeps the upstream's address fresh.
async fn watch(
    common: &Arc<Common>,
    crew: &[Hand],
    sweeper: &Sweeper,
    ledger: &Ledger,
) -> Result<(), Failure> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut again = tokio::time::interval(HOUSEKEEPING);
    let mut sweeps = tokio::time::interval(sweeper.period());
    sweeps.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = sweeps.tick() => sweeper.sweep(&common.shared),
            _ = again.tick() => {
                if crew.iter().any(Hand::is_finished) {
                    return Ok(());
                }
                if ledger.is_surplus() {
                    return Err(Failure::Surplus);
                }
                common.shared.table.forget_expired(unix_ms());
                resolve_again(common);
            }
        }
    }
}

/// Off this thread: a name server may take its time.
fn resolve_again(common: &Arc<Common>) {
    if matches!(common.upstream.address(), Address::Tcp { host, .. }
        if host.parse::<std::net::IpAddr>().is_err())
    {
        let common = common.clone();
        tokio::task::spawn_blocking(move || {
            if let Err(error) = common.upstream.resolve() {
                tracing::warn!(%error, "can't look up the upstream; its last address stays");
            }
        });
    }
}

fn drain(common: &Common, crew: Vec<Hand>) -> Result<(), Failure> {
    tracing::info!(clients = common.clients.load(Ordering::Relaxed), "draining");
    common.draining.store(true, Ordering::Release);
    common.mail.iter().for_each(Mailbox::wake);
    let mut cut_off = 0;
    for worker in crew {
        let result = worker.join().map_err(|_| Failure::Worker("it panicked".into()))?;
        cut_off += result.map_err(|error| Failure::Worker(error.to_string()))?;
    }
    if cut_off > 0 {
        tracing::warn!(connections = cut_off, "drain_timeout has passed; connections were cut off");
    }
    tracing::info!("stopped");
    Ok(())
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// 64 bits that nobody can guess and that do not repeat: SipHash of a counter under a key that the
/// system chose once. Asking the system for each would cost every acquire a system call.
fn random() -> u64 {
    static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    static COUNT: AtomicU64 = AtomicU64::new(0);
    KEY.hash_one(COUNT.fetch_add(1, Ordering::Relaxed))
}
