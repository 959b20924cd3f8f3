//! `lockside ledger export` and `import`: the held locks as a file, and back.
//!
//! They work on the ledger itself, whether or not a Lockside runs. An export is one reader more. An
//! import writes a log of its own, and wants the ledger for itself.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::SystemTime;

use super::{EXIT_NO, advice, complain, print};
use crate::config::{LedgerKind, Settings};
use crate::ledger::Start;
use crate::ledger::entry::FORMAT;
use crate::ledger::fold::Fold;
use crate::ledger::presence::Presence;
use crate::ledger::sqlite::Sqlite;
use crate::ledger::store::{OpenError, Seen};
use crate::telemetry::escape;
use lines::{Head, Held};

mod lines;
mod merge;

/// Longest line of an export: a lock's key and value at their largest limits, in hexadecimal.
const LONGEST_LINE: u64 = 4 << 20;

/// Keys without a rule that are named.
const LINES_NAMED: usize = 10;

/// What is done with the ledger.
#[derive(clap::Subcommand)]
pub(super) enum LedgerCommand {
    /// Writes all held locks to a file, one JSON object a line
    #[command(
        after_help = "THE FILE CONTAINS SECRETS: with a lock's token anybody can release it. It is \
                      made readable for its owner alone.\nSafe while Lockside runs.\nExit codes: \
                      0 done, 1 failed, 64 bad configuration."
    )]
    Export {
        /// The file, which must not exist yet; - is standard output
        file: PathBuf,
    },
    /// Takes the locks of an export into the ledger
    #[command(
        after_help = "Locks that the ledger knows stay as they are: held, or released since. To \
                      import twice changes nothing. A key that no rule \
                      matches refuses the whole. Lockside puts the locks into Redis when it \
                      starts.\nExit codes: 0 done, 1 failed or in use, 64 bad configuration."
    )]
    Import {
        /// The file; - is standard input
        file: PathBuf,
        /// Even while a Lockside serves from this ledger
        #[arg(long)]
        force: bool,
    },
}

/// Does it; what went wrong is said in one line.
pub(super) fn run(settings: &Settings, command: &LedgerCommand) -> ExitCode {
    let done = match command {
        LedgerCommand::Export { file } => export(settings, file),
        LedgerCommand::Import { file, force } => import(settings, file, *force),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            complain(text);
            ExitCode::from(EXIT_NO)
        }
    }
}

/// What the ledger of these settings says.
///
/// # Errors
/// When there is none, or it can't be read.
pub(super) fn fold(settings: &Settings) -> Result<Fold, OpenError> {
    match settings.ledger.kind {
        LedgerKind::Sqlite => {
            Sqlite::new(&settings.ledger.path).read().map(|seen| fold_of(seen, true))
        }
        LedgerKind::Sheets => fold_of_sheet(settings),
    }
}

/// A ledger that is not there yet holds nothing.
#[cfg(feature = "sheets")]
fn fold_of_sheet(settings: &Settings) -> Result<Fold, OpenError> {
    let sheet = crate::app::store::sheets(&settings.ledger.sheet);
    let survey = crate::ledger::sheets::Sheets::new(sheet).survey(&start(settings))?;
    Ok(fold_of(survey.seen.unwrap_or_default(), false))
}

#[cfg(not(feature = "sheets"))]
fn fold_of_sheet(_: &Settings) -> Result<Fold, OpenError> {
    Err(OpenError::Mismatch("a sheet ledger is not in this build of Lockside".into()))
}

/// The state after all that a store has shown.
pub(super) fn fold_of(seen: Seen, is_ordered: bool) -> Fold {
    merge::fold(seen, is_ordered)
}

/// The terms under which it was last written.
pub(super) fn terms(fold: &Fold) -> Option<Arc<Start>> {
    fold.logs().filter_map(|(_, log)| log.start.clone()).last()
}

fn export(settings: &Settings, file: &Path) -> Result<(), String> {
    let fold = fold(settings).map_err(|error| unreadable(&error))?;
    let terms = terms(&fold);
    let head = Head {
        namespace: terms.as_ref().map_or(&*settings.namespace, |start| &start.namespace).into(),
        guarantee: terms.as_ref().map_or(settings.guarantee, |start| start.guarantee),
        fence_high: fold.fence_high(),
    };
    let locks = fold.holders();
    let lines = locks.iter().map(|holder| {
        let claim = holder.claim.clone();
        Held { claim, fence: holder.fence, heard: holder.heard }.line()
    });
    let failed =
        |error: io::Error| format!("can't write {}: {}", file.display(), advice::file(&error));
    write(file, std::iter::once(head.line()).chain(lines)).map_err(failed)?;
    // Standard output may be the export.
    complain(format_args!("{} locks; the file contains secrets", locks.len()));
    Ok(())
}

fn write(file: &Path, lines: impl Iterator<Item = String>) -> io::Result<()> {
    let whole = |mut out: BufWriter<&mut dyn Write>| {
        lines.into_iter().try_for_each(|line| writeln!(out, "{line}"))?;
        out.flush()
    };
    if file == Path::new("-") {
        return whole(BufWriter::new(&mut io::stdout().lock()));
    }
    let mut made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
    whole(BufWriter::new(&mut made))?;
    made.sync_all()
}

fn import(settings: &Settings, file: &Path, force: bool) -> Result<(), String> {
    if settings.ledger.kind != LedgerKind::Sqlite {
        return Err(
            "an import is made into an SQLite ledger alone: this one is a spreadsheet".into()
        );
    }
    let (head, locks) = read(file, settings.limits.locks)?;
    if head.namespace != settings.namespace {
        return Err(format!(
            "{} is of namespace {:?}, and the configuration says {:?}: give this sidecar the \
             namespace, if its Redis is the same",
            file.display(),
            head.namespace,
            settings.namespace
        ));
    }
    let locks = ruled(locks, settings, file)?;
    let path = &settings.ledger.path;
    let failed = |error: io::Error| {
        format!("can't use the ledger {}: {}", path.display(), advice::file(&error))
    };
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).map_err(failed)?;
    }
    // Held until the end.
    let alone = if force { None } else { Presence::alone(path).map_err(failed)? };
    if alone.is_none() && !force {
        let path = path.display();
        return Err(format!(
            "a Lockside serves from {path}, or another command works on it; stop it first, or say \
             --force"
        ));
    }
    let merged = merge::merge(&mut Sqlite::new(path), &start(settings), &head, locks);
    let merged =
        merged.map_err(|error| format!("{}; to import again is safe", unreadable(&error)))?;
    print(format_args!("{} locks imported", merged.taken));
    for (count, what) in [
        (merged.known, "are in the ledger already"),
        (merged.other, "are held by another there, who keeps them"),
        (merged.dead, "were released there since the export"),
    ] {
        if count > 0 {
            print(format_args!("{count} {what}"));
        }
    }
    Ok(())
}

/// The locks, each under the rule that its key has now.
///
/// # Errors
/// Where a key is no lock by any rule: nobody could release it, and a repair would put it into Redis
/// again and again.
fn ruled(mut locks: Vec<Held>, settings: &Settings, file: &Path) -> Result<Vec<Held>, String> {
    let mut without = Vec::new();
    for (index, lock) in locks.iter_mut().enumerate() {
        match settings.rules.find(lock.claim.key.key()) {
            Some(rule) => lock.claim.rule = rule.name.as_str().into(),
            // The first line is about the ledger.
            None => without.push((index + 2, escape(lock.claim.key.key()).to_string())),
        }
    }
    if without.is_empty() {
        return Ok(locks);
    }
    let named = without.iter().take(LINES_NAMED).map(|(line, key)| format!("  line {line}: {key}"));
    let rest = without.len().saturating_sub(LINES_NAMED);
    let rest = (rest > 0).then(|| format!("  and {rest} more"));
    let lines: Vec<String> = named.chain(rest).collect();
    Err(format!(
        "{}: no rule makes these keys locks; nothing was imported: add a rule for them, or take \
         their lines out\n{}",
        file.display(),
        lines.join("\n")
    ))
}

/// Why a ledger can't be worked on, with what to do.
fn unreadable(error: &OpenError) -> String {
    match error {
        // Says so itself.
        OpenError::Mismatch(text) => text.clone(),
        OpenError::Store(error) => format!("{error}; `lockside check` looks at the ledger's place"),
    }
}

/// The terms of a log that is written from the command line: those of the Lockside that will serve.
pub(super) fn start(settings: &Settings) -> Start {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Start {
        format: FORMAT,
        namespace: settings.namespace.as_str().into(),
        guarantee: settings.guarantee,
        upstream: settings.upstream.address.to_string().into(),
        writer: format!("the command line, process {}", std::process::id()).into(),
        at_ms: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
    }
}

/// Reads a whole export, so that a damaged one changes nothing.
fn read(file: &Path, most: usize) -> Result<(Head, Vec<Held>), String> {
    let failed =
        |error: io::Error| format!("can't read {}: {}", file.display(), advice::file(&error));
    let mut input: Box<dyn BufRead> = match file == Path::new("-") {
        true => Box::new(io::stdin().lock()),
        false => Box::new(BufReader::new(File::open(file).map_err(failed)?)),
    };
    let (mut head, mut locks) = (None, Vec::new());
    for number in 1_usize.. {
        let mut line = String::new();
        let count = input.by_ref().take(LONGEST_LINE).read_line(&mut line).map_err(failed)?;
        let wrong = |what| {
            format!("{}:{number}: {what}; nothing was imported: make a new export", file.display())
        };
        if count == 0 {
            break;
        }
        match &head {
            None => head = Some(Head::read(&line).map_err(wrong)?),
            Some(_) if locks.len() == most => {
                return Err(format!(
                    "{}:{number}: more than limits.locks ({most}) locks; nothing was imported: \
                     raise the limit",
                    file.display()
                ));
            }
            Some(_) => locks.push(Held::read(&line).map_err(wrong)?),
        }
    }
    let head = head.ok_or_else(|| format!("{} is empty; make a new export", file.display()))?;
    Ok((head, locks))
}
