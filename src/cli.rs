//! Arguments into a running process, a check, or a question to a running one.
//!
//! Sits behind `main`: reads the command line, has `config` read the settings, and hands them to
//! the caller's `run`, or does a subcommand itself. Standard output carries answers, standard
//! error what went wrong. It must not serve clients.

use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{self, Overrides, Settings, Sources};
use crate::telemetry;

mod adopt;
mod advice;
mod ask;
mod check;
mod eject;
mod ledger;
mod locks;
mod release;
mod survey;
mod table;

/// A Redis-protocol sidecar that turns SET NX locks into long-lived, crash-safe locks.
///
/// Without a subcommand it runs: clients connect to it in place of Redis. It needs no
/// configuration to serve 127.0.0.1:6380 before a Redis at 127.0.0.1:6379.
#[derive(Parser)]
#[command(version, after_help = EXAMPLES, args_conflicts_with_subcommands = false)]
struct Cli {
    #[command(flatten)]
    overrides: Overrides,
    #[command(subcommand)]
    command: Option<Command>,
}

const EXAMPLES: &str = "\
Examples:
  lockside                                       127.0.0.1:6380 before 127.0.0.1:6379
  lockside --upstream redis://redis:6379 --listen 0.0.0.0:6380
  lockside example-config > lockside.toml        every key with its default
  lockside check --config lockside.toml          is it valid, do Redis and the disk fit
  lockside locks 'lock:orders:*'                 who holds what
  lockside release lock:orders:17                free a lock whose holder is gone
  lockside adopt --dry-run                       locks in Redis that no Lockside knows
  lockside ledger export locks.jsonl             the ledger's locks, with their secrets

Environment: LOCKSIDE_CONFIG, LOCKSIDE_LISTEN, LOCKSIDE_UPSTREAM (or REDIS_URL),
LOCKSIDE_THREADS, LOCKSIDE_STATE_DIR, LOCKSIDE_TIME_ZONE, LOCKSIDE_GUARANTEE,
LOCKSIDE_NAMESPACE, LOCKSIDE_LEDGER (its file), LOCKSIDE_LOG (level), LOCKSIDE_LOG_FORMAT,
REDIS_PERSISTENT_LOCKS, REDIS_SAFETY_TTL, REDIS_LOCK_TTL_SECONDS, GOOGLE_SHEET_ID,
GOOGLE_APPLICATION_CREDENTIALS (a path), GOOGLE_APPLICATION_CREDENTIALS_JSON (the key).
Flags override the environment, and that overrides the file.

Exit codes: 0 done, 1 no, 2 can't reach, 64 wrong arguments or configuration.";

#[derive(Subcommand)]
enum Command {
    /// Checks the configuration, the Redis behind and the ledger's place: one line a finding
    #[command(after_help = "Example:\n  lockside check --probe --writers 4 --exchanges 20\n\
                      Exit codes: 0 nothing failed, 1 something did, 64 bad configuration, or nothing \
                      to probe.")]
    Check(check::Options),
    /// Lists the locks that a running Lockside knows of
    #[command(after_help = "Example:\n  lockside locks 'lock:orders:*' --json")]
    Locks {
        /// Only locks whose key matches this glob, as in Redis's KEYS
        glob: Option<String>,
        /// One JSON array for machines
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        target: Target,
    },
    /// Shows who holds a lock
    #[command(after_help = "Exit codes: 0 held, 1 not held, 2 can't reach.")]
    Owner {
        /// The lock's key
        key: String,
        /// One JSON object (or null) for machines
        #[arg(long)]
        json: bool,
        /// The key's database
        #[arg(long, value_name = "N", default_value_t = 0)]
        db: u32,
        #[command(flatten)]
        target: Target,
    },
    /// Releases a lock whose holder is gone; nothing happens if the holder changes meanwhile
    #[command(
        after_help = "The holder is not told. Exit codes: 0 released, 1 not held, changed or not \
                      confirmed, 2 can't reach."
    )]
    Release {
        /// The lock's key
        key: String,
        /// Don't ask
        #[arg(long)]
        yes: bool,
        /// The key's database
        #[arg(long, value_name = "N", default_value_t = 0)]
        db: u32,
        #[command(flatten)]
        target: Target,
    },
    /// Takes in locks that stand in Redis already, and that no ledger knows
    #[command(
        after_help = "A lock is a string without a TTL whose key a persistent rule matches. The \
                      running Lockside adopts them by a repair pass, which it also makes whenever \
                      it starts.\nExit codes: 0 done, 2 can't reach Redis or Lockside."
    )]
    Adopt {
        /// Only list what would be taken in
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        target: Target,
    },
    /// Gives every lock in Redis a TTL, for the day Lockside is taken away
    #[command(
        after_help = "Stop every Lockside first, also those of other machines: one that runs takes \
                      the TTLs off again. A lock that changes hands meanwhile gets none.\n\
                      Example:\n  lockside eject --ttl 30m\n\
                      Exit codes: 0 done, 1 a Lockside serves from the ledger, 2 can't reach Redis."
    )]
    Eject(eject::Eject),
    /// Takes the ledger's locks out into a file, and back
    #[command(subcommand)]
    Ledger(ledger::LedgerCommand),
    /// Prints a configuration by example: every key with its default
    ExampleConfig,
}

/// Which running Lockside to ask, and as whom.
#[derive(Args)]
struct Target {
    /// Where it listens, HOST:PORT or unix:///path; by default the configured address
    #[arg(long, value_name = "ADDRESS")]
    at: Option<String>,
    /// User to authenticate as, with the password in LOCKSIDE_PASSWORD
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
}

/// Exit code for "no": not held, a failed check.
const EXIT_NO: u8 = 1;
/// Exit code for "can't reach".
const EXIT_UNREACHABLE: u8 = 2;

/// Does what the command line says; `run` serves clients until the process is told to stop.
///
/// Logging is on when `run` is called. Wrong arguments and a bad configuration end here with
/// [`config::EXIT_BAD_CONFIGURATION`].
pub fn main(run: impl FnOnce(Settings) -> ExitCode) -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let Some(command) = cli.command else {
        return with_settings(cli.overrides, |settings| start(settings, run));
    };
    match command {
        Command::ExampleConfig => {
            print(config::EXAMPLE.trim_end());
            ExitCode::SUCCESS
        }
        Command::Check(options) => {
            with_settings(cli.overrides, |settings| check::run(&settings, &options))
        }
        Command::Adopt { dry_run, target } => adopt(cli.overrides, &target, dry_run),
        Command::Eject(how) => with_settings(cli.overrides, |settings| {
            let link = ask::Link::upstream(&settings.upstream);
            answer(link.and_then(|mut link| eject::run(&settings, &mut link, &how)))
        }),
        Command::Ledger(command) => {
            with_settings(cli.overrides, |settings| ledger::run(&settings, &command))
        }
        Command::Locks { glob, json, target } => {
            ask(cli.overrides, &target, 0, |link| locks::list(link, glob.as_deref(), json))
        }
        Command::Owner { key, json, db, target } => {
            ask(cli.overrides, &target, db, |link| locks::owner(link, &key, json))
        }
        Command::Release { key, yes, db, target } => {
            ask(cli.overrides, &target, db, |link| release::release(link, &key, yes))
        }
    }
}

fn usage(error: &clap::Error) -> ExitCode {
    // A closed terminal is no reason to fail differently.
    let _ = error.print();
    match error.use_stderr() {
        true => ExitCode::from(config::EXIT_BAD_CONFIGURATION),
        false => ExitCode::SUCCESS,
    }
}

fn start(settings: Settings, run: impl FnOnce(Settings) -> ExitCode) -> ExitCode {
    telemetry::init(&settings.log);
    for warning in &settings.warnings {
        tracing::warn!("{warning}");
    }
    run(settings)
}

fn with_settings(flags: Overrides, act: impl FnOnce(Settings) -> ExitCode) -> ExitCode {
    match Sources::gather(flags).and_then(|sources| Settings::load(&sources)) {
        Ok(settings) => act(settings),
        Err(problems) => {
            complain(problems);
            ExitCode::from(config::EXIT_BAD_CONFIGURATION)
        }
    }
}

/// Connects to the running Lockside and asks it. With `--at` no configuration is read.
fn ask(
    flags: Overrides,
    target: &Target,
    db: u32,
    question: impl FnOnce(&mut ask::Link) -> Result<ExitCode, ask::Failure>,
) -> ExitCode {
    let asked =
        |address| answer(open(address, target, db).and_then(|mut link| question(&mut link)));
    match &target.at {
        Some(_) => address(target, None).map_or_else(wrong, asked),
        None => with_settings(flags, |settings| {
            address(target, Some(&settings)).map_or_else(wrong, asked)
        }),
    }
}

/// Asks Redis itself, and the running Lockside if there is one.
fn adopt(flags: Overrides, target: &Target, dry_run: bool) -> ExitCode {
    with_settings(flags, |settings| match address(target, Some(&settings)) {
        Ok(address) => answer(ask::Link::upstream(&settings.upstream).and_then(|mut upstream| {
            adopt::run(&settings, &mut upstream, open(address, target, 0), dry_run)
        })),
        Err(message) => wrong(message),
    })
}

fn open(address: config::Address, target: &Target, db: u32) -> Result<ask::Link, ask::Failure> {
    let password = std::env::var("LOCKSIDE_PASSWORD").ok().filter(|text| !text.is_empty());
    ask::Link::open(address, target.user.as_deref(), password.as_deref(), db)
}

/// Where the running Lockside is: as the command line says, else as configured.
fn address(target: &Target, settings: Option<&Settings>) -> Result<config::Address, String> {
    match (&target.at, settings) {
        (Some(text), _) => {
            config::Address::parse(text).map_err(|message| format!("flags: --at: {message}"))
        }
        (None, Some(settings)) => ask::configured_address(settings).map_err(str::to_owned),
        (None, None) => Err("say --at HOST:PORT".into()),
    }
}

fn answer(outcome: Result<ExitCode, ask::Failure>) -> ExitCode {
    outcome.unwrap_or_else(|failure| {
        complain(failure);
        ExitCode::from(EXIT_UNREACHABLE)
    })
}

fn wrong(message: String) -> ExitCode {
    complain(message);
    ExitCode::from(config::EXIT_BAD_CONFIGURATION)
}

/// Writes a line of the answer. A reader that has gone away (`| head`) is no failure.
fn print(line: impl Display) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Writes a line about what went wrong.
fn complain(line: impl Display) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_are_taken_before_and_behind_the_subcommand() {
        for line in ["lockside --config f check", "lockside check --config f"] {
            let cli = Cli::try_parse_from(line.split(' ')).ok().unwrap();
            assert_eq!(cli.overrides.config.as_deref(), Some("f".as_ref()));
            assert!(matches!(cli.command, Some(Command::Check(_))));
        }
        assert!(Cli::try_parse_from(["lockside"]).ok().unwrap().command.is_none());
    }

    #[test]
    fn wrong_arguments_and_help_have_their_exit_codes() {
        let code = |line: &str| Cli::try_parse_from(line.split(' ')).err().map(|e| e.use_stderr());
        for wrong in ["lockside --bogus", "lockside owner", "lockside owner k --db x"] {
            assert_eq!(code(wrong), Some(true), "{wrong}");
        }
        for asked in ["lockside --help", "lockside --version", "lockside locks --help"] {
            assert_eq!(code(asked), Some(false), "{asked}");
        }
    }

    #[test]
    fn help_names_every_variable_that_overrides() {
        let help = Cli::command().render_long_help().to_string();
        for name in config::VARIABLES {
            assert!(help.contains(name), "{name}");
        }
    }
}
