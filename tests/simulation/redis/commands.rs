//! What each command does, with Redis 7.0's replies.

use lockside::resp::encode::{self, Protocol};

use super::{PASSWORD, Redis, User, script};
use crate::clock;

impl Redis {
    /// One command, or its place in an open MULTI.
    pub(super) fn command(&mut self, link: u64, words: Vec<Vec<u8>>, out: &mut Vec<u8>) {
        let name = name(&words);
        let connection = self.connections.get_mut(&link).unwrap();
        if matches!(name.as_str(), "EVAL" | "EVALSHA") && words.len() < 3 {
            connection.is_aborted |= connection.queued.is_some();
            let name = name.to_lowercase();
            let text = format!("ERR wrong number of arguments for '{name}' command");
            return encode::error(out, text.as_bytes());
        }
        if let Some(refusal) = refusal(connection.user, &name, &words) {
            connection.is_aborted |= connection.queued.is_some();
            return encode::error(out, refusal.as_bytes());
        }
        match name.as_str() {
            "AUTH" => {
                let user = if words[1] == b"worker" { User::Worker } else { User::Guest };
                if words[2] != PASSWORD.as_bytes() {
                    let text = "WRONGPASS invalid username-password pair or user is disabled.";
                    return encode::error(out, text.as_bytes());
                }
                connection.user = Some(user);
                encode::simple(out, b"OK");
            }
            "MULTI" => {
                connection.queued = Some(Vec::new());
                encode::simple(out, b"OK");
            }
            "DISCARD" => {
                (connection.queued, connection.is_aborted) = (None, false);
                connection.watched.clear();
                encode::simple(out, b"OK");
            }
            "EXEC" => self.exec(link, out),
            _ if connection.queued.is_some() => {
                connection.queued.as_mut().unwrap().push(words);
                encode::simple(out, b"QUEUED");
            }
            "WATCH" => {
                for key in &words[1..] {
                    let version = self.version(key);
                    let connection = self.connections.get_mut(&link).unwrap();
                    connection.watched.entry(key.clone()).or_insert(version);
                }
                encode::simple(out, b"OK");
            }
            "UNWATCH" => {
                connection.watched.clear();
                encode::simple(out, b"OK");
            }
            _ => self.simple(&name, &words, out),
        }
    }

    fn exec(&mut self, link: u64, out: &mut Vec<u8>) {
        let connection = self.connections.get_mut(&link).unwrap();
        let watched = std::mem::take(&mut connection.watched);
        let Some(commands) = connection.queued.take() else {
            return encode::error(out, b"ERR EXEC without MULTI");
        };
        if std::mem::take(&mut connection.is_aborted) {
            let text = "EXECABORT Transaction discarded because of previous errors.";
            return encode::error(out, text.as_bytes());
        }
        if watched.iter().any(|(key, version)| self.version(key) != *version) {
            return encode::null_array(out, Protocol::Resp2);
        }
        encode::array(out, commands.len());
        for words in commands {
            self.simple(&name(&words), &words, out);
        }
    }

    /// A command of a script.
    pub(super) fn run(&mut self, words: Vec<Vec<u8>>, out: &mut Vec<u8>) {
        self.simple(&name(&words), &words, out);
    }

    fn simple(&mut self, name: &str, words: &[Vec<u8>], out: &mut Vec<u8>) {
        let key = words.get(1).map(Vec::as_slice).unwrap_or_default();
        match name {
            "PING" => encode::simple(out, b"PONG"),
            "SELECT" | "CLIENT" => encode::simple(out, b"OK"),
            "INFO" => {
                let run = self.run_id();
                let text = format!("# Server\r\nredis_version:7.0.15\r\nrun_id:{run}\r\n");
                encode::bulk(out, text.as_bytes());
            }
            "GET" => self.bulk(key, out),
            "GETDEL" => {
                self.bulk(key, out);
                self.remove(key);
            }
            "SET" => self.set(words, out),
            "MSETNX" => self.set_all(&words[1..], out),
            "TYPE" => {
                let kind: &[u8] = if self.data.contains_key(key) { b"string" } else { b"none" };
                encode::simple(out, kind);
            }
            "STRLEN" => {
                let length = self.data.get(key).map_or(0, |entry| entry.value.len());
                encode::integer(out, length as i64);
            }
            "TIME" => {
                let ms = clock::unix_ms();
                encode::array(out, 2);
                encode::bulk(out, (ms / 1000).to_string().as_bytes());
                encode::bulk(out, (ms % 1000 * 1000).to_string().as_bytes());
            }
            "DEL" | "UNLINK" => {
                let gone = words[1..].iter().filter_map(|key| self.remove(key)).count();
                encode::integer(out, gone as i64);
            }
            "EXISTS" => {
                let there = words[1..].iter().filter(|key| self.data.contains_key(*key)).count();
                encode::integer(out, there as i64);
            }
            "PTTL" => encode::integer(out, self.pttl(key)),
            "PERSIST" => encode::integer(out, i64::from(self.persist(key))),
            "PEXPIRE" => {
                let there = self.pexpire(key, number(&words[2]));
                encode::integer(out, i64::from(there));
            }
            "SCAN" => self.scan(words, out),
            "EVAL" | "EVALSHA" => script::eval(self, words, out),
            "SCRIPT" => script::script(self, words, out),
            _ => panic!("the simulated Redis does not know {}", shown(words)),
        }
    }

    fn bulk(&self, key: &[u8], out: &mut Vec<u8>) {
        match self.data.get(key) {
            Some(entry) => encode::bulk(out, &entry.value),
            None => encode::null(out, Protocol::Resp2),
        }
    }

    fn set(&mut self, words: &[Vec<u8>], out: &mut Vec<u8>) {
        let (key, value) = (&words[1], &words[2]);
        let (mut only_new, mut only_old, mut shows, mut ttl_ms) = (false, false, false, None);
        let mut options = words[3..].iter();
        while let Some(option) = options.next() {
            match option.to_ascii_uppercase().as_slice() {
                b"NX" => only_new = true,
                b"XX" => only_old = true,
                b"GET" => shows = true,
                b"EX" => ttl_ms = Some(number(options.next().unwrap()) * 1000),
                b"PX" => ttl_ms = Some(number(options.next().unwrap())),
                _ => panic!("the simulated Redis does not know {}", shown(words)),
            }
        }
        let there = self.data.contains_key(key);
        let sets = !(only_new && there || only_old && !there);
        match (shows, sets) {
            (true, _) => self.bulk(key, out),
            (false, true) => encode::simple(out, b"OK"),
            (false, false) => encode::null(out, Protocol::Resp2),
        }
        if sets {
            self.put(key, value, ttl_ms);
        }
    }

    fn set_all(&mut self, pairs: &[Vec<u8>], out: &mut Vec<u8>) {
        let pairs = pairs.chunks_exact(2);
        let is_free = pairs.clone().all(|pair| !self.data.contains_key(&pair[0]));
        if is_free {
            pairs.for_each(|pair| self.put(&pair[0], &pair[1], None));
        }
        encode::integer(out, i64::from(is_free));
    }

    pub(super) fn pttl(&self, key: &[u8]) -> i64 {
        match self.data.get(key) {
            None => -2,
            Some(entry) => {
                entry.expires_at.map_or(-1, |at| at.saturating_sub(clock::unix_ms()) as i64)
            }
        }
    }

    pub(super) fn persist(&mut self, key: &[u8]) -> bool {
        let had = self.data.get_mut(key).is_some_and(|entry| entry.expires_at.take().is_some());
        if had {
            self.changed(key);
        }
        had
    }

    pub(super) fn pexpire(&mut self, key: &[u8], ttl_ms: u64) -> bool {
        let Some(entry) = self.data.get_mut(key) else { return false };
        entry.expires_at = Some(clock::unix_ms() + ttl_ms);
        self.changed(key);
        true
    }

    /// Four steps, each with the keys of one bucket: what stays for the whole SCAN is shown.
    fn scan(&mut self, words: &[Vec<u8>], out: &mut Vec<u8>) {
        let cursor = number(&words[1]);
        let pattern = &words[3];
        let head = pattern.strip_suffix(b"*").unwrap_or_else(|| panic!("{}", shown(words)));
        let bucket = |key: &[u8]| key.iter().map(|byte| u64::from(*byte)).sum::<u64>() % 4;
        let keys: Vec<&Vec<u8>> =
            self.data.keys().filter(|key| key.starts_with(head) && bucket(key) == cursor).collect();
        encode::array(out, 2);
        encode::bulk(out, ((cursor + 1) % 4).to_string().as_bytes());
        encode::array(out, keys.len());
        keys.into_iter().for_each(|key| encode::bulk(out, key));
    }
}

/// What Redis says to who may not do this.
fn refusal(user: Option<User>, name: &str, words: &[Vec<u8>]) -> Option<&'static str> {
    let is_lock = |word: &Vec<u8>| word.starts_with(b"lock:");
    match user {
        None if name != "AUTH" => Some("NOAUTH Authentication required."),
        Some(User::Guest) if words[1..].iter().any(is_lock) => {
            Some("NOPERM this user has no permissions to access one of the keys used as arguments")
        }
        _ => None,
    }
}

pub(super) fn name(words: &[Vec<u8>]) -> String {
    String::from_utf8_lossy(&words[0]).to_ascii_uppercase()
}

pub(super) fn number(word: &[u8]) -> u64 {
    std::str::from_utf8(word).unwrap().parse().unwrap()
}

pub(super) fn shown(words: &[Vec<u8>]) -> String {
    let words: Vec<_> = words.iter().map(|word| String::from_utf8_lossy(word)).collect();
    words.join(" ")
}
