//! The configuration file: which keys it has, and where each goes.
//!
//! A key that is not named here is refused. How a table is read and how a line is found is
//! `file::reader`'s business; what a value may be is `values`'.

use std::time::Duration;

use super::problem::Wrong;
use super::sheet as sheets;
use super::source::Draft;
use super::values::{self, Range};
use super::{
    Ledger, Limits, Log, Observe, Problems, Projection, Sources, Upstream, address, environment,
};
use crate::ledger::Guarantee;
use crate::lock::rule::{Glob, MAX_RULES, Rule};

mod reader;
mod users;

use reader::{Document, Table};

/// Writes the file, if there is one, on the draft.
pub(super) fn apply(draft: &mut Draft, sources: &Sources, problems: &mut Problems) {
    let Some((path, text)) = &sources.file else { return };
    if let Some(document) = Document::parse(path, text, problems) {
        document.read(problems, |table| top(draft, sources, table));
    }
}

fn top(draft: &mut Draft, sources: &Sources, table: &mut Table<'_, '_>) {
    table.list("listen", &mut draft.listen, address::parse_listen);
    table.check("listen", || values::check_listen(&draft.listen));
    table.value("threads", &mut draft.threads, |text| values::THREADS.parse(text));
    table.value("state_dir", &mut draft.state_dir, values::state_dir);
    table.value("time_zone", &mut draft.time_zone, values::time_zone);
    table.value("held_cache", &mut draft.held_cache, |text| values::HELD_CACHE.parse(text));
    table
        .value("drain_timeout", &mut draft.drain_timeout, |text| values::DRAIN_TIMEOUT.parse(text));
    // Before the guarantee, whose default goes by the kind.
    table.table("ledger", |table| ledger(draft, sources, table));
    table.value("guarantee", &mut draft.guarantee, values::guarantee);
    // What the file says has to go with the guarantee that will take the place of its own.
    let guarantee = environment::guarantee(sources).unwrap_or(draft.guarantee);
    table.value("namespace", &mut draft.namespace, values::name);
    table.value("conflict", &mut draft.conflict, values::conflict);
    table.check("conflict", || values::check_conflict(draft.conflict, guarantee));
    observe(&mut draft.observe, table);
    table.table("projection", |table| projection(&mut draft.projection, table));
    table.table("upstream", |table| upstream(&mut draft.upstream, table));
    table.table("limits", |table| limits(&mut draft.limits, table));
    table.table("log", |table| log(&mut draft.log, table));
    rules(draft, guarantee, table);
    users::read(&mut draft.users, &draft.rules, table);
}

/// Before the rules, which take it as their default.
fn observe(observe: &mut Observe, table: &mut Table<'_, '_>) {
    table.value("observe", &mut observe.by_default, values::switch);
    let mut databases: Vec<u32> = observe.databases.iter().copied().collect();
    table.list("observe_databases", &mut databases, super::observe::database);
    table.check("observe_databases", || super::observe::check_databases(&databases));
    observe.databases = databases.into_iter().collect();
    table.value("observe_scan", &mut observe.scan, super::observe::scan);
}

fn upstream(upstream: &mut Upstream, table: &mut Table<'_, '_>) {
    table.apply("url", |url| values::set_upstream(upstream, url));
    table.value("min_replicas", &mut upstream.min_replicas, |text| values::REPLICAS.parse(text));
    let mut wait = |key, target: &mut Duration, range: Range<Duration>| {
        table.value(key, target, |text| range.parse(text));
    };
    wait("connect_timeout", &mut upstream.connect_timeout, values::CONNECT_TIMEOUT);
    wait("command_timeout", &mut upstream.command_timeout, values::COMMAND_TIMEOUT);
    wait("recover_after", &mut upstream.recover_after, values::RECOVER_AFTER);
    wait("probe_interval", &mut upstream.probe_interval, values::BEAT);
    wait("probe_timeout", &mut upstream.probe_timeout, values::BEAT);
    wait("repair_interval", &mut upstream.repair_interval, values::REPAIR_INTERVAL);
    wait("replica_timeout", &mut upstream.replica_timeout, values::REPLICA_TIMEOUT);
    table.check("min_replicas", || values::check_replicas(upstream));
}

fn ledger(draft: &mut Draft, sources: &Sources, table: &mut Table<'_, '_>) {
    let mut kind = draft.ledger.kind;
    table.value("kind", &mut kind, values::ledger_kind);
    if kind != draft.ledger.kind {
        (draft.ledger, draft.guarantee) = (Ledger::of(kind), kind.guarantee());
    }
    let ledger = &mut draft.ledger;
    sheet(ledger, sources, table);
    table.value("path", &mut ledger.path, values::ledger_path);
    table.value("acquire_timeout", &mut ledger.acquire_timeout, values::acquire_timeout);
    let mut wait = |key, target: &mut Duration, range: Range<Duration>| {
        table.value(key, target, |text| range.parse(text));
    };
    wait("release_wait", &mut ledger.release_wait, values::RELEASE_WAIT);
    wait("mirror_interval", &mut ledger.mirror_interval, values::BEAT);
    wait("poll", &mut ledger.poll, values::BEAT);
    wait("heartbeat", &mut ledger.heartbeat, values::HEARTBEAT);
    wait("max_clock_skew", &mut ledger.max_clock_skew, values::CLOCK_SKEW);
    wait("stall_after", &mut ledger.stall_after, values::BEAT);
}

fn projection(projection: &mut Projection, table: &mut Table<'_, '_>) {
    use super::projection as cells;
    table.value("tab", &mut projection.tab, cells::optional);
    let mut text = |key, target: &mut String| table.value(key, target, cells::text);
    text("key_column", &mut projection.key_column);
    text("holder_column", &mut projection.holder_column);
    text("lookup_worker", &mut projection.lookup_worker);
    text("lookup_name", &mut projection.lookup_name);
    text("free", &mut projection.free);
    table.value("since_column", &mut projection.since_column, cells::optional);
    table.check("since_column", || cells::check(projection));
    table.value("key", &mut projection.key, cells::key);
    table.value("holder", &mut projection.holder, cells::holder);
    table.value("lookup_tab", &mut projection.lookup_tab, cells::optional);
    table.check("lookup_tab", || cells::check_lookup(projection));
    table.value("date_format", &mut projection.date_format, cells::date_format);
    table.value("time_zone", &mut projection.time_zone, |name| values::time_zone(name).map(Some));
    table.value("missing_row", &mut projection.missing_row, cells::missing_row);
    table.value("abandoned_after", &mut projection.abandoned_after, |text| {
        cells::ABANDONED.parse(text)
    });
}

fn sheet(ledger: &mut Ledger, sources: &Sources, table: &mut Table<'_, '_>) {
    let sheet = &mut ledger.sheet;
    table.value("spreadsheet", &mut sheet.spreadsheet, sheets::spreadsheet);
    table.value("name", &mut sheet.name, values::name);
    table.value("credentials", &mut sheet.credentials, sheets::key_file);
    table.value("api_url", &mut sheet.api_url, sheets::api_url);
    table.value("metadata_url", &mut sheet.metadata_url, sheets::metadata_url);
    let mut calls = |key, target: &mut u32| table.value(key, target, sheets::calls);
    calls("writes_a_minute", &mut sheet.writes_a_minute);
    calls("reads_a_minute", &mut sheet.reads_a_minute);
    let call_timeout = &mut sheet.call_timeout;
    table.value("call_timeout", call_timeout, |text| sheets::CALL_TIMEOUT.parse(text));
    // Else the environment names it, or says that it is wrong.
    if !environment::has_sheet(sources) && !table.has_failed("spreadsheet") {
        table.check("kind", || sheets::check_missing(ledger));
    }
    table.check("spreadsheet", || sheets::check_unused(ledger));
}

/// The smaller of two limits that meet wins: as in Redis, a client's buffer may be set below the
/// largest bulk.
fn limits(limits: &mut Limits, table: &mut Table<'_, '_>) {
    const KIB: usize = 1 << 10;
    const MIB: usize = 1 << 20;
    const GIB: usize = 1 << 30;
    // Offsets inside a command have 32 bits, so a command stays below 4 GiB.
    const COMMAND: usize = 4 * GIB - MIB;
    let mut count = |key, target: &mut usize, min, max| {
        table.value(key, target, |text| Range::<usize> { min, max }.parse(text));
    };
    count("max_clients", &mut limits.max_clients, 1, 1_000_000);
    count("max_args", &mut limits.max_args, 1, 16_777_216);
    count("locks", &mut limits.locks, 1, 100_000_000);
    count("script_texts", &mut limits.script_texts, 1, 1_000_000);
    let mut size = |key, target: &mut usize, min, max| {
        table.value(key, target, |text| Range { min, max }.parse_size(text));
    };
    size("max_bulk", &mut limits.max_bulk, KIB, 2 * GIB);
    size("max_inline", &mut limits.max_inline, 256, MIB);
    size("client_buffer", &mut limits.client_buffer, KIB, COMMAND);
    size("client_output", &mut limits.client_output, KIB, GIB);
    size("total_buffer", &mut limits.total_buffer, KIB, 1024 * GIB);
    size("lock_value", &mut limits.lock_value, 16, MIB);
    size("lock_key", &mut limits.lock_key, 1, 64 * KIB);
    size("script_bytes", &mut limits.script_bytes, KIB, GIB);
}

fn log(log: &mut Log, table: &mut Table<'_, '_>) {
    table.value("format", &mut log.format, values::log_format);
    table.value("level", &mut log.level, values::log_level);
}

/// Rules of the file replace the default rule; `rule = []` leaves none.
fn rules(draft: &mut Draft, guarantee: Guarantee, table: &mut Table<'_, '_>) {
    let observed = draft.observe.by_default;
    let mut read: Vec<Rule> = Vec::new();
    // The first rule that can't be observed and is only because all are.
    let mut unfit = None;
    let given = table.tables("rule", MAX_RULES, |table| {
        let mut new = Rule { observe: observed, ..Rule::new("", Vec::new()) };
        rule(&mut new, guarantee, table);
        let taken = !new.name.is_empty() && read.iter().any(|rule| rule.name == new.name);
        table.check("name", || match taken {
            true => Err(Wrong::new(format!("{:?} stands twice", new.name), "a name of its own")),
            false => Ok(()),
        });
        if !table.has("observe") {
            unfit = unfit.take().or_else(|| super::observe::check_rule(&new).err());
        }
        read.push(new);
    });
    if given {
        draft.rules = read;
    } else {
        draft.rules.iter_mut().for_each(|rule| rule.observe = observed);
    }
    table.check("observe", || unfit.map_or(Ok(()), Err));
}

fn rule(rule: &mut Rule, guarantee: Guarantee, table: &mut Table<'_, '_>) {
    table.require("name", r#"a name such as "jobs""#);
    table.value("name", &mut rule.name, values::name);
    table.require("keys", r#"globs such as ["lock:*"]"#);
    table.list("keys", &mut rule.keys, values::glob);
    table.list("exclude", &mut rule.exclude, values::glob);
    table.list("companions", &mut rule.companions, values::glob);
    table.check("keys", || keys_can_match(rule));
    table.value("mode", &mut rule.mode, values::mode);
    table.value("stamp", &mut rule.stamp, values::stamp);
    table.value("safety_ttl", &mut rule.safety_ttl, |text| values::SAFETY_TTL.parse(text));
    table.value("ttl", &mut rule.default_ttl, |text| values::LOCK_TTL.parse(text));
    table.value("allow_repeated_values", &mut rule.allow_repeated_values, values::switch);
    let (stamp, repeats) = (rule.stamp, rule.allow_repeated_values);
    table.check("stamp", || values::check_stamp(stamp, repeats, guarantee));
    table.value("outage", &mut rule.outage, values::outage);
    table.value("max_hold", &mut rule.max_hold, values::max_hold);
    table.value("fence_suffix", &mut rule.fence_suffix, values::fence_suffix);
    table.value("observe", &mut rule.observe, values::switch);
    table.check("observe", || super::observe::check_rule(rule));
}

/// A rule without keys, or with a glob that it takes away again, is a mistake.
fn keys_can_match(rule: &Rule) -> Result<(), Wrong> {
    if rule.keys.is_empty() {
        return Err(Wrong::new("no glob", r#"at least one, such as "lock:*""#));
    }
    let taken = |glob: &&Glob| rule.exclude.contains(glob) || rule.companions.contains(glob);
    match rule.keys.iter().find(taken) {
        None => Ok(()),
        Some(glob) => {
            let what = format!("\"{glob}\" stands in exclude or companions too");
            Err(Wrong::new(what, "a glob that matches something"))
        }
    }
}
