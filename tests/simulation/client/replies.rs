//! What replies mean to a client.

use super::*;

impl World {
    /// The reply that it waited for.
    pub(super) fn reply(&mut self, id: usize, replies: &[Reply<'_>]) {
        let Some(reply) = replies.last() else { return };
        let soon = self.clients[id].rng.millis(1, 100);
        match self.clients[id].doing {
            Doing::Acquiring => self.acquired(id, replies),
            Doing::Extending | Doing::Releasing | Doing::Dropping => {
                self.script_ran(id, reply, soon)
            }
            Doing::Checking => {
                if let Some(seen) = self.sees_another(id, reply) {
                    self.is_lost(id, &seen);
                }
                self.rest(id, Doing::Holding, soon);
            }
            Doing::Watching => match reply {
                Reply::Error(_) => self.not_released(id, soon),
                _ => {
                    let key = self.clients[id].key.clone();
                    self.ask_one(id, Doing::Getting, &[b"GET", &key]);
                }
            },
            Doing::Getting => self.got(id, reply),
            Doing::Deleting => match reply {
                Reply::Integer(1) => self.released(id),
                Reply::Integer(_) => {
                    self.is_lost(id, "DEL of its lock is answered 0");
                    self.rest(id, Doing::Resolving, soon * 5);
                }
                _ => self.rest(id, Doing::Resolving, soon),
            },
            Doing::TakingOut => match reply {
                Reply::Bulk(value) if **value == *self.clients[id].token.as_bytes() => {
                    self.released(id);
                }
                Reply::Error(_) => self.rest(id, Doing::Resolving, soon),
                other => {
                    self.is_lost(id, &format!("GETDEL of its lock is answered {other:?}"));
                    self.rest(id, Doing::Resolving, soon * 5);
                }
            },
            Doing::Executing => {
                let first = reply.elements().next().map(<[u8]>::to_vec);
                match first.as_deref() {
                    Some(b":1\r\n") => self.released(id),
                    _ => self.rest(id, Doing::Resolving, soon),
                }
            }
            Doing::Idle | Doing::Retrying | Doing::Resolving | Doing::Holding | Doing::Keeping => {}
        }
    }

    fn acquired(&mut self, id: usize, replies: &[Reply<'_>]) {
        if replies.last().is_some_and(is_noscript) {
            return self.acquire_by(id, false);
        }
        if let Some(Reply::Error(_)) = replies.last() {
            self.checks.count("errors");
        }
        let client = &self.clients[id];
        let (keys, token) = (client.keys(), client.token.clone());
        let told = client.form.read(keys.len(), replies);
        let pid = client.line.map_or(0, |line| line.side.1);
        let until = match self.fleet {
            Fleet::Ttl => client.runs_out_at(),
            _ => FOREVER,
        };
        let mut left = Vec::new();
        for (key, told) in keys.into_iter().zip(told) {
            match told {
                Told::Granted => self.checks.ok_read(id, &key, &token, until),
                Told::Unknown => self.checks.is_unknown(&key, &token),
                Told::No => self.checks.no_read(&key, &token, pid),
            }
            if told != Told::No {
                left.push(Other { key, holds: told == Told::Granted, until });
            }
        }
        // Those that it holds are in hand first.
        left.sort_by_key(|lock| lock.holds);
        self.take_up(id, left);
    }

    /// Goes on with what it has, or may have.
    fn take_up(&mut self, id: usize, mut left: Vec<Other>) {
        let Some(first) = left.pop() else {
            self.clients[id].others.clear();
            return self.think(id);
        };
        let client = &mut self.clients[id];
        (client.key, client.holds, client.others) = (first.key, first.holds, left);
        client.until = first.until;
        if !client.holds {
            return self.acquire_unknown(id);
        }
        client.tries = 0;
        // Long holds are what double grants are seen by.
        let often = if self.fleet.is_fast() { 30 } else { 10 };
        let long = if client.rng.percent(often) { 3000 } else { 150 };
        let hold = client.rng.millis(0, long);
        self.rest(id, Doing::Holding, hold);
    }

    /// A script of its own has answered how many keys were its own.
    fn script_ran(&mut self, id: usize, reply: &Reply<'_>, soon: Duration) {
        let doing = self.clients[id].doing;
        let text = match doing {
            Doing::Extending => forms::extend(self.fleet),
            _ => forms::RELEASE,
        };
        match (doing, reply) {
            (_, reply) if is_noscript(reply) => self.run_script_by(id, doing, text, false),
            (Doing::Extending, Reply::Error(_)) => self.rest(id, Doing::Holding, soon),
            (Doing::Extending, Reply::Integer(1)) => {
                self.extended(id);
                self.rest(id, Doing::Holding, soon);
            }
            (Doing::Extending, other) => {
                self.is_lost(id, &format!("its extension is answered {other:?}"));
                self.rest(id, Doing::Holding, soon * 5);
            }
            (Doing::Releasing, Reply::Integer(count)) => self.released_all(id, *count, soon),
            (Doing::Dropping, Reply::Integer(1)) => self.released(id),
            (Doing::Dropping, Reply::Integer(_)) if !self.still_holds(id) => self.think(id),
            (Doing::Dropping, Reply::Integer(_)) => self.rest(id, Doing::Resolving, soon * 5),
            _ => self.rest(id, Doing::Resolving, soon),
        }
    }

    fn extended(&mut self, id: usize) {
        self.checks.count("extended");
        let client = &mut self.clients[id];
        if client.until != FOREVER {
            client.until = client.until.max(client.runs_out_at());
            self.checks.extended(&client.key, &client.token, client.until);
        }
    }

    fn released_all(&mut self, id: usize, count: i64, soon: Duration) {
        let client = &self.clients[id];
        let (keys, token) = (client.keys(), client.token.clone());
        if keys.len() as i64 == count {
            let pid = client.line.map_or(0, |line| line.side.1);
            self.clients[id].others.clear();
            keys.iter().for_each(|key| self.checks.release_read(key, &token, pid));
            return self.think(id);
        }
        let others = client.others.iter().map(|other| other.until);
        let has_run_out = others.chain([client.until]).any(|until| until <= self.now());
        if !has_run_out && !client.is_behind && !keys.iter().any(|key| self.may_be_behind(key)) {
            let keys = keys.len();
            self.checks.fail(format!("client {id}: {token}: {count} of {keys} locks released"));
        }
        self.rest(id, Doing::Resolving, soon * 5);
    }

    /// The end of one lock, and some time to the next.
    fn think(&mut self, id: usize) {
        let client = &mut self.clients[id];
        let pause = match client.rng.percent(60) {
            true => client.rng.millis(0, 60),
            false => client.rng.millis(50, 600),
        };
        self.next_lock(id, pause);
    }

    fn got(&mut self, id: usize, reply: &Reply<'_>) {
        let soon = self.clients[id].rng.millis(1, 100);
        let another = self.sees_another(id, reply);
        match (reply, another) {
            (Reply::Error(_), _) => self.not_released(id, soon),
            (_, None) => {
                let key = self.clients[id].key.clone();
                self.send_release(id);
                let words = |words: &[&[u8]]| words.iter().map(|word| word.to_vec()).collect();
                let all = [words(&[b"MULTI"]), words(&[b"DEL", &key]), words(&[b"EXEC"])];
                self.ask(id, Doing::Executing, &all);
            }
            (_, Some(seen)) if self.clients[id].holds => {
                self.is_lost(id, &seen);
                self.rest(id, Doing::Holding, soon * 5);
            }
            _ if self.still_holds(id) => self.rest(id, Doing::Resolving, soon * 5),
            _ => self.think(id),
        }
    }

    /// What it sees in the place of its own token; none for its token, and for an error.
    fn sees_another(&mut self, id: usize, reply: &Reply<'_>) -> Option<String> {
        let client = &self.clients[id];
        let seen = match reply {
            Reply::Error(_) => return None,
            Reply::Bulk(value) if **value == *client.token.as_bytes() => return None,
            Reply::Bulk(value) => String::from_utf8_lossy(value).into_owned(),
            other => format!("{other:?}"),
        };
        Some(format!("GET shows {seen}"))
    }

    /// True if the ledger has its token, which it looks for in vain: it looks again.
    fn still_holds(&self, id: usize) -> bool {
        let client = &self.clients[id];
        self.checks.holder(&client.key).is_some_and(|(token, _)| token == client.token)
    }

    fn not_released(&mut self, id: usize, soon: Duration) {
        let doing = if self.clients[id].holds { Doing::Holding } else { Doing::Resolving };
        self.rest(id, doing, soon);
    }

    fn released(&mut self, id: usize) {
        let (key, token) = (self.clients[id].key.clone(), self.clients[id].token.clone());
        let pid = self.clients[id].line.map_or(0, |line| line.side.1);
        self.checks.release_read(&key, &token, pid);
        self.think(id);
    }

    /// A lock that it was told it holds looks lost.
    fn is_lost(&mut self, id: usize, what: &str) {
        let client = &self.clients[id];
        if client.until <= self.now() {
            return self.checks.count("ran out");
        }
        // What a repair of a sidecar that was behind has put back runs out, or is undone.
        let stands = self.redis.data.get(&client.key);
        let is_stale = self.fleet == Fleet::Ttl
            && stands.is_some_and(|entry| self.checks.is_dead(&client.key, &entry.value));
        if is_stale || client.is_behind || self.may_be_behind(&client.key) {
            self.checks.count("looked lost for a moment");
            return;
        }
        let client = &self.clients[id];
        let key = String::from_utf8_lossy(&client.key);
        self.checks.fail(format!("{key}: client {id} holds it by {}: {what}", client.token));
    }
}

fn is_noscript(reply: &Reply<'_>) -> bool {
    matches!(reply, Reply::Error(text) if text.starts_with(b"NOSCRIPT"))
}
