//! Questions to Lockside itself: `LOCKSIDE …`, and what it adds to INFO and SCRIPT EXISTS.
//!
//! No reply shows more than the first 8 characters of a token (SPEC 9).

use std::fmt::Write;

use crate::lock::record::{LockKey, Record};
use crate::lock::rule::Glob;
use crate::lock::value;
use crate::mode::Mode;
use crate::resp::Args;
use crate::resp::encode::{self, Protocol};
use crate::resp::reply::Reply;
use crate::session::Shared;

use super::exchange::Exchange;
use super::{Flow, Operation, Scope};

/// Characters of a token that people may see.
const SHOWN: usize = 8;

const HELP: [&str; 11] = [
    "LOCKSIDE <subcommand> [<arg> ...]. Subcommands are:",
    "MODE",
    "    Tell whether locks are served, and why not.",
    "LOCKS [<glob>]",
    "    List the held locks whose key matches, with their holders.",
    "OWNER <key>",
    "    Tell who holds a lock of the selected database; nil when nobody does.",
    "HELP",
    "    Print this help.",
    "FENCE and HISTORY need a ledger, which this version does not have yet.",
    "A lock is released by its own client, or by 'lockside release KEY'.",
];

/// Answers a LOCKSIDE command. It is never sent upstream.
pub(super) fn begin(args: Args<'_>, scope: &mut Scope<'_, '_>) -> (Option<Box<Operation>>, Flow) {
    if scope.state.transaction.is_some() {
        return (None, scope.answer_error("ERR lockside: LOCKSIDE is not allowed inside MULTI"));
    }
    if !scope.shared().board.view().reachable {
        return (None, alone(args, scope));
    }
    let word = args.get(1).unwrap_or_default().to_ascii_uppercase();
    match (word.as_slice(), args.len()) {
        (b"MODE", 2) => Exchange::mode(scope),
        (b"OWNER", 3) => Exchange::owner(args.get(2).unwrap_or_default(), scope),
        (b"LOCKS", 2 | 3) => Exchange::locks(args.get(2), scope),
        (b"HELP", 2) => (None, help(scope)),
        (b"FENCE" | b"HISTORY", _) => {
            let text = "ERR lockside: this needs a ledger, which this version does not have yet";
            (None, scope.answer_error(text))
        }
        _ => {
            (None, scope.answer_error(UNKNOWN_SUBCOMMAND))
        }
    }
}

/// The same without Redis, for whom the gate lets use locks.
fn alone(args: Args<'_>, scope: &mut Scope<'_, '_>) -> Flow {
    let word = args.get(1).unwrap_or_default().to_ascii_uppercase();
    if word == b"HELP" {
        return help(scope);
    }
    // The mode says nothing of locks, nor of who uses them.
    if word != b"MODE" && !scope.may_use_some_locks() {
        return scope.answer_error(super::NOAUTH);
    }
    let mut out = Vec::new();
    match (word.as_slice(), args.len()) {
        (b"MODE", 2) => told_mode(scope.shared(), &mut out),
        (b"OWNER", 3) => {
            let lock = scope.lock_key(args.get(2).unwrap_or_default());
            match scope.shared().table.find(&lock) {
                Some(record) => {
                    let (shared, protocol) = (scope.shared(), scope.state.protocol);
                    describe(&lock, &record, shared, protocol, &mut out);
                }
                None => encode::null(&mut out, scope.state.protocol),
            }
        }
        (b"LOCKS", 2 | 3) => list(args.get(2), scope, &mut out),
        _ => return scope.answer_error(UNKNOWN_SUBCOMMAND),
    }
    scope.answer(&out)
}

/// The mode in one line: its word, and why it is not healthy.
pub(super) fn told_mode(shared: &Shared, out: &mut Vec<u8>) {
    let view = shared.board.view();
    let cause = shared.history.lost().map(|cause| cause.to_string());
    let text = match cause {
        Some(cause) if view.mode != Mode::Healthy => format!("{}: {cause}", view.mode.word()),
        _ => view.mode.word().to_owned(),
    };
    encode::bulk(out, text.as_bytes());
}

fn help(scope: &mut Scope<'_, '_>) -> Flow {
    let mut out = Vec::new();
    encode::array(&mut out, HELP.len());
    HELP.iter().for_each(|line| encode::simple(&mut out, line.as_bytes()));
    scope.answer(&out)
}

/// LOCKSIDE LOCKS, from Redis's answer to a PING on the asker's own link: who may not ask Redis
/// anything is told nothing here either.
pub(super) fn list(glob: Option<&[u8]>, scope: &Scope<'_, '_>, out: &mut Vec<u8>) {
    let glob = glob.map(Glob::new);
    let locks = scope.shared().table.list(scope.shared().clock.unix_ms(), |key| {
        glob.as_ref().is_none_or(|glob| glob.matches(key))
    });
    encode::array(out, locks.len());
    for (lock, record) in &locks {
        describe(lock, record, scope.shared(), scope.state.protocol, out);
    }
}

/// True for the errors of a client that has not proved who it is.
pub(super) fn is_stranger(reply: &Reply<'_>) -> bool {
    matches!(reply, Reply::Error(text) if text.starts_with(b"NOAUTH") || text.starts_with(b"NOPERM"))
}

/// One lock as a map, for LOCKS and OWNER.
fn describe(
    lock: &LockKey,
    record: &Record,
    shared: &Shared,
    protocol: Protocol,
    out: &mut Vec<u8>,
) {
    let client_value = value::strip(&record.stored, shared.stamp_of(lock.key()));
    let age_ms = shared.clock.unix_ms().saturating_sub(record.granted_at_ms);
    let (token, since) = (shown_token(client_value), rfc3339(record.granted_at_ms));
    let fields: [(&str, &[u8]); 8] = [
        ("key", lock.key()),
        ("rule", record.rule.as_bytes()),
        ("owner", value::worker_id(client_value).unwrap_or(&record.client).as_bytes()),
        ("token", &token),
        ("since", since.as_bytes()),
        ("origin", b"redis"),
        ("state", record.confidence.word().as_bytes()),
        ("client", record.client.as_bytes()),
    ];
    encode::map(out, protocol, fields.len() + 2);
    for (name, text) in fields {
        encode::bulk(out, name.as_bytes());
        encode::bulk(out, text);
    }
    encode::bulk(out, b"db");
    encode::integer(out, i64::from(lock.db()));
    encode::bulk(out, b"age_seconds");
    encode::integer(out, i64::try_from(age_ms / 1000).unwrap_or(i64::MAX));
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

fn rfc3339(unix_ms: u64) -> String {
    let at = i64::try_from(unix_ms / 1000).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(at).map(|at| at.to_string()).unwrap_or_default()
}

/// LOCKSIDE OWNER, with what Redis has: the record tells more, Redis tells the truth.
pub(super) fn owner(
    key: &[u8],
    reply: &Reply<'_>,
    frame: &[u8],
    scope: &Scope<'_, '_>,
    out: &mut Vec<u8>,
) {
    let (shared, protocol) = (scope.shared(), scope.state.protocol);
    let lock = scope.lock_key(key);
    let known = shared.table.find(&lock);
    match reply {
        Reply::Null => {
            // Gone without a release through this process.
            shared.table.release(&lock);
            encode::null(out, protocol);
        }
        Reply::Bulk(there) => {
            let record = known.filter(|record| *record.stored == **there);
            let record = record.unwrap_or_else(|| unknown_record(there, key, shared));
            describe(&lock, &record, shared, protocol, out);
        }
        // A lock of another type (a hash, a sorted set) has no value to compare.
        Reply::Error(text) if text.starts_with(b"WRONGTYPE") => {
            let record = known.unwrap_or_else(|| unknown_record(b"", key, shared));
            describe(&lock, &record, shared, protocol, out);
        }
        _ => out.extend_from_slice(frame),
    }
}

/// A lock that was not granted through this process: what its value tells.
fn unknown_record(stored: &[u8], key: &[u8], shared: &Shared) -> Record {
    Record {
        stored: stored.into(),
        rule: shared.rules.find(key).map_or_else(|| "".into(), |rule| shared.rule_name(rule)),
        granted_at_ms: shared.stamper.read_timestamp(stored).unwrap_or(shared.clock.unix_ms()),
        asked_ttl_ms: None,
        confidence: crate::lock::record::Confidence::Held,
        client: "unknown: not granted through this process".into(),
        expires_at_ms: None,
        claim: None,
        fence: None,
        other: None,
        marker: None,
    }
}

/// LOCKSIDE MODE, after Redis's answer to a PING on the asker's own link.
pub(super) fn mode(reply: &Reply<'_>, frame: &[u8], shared: &Shared, out: &mut Vec<u8>) {
    match reply {
        // What this user may not ask is this user's own error.
        reply if is_stranger(reply) => out.extend_from_slice(frame),
        _ => told_mode(shared, out),
    }
}

/// True for the forms of INFO that would show a module's or a default section.
pub(super) fn info_wants_lockside(args: Args<'_>) -> bool {
    let named = |name: &[u8]| {
        [b"lockside".as_slice(), b"all", b"everything", b"default"]
            .iter()
            .any(|section| name.eq_ignore_ascii_case(section))
    };
    args.len() == 1 || args.iter().skip(1).any(named)
}

/// INFO with a section of Lockside's own.
pub(super) fn extend_info(
    reply: &Reply<'_>,
    frame: &[u8],
    scope: &Scope<'_, '_>,
    out: &mut Vec<u8>,
) {
    let (Reply::Bulk(text) | Reply::Verbatim { text, .. }) = reply else {
        return out.extend_from_slice(frame);
    };
    let mut info = text.to_vec();
    if !info.is_empty() {
        info.extend_from_slice(b"\r\n");
    }
    info.extend_from_slice(section(scope.shared()).as_bytes());
    match reply {
        Reply::Verbatim { .. } => encode::verbatim(out, Protocol::Resp3, &info),
        _ => encode::bulk(out, &info),
    }
}

/// INFO without Redis: what a client looks at when it connects, and Lockside's own section.
pub(in crate::session) fn info_alone(shared: &Shared, protocol: Protocol, out: &mut Vec<u8>) {
    let text = format!(
        "# Server\r\nredis_version:7.0.0\r\nredis_mode:standalone\r\n\r\n# Persistence\r\nloading:0\r\n\r\n\
         # Replication\r\nrole:master\r\n\r\n# Cluster\r\ncluster_enabled:0\r\n\r\n{}",
        section(shared)
    );
    encode::verbatim(out, protocol, text.as_bytes());
}

fn section(shared: &Shared) -> String {
    let mut text = String::from("# Lockside\r\n");
    let uptime = shared.clock.unix_ms().saturating_sub(shared.started_ms) / 1000;
    let rules = shared.rules.iter().map(|(_, rule)| rule.name.as_str()).collect::<Vec<_>>();
    // Writing to a String can't fail.
    let _ = write!(
        text,
        "lockside_version:{}\r\nlockside_uptime_in_seconds:{uptime}\r\nlockside_upstream:{}\r\n\
         lockside_rules:{}\r\nlockside_locks_held:{}\r\nlockside_locks_unconfirmed:{}\r\n\
         lockside_script_texts:{}\r\nlockside_mode:{}\r\nlockside_guarantee:{}\r\n\
         lockside_ledger:{}\r\nlockside_conflicts:{}\r\n",
        env!("CARGO_PKG_VERSION"),
        shared.upstream,
        rules.join(","),
        shared.table.len(),
        shared.table.unconfirmed(),
        shared.scripts.len(),
        shared.board.view().mode.word(),
        shared.guarantee.word(),
        shared.door.trouble().as_deref().unwrap_or("ok"),
        shared.door.conflicts(),
    );
    text
}

/// SCRIPT EXISTS: 1 only for what both have, since a script on a lock key needs its text here.
pub(super) fn mask_script_exists(
    reply: &Reply<'_>,
    frame: &[u8],
    shas: &[Vec<u8>],
    shared: &Shared,
    out: &mut Vec<u8>,
) {
    if !matches!(reply, Reply::Aggregate { .. }) {
        return out.extend_from_slice(frame);
    }
    encode::array(out, shas.len());
    for (element, sha) in reply.elements().zip(shas) {
        let upstream = matches!(Reply::parse(element), Some((Reply::Integer(1), _)));
        encode::integer(out, i64::from(upstream && shared.scripts.find(sha).is_some()));
    }
}

const UNKNOWN_SUBCOMMAND: &str =
    "ERR lockside: unknown subcommand or wrong number of arguments; try LOCKSIDE HELP";
