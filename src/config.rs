//! File, environment and flags into typed settings that are already valid.
//!
//! Sits before everything: nothing binds a port, opens a file or connects until
//! [`Settings::load`] has answered. It must not open connections itself. A key of the file, its
//! default and the reason for it stand in this file; `file` reads TOML, `environment` reads
//! variables and flags, `text` reads durations and sizes, `address` reads where to listen and
//! where Redis is. Later sources override earlier ones: file, environment, flags (SPEC 10).

use std::path::PathBuf;
use std::time::Duration;

use jiff::tz::TimeZone;

use crate::ledger::Guarantee;
use crate::lock::rule::{self, Rules};

pub mod address;
mod environment;
mod file;
pub mod ledger;
pub mod observe;
pub mod problem;
pub mod projection;
pub mod sheet;
mod source;
pub mod text;
pub mod user;
mod values;

pub use address::{Address, Listen, Secret};
pub use environment::{Overrides, VARIABLES};
pub use ledger::{Conflict, Ledger, LedgerKind};
pub use observe::Observe;
pub use problem::{Place, Problem, Problems};
pub use projection::Projection;
pub use sheet::Sheet;
pub use source::Sources;
pub use user::{PasswordDigest, User};

/// A configuration by example: every key with its default. A test holds it to the defaults. Keys
/// that have none stand behind a `#` without a space.
pub const EXAMPLE: &str = include_str!("config/example.toml");

/// Exit code of the process for a bad configuration: `EX_USAGE` of `sysexits.h`.
pub const EXIT_BAD_CONFIGURATION: u8 = 64;

/// Everything that can be configured, valid.
///
/// `Debug` shows no password.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Where clients connect. Never empty.
    pub listen: Vec<Listen>,
    /// Worker threads, 1 to [`MAX_THREADS`]. One worker serves a sidecar's traffic; more cost
    /// memory and wake-ups.
    pub threads: usize,
    /// Directory of what must survive a restart. Not created by the configuration.
    pub state_dir: PathBuf,
    /// Zone of the timestamps in stored values (SPEC 4).
    pub time_zone: TimeZone,
    /// How long a nil answers for the next acquire of the same key (SPEC 3); zero is off.
    pub held_cache: Duration,
    /// How long an orderly exit may take before what is left is cut off.
    pub drain_timeout: Duration,
    /// What an OK means (SPEC 2).
    pub guarantee: Guarantee,
    /// Names the upstream (SPEC 1): sidecars of one namespace see one Redis. A ledger keeps it,
    /// and refuses another.
    pub namespace: String,
    /// Who is right when Redis and the ledger name two holders (SPEC 7).
    pub conflict: Conflict,
    /// The Redis behind.
    pub upstream: Upstream,
    /// The durable record of locks.
    pub ledger: Ledger,
    /// What people see in a spreadsheet.
    pub projection: Projection,
    /// How locks are followed that others put into Redis directly.
    pub observe: Observe,
    /// Who may use locks while Redis can't be asked, besides those that it was seen to accept.
    pub users: Vec<User>,
    /// What bounds memory and input (SPEC 9).
    pub limits: Limits,
    /// What is logged, and how.
    pub log: Log,
    /// Lock rules, in their order, with [`Limits::lock_key`] applied.
    pub rules: Rules,
    /// What the operator should know though it is no error: one WARN line each at start.
    pub warnings: Vec<String>,
}

/// Most worker threads.
pub const MAX_THREADS: usize = 64;

/// The Redis behind Lockside, and how long to wait for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// Where it listens.
    pub address: Address,
    /// User of Lockside's own links. Clients' links authenticate as their clients do.
    pub username: Option<String>,
    /// Password of Lockside's own links.
    pub password: Option<Secret>,
    /// Longest wait for a connection.
    pub connect_timeout: Duration,
    /// Longest wait for one step of a lock command. Other commands may take as long as they do.
    pub command_timeout: Duration,
    /// How long probes must have been good before Redis is used again, and within what time two
    /// write time-outs are an outage: a flapping Redis does not make the mode flap (SPEC 2).
    pub recover_after: Duration,
    /// How often Redis is probed.
    pub probe_interval: Duration,
    /// Longest wait for a probe's answer.
    pub probe_timeout: Duration,
    /// How often all locks in Redis are compared with the ledger in the background (SPEC 7).
    pub repair_interval: Duration,
    /// Replicas that must have an acquire before it is claimed (SPEC 10); 0 is off.
    pub min_replicas: usize,
    /// How long an acquire waits for them. Below `command_timeout` where they are asked for.
    pub replica_timeout: Duration,
}

/// Namespace where none is configured.
pub const DEFAULT_NAMESPACE: &str = "default";

/// What bounds memory and input (SPEC 9). Past a limit the client concerned gets a clear error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Client connections at a time. Redis's default.
    pub max_clients: usize,
    /// Bytes of one bulk argument. Redis's `proto-max-bulk-len`.
    pub max_bulk: usize,
    /// Arguments of one command. Redis's own bound.
    pub max_args: usize,
    /// Bytes of one inline line. Redis's own bound.
    pub max_inline: usize,
    /// Bytes of an unfinished command of one client, as Redis's `client-query-buffer-limit`; also
    /// of one reply to a command on lock keys, which has to be read as a whole.
    pub client_buffer: usize,
    /// Bytes that wait for one client to read; past it Lockside stops reading that client's
    /// upstream link, so a slow reader slows itself alone.
    pub client_output: usize,
    /// Bytes buffered for all clients together.
    pub total_buffer: usize,
    /// Bytes of a lock's value; a longer value passes through and is no lock.
    pub lock_value: usize,
    /// Bytes of a lock key; a longer key passes through and is no lock.
    pub lock_key: usize,
    /// Locks in the table; past it an acquire gets `-OOM lockside: ...`.
    pub locks: usize,
    /// Scripts whose text is kept, so that EVALSHA can run in an envelope.
    pub script_texts: usize,
    /// Bytes of all kept script texts together.
    pub script_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        const KIB: usize = 1024;
        const MIB: usize = 1024 * KIB;
        Self {
            max_clients: 10_000,
            max_bulk: 512 * MIB,
            max_args: 1_048_576,
            max_inline: 64 * KIB,
            client_buffer: 1024 * MIB,
            client_output: MIB,
            total_buffer: 2048 * MIB,
            lock_value: 4 * KIB,
            lock_key: rule::DEFAULT_MAX_KEY,
            locks: 1_000_000,
            script_texts: 10_000,
            script_bytes: 16 * MIB,
        }
    }
}

/// What is logged, and how. Logs go to standard error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// Lines for people or for machines.
    pub format: LogFormat,
    /// A level (`error`, `warn`, `info`, `debug`, `trace`), or `tracing` directives such as
    /// `info,lockside::worker=debug`. Checked to parse.
    pub level: String,
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: "info".into() }
    }
}

/// Form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Settings {
    /// Reads all sources in their order: file, environment, flags.
    ///
    /// # Errors
    /// Every problem found, in the order of the sources and of the lines; never just the first.
    pub fn load(sources: &Sources) -> Result<Self, Problems> {
        let mut draft = source::Draft::new(sources);
        let mut problems = Problems::default();
        file::apply(&mut draft, sources, &mut problems);
        environment::apply(&mut draft, sources, &mut problems);
        problems.into_result()?;
        Ok(draft.finish())
    }
}

impl Default for Settings {
    /// What holds with no file, no environment and no flag.
    fn default() -> Self {
        source::Draft::new(&Sources::default()).finish()
    }
}

impl Default for Upstream {
    /// Redis on this machine, port 6379.
    fn default() -> Self {
        Self {
            address: Address::Tcp { host: "127.0.0.1".into(), port: 6379 },
            username: None,
            password: None,
            connect_timeout: Duration::from_secs(1),
            command_timeout: Duration::from_secs(5),
            recover_after: Duration::from_secs(1),
            probe_interval: Duration::from_millis(500),
            probe_timeout: Duration::from_secs(1),
            repair_interval: Duration::from_secs(60),
            min_replicas: 0,
            replica_timeout: Duration::from_secs(1),
        }
    }
}

#[cfg(test)]
mod tests;
