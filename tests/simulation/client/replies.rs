//! What replies mean to a client.

use super::*;

impl World {
    /// The reply that it waited for.
    pub(super) fn reply(&mut self, id: usize, reply: &Reply<'_>) {
        let soon = self.clients[id].rng.millis(1, 100);
        match self.clients[id].doing {
            Doing::Acquiring => self.acquired(id, reply),
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
                    self.ask(id, Doing::Getting, &[&[b"GET", &key]]);
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

    fn acquired(&mut self, id: usize, reply: &Reply<'_>) {
        let client = &mut self.clients[id];
        let (key, token) = (client.key.clone(), client.token.clone());
        let pid = client.line.map_or(0, |line| line.side.1);
        match reply {
            Reply::Simple(_) => {
                client.holds = true;
                client.tries = 0;
                let long = if client.rng.percent(10) { 3000 } else { 150 };
                let hold = client.rng.millis(0, long);
                self.checks.ok_read(id, &key, &token);
                self.rest(id, Doing::Holding, hold);
            }
            Reply::Error(text) if contains(text, b"unknown outcome") => self.acquire_unknown(id),
            _ => {
                if let Reply::Error(_) = reply {
                    self.checks.count("errors");
                }
                self.checks.no_read(&token, pid);
                self.think(id);
            }
        }
    }

    /// The end of one lock, and some time to the next.
    fn think(&mut self, id: usize) {
        let client = &mut self.clients[id];
        client.key.clear();
        let pause = match client.rng.percent(60) {
            true => client.rng.millis(0, 60),
            false => client.rng.millis(50, 600),
        };
        self.rest(id, Doing::Idle, pause);
    }

    fn got(&mut self, id: usize, reply: &Reply<'_>) {
        let soon = self.clients[id].rng.millis(1, 100);
        let another = self.sees_another(id, reply);
        match (reply, another) {
            (Reply::Error(_), _) => self.not_released(id, soon),
            (_, None) => {
                let key = self.clients[id].key.clone();
                self.send_release(id);
                self.ask(id, Doing::Executing, &[&[b"MULTI"], &[b"DEL", &key], &[b"EXEC"]]);
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
        self.checks.release_read(&key, &token);
        self.think(id);
    }

    /// A lock that it was told it holds looks lost.
    fn is_lost(&mut self, id: usize, what: &str) {
        let client = &self.clients[id];
        if self.may_be_behind(&client.key) {
            self.checks.count("looked lost for a moment");
            return;
        }
        let client = &self.clients[id];
        let key = String::from_utf8_lossy(&client.key);
        self.checks.fail(format!("{key}: client {id} holds it by {}: {what}", client.token));
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}
