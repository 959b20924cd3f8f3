//! A snapshot as rows of text, and back. Pure.

use std::sync::Arc;

use serde_json::{Value, json};

use super::cells::{self, COLUMNS, Details, read_place, shown, shown_place};
use super::projection::traces::PAST;
use crate::ledger::entry::{Entry, Position, Row};
use crate::ledger::fold::{Conflict, Holder, Log, LogMode, Open, Snapshot, Token, UndecidedParts};
use crate::lock::record::LockKey;

/// The first row of a checkpoint's tab.
pub(super) const HEADER: [&str; COLUMNS] =
    ["lockside checkpoint 1", "at", "lock", "value", "details"];
/// Dead values in one cell: each is 32 characters, and its fence is up to 21.
const TOKENS: usize = 500;

fn line(what: &str, at: &str, details: &Value) -> Vec<String> {
    let details = if details.is_null() { String::new() } else { details.to_string() };
    vec![what.into(), at.into(), String::new(), String::new(), details]
}

/// A claim in the words of a log.
fn claim_line(what: &str, at: Position, entry: Entry) -> Vec<String> {
    let mut cells = cells::of_row(&Row { at, entry });
    cells.splice(0..2, [what.to_owned(), shown_place(at)]);
    cells
}

/// The rows behind the header.
pub(super) fn rows(snapshot: &Snapshot) -> Vec<Vec<String>> {
    let undecided = snapshot.undecided.as_ref().map(|undecided| undecided.parts());
    let numbers = json!({
        "fence_high": snapshot.fence_high,
        "claims": undecided.as_ref().map(|parts| parts.claims),
        "gaps": undecided.as_ref().map(|parts| parts.gaps),
    });
    let mut rows = vec![line("numbers", "", &numbers)];
    for holder in &snapshot.holders {
        let is_granted = snapshot.granted.contains(&holder.at);
        let what = match (holder.heard, is_granted) {
            (false, false) => "holder",
            (true, false) => "holder heard",
            (false, true) => "holder granted",
            (true, true) => "holder heard granted",
        };
        rows.push(claim_line(what, holder.at, Entry::Grant(holder.claim.clone(), holder.fence)));
    }
    for (holder, other) in &snapshot.confirmations {
        let details = json!({"by": shown_place(*other)});
        rows.push(line("confirmed", &shown_place(*holder), &details));
    }
    for (generation, tokens) in snapshot.dead.iter().enumerate() {
        for some in tokens.chunks(TOKENS) {
            let hex: String = some.iter().map(|(token, _)| hex(*token)).collect();
            let fences: Vec<u64> = some.iter().map(|(_, fence)| *fence).collect();
            let details = json!({"tokens": hex, "fences": fences});
            rows.push(line(&format!("dead {generation}"), "", &details));
        }
    }
    rows.extend(snapshot.logs.iter().map(|(number, log)| log_line(*number, log)));
    for Conflict { key, lost, by, value } in &snapshot.conflicts {
        let value = value.map(hex);
        let details = json!({"db": key.db(), "by": shown_place(*by), "value": value});
        let mut cells = line("conflict", &shown_place(*lost), &details);
        cells[2] = shown(key.key());
        rows.push(cells);
    }
    for (at, open) in undecided.iter().flat_map(|parts| &parts.open) {
        let claim = open.claim.clone();
        rows.push(match open.is_observed {
            true => claim_line("observe", *at, Entry::Observe(claim)),
            false => claim_line("claim", *at, Entry::Claim(claim)),
        });
    }
    let ended = undecided.iter().flat_map(|parts| &parts.ended);
    rows.extend(ended.map(|at| line("ended", &shown_place(*at), &Value::Null)));
    rows
}

fn log_line(number: u64, log: &Log) -> Vec<String> {
    let mut details = log.start.as_ref().map(|start| cells::of_start(start)).unwrap_or_default();
    details.insert("last_seq".into(), log.last_seq.into());
    details.insert("ended".into(), log.ended.into());
    match &log.mode {
        LogMode::Unsaid => {}
        LogMode::Degraded => drop(details.insert("degraded".into(), true.into())),
        LogMode::Healthy(run_id) => drop(details.insert("run_id".into(), (&**run_id).into())),
    }
    line("log", &number.to_string(), &details.into())
}

/// The snapshot of these rows; none if they are none that this version writes.
pub(super) fn read(rows: &[Vec<String>]) -> Option<Snapshot> {
    let (mut snapshot, mut parts) = (Snapshot::default(), UndecidedParts::default());
    let mut is_unordered = false;
    for row in rows {
        let cell = |at: usize| row.get(at).map_or("", String::as_str);
        let details = Details::read(cell(4))?;
        let at = || read_place(cell(1));
        let by = || read_place(&details.text("by")?);
        let entry = |kind: &str| {
            let mut cells = row.clone();
            cells[1] = kind.into();
            cells::entry(&cells)
        };
        match cell(0) {
            "numbers" => {
                snapshot.fence_high = details.number("fence_high")?;
                is_unordered = details.number("claims").is_some();
                parts.claims = details.number("claims").unwrap_or_default();
                parts.gaps = details.number("gaps").unwrap_or_default();
            }
            what if what.starts_with("holder") => {
                let Entry::Grant(claim, fence) = entry("grant")? else { return None };
                let (at, heard) = (at()?, what.contains(" heard"));
                if what.contains(" granted") {
                    snapshot.granted.push(at);
                }
                snapshot.holders.push(Arc::new(Holder { at, claim, fence, heard }));
            }
            "confirmed" => snapshot.confirmations.push((at()?, by()?)),
            "dead 0" => read_tokens(&details, &mut snapshot.dead[0])?,
            "dead 1" => read_tokens(&details, &mut snapshot.dead[1])?,
            "log" => snapshot.logs.push((cell(1).parse().ok()?, read_log(&details)?)),
            "conflict" => {
                let db = u32::try_from(details.number("db")?).ok()?;
                let key = LockKey::new(db, &cells::bytes(cell(2))?);
                let value = match details.text("value") {
                    Some(value) => Some(token(value.as_bytes().try_into().ok()?)?),
                    None => None,
                };
                snapshot.conflicts.push(Conflict { key, lost: at()?, by: by()?, value });
            }
            "claim" | "observe" => {
                let open = match entry(cell(0))? {
                    Entry::Claim(claim) => Open { claim, is_observed: false },
                    Entry::Observe(claim) => Open { claim, is_observed: true },
                    _ => return None,
                };
                parts.open.push((at()?, open));
            }
            "ended" => parts.ended.push(at()?),
            // Not of the ledger, but of what people see.
            PAST => {}
            _ => return None,
        }
    }
    snapshot.undecided = is_unordered.then(|| Box::new(parts.into()));
    Some(snapshot)
}

/// A dead value as 32 digits.
fn hex(token: Token) -> String {
    format!("{:032x}", u128::from_be_bytes(token.0))
}

fn token(digits: &[u8; 32]) -> Option<Token> {
    let number = u128::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    Some(Token(number.to_be_bytes()))
}

fn read_tokens(details: &Details, tokens: &mut Vec<(Token, u64)>) -> Option<()> {
    let (hex, fences) = (details.text("tokens")?, details.list("fences")?);
    let (digits, rest) = hex.as_bytes().as_chunks::<32>();
    if !rest.is_empty() || digits.len() != fences.len() {
        return None;
    }
    for (digits, fence) in digits.iter().zip(fences) {
        tokens.push((token(digits)?, fence));
    }
    Some(())
}

fn read_log(details: &Details) -> Option<Log> {
    let mode = match (details.text("run_id"), details.truth("degraded")) {
        (Some(run_id), _) => LogMode::Healthy(run_id),
        (None, true) => LogMode::Degraded,
        (None, false) => LogMode::Unsaid,
    };
    Some(Log {
        start: details.start().map(Arc::new),
        last_seq: details.number("last_seq")?,
        ended: details.truth("ended"),
        mode,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::fold::Fold;
    use crate::ledger::testing::{at, claim, key, one_of_each, row, start};

    #[test]
    fn a_state_with_something_of_each_comes_back() {
        let mut fold = Fold::unordered();
        let mut seq = 1;
        let mut put = |fold: &mut Fold, log, entry| {
            fold.apply(&row(log, seq, entry));
            seq += 1;
            at(log, seq - 1)
        };
        put(&mut fold, 1, Entry::Start(start()));
        for entry in one_of_each() {
            put(&mut fold, 1, entry);
        }
        for (name, value) in [("a", "v"), ("a", "v"), ("b", "w"), ("c", "x")] {
            let claim = put(&mut fold, 2, Entry::Claim(claim(name, value)));
            put(&mut fold, 2, Entry::Won { key: key(name), claim, fence: claim.seq });
            put(&mut fold, 2, Entry::Heard { key: key(name), claim });
        }
        put(&mut fold, 2, Entry::Healthy("run".into()));
        let rival = put(&mut fold, 3, Entry::Claim(claim("b", "other")));
        put(&mut fold, 3, Entry::Won { key: key("b"), claim: rival, fence: 99 });
        put(&mut fold, 3, Entry::Degraded);
        put(&mut fold, 3, Entry::Claim(claim("d", "open")));
        put(&mut fold, 3, Entry::Observe(claim("d", "found")));
        put(&mut fold, 3, Entry::Lost { key: key("z"), claim: at(9, 9) });
        let snapshot = fold.snapshot();
        assert!(!snapshot.conflicts.is_empty() && !snapshot.confirmations.is_empty());
        assert!(!snapshot.dead[0].is_empty());
        let parts = snapshot.undecided.as_ref().unwrap().parts();
        assert!(!parts.open.is_empty() && !parts.ended.is_empty());
        assert_eq!(read(&rows(&snapshot)), Some(snapshot));
        assert_eq!(read(&rows(&Snapshot::default())), Some(Snapshot::default()));
    }
}
