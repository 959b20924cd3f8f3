//! What Redis was asked, in Redis's own words and order: a MONITOR connection.

use std::collections::BTreeSet;

use super::client::Client;
use super::redis::Redis;

/// A tap on one server, past Lockside.
pub(crate) struct Monitor {
    tap: Client,
    marker: Client,
    marks: u32,
    /// Addresses of Lockside's own connections.
    own: BTreeSet<String>,
}

impl Monitor {
    /// Everything from now on is seen.
    pub(crate) fn start(redis: &Redis) -> Self {
        let mut tap = redis.client();
        assert_eq!(tap.ask("MONITOR"), "+OK\r\n");
        Self { tap, marker: redis.client(), marks: 0, own: BTreeSet::new() }
    }

    /// All commands that Redis has begun since the last call, each as `"SET" "k" "v"`; those from
    /// scripts have `lua ` in front.
    pub(crate) fn seen(&mut self) -> Vec<String> {
        self.marks += 1;
        let mark = format!("monitor-mark-{}", self.marks);
        self.marker.send_line(&format!("ECHO {mark}"));
        assert_eq!(self.marker.text(), format!("${}\r\n{mark}\r\n", mark.len()));
        let mut seen = Vec::new();
        loop {
            let line = self.tap.text();
            if line.contains(&mark) {
                return self.of_others(&seen);
            }
            seen.push(line);
        }
    }

    /// Without what Lockside's own connections ask: each has shown itself by a key or a name of its
    /// own, in these lines or before.
    fn of_others(&mut self, lines: &[String]) -> Vec<String> {
        let own = lines.iter().filter(|line| OWN.iter().any(|word| line.contains(word)));
        self.own.extend(own.map(|line| source_of(line).to_owned()));
        let others = lines.iter().filter(|line| !self.own.contains(source_of(line)));
        others.map(|line| command_of(line)).collect()
    }

    /// As `seen`, only the commands whose text contains `part`.
    pub(crate) fn seen_with(&mut self, part: &str) -> Vec<String> {
        self.seen().into_iter().filter(|command| command.contains(part)).collect()
    }
}

/// What only Lockside's own connections ask.
const OWN: [&str; 3] = ["lockside-health", "lockside:probe", "\"SCAN\" \"0\" \"MATCH\""];

/// The address between the brackets.
fn source_of(line: &str) -> &str {
    let inside = line.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    inside.map_or("", |(inside, _)| inside.rsplit(' ').next().unwrap_or(inside))
}

/// `+1700000000.1 [0 127.0.0.1:5] "SET" "k"\r\n` without time and address.
fn command_of(line: &str) -> String {
    let (source, command) = line.trim_end().split_once("] ").unwrap_or(("", line));
    if source.ends_with("lua") { format!("lua {command}") } else { command.to_owned() }
}
