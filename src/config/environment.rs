//! Environment variables and flags, which override the file in that order (SPEC 10).
//!
//! A variable or flag of a rule's property sets it for every rule. Unknown `LOCKSIDE_*` names
//! are ignored: Kubernetes sets some of its own for a service of that name.

use std::path::PathBuf;

use super::problem::Wrong;
use super::source::Draft;
use super::text::parse_switch;
use super::values;
use super::{LedgerKind, Place, Problems, Sources, address, sheet as sheets};
use crate::ledger::Guarantee;
use crate::lock::rule::Mode;

/// Variables that override the file.
pub const VARIABLES: [&str; 18] = [
    "LOCKSIDE_CONFIG",
    "LOCKSIDE_LISTEN",
    "LOCKSIDE_UPSTREAM",
    "LOCKSIDE_THREADS",
    "LOCKSIDE_STATE_DIR",
    "LOCKSIDE_GUARANTEE",
    "LOCKSIDE_NAMESPACE",
    "LOCKSIDE_LEDGER",
    "LOCKSIDE_TIME_ZONE",
    "LOCKSIDE_LOG",
    "LOCKSIDE_LOG_FORMAT",
    "REDIS_URL",
    "REDIS_PERSISTENT_LOCKS",
    "REDIS_SAFETY_TTL",
    "REDIS_LOCK_TTL_SECONDS",
    "GOOGLE_SHEET_ID",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GOOGLE_APPLICATION_CREDENTIALS_JSON",
];

/// Variables that are read besides, for the default state directory.
pub(super) const OTHERS: [&str; 3] = ["STATE_DIRECTORY", "XDG_STATE_HOME", "HOME"];

/// The original service's name of its sheet.
const SHEET: &str = "GOOGLE_SHEET_ID";

/// Flags of the command line that override file and environment. Kept as text, so that a wrong
/// one is reported as a wrong value of the file is. No `Debug`: a URL can hold a password.
#[derive(Clone, Default, clap::Args)]
#[command(next_help_heading = "Configuration")]
pub struct Overrides {
    /// Configuration file (TOML). `lockside example-config` prints one
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// Where clients connect: IP:PORT or unix:///path, several with commas
    #[arg(long, value_name = "ADDRESS", global = true)]
    pub listen: Option<String>,
    /// The Redis behind: redis://host:port or unix:///path. Other users of the machine can see
    /// flags, so a URL with a password belongs into LOCKSIDE_UPSTREAM or the file
    #[arg(long, value_name = "URL", global = true)]
    pub upstream: Option<String>,
    /// Worker threads
    #[arg(long, value_name = "N", global = true)]
    pub threads: Option<String>,
    /// Form of the log on standard error: text or json
    #[arg(long, value_name = "FORMAT", global = true)]
    pub log_format: Option<String>,
}

/// Writes environment and flags on the draft.
pub(super) fn apply(draft: &mut Draft, sources: &Sources, problems: &mut Problems) {
    let mut variables = Setter { draft, problems, place: Place::Environment };
    let variable = |name| sources.variable(name);
    variables.set("REDIS_URL", variable("REDIS_URL"), upstream);
    variables.set("LOCKSIDE_UPSTREAM", variable("LOCKSIDE_UPSTREAM"), upstream);
    variables.set("LOCKSIDE_LISTEN", variable("LOCKSIDE_LISTEN"), listen);
    variables.set("LOCKSIDE_THREADS", variable("LOCKSIDE_THREADS"), threads);
    variables.set("LOCKSIDE_STATE_DIR", variable("LOCKSIDE_STATE_DIR"), state_dir);
    variables.set("LOCKSIDE_TIME_ZONE", variable("LOCKSIDE_TIME_ZONE"), time_zone);
    variables.set("LOCKSIDE_LOG", variable("LOCKSIDE_LOG"), log_level);
    variables.set("LOCKSIDE_LOG_FORMAT", variable("LOCKSIDE_LOG_FORMAT"), log_format);
    variables.set("REDIS_PERSISTENT_LOCKS", variable("REDIS_PERSISTENT_LOCKS"), persistent);
    variables.set("REDIS_SAFETY_TTL", variable("REDIS_SAFETY_TTL"), safety_ttl);
    variables.set("REDIS_LOCK_TTL_SECONDS", variable("REDIS_LOCK_TTL_SECONDS"), lock_ttl);
    variables.set("LOCKSIDE_GUARANTEE", variable("LOCKSIDE_GUARANTEE"), set_guarantee);
    variables.set("LOCKSIDE_NAMESPACE", variable("LOCKSIDE_NAMESPACE"), namespace);
    variables.set("LOCKSIDE_LEDGER", variable("LOCKSIDE_LEDGER"), ledger);
    sheet(&mut variables, sources);

    let flags = &sources.flags;
    let mut setter = Setter { draft, problems, place: Place::Flag };
    setter.set("--listen", flags.listen.as_deref(), listen);
    setter.set("--upstream", flags.upstream.as_deref(), upstream);
    setter.set("--threads", flags.threads.as_deref(), threads);
    setter.set("--log-format", flags.log_format.as_deref(), log_format);
}

/// True if the environment names a spreadsheet.
pub(super) fn has_sheet(sources: &Sources) -> bool {
    sources.variable(SHEET).is_some()
}

/// The kind of ledger where the file names none: that of the original service, if its sheet is set.
pub(super) fn kind(sources: &Sources) -> LedgerKind {
    match has_sheet(sources) && sources.variable("LOCKSIDE_LEDGER").is_none() {
        true => LedgerKind::Sheets,
        false => LedgerKind::Sqlite,
    }
}

/// The guarantee that the environment will put in place of the file's, if it names a valid one.
pub(super) fn guarantee(sources: &Sources) -> Option<Guarantee> {
    sources.variable("LOCKSIDE_GUARANTEE").and_then(|text| values::guarantee(text).ok())
}

/// Applies values of one place, and notes what can't be used.
struct Setter<'a> {
    draft: &'a mut Draft,
    problems: &'a mut Problems,
    place: Place,
}

impl Setter<'_> {
    fn set(
        &mut self,
        name: &str,
        value: Option<&str>,
        apply: fn(&mut Draft, &str) -> Result<(), Wrong>,
    ) {
        let Some(value) = value else { return };
        if let Err(wrong) = apply(self.draft, value) {
            self.problems.push(self.place.clone(), name, wrong);
        }
    }
}

fn upstream(draft: &mut Draft, value: &str) -> Result<(), Wrong> {
    values::set_upstream(&mut draft.upstream, value)
}

fn listen(draft: &mut Draft, value: &str) -> Result<(), Wrong> {
    let parse = |entry: &str| address::parse_listen(entry.trim());
    draft.listen = value.split(',').map(parse).collect::<Result<_, _>>()?;
    values::check_listen(&draft.listen)
}

fn threads(draft: &mut Draft, value: &str) -> Result<(), Wrong> {
    draft.threads = values::THREADS.parse(value)?;
    Ok(())
}

fn state_dir(draft: &mut Draft, value: &str) -> Result<(), Wrong> {
    draft.state_dir = values::state_dir(value)?;
    Ok(())
}

fn time_zone(draft: &mut Draft, value: &str) -> Result<(), Wrong> {
    draft.time_zone = values::time_zone(value)?;
    Ok(())
}

fn log_level(draft: &mut Draft, value: &str) -> Result<(), Wrong> {
    draft.log.level = values::log_level(value)?;
    Ok(())
}

fn log_format(draft: &mut Draft, value: &str) -> Result<(), Wrong> {
    draft.log.format = values::log_format(value)?;
    Ok(())
}

fn persistent(draft: &mut Draft, value: &str) -> Result<(), Wrong> {
    let wrong = || Wrong::new(format!("{value:?} is no switch"), "true or false");
    let mode = if parse_switch(value).ok_or_else(wrong)? { Mode::Persistent } else { Mode::Ttl };
    draft.rules.iter_mut().for_each(|rule| rule.mode = mode);
    Ok(())
}

fn safety_ttl(draft: &mut Draft, value: &str) -> Result<(), Wrong> {
    let ttl = values::SAFETY_TTL.parse(value)?;
    draft.rules.iter_mut().for_each(|rule| rule.safety_ttl = ttl);
    Ok(())
}

fn lock_ttl(draft: &mut Draft, value: &str) -> Result<(), Wrong> {
    let ttl = values::LOCK_TTL.parse(value)?;
    draft.rules.iter_mut().for_each(|rule| rule.default_ttl = ttl);
    Ok(())
}

fn set_guarantee(draft: &mut Draft, value: &str) -> Result<(), Wrong> {
    draft.guarantee = values::guarantee(value)?;
    Ok(())
}

fn namespace(draft: &mut Draft, value: &str) -> Result<(), Wrong> {
    draft.namespace = values::name(value)?;
    Ok(())
}

fn ledger(draft: &mut Draft, value: &str) -> Result<(), Wrong> {
    draft.ledger.path = values::ledger_path(value)?;
    Ok(())
}

/// The original service's sheet and who may write it. Credentials alone say nothing of locks.
fn sheet(variables: &mut Setter<'_>, sources: &Sources) {
    let variable = |name| sources.variable(name);
    if variables.draft.ledger.kind == LedgerKind::Sqlite {
        // So that nobody believes it is written.
        let told = format!("{SHEET} is set, but the ledger is an SQLite file by other settings");
        variables.draft.warnings.extend(variable(SHEET).map(|_| told));
        return;
    }
    variables.set(SHEET, variable(SHEET), |draft, value| {
        values::check_built(LedgerKind::Sheets)?;
        draft.ledger.sheet.spreadsheet = sheets::spreadsheet(value)?;
        Ok(())
    });
    let path = "GOOGLE_APPLICATION_CREDENTIALS";
    variables.set(path, variable(path), |draft, value| {
        draft.ledger.sheet.credentials = sheets::key_file(value)?;
        Ok(())
    });
    let json = "GOOGLE_APPLICATION_CREDENTIALS_JSON";
    variables.set(json, variable(json), |draft, value| {
        draft.ledger.sheet.credentials = sheets::key_json(value)?;
        Ok(())
    });
}
