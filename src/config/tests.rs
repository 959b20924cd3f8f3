//! Settings as a whole: defaults, the example, precedence, every error line, no password shown.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::lock::rule::{Mode, Outage, Rule, RuleId, Stamp};

mod mistakes;
mod projection;
#[cfg(feature = "sheets")]
mod sheets;

fn sources(file: &str, environment: &[(&str, &str)]) -> Sources {
    let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Sources {
        file: (!file.is_empty()).then(|| (PathBuf::from("l.toml"), file.to_owned())),
        environment: environment.iter().map(pair).collect::<BTreeMap<_, _>>(),
        flags: Overrides::default(),
    }
}

fn settings(file: &str, environment: &[(&str, &str)]) -> Settings {
    Settings::load(&sources(file, environment)).unwrap_or_else(|problems| panic!("{problems}"))
}

fn refused(file: &str, environment: &[(&str, &str)]) -> String {
    Settings::load(&sources(file, environment)).expect_err(file).to_string()
}

#[test]
fn nothing_configured_is_the_default() {
    let settings = settings("", &[]);
    assert_eq!(settings, Settings::default());
    assert_eq!(settings.listen[0].to_string(), "127.0.0.1:6380");
    assert_eq!(settings.upstream.address.to_string(), "127.0.0.1:6379");
    assert_eq!(settings.rules.iter().count(), 1);
    assert_eq!(settings.rules.get(RuleId(0)), Some(&Rule::default()));
}

#[test]
fn example_states_the_defaults() {
    assert_eq!(settings(EXAMPLE, &[]), Settings::default());
}

#[test]
fn example_names_every_key() {
    // Each table's list of known keys stands in the error for a key unlike any other.
    let inject = |header: &str| {
        EXAMPLE.replacen(&format!("\n{header}"), &format!("\n{header}\nzzzzzzzzz = 1"), 1)
    };
    let tables = ["threads = 1", "[ledger]", "[upstream]", "[limits]", "[log]", "[[rule]]"];
    let user = "[[user]]\nzzzzzzzzz = 1\nname = 'a'\npassword = 'b'".to_owned();
    for file in tables.map(inject).into_iter().chain([user]) {
        let message = refused(&file, &[]);
        let (_, keys) = message.split_once("expected one of ").unwrap();
        for key in keys.split(", ") {
            let written = |line: &str| {
                line.starts_with(&format!("{key} =")) || line.trim_matches(['[', ']']) == key
            };
            assert!(uncommented().lines().any(written), "{key} is missing in the example");
        }
    }
}

/// The example with the keys that have no default.
fn uncommented() -> String {
    let line = |line: &str| match line.strip_prefix('#') {
        Some(key) if !key.is_empty() && !key.starts_with(' ') => key.to_owned(),
        _ => line.to_owned(),
    };
    let lines: Vec<String> = EXAMPLE.lines().map(line).collect();
    let text = lines.join("\n").replace("\nuser = []\n", "\n");
    // A spreadsheet goes with its own kind of ledger.
    text.replace("kind = \"sqlite\"", "kind = \"sheets\"")
}

#[test]
#[cfg(feature = "sheets")]
fn the_examples_users_are_valid() {
    let users = settings(&uncommented(), &[]).users;
    let named: Vec<_> = users.iter().map(|user| user.name.as_str()).collect();
    assert_eq!(named, ["worker", "default"]);
    assert!(users.iter().all(|user| user.password.fits(b"secret") && user.may_use(RuleId(0))));
}

#[test]
fn every_value_of_the_file_arrives() {
    let settings = settings(
        r#"
        listen = ["unix:///run/l.sock", "[::1]:7000"]
        threads = 3
        state_dir = "/s"
        time_zone = "Europe/Berlin"
        held_cache = 0
        drain_timeout = 7
        guarantee = "fast"
        namespace = "orders"
        conflict = "upstream"
        observe = true
        observe_databases = [3, 0]
        observe_scan = "2s"
        [ledger]
        kind = "sqlite"
        path = "l/x.db"
        acquire_timeout = "1500ms"
        release_wait = 6
        mirror_interval = "20ms"
        poll = "30ms"
        heartbeat = 4
        max_clock_skew = 0
        stall_after = "50ms"
        [upstream]
        url = "redis://bob:x@h:7001"
        connect_timeout = "2s"
        command_timeout = "3s"
        recover_after = 0
        probe_interval = "60ms"
        probe_timeout = "70ms"
        repair_interval = 8
        min_replicas = 2
        replica_timeout = "40ms"
        [limits]
        max_bulk = "1MiB"
        client_buffer = "2MiB"
        total_buffer = 4194304
        lock_key = 8
        [log]
        format = "json"
        level = "warn,lockside=debug"
        [[rule]]
        name = "jobs"
        keys = "job:*"
        exclude = ["job:x*"]
        companions = []
        mode = "ttl"
        stamp = "never"
        safety_ttl = "500ms"
        ttl = "2m"
        allow_repeated_values = true
        outage = "local"
        max_hold = "2d"
        fence_suffix = ":fence"
        [[rule]]
        name = "rest"
        keys = ["*"]
        outage = "refuse"
        observe = false
        [[user]]
        name = "bob"
        password = "secret"
        rules = ["rest", "rest"]
        "#,
        &[],
    );
    assert_eq!(settings.listen[0], Listen::Unix("/run/l.sock".into()));
    assert_eq!(settings.listen[1].to_string(), "[::1]:7000");
    assert_eq!((settings.threads, settings.state_dir.to_str()), (3, Some("/s")));
    assert_eq!(settings.time_zone.iana_name(), Some("Europe/Berlin"));
    assert_eq!(settings.held_cache, Duration::ZERO);
    assert_eq!(settings.drain_timeout, Duration::from_secs(7));
    assert_eq!(settings.upstream.username.as_deref(), Some("bob"));
    assert_eq!(settings.upstream.connect_timeout, Duration::from_secs(2));
    assert_eq!(settings.upstream.command_timeout, Duration::from_secs(3));
    let seconds = |duration: Duration| duration.as_secs_f64();
    let upstream = &settings.upstream;
    let times = [upstream.recover_after, upstream.probe_interval, upstream.probe_timeout];
    assert_eq!(times.map(seconds), [0.0, 0.06, 0.07]);
    assert_eq!(upstream.repair_interval, Duration::from_secs(8));
    assert_eq!((upstream.min_replicas, seconds(upstream.replica_timeout)), (2, 0.04));
    assert_eq!(settings.guarantee, Guarantee::Fast);
    assert_eq!((settings.namespace.as_str(), settings.conflict), ("orders", Conflict::Upstream));
    let ledger = &settings.ledger;
    assert_eq!(ledger.path, PathBuf::from("/s/l/x.db"));
    assert_eq!(ledger.acquire_timeout, Some(Duration::from_millis(1500)));
    let times = [ledger.release_wait, ledger.mirror_interval, ledger.poll, ledger.heartbeat];
    assert_eq!(times.map(seconds), [6.0, 0.02, 0.03, 4.0]);
    assert_eq!([ledger.max_clock_skew, ledger.stall_after].map(seconds), [0.0, 0.05]);
    assert_eq!(settings.limits.total_buffer, 4 << 20);
    assert_eq!(settings.log.format, LogFormat::Json);
    let jobs = settings.rules.find(b"job:1").unwrap();
    assert_eq!((jobs.mode, jobs.stamp, jobs.companions.len()), (Mode::Ttl, Stamp::Never, 0));
    assert_eq!(jobs.safety_ttl, Duration::from_millis(500));
    assert_eq!(jobs.default_ttl, Duration::from_secs(120));
    assert!(jobs.allow_repeated_values);
    assert_eq!(jobs.fence_suffix.as_deref(), Some(&b":fence"[..]));
    assert_eq!((jobs.outage, jobs.max_hold), (Outage::Local, Some(Duration::from_secs(172_800))));
    let observe = &settings.observe;
    assert_eq!((&observe.databases, observe.scan.as_secs()), (&[0, 3].into(), 2));
    let rest = settings.rules.find(b"job:x1").unwrap();
    assert_eq!((jobs.observe, rest.observe), (true, false));
    assert_eq!((rest.outage, rest.max_hold), (Outage::Refuse, None));
    assert_eq!(ledger.patience(rest), Duration::from_millis(1500));
    assert_eq!(settings.users.len(), 1);
    let bob = &settings.users[0];
    assert!(bob.name == "bob" && bob.password.fits(b"secret"));
    assert_eq!(bob.rules, [RuleId(1)]);
    assert_eq!(settings.rules.find(b"job:x1").unwrap().name, "rest");
    assert!(settings.rules.find(b"job:12345").is_none(), "longer than limits.lock_key");
}

#[test]
fn an_empty_list_of_rules_makes_nothing_a_lock() {
    assert!(settings("rule = []", &[]).rules.is_empty());
}

#[test]
fn environment_overrides_the_file_and_flags_override_both() {
    let file = "threads = 2\nlisten = '127.0.0.1:1'\n[upstream]\nurl = 'redis://file'\n\
                [[rule]]\nname = 'a'\nkeys = 'a'\nmode = 'persistent'\nsafety_ttl = 20\n";
    let environment = [
        ("REDIS_URL", "redis://one:p@env"),
        ("LOCKSIDE_UPSTREAM", "redis://env2"),
        ("LOCKSIDE_LISTEN", "127.0.0.1:2, unix:///x"),
        ("LOCKSIDE_THREADS", ""),
        ("REDIS_PERSISTENT_LOCKS", "False"),
        ("REDIS_SAFETY_TTL", "30"),
        ("REDIS_LOCK_TTL_SECONDS", "60"),
    ];
    let mut sources = sources(file, &environment);
    let by_environment = Settings::load(&sources).unwrap();
    assert_eq!(by_environment.threads, 2, "an empty variable is not set");
    assert_eq!(by_environment.upstream.address.to_string(), "env2:6379");
    assert_eq!(by_environment.upstream.username, None, "a URL replaces the other as a whole");
    assert_eq!(by_environment.listen.len(), 2);
    let rule = by_environment.rules.get(RuleId(0)).unwrap();
    assert_eq!((rule.mode, rule.safety_ttl.as_secs()), (Mode::Ttl, 30));
    assert_eq!(rule.default_ttl.as_secs(), 60);

    sources.flags.upstream = Some("redis://flag".into());
    sources.flags.threads = Some("4".into());
    let by_flag = Settings::load(&sources).unwrap();
    assert_eq!((by_flag.upstream.address.to_string().as_str(), by_flag.threads), ("flag:6379", 4));
}

#[test]
fn state_directory_follows_its_order() {
    let dir = |environment: &[(&str, &str)]| settings("", environment).state_dir;
    let all = [("STATE_DIRECTORY", "/s:/t"), ("XDG_STATE_HOME", "/x"), ("HOME", "/h")];
    assert_eq!(dir(&all), PathBuf::from("/s"));
    assert_eq!(dir(&all[1..]), PathBuf::from("/x/lockside"));
    assert_eq!(dir(&all[2..]), PathBuf::from("/h/.local/state/lockside"));
    assert_eq!(dir(&[("XDG_STATE_HOME", "relative")]), PathBuf::from("/var/lib/lockside"));
    let own = [("LOCKSIDE_STATE_DIR", "/own"), ("STATE_DIRECTORY", "/s")];
    assert_eq!(dir(&own), PathBuf::from("/own"));
}

#[test]
#[cfg(not(feature = "sheets"))]
fn a_build_without_sheets_refuses_one() {
    let id = "1BxiMVs0XRA5nFMdKvBdBZjgmUUqptlbs74OgvE2upms";
    let expected = "a sheet ledger is not in this build of Lockside; expected \"sqlite\", or a build \
                    with the feature `sheets`";
    assert_eq!(
        refused("ledger.kind = 'sheets'", &[]),
        format!("l.toml:1: ledger.kind: {expected}")
    );
    let told = refused("", &[("GOOGLE_SHEET_ID", id)]);
    assert_eq!(told, format!("environment: GOOGLE_SHEET_ID: {expected}"));
}

#[test]
fn the_ledger_lies_below_the_state_directory() {
    let path = |file: &str, environment: &[(&str, &str)]| settings(file, environment).ledger.path;
    let state = ("LOCKSIDE_STATE_DIR", "/s");
    assert_eq!(path("", &[state]), PathBuf::from("/s/ledger.db"));
    assert_eq!(path("ledger.path = 'x.db'", &[state]), PathBuf::from("/s/x.db"));
    assert_eq!(path("ledger.path = '/a/x.db'", &[state]), PathBuf::from("/a/x.db"));
    assert_eq!(path("ledger.path = 'x'", &[state, ("LOCKSIDE_LEDGER", "/y")]), PathBuf::from("/y"));
}

#[test]
fn without_a_time_of_its_own_an_acquire_waits_as_long_as_its_key_would_live() {
    let rule = Rule { safety_ttl: Duration::from_secs(3), ..Rule::default() };
    assert_eq!(Settings::default().ledger.patience(&rule), rule.safety_ttl);
}

/// What the file says has to go with the guarantee in force, wherever that is said.
#[test]
fn what_does_not_go_with_the_guarantee_in_force_is_refused() {
    let upstream = "conflict = 'upstream'";
    let never = "[[rule]]\nname = 'a'\nkeys = 'a'\nstamp = 'never'";
    let (strict, fast) = (("LOCKSIDE_GUARANTEE", "strict"), ("LOCKSIDE_GUARANTEE", "fast"));
    assert_eq!(
        refused(&format!("guarantee = 'fast'\n{upstream}"), &[strict]),
        r#"l.toml:2: conflict: "upstream" does not go with guarantee = "strict"; expected "ledger", or guarantee = "fast""#
    );
    assert_eq!(settings(upstream, &[fast]).conflict, Conflict::Upstream);
    assert_eq!(
        refused(never, &[fast]),
        r#"l.toml:4: rule.stamp: "never" does not go with guarantee = "fast"; expected "auto" or "always", or allow_repeated_values = true"#
    );
    settings(never, &[]);
    settings(&format!("{never}\nallow_repeated_values = true"), &[fast]);
    settings(&format!("guarantee = 'fast'\n{never}"), &[strict]);
    let wrong = refused("", &[("LOCKSIDE_GUARANTEE", "firm"), ("LOCKSIDE_NAMESPACE", "a b")]);
    assert_eq!(
        wrong,
        "environment: LOCKSIDE_GUARANTEE: \"firm\" is no guarantee; expected \"strict\" or \"fast\"\n\
         environment: LOCKSIDE_NAMESPACE: \"a b\" is no name; expected 1 to 64 of a-z A-Z 0-9 - _ ."
    );
}
