//! Locks, entries of the ledger and changes of mode as people are shown them.
//!
//! No reply shows more than the first 8 characters of a token (SPEC 9).

use crate::ledger::entry::{Claim, Entry, OBSERVED, OBSERVED_ANEW, Row};
use crate::lock::content::{self, Content};
use crate::lock::record::{Confidence, LockKey, Position, Record};
use crate::lock::value;
use crate::mode::{Event, Mode};
use crate::resp::encode::{self, Protocol};
use crate::session::Shared;

/// Characters of a token that people may see.
const SHOWN: usize = 8;

/// One lock as a map, for LOCKS and OWNER.
pub(super) fn describe(
    lock: &LockKey,
    record: &Record,
    shared: &Shared,
    protocol: Protocol,
    out: &mut Vec<u8>,
) {
    let client_value = value::strip(&record.stored, shared.stamp_of(lock.key()));
    let now_ms = shared.clock.unix_ms();
    let number = |number: u64| Field::Number(i64::try_from(number).unwrap_or(i64::MAX));
    let text = |text: &str| Field::Text(text.as_bytes().to_vec());
    let owner = value::worker_id(client_value).unwrap_or(&record.client);
    let content = record.other.as_ref().and_then(|mark| content::of_mark(mark));
    let token = match &record.other {
        Some(_) => shown_part(content.as_ref()),
        None => shown_token(client_value),
    };
    let mut fields = vec![
        ("key", Field::Text(lock.key().to_vec())),
        ("rule", text(&record.rule)),
        ("owner", text(owner)),
        ("token", Field::Text(token)),
        ("since", Field::Text(rfc3339(record.granted_at_ms).into_bytes())),
        ("origin", text(origin(record))),
        ("state", text(state(lock, record, shared))),
        ("client", text(&record.client)),
        ("db", number(u64::from(lock.db()))),
        ("age_seconds", number(now_ms.saturating_sub(record.granted_at_ms) / 1000)),
    ];
    let expires = record.expires_at_ms.map(|at| number(at.saturating_sub(now_ms).div_ceil(1000)));
    fields.extend(expires.map(|left| ("expires_in_seconds", left)));
    fields.extend(record.fence.map(|fence| ("fence", number(fence))));
    fields.extend(record.claim.map(|at| ("claim", text(&format!("{}-{}", at.log, at.seq)))));
    let type_name = record.other.as_deref().and_then(content::type_of_mark);
    fields.extend(type_name.map(|name| ("type", text(name))));
    // Of a large one nobody has them.
    fields.extend(content.as_ref().map(|content| ("elements", number(content.len() as u64))));
    fields.extend(record.marker.as_ref().map(|marker| ("marker", text(marker))));
    encode::map(out, protocol, fields.len());
    for (name, field) in fields {
        encode::bulk(out, name.as_bytes());
        match field {
            Field::Text(text) => encode::bulk(out, &text),
            Field::Number(number) => encode::integer(out, number),
        }
    }
}

/// What stands behind a field's name.
enum Field {
    Text(Vec<u8>),
    Number(i64),
}

/// Where the lock comes from: a grant with Redis, one without it, or a value found there.
fn origin(record: &Record) -> &'static str {
    match &record.marker {
        Some(_) => "degraded",
        None if [OBSERVED, OBSERVED_ANEW].contains(&&*record.client) => "observed",
        None => "redis",
    }
}

/// How sure it is that somebody holds it.
fn state(lock: &LockKey, record: &Record, shared: &Shared) -> &'static str {
    let is_anothers = || record.claim.is_some_and(|claim| !shared.door.is_own(claim));
    if shared.door.is_releasing(lock) {
        "releasing"
    } else if record.confidence == Confidence::Unconfirmed && is_anothers() {
        // Of a run that has ended: its client may have been told OK or not.
        "undecided"
    } else {
        record.confidence.word()
    }
}

/// The first characters of a token: of b in `a:b`, since a is the worker and no secret.
fn shown_token(client_value: &[u8]) -> Vec<u8> {
    let secret = match value::worker_id(client_value) {
        Some(worker) => client_value.get(worker.len() + 1..).unwrap_or_default(),
        None => client_value,
    };
    let text = String::from_utf8_lossy(secret);
    text.chars().take(SHOWN).collect::<String>().into_bytes()
}

/// The same of what a library put into a lock that is no string: the name of its first part.
fn shown_part(content: Option<&Content>) -> Vec<u8> {
    let text = String::from_utf8_lossy(content.map(Content::first).unwrap_or_default());
    text.chars().take(SHOWN).collect::<String>().into_bytes()
}

fn rfc3339(unix_ms: u64) -> String {
    let at = i64::try_from(unix_ms / 1000).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(at).map(|at| at.to_string()).unwrap_or_default()
}

/// The mode in one line: its word, and why it is not healthy.
pub(super) fn mode_line(shared: &Shared) -> String {
    let mode = shared.board.view().mode;
    let ledger = shared.door.trouble().filter(|_| mode == Mode::Blocked);
    let redis = shared.history.lost().filter(|_| mode != Mode::Healthy);
    let ledger = ledger.map(|trouble| format!("the ledger does not answer ({trouble})"));
    let causes: Vec<_> = ledger.into_iter().chain(redis.map(|cause| cause.to_string())).collect();
    let line = match causes.is_empty() {
        true => mode.word().to_owned(),
        false => format!("{}: {}", mode.word(), causes.join("; ")),
    };
    match shared.repairs.observing() {
        Some(observing) => format!("{line}; observes: {observing}"),
        None => line,
    }
}

/// One change of mode in one line: when, from what to what, why, and how soon it was noticed.
pub(super) fn change_line(event: &Event) -> String {
    let change = &event.change;
    let (from, to) = (change.from.word(), change.to.word());
    let noticed =
        change.detected_after.map(|after| format!(" (noticed after {} ms)", after.as_millis()));
    let noticed = noticed.unwrap_or_default();
    format!("{} {from} -> {to}: {}{noticed}", rfc3339(event.at_ms), change.cause)
}

/// The entries of the ledger on one lock, each as a map, for HISTORY. `holder`: its record.
pub(super) fn history(
    rows: &[Row],
    holder: Option<&Record>,
    shared: &Shared,
    protocol: Protocol,
    out: &mut Vec<u8>,
) {
    encode::array(out, rows.len());
    for row in rows {
        let of = claim_of(row);
        let made = rows.iter().find(|made| made.at == of).and_then(|made| made_by(&made.entry));
        let holder = holder.filter(|holder| holder.claim == Some(of));
        let client = made.map(|claim| &claim.client).or(holder.map(|holder| &holder.client));
        let fence = match &row.entry {
            Entry::Grant(_, fence) | Entry::Won { fence, .. } => Some(*fence),
            _ => holder.and_then(|holder| holder.fence),
        };
        let (what, cause, at_ms) = words(&row.entry);
        let token = match &row.entry {
            Entry::Content { change, .. } => shown_part(Content::parse(&change.to).as_ref()),
            entry => made_by(entry).map(|claim| token_of(claim, shared)).unwrap_or_default(),
        };
        let fields: [(&str, Vec<u8>); 6] = [
            ("time", at_ms.map(rfc3339).unwrap_or_default().into_bytes()),
            ("what", what.into()),
            ("claim", format!("{}-{}", of.log, of.seq).into_bytes()),
            ("client", client.map(|client| client.as_bytes().to_vec()).unwrap_or_default()),
            ("token", token),
            ("cause", cause.into()),
        ];
        encode::map(out, protocol, fields.len() + usize::from(fence.is_some()));
        for (name, text) in fields {
            encode::bulk(out, name.as_bytes());
            encode::bulk(out, &text);
        }
        if let Some(fence) = fence {
            encode::bulk(out, b"fence");
            encode::integer(out, i64::try_from(fence).unwrap_or(i64::MAX));
        }
    }
}

/// What happened, why, and when, as far as the entry says so.
fn words(entry: &Entry) -> (&'static str, &'static str, Option<u64>) {
    match entry {
        Entry::Claim(claim) => ("claim", "", Some(claim.at_ms)),
        Entry::Grant(claim, _) => ("grant", "", Some(claim.at_ms)),
        Entry::Observe(claim) => ("observation", "", Some(claim.at_ms)),
        Entry::Prefer(claim, _) => ("preference", "", Some(claim.at_ms)),
        Entry::Release { cause, at_ms, .. } | Entry::Gone { cause, at_ms, .. } => {
            ("release", cause.word(), Some(*at_ms))
        }
        Entry::Extend { .. } => ("extension", "", None),
        Entry::Content { .. } => ("content", "", None),
        Entry::Withdraw { .. } => ("withdrawal", "", None),
        Entry::Won { .. } => ("won", "", None),
        Entry::Lost { .. } => ("lost", "", None),
        Entry::Heard { .. } => ("heard", "", None),
        Entry::Start(_) | Entry::Degraded | Entry::Healthy(_) | Entry::Heartbeat | Entry::End => {
            ("other", "", None)
        }
    }
}

/// The claim that an entry is about.
fn claim_of(row: &Row) -> Position {
    match &row.entry {
        Entry::Release { claim, .. }
        | Entry::Extend { claim, .. }
        | Entry::Content { claim, .. }
        | Entry::Withdraw { claim, .. }
        | Entry::Won { claim, .. }
        | Entry::Lost { claim, .. }
        | Entry::Heard { claim, .. } => *claim,
        _ => row.at,
    }
}

fn made_by(entry: &Entry) -> Option<&Claim> {
    match entry {
        Entry::Claim(claim)
        | Entry::Grant(claim, _)
        | Entry::Observe(claim)
        | Entry::Prefer(claim, _) => Some(claim),
        _ => None,
    }
}

fn token_of(claim: &Claim, shared: &Shared) -> Vec<u8> {
    if let Some(mark) = &claim.other {
        return shown_part(content::of_mark(mark).as_ref());
    }
    shown_token(value::strip(&claim.stored, shared.stamp_of(claim.key.key())))
}
