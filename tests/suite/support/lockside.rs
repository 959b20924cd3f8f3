//! A private Lockside before a private Redis, or in direct mode a bare redis-server in its place.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use super::client::Client;
use super::process::{Process, directory, free_port};
use super::redis::Redis;
use super::wait::{PATIENCE, poll_for};

/// Name of the configuration's file in the process's directory.
const FILE: &str = "lockside.toml";

/// Names of the environment that would change a Lockside that a test starts.
const FOREIGN_SETTINGS: [&str; 19] = [
    "REDIS_URL",
    "REDIS_PERSISTENT_LOCKS",
    "REDIS_SAFETY_TTL",
    "REDIS_LOCK_TTL_SECONDS",
    "GOOGLE_SHEET_ID",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GOOGLE_APPLICATION_CREDENTIALS_JSON",
    "LOCKSIDE_STATE_DIR",
    "LOCKSIDE_CONFIG",
    "LOCKSIDE_LISTEN",
    "LOCKSIDE_UPSTREAM",
    "LOCKSIDE_THREADS",
    "LOCKSIDE_TIME_ZONE",
    "LOCKSIDE_GUARANTEE",
    "LOCKSIDE_NAMESPACE",
    "LOCKSIDE_LEDGER",
    "LOCKSIDE_LOG",
    "LOCKSIDE_LOG_FORMAT",
    "LOCKSIDE_PASSWORD",
];

/// The parts of a configuration that differ between tests; `listen` and the upstream's URL are the
/// harness's own.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Settings<'a> {
    /// Lines before the first table.
    pub(crate) top: &'a str,
    /// More lines of `[upstream]`.
    pub(crate) upstream: &'a str,
    /// Whole tables: `[limits]`, `[[rule]]`.
    pub(crate) tables: &'a str,
    /// `user:password@` of the upstream's URL, or nothing.
    pub(crate) credentials: &'a str,
    /// Words of a command that starts Lockside in its own place, or nothing.
    pub(crate) through: &'a [&'a str],
}

impl Settings<'_> {
    /// The file's text.
    pub(crate) fn text(&self, port: u16, upstream: &str) -> String {
        format!(
            "listen = [\"127.0.0.1:{port}\"]\n{}\n[upstream]\nurl = \"{upstream}\"\n{}\n{}\n",
            self.top, self.upstream, self.tables
        )
    }
}

/// True if redis-server stands in for Lockside.
pub(crate) fn direct() -> bool {
    std::env::var_os("LOCKSIDE_DIRECT").is_some_and(|value| value != "0" && !value.is_empty())
}

/// The binary under test.
pub(crate) fn binary() -> PathBuf {
    std::env::var_os("LOCKSIDE_BIN")
        .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_lockside")), PathBuf::from)
}

/// A command line of the binary under test, without settings from the environment.
pub(crate) fn command() -> Command {
    let mut command = Command::new(binary());
    for name in FOREIGN_SETTINGS {
        command.env_remove(name);
    }
    command
}

/// As `command`, started by the command line `through`.
fn command_through(through: &[String]) -> Command {
    let Some((first, rest)) = through.split_first() else { return command() };
    let mut command = Command::new(first);
    command.args(rest).arg(binary());
    for name in FOREIGN_SETTINGS {
        command.env_remove(name);
    }
    command
}

/// What a test's clients connect to.
pub(crate) struct Subject {
    process: Option<Process>,
    port: u16,
    through: Vec<String>,
}

impl Subject {
    /// Lockside before `redis` with the default rule and limits.
    pub(crate) fn start(redis: &Redis) -> Self {
        Self::with(redis, Settings::default())
    }

    /// Lockside before `redis`, as configured. In direct mode: `redis` itself.
    pub(crate) fn with(redis: &Redis, settings: Settings<'_>) -> Self {
        Self::before(redis.port(), settings)
    }

    /// Lockside before whatever leads to a Redis at this port of 127.0.0.1. In direct mode: that.
    pub(crate) fn before(upstream: u16, settings: Settings<'_>) -> Self {
        if direct() {
            return Self { process: None, port: upstream, through: Vec::new() };
        }
        (0..3).find_map(|_| Self::attempt(upstream, settings)).expect("lockside starts")
    }

    fn attempt(upstream: u16, settings: Settings<'_>) -> Option<Self> {
        let (port, directory) = (free_port(), directory("lockside"));
        let url = format!("redis://{}127.0.0.1:{upstream}", settings.credentials);
        std::fs::write(directory.path().join(FILE), settings.text(port, &url)).unwrap();
        let through: Vec<String> = settings.through.iter().map(|&word| word.to_owned()).collect();
        let process = Self::launch(port, &through, Arc::new(directory), b"PING\r\n")?;
        Some(Self { process: Some(process), port, through })
    }

    /// One try with the configuration and the state of `directory`, up to an answer to `probe`;
    /// none if the port was taken.
    fn launch(
        port: u16,
        through: &[String],
        directory: Arc<TempDir>,
        probe: &[u8],
    ) -> Option<Process> {
        let mut command = command_through(through);
        command.arg("--config").arg(directory.path().join(FILE));
        command.env("LOCKSIDE_STATE_DIR", directory.path().join("state"));
        let mut process = Process::start_in("lockside", &mut command, directory);
        poll_for("lockside answers", PATIENCE, || {
            if let Some(code) = process.exit_code() {
                let output = process.output();
                assert!(output.contains("in use"), "lockside ended with {code}: {output}");
                return Some(None); // the port was taken
            }
            let mut client = Client::attempt(port).ok()?;
            client.try_send(probe).ok()?;
            client.frame_within(Duration::from_secs(5)).ok().map(Some)
        })?;
        Some(process)
    }

    /// Ends Lockside as a crash does.
    pub(crate) fn kill(&mut self) {
        let Some(process) = self.process.as_mut() else { return };
        process.signal("KILL");
        poll_for("lockside has ended", PATIENCE, || process.exit_code());
    }

    /// Starts Lockside again after `kill`: the same port, configuration and state directory.
    pub(crate) fn start_again(&mut self) {
        let Some(directory) = self.process.as_ref().map(Process::directory) else { return };
        // Answered by Lockside itself, whatever its Redis does.
        let probe = b"LOCKSIDE MODE\r\n";
        let launched =
            (0..3).find_map(|_| Self::launch(self.port, &self.through, directory.clone(), probe));
        self.process = Some(launched.expect("lockside starts again at its port"));
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Lockside's process; none in direct mode.
    pub(crate) fn process(&self) -> Option<&Process> {
        self.process.as_ref()
    }

    /// As `process`, to wait for its end.
    pub(crate) fn process_mut(&mut self) -> Option<&mut Process> {
        self.process.as_mut()
    }

    /// False in direct mode: then what only Lockside does is not there.
    pub(crate) fn is_lockside(&self) -> bool {
        self.process.is_some()
    }

    /// A new connection.
    pub(crate) fn client(&self) -> Client {
        Client::connect(self.port)
    }
}
