//! Starts what runs beside the workers, and ends it: the ledger, the health and the repair thread.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::Settings;
use crate::degraded::auth::{DEFAULT_USER, Proof, Who};
use crate::health::{self, Health, Reports};
use crate::ledger::thread::{self, Ledger};
use crate::ledger::{Guarantee, Start};
use crate::lock::rule::Rules;
use crate::mode::{self, Board, History};
use crate::repair::{self, Counters, Databases, Dirty, Observed, Policy, Repair, Unheard};
use crate::table::Table;
use crate::upstream::Upstream;
use crate::upstream::tracker::{self, Outlook, Tracker};
use crate::worker::Common;

use super::parts::{Follower, Ledgers, Passes, Postman, Scout};
use super::store::{place, store, timing};
use super::{Failure, unix_ms};

/// What several parts share, made before any of them.
pub(super) struct Foundation {
    pub(super) table: Arc<Table>,
    pub(super) board: Arc<Board>,
    pub(super) history: Arc<History>,
    pub(super) reports: Reports,
    pub(super) dirty: Arc<Dirty>,
    pub(super) unheard: Arc<Unheard>,
    /// Nobody else served from the ledger when this process began.
    pub(super) was_alone: bool,
    pub(super) databases: Arc<Databases>,
    pub(super) counters: Arc<Counters>,
    pub(super) postman: Arc<Postman>,
    pub(super) upstream: Arc<Upstream>,
    /// What is followed of locks that others put into Redis, where rules are observed...
    pub(super) observed: Option<Observed>,
    /// ...and how.
    pub(super) outlook: Arc<Outlook>,
}

impl Foundation {
    pub(super) fn new(settings: &Settings, was_alone: bool) -> Self {
        let mail = (0..settings.threads).map(|_| crate::worker::Mailbox::default()).collect();
        let databases = Arc::<Databases>::default();
        let unheard = Arc::<Unheard>::default();
        if settings.guarantee == Guarantee::Fast {
            unheard.begin();
        }
        Self {
            unheard,
            was_alone,
            table: Arc::new(Table::new(settings.limits.locks)),
            board: Arc::default(),
            history: Arc::default(),
            reports: Reports::default(),
            dirty: Arc::default(),
            counters: Arc::default(),
            postman: Arc::new(Postman { mail, main: std::thread::current() }),
            upstream: Arc::new(Upstream::new(settings.upstream.address.clone())),
            observed: observed(settings, &databases),
            databases,
            outlook: Arc::default(),
        }
    }
}

/// What is followed of locks that others put into Redis directly; none where no rule is observed.
/// Searches go through the databases that are observed.
fn observed(settings: &Settings, databases: &Databases) -> Option<Observed> {
    settings.rules.iter().any(|(_, rule)| rule.observe).then(|| {
        let observed = &settings.observe.databases;
        observed.iter().for_each(|db| databases.note(*db));
        Observed {
            databases: Arc::new(observed.clone()),
            watched: Arc::default(),
            origin: Instant::now(),
        }
    })
}

/// Follows what others change.
fn tracker(settings: &Settings, foundation: &Foundation) -> io::Result<Option<Tracker>> {
    let Some(observed) = &foundation.observed else { return Ok(None) };
    let scout = Scout {
        rules: Arc::new(settings.rules.clone()),
        observed: observed.clone(),
        dirty: foundation.dirty.clone(),
        reports: foundation.reports.clone(),
    };
    let settings = tracker::Settings {
        upstream: foundation.upstream.clone(),
        username: settings.upstream.username.clone(),
        password: settings.upstream.password.clone(),
        connect_timeout: settings.upstream.connect_timeout,
        command_timeout: settings.upstream.command_timeout,
        prefixes: tracker::prefixes(&settings.rules),
    };
    Tracker::start(settings, Arc::new(scout), foundation.outlook.clone()).map(Some)
}

/// Opens the ledger; the table knows all its locks when this returns.
pub(super) fn ledger(settings: &Settings, foundation: &Foundation) -> Result<Arc<Ledger>, Failure> {
    let times = &settings.ledger;
    let failed = |error| Failure::Ledger { place: place(times), error };
    let terms = Start {
        format: crate::ledger::entry::FORMAT,
        namespace: settings.namespace.as_str().into(),
        guarantee: settings.guarantee,
        upstream: settings.upstream.address.to_string().into(),
        writer: writer().into(),
        at_ms: unix_ms(),
    };
    let (timing, store) = (timing(settings), store(settings));
    let settings = thread::Settings {
        timing,
        stall_after: times.stall_after,
        was_alone: foundation.was_alone,
        ..thread::Settings::new(terms)
    };
    let follower = Arc::new(Follower {
        table: foundation.table.clone(),
        dirty: foundation.dirty.clone(),
        board: foundation.board.clone(),
    });
    let ledger = Ledger::start(settings, store, foundation.postman.clone(), follower);
    ledger.map(Arc::new).map_err(failed)
}

/// Who writes, for people: host and process.
fn writer() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}:{}", host.trim(), std::process::id())
}

/// Writes what waits, then ends the log.
pub(super) fn stop_ledger(ledger: Arc<Ledger>, within: Duration) {
    if let Err(error) = ledger.stop(within) {
        tracing::error!("{error}");
    }
}

/// What the health thread asks Redis about.
fn samples(rules: &Rules) -> Vec<health::Sample> {
    rules.samples().into_iter().map(|(rule, keys)| (rule.into(), keys)).collect()
}

/// The threads that look after Redis.
pub(super) struct Guards {
    health: Health,
    repair: Arc<Repair>,
    tracker: Option<Tracker>,
}

impl Guards {
    pub(super) fn start(
        settings: &Settings,
        foundation: &Foundation,
        common: &Arc<Common>,
        ledger: &Arc<Ledger>,
    ) -> Result<Self, Failure> {
        let interval = match foundation.observed {
            Some(_) => settings.upstream.repair_interval.min(settings.observe.scan),
            None => settings.upstream.repair_interval,
        };
        let repair = Repair::start(repair::Parts {
            upstream: settings.upstream.clone(),
            policy: Policy {
                rules: Arc::new(settings.rules.clone()),
                guarantee: settings.guarantee,
                conflict: settings.conflict,
                fence_counter: crate::ledger::fence_counter(&settings.namespace),
            },
            truth: Arc::new(Ledgers { ledger: ledger.clone(), table: foundation.table.clone() }),
            door: ledger.clone(),
            board: foundation.board.clone(),
            dirty: foundation.dirty.clone(),
            unheard: foundation.unheard.clone(),
            was_alone: foundation.was_alone,
            databases: foundation.databases.clone(),
            counters: foundation.counters.clone(),
            events: Arc::new(Passes(foundation.reports.clone())),
            interval,
            unix_ms,
            observed: foundation.observed.clone(),
        })?;
        let repair = Arc::new(repair);
        let (postman, starts, stops) = (foundation.postman.clone(), repair.clone(), repair.clone());
        let gate = common.shared.gate.clone();
        let (opened, known) = (gate.clone(), gate.clone());
        const STRANGER: Who<'_> = Who { user: DEFAULT_USER, proof: Proof::Nothing };
        let health = Health::start(
            health::Settings {
                terms: mode::Terms {
                    recover_after: settings.upstream.recover_after,
                    probe_interval: settings.upstream.probe_interval,
                    command_timeout: settings.upstream.command_timeout,
                    needs_ledger: settings.guarantee == Guarantee::Strict,
                },
                probe_timeout: settings.upstream.probe_timeout,
                upstream: common.upstream.clone(),
                username: settings.upstream.username.clone(),
                password: settings.upstream.password.clone(),
                samples: samples(&settings.rules),
            },
            health::Parts {
                board: foundation.board.clone(),
                history: foundation.history.clone(),
                door: ledger.clone(),
                reports: foundation.reports.clone(),
                callbacks: health::Callbacks {
                    view_changed: Box::new(move || postman.wake_all()),
                    start_pass: Box::new(move |run| starts.start_pass(run)),
                    stop_pass: Box::new(move || stops.cancel_pass()),
                    closed: Box::new(move || gate.saw_refused(STRANGER, None)),
                    open: Box::new(move |rule, denied, since| {
                        opened.saw_use(STRANGER, rule, since);
                        opened.saw_rights(STRANGER, rule, denied);
                    }),
                    epoch: Box::new(move || known.epoch()),
                },
            },
        )?;
        let tracker = tracker(settings, foundation)?;
        Ok(Self { health, repair, tracker })
    }

    pub(super) fn stop(self) {
        if let Some(tracker) = self.tracker {
            tracker.stop();
        }
        self.health.stop();
        // The callbacks of the health thread had the other handles.
        if let Some(repair) = Arc::into_inner(self.repair) {
            repair.stop();
        }
    }
}
