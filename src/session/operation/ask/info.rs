//! What Lockside adds to Redis's own answers: a section of INFO, and SCRIPT EXISTS.

use std::fmt::Write;

use crate::resp::Args;
use crate::resp::encode::{self, Protocol};
use crate::resp::reply::Reply;
use crate::session::Shared;
use crate::session::operation::Scope;

/// True for the forms of INFO that would show a module's or a default section.
pub(in crate::session::operation) fn info_wants_lockside(args: Args<'_>) -> bool {
    let named = |name: &[u8]| {
        [b"lockside".as_slice(), b"all", b"everything", b"default"]
            .iter()
            .any(|section| name.eq_ignore_ascii_case(section))
    };
    args.len() == 1 || args.iter().skip(1).any(named)
}

/// INFO with a section of Lockside's own.
pub(in crate::session::operation) fn extend_info(
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
         lockside_ledger:{}\r\nlockside_ledger_waiting:{}\r\nlockside_ledger_writes:{}\r\nlockside_mode_changes:{}\r\n\
         lockside_conflicts:{}\r\n",
        env!("CARGO_PKG_VERSION"),
        shared.upstream,
        rules.join(","),
        shared.table.len(),
        shared.table.unconfirmed(),
        shared.scripts.len(),
        shared.board.view().mode.word(),
        shared.guarantee.word(),
        shared.door.trouble().as_deref().unwrap_or("ok"),
        shared.door.waiting(),
        shared.door.writes(),
        shared.history.total(),
        shared.door.conflicts(),
    );
    let outages = shared.history.events().into_iter().rev();
    if let Some(after) = outages.filter_map(|event| event.change.detected_after).next() {
        let _ = write!(text, "lockside_last_outage_detected_after_ms:{}\r\n", after.as_millis());
    }
    let observing = shared.repairs.observing().unwrap_or_else(|| "off".into());
    let _ = write!(text, "lockside_observe:{observing}\r\n");
    for (name, count) in shared.repairs.counts() {
        let _ = write!(text, "lockside_{name}:{count}\r\n");
    }
    text
}

/// SCRIPT EXISTS: 1 only for what both have, since a script on a lock key needs its text here.
pub(in crate::session::operation) fn mask_script_exists(
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
