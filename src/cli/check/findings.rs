//! What Redis's answers mean for locks. Pure.

use std::fmt;

/// Oldest Redis that Lockside is made for.
const OLDEST: (u32, u32) = (6, 2);

/// One line of `lockside check`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    severity: Severity,
    text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Severity {
    Ok,
    Warn,
    Fail,
}

/// Whether Redis writes snapshots (`save` of its configuration).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Save {
    On,
    Off,
    Unknown,
}

impl Finding {
    pub(super) fn ok(text: impl fmt::Display) -> Self {
        Self { severity: Severity::Ok, text: text.to_string() }
    }

    pub(super) fn warn(text: impl fmt::Display) -> Self {
        Self { severity: Severity::Warn, text: text.to_string() }
    }

    pub(super) fn fail(text: impl fmt::Display) -> Self {
        Self { severity: Severity::Fail, text: text.to_string() }
    }

    pub(super) fn is_failure(&self) -> bool {
        self.severity == Severity::Fail
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Ok => "ok",
            Severity::Warn => "warn",
            Severity::Fail => "fail",
        };
        write!(f, "{severity:4}  {}", self.text)
    }
}

/// Judges the text of INFO (`field:value` lines). `least`: so many replicas are asked for.
pub(super) fn judge(info: &str, save: Save, least: usize) -> Vec<Finding> {
    let field = |name: &str| {
        let value =
            |line: &str| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim().to_owned());
        info.lines().find_map(value)
    };
    let is = |name: &str, value: &str| field(name).as_deref() == Some(value);
    let mut found = vec![version(field("redis_version").as_deref())];
    if is("cluster_enabled", "1") {
        found.push(Finding::fail(
            "Redis runs as a cluster (cluster_enabled:1), which is not supported: name a Redis that \
             is no cluster node in upstream.url",
        ));
    }
    if is("role", "slave") {
        found.push(Finding::fail("this Redis is a replica: name its master in upstream.url"));
    }
    if is("loading", "1") {
        found.push(Finding::warn("Redis is loading its data: check again later"));
    }
    found.extend(field("maxmemory_policy").map(|policy| eviction(&policy)));
    found.push(persistence(is("aof_enabled", "1"), save));
    if least > 0 {
        found.push(replicas(field("connected_slaves").as_deref(), least));
    }
    found
}

fn version(version: Option<&str>) -> Finding {
    let Some(version) = version else {
        return Finding::warn("INFO names no Redis version: is this a Redis?");
    };
    let mut numbers = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let (major, minor) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if (major, minor) >= OLDEST {
        return Finding::ok(format!("Redis {version}"));
    }
    Finding::warn(format!("Redis {version} is older than {}.{}: upgrade it", OLDEST.0, OLDEST.1))
}

fn eviction(policy: &str) -> Finding {
    if policy.starts_with("allkeys-") {
        return Finding::warn(format!(
            "maxmemory-policy {policy} evicts held locks when memory runs out; \
             noeviction or volatile-* keeps them"
        ));
    }
    Finding::ok(format!("maxmemory-policy {policy} keeps locks"))
}

fn replicas(connected: Option<&str>, least: usize) -> Finding {
    match connected.and_then(|count| count.parse::<usize>().ok()) {
        Some(count) if count >= least => {
            Finding::ok(format!("{count} replicas are connected; an acquire waits for {least}"))
        }
        Some(count) => Finding::warn(format!(
            "{count} replicas are connected, and min_replicas is {least}: no lock is granted until \
             more are there"
        )),
        None => Finding::warn("INFO does not tell how many replicas are connected (min_replicas)"),
    }
}

fn persistence(append_only: bool, save: Save) -> Finding {
    match (append_only, save) {
        (true, _) => Finding::ok("append-only file is on"),
        (false, Save::On) => Finding::ok("snapshots are on"),
        (false, Save::Off) => Finding::warn(
            "persistence is off: a restart of Redis forgets every lock until Lockside puts them \
             back; turn on appendonly, or save",
        ),
        (false, Save::Unknown) => Finding::warn(
            "append-only file is off, and CONFIG GET save is refused: \
                           a restart of Redis may forget every lock; allow CONFIG GET to the user, or look there",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "# Server\r\nredis_version:7.0.15\r\nrole:master\r\nloading:0\r\n\
                        maxmemory_policy:noeviction\r\naof_enabled:1\r\ncluster_enabled:0\r\n";

    fn lines(info: &str, save: Save) -> Vec<String> {
        judge(info, save, 0).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_fitting_redis() {
        let expected = [
            "ok    Redis 7.0.15",
            "ok    maxmemory-policy noeviction keeps locks",
            "ok    append-only file is on",
        ];
        assert_eq!(lines(GOOD, Save::Off), expected);
    }

    #[test]
    fn replicas_that_are_asked_for() {
        let cases = [
            ("connected_slaves:2\r\n", "ok    2 replicas are connected; an acquire waits for 2"),
            ("connected_slaves:1\r\n", "warn  1 replicas are connected, and min_replicas is 2"),
            ("", "warn  INFO does not tell how many replicas"),
        ];
        for (line, expected) in cases {
            let found = judge(&format!("{GOOD}{line}"), Save::On, 2);
            let last = found.last().unwrap().to_string();
            assert!(last.starts_with(expected), "{last}");
        }
    }

    #[test]
    fn each_misfit_has_its_line() {
        let cases = [
            ("7.0.15", "6.0.16", Save::On, "warn  Redis 6.0.16 is older than 6.2"),
            ("7.0.15", "10.0", Save::On, "ok    Redis 10.0"),
            ("cluster_enabled:0", "cluster_enabled:1", Save::On, "fail  Redis runs as a cluster"),
            ("role:master", "role:slave", Save::On, "fail  this Redis is a replica"),
            ("loading:0", "loading:1", Save::On, "warn  Redis is loading"),
            ("noeviction", "allkeys-lru", Save::On, "warn  maxmemory-policy allkeys-lru evicts"),
            ("noeviction", "volatile-lru", Save::On, "ok    maxmemory-policy volatile-lru"),
            ("aof_enabled:1", "aof_enabled:0", Save::On, "ok    snapshots are on"),
            ("aof_enabled:1", "aof_enabled:0", Save::Off, "warn  persistence is off"),
            ("aof_enabled:1", "aof_enabled:0", Save::Unknown, "warn  append-only file is off"),
            ("redis_version", "x_version", Save::On, "warn  INFO names no Redis version"),
        ];
        for (from, to, save, expected) in cases {
            let lines = lines(&GOOD.replace(from, to), save);
            assert!(lines.iter().any(|line| line.starts_with(expected)), "{expected}: {lines:?}");
        }
    }
}
