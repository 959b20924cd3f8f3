//! What Lockside says about its locks: the LOCKSIDE command and INFO.

use super::{ONE, Stage, TOKEN};
use crate::support::Monitor;

#[test]
fn mode_locks_owner_help() {
    let Some(mut stage) = Stage::lockside("") else { return };
    let mode = stage.client.ask("LOCKSIDE MODE");
    assert!(mode.to_lowercase().contains("healthy"), "{mode}");
    let token = format!("93:{TOKEN}");
    stage.take("lock:a", &token);
    stage.take("mutex:b", TOKEN);
    let locks = stage.client.ask("LOCKSIDE LOCKS");
    assert!(locks.contains("lock:a") && locks.contains("mutex:b"), "{locks}");
    let some = stage.client.ask("lockside locks mutex:*");
    assert!(some.contains("mutex:b") && !some.contains("lock:a"), "{some}");
    let owner = stage.client.ask("LOCKSIDE OWNER lock:a");
    assert!(owner.contains("93"), "{owner}");
    assert!(!owner.contains(TOKEN), "a token is shown by its first characters at most: {owner}");
    assert!(!locks.contains(TOKEN), "{locks}");
    let help = stage.client.ask("LOCKSIDE HELP");
    assert!(help.starts_with('*'), "{help}");
    for word in ["MODE", "LOCKS", "OWNER", "HELP"] {
        assert!(help.contains(word), "{help}");
    }
    assert_eq!(stage.client.ask("DEL lock:a"), ONE);
    assert!(!stage.client.ask("LOCKSIDE LOCKS").contains("lock:a"));
    assert!(!stage.client.ask("LOCKSIDE OWNER lock:a").contains("93"));
}

/// Anything else that starts with it is an error, and none of it goes upstream.
#[test]
fn never_sent_upstream() {
    let Some(mut stage) = Stage::lockside("") else { return };
    stage.client.fence();
    let mut monitor = Monitor::start(&stage.redis);
    for line in
        ["LOCKSIDE", "LOCKSIDE NOPE", "LOCKSIDE OWNER", "LOCKSIDE MODE x", "LOCKSIDE NOPE a b"]
    {
        let reply = stage.client.ask(line);
        assert!(reply.starts_with('-'), "{line}: {reply}");
    }
    for line in ["LOCKSIDE MODE", "LOCKSIDE LOCKS", "LOCKSIDE OWNER lock:a", "LOCKSIDE HELP"] {
        let reply = stage.client.ask(line);
        assert!(!reply.starts_with('-'), "{line}: {reply}");
    }
    stage.client.fence();
    assert!(monitor.seen_with("LOCKSIDE").is_empty());
}

#[test]
fn info_has_a_section() {
    let Some(mut stage) = Stage::lockside("") else { return };
    stage.take("lock:a", TOKEN);
    let info = stage.client.ask("INFO");
    assert!(info.contains("# Server\r\n") && info.contains("\r\n# Lockside\r\n"), "{info}");
    let length: usize = info[1..info.find('\r').unwrap()].parse().unwrap();
    assert_eq!(info.len(), format!("${length}\r\n").len() + length + 2);
    let own = stage.client.ask("INFO lockside");
    assert!(own.contains("# Lockside\r\n"), "{own}");
    let other = stage.client.ask("INFO clients");
    assert!(other.contains("# Clients") && !other.contains("# Server"), "{other}");
    assert!(stage.client.ask("HELLO 3").starts_with('%'));
    assert!(stage.client.ask("INFO").contains("# Lockside\r\n"));
    assert_eq!(stage.client.ask("MULTI"), "+OK\r\n");
    assert_eq!(stage.client.ask("INFO server"), "+QUEUED\r\n");
    assert!(stage.client.ask("EXEC").starts_with("*1\r\n"));
}

/// Who holds what is nothing for a client that Redis does not let in.
#[test]
fn nothing_is_told_without_a_password() {
    let Some(mut stage) = Stage::lockside("") else { return };
    stage.take("lock:a", TOKEN);
    assert_eq!(stage.direct.ask("CONFIG SET requirepass secret"), "+OK\r\n");
    let mut stranger = stage.subject.client();
    for line in
        ["LOCKSIDE LOCKS", "LOCKSIDE LOCKS lock:*", "LOCKSIDE OWNER lock:a", "LOCKSIDE MODE"]
    {
        assert_eq!(stranger.ask(line), "-NOAUTH Authentication required.\r\n", "{line}");
    }
    assert_eq!(stranger.ask("AUTH secret"), "+OK\r\n");
    assert!(stranger.ask("LOCKSIDE LOCKS").contains("lock:a"));
}
