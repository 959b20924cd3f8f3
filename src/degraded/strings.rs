//! Commands on strings, on locks and companions: those of Redis 7.0, on client values.

use super::hashes::{added, increment};
use super::number::{NOT_AN_INTEGER, int};
use super::overlay::{Entry, Value};
use super::reply::Reply;
use super::turn::{Outcome, Stop, Turn, WRONG_TYPE, arg};
use crate::command::number::integer;
use crate::lock::record::LockKey;
use crate::resp::Args;

/// The longest string that APPEND and SETRANGE make: far above any lock's value, far below what
/// would hurt.
const LONGEST: usize = 1 << 20;

/// Runs `name` if it is one of these.
pub(super) fn run(turn: &mut Turn<'_>, name: &str, args: Args<'_>) -> Option<Outcome> {
    Some(match name {
        "get" => turn.get(args),
        "set" => turn.set(args),
        "setnx" => turn.setnx(args),
        "setex" => turn.setex(name, true, args),
        "psetex" => turn.setex(name, false, args),
        "getset" => turn.getset(args),
        "getdel" => turn.getdel(args),
        "getex" => turn.getex(args),
        "mget" => turn.mget(args),
        "mset" => turn.mset(args),
        "msetnx" => turn.msetnx(args),
        "strlen" => turn.strlen(args),
        "getrange" | "substr" => turn.getrange(args),
        "append" => turn.append(args),
        "setrange" => turn.setrange(args),
        "incr" => turn.increment(args, Ok(1)),
        "decr" => turn.increment(args, Ok(-1)),
        "incrby" => turn.increment(args, int(arg(args, 2))),
        "decrby" => turn.increment(args, negated(arg(args, 2))),
        "incrbyfloat" => turn.incrbyfloat(args),
        "delifeq" => turn.delete_if(arg(args, 1), arg(args, 2), true),
        "delex" => turn.delex(args),
        _ => return None,
    })
}

impl Turn<'_> {
    /// The string of a key as the client sees it.
    pub(super) fn string(&self, key: &LockKey) -> Result<Option<Vec<u8>>, Stop> {
        match self.overlay.find(key) {
            None => Ok(None),
            Some(Entry { value: Value::String(_), .. }) => Ok(self.overlay.shown(key)),
            Some(_) => Err(Stop::error(WRONG_TYPE)),
        }
    }

    /// The string of a key as its client wrote it: what is computed on.
    fn text(&self, key: &LockKey) -> Result<Option<Vec<u8>>, Stop> {
        match self.overlay.find(key).map(|entry| &entry.value) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(Stop::error(WRONG_TYPE)),
        }
    }

    /// Another value with the expiry that stands.
    fn keep_expiry(&mut self, key: &LockKey, text: &[u8]) {
        let expires_at_ms = self.overlay.find(key).and_then(|entry| entry.expires_at_ms);
        self.overlay.put_string(key, text, expires_at_ms);
    }

    fn get(&mut self, args: Args<'_>) -> Outcome {
        self.string(&self.key(arg(args, 1))).map(Reply::bulk_or_nil)
    }

    fn getset(&mut self, args: Args<'_>) -> Outcome {
        let key = self.key(arg(args, 1));
        let old = self.string(&key)?;
        self.overlay.put_string(&key, arg(args, 2), None);
        Ok(Reply::bulk_or_nil(old))
    }

    fn getdel(&mut self, args: Args<'_>) -> Outcome {
        let key = self.key(arg(args, 1));
        let old = self.string(&key)?;
        self.overlay.remove(&key);
        Ok(Reply::bulk_or_nil(old))
    }

    fn mget(&mut self, args: Args<'_>) -> Outcome {
        let shown = |key| Reply::bulk_or_nil(self.overlay.shown(&self.key(key)));
        Ok(Reply::Array(args.iter().skip(1).map(shown).collect()))
    }

    fn mset(&mut self, args: Args<'_>) -> Outcome {
        for at in (1..args.len()).step_by(2) {
            let key = self.key(arg(args, at));
            self.overlay.put_string(&key, arg(args, at + 1), None);
        }
        Ok(Reply::OK)
    }

    fn msetnx(&mut self, args: Args<'_>) -> Outcome {
        let mut keys = (1..args.len()).step_by(2).map(|at| self.key(arg(args, at)));
        if keys.any(|key| self.overlay.find(&key).is_some()) {
            return Ok(Reply::Integer(0));
        }
        self.mset(args).map(|_| Reply::Integer(1))
    }

    fn strlen(&mut self, args: Args<'_>) -> Outcome {
        let text = self.string(&self.key(arg(args, 1)))?;
        Ok(Reply::count(text.map_or(0, |text| text.len())))
    }

    fn getrange(&mut self, args: Args<'_>) -> Outcome {
        let (from, to) = (int(arg(args, 2))?, int(arg(args, 3))?);
        let text = self.string(&self.key(arg(args, 1)))?.unwrap_or_default();
        Ok(Reply::Bulk(range(&text, from, to).to_vec()))
    }

    fn append(&mut self, args: Args<'_>) -> Outcome {
        let key = self.key(arg(args, 1));
        let mut text = self.text(&key)?.unwrap_or_default();
        text.extend_from_slice(arg(args, 2));
        if text.len() > LONGEST {
            return Err(Stop::NotServed);
        }
        self.keep_expiry(&key, &text);
        Ok(Reply::count(text.len()))
    }

    fn setrange(&mut self, args: Args<'_>) -> Outcome {
        let offset = int(arg(args, 2))?;
        let offset =
            usize::try_from(offset).map_err(|_| Stop::error("ERR offset is out of range"))?;
        let (key, part) = (self.key(arg(args, 1)), arg(args, 3));
        let mut text = self.text(&key)?.unwrap_or_default();
        if !part.is_empty() {
            let end = offset.checked_add(part.len()).filter(|end| *end <= LONGEST);
            let end = end.ok_or(Stop::NotServed)?;
            text.resize(text.len().max(end), 0);
            text[offset..end].copy_from_slice(part);
            self.keep_expiry(&key, &text);
        }
        Ok(Reply::count(text.len()))
    }

    fn increment(&mut self, args: Args<'_>, by: Result<i64, Stop>) -> Outcome {
        let by = by?;
        let key = self.key(arg(args, 1));
        let text = self.text(&key)?;
        let number = match &text {
            Some(text) => integer(text).ok_or_else(|| Stop::error(NOT_AN_INTEGER))?,
            None => 0,
        };
        let sum = number.checked_add(by);
        let sum = sum.ok_or_else(|| Stop::error("ERR increment or decrement would overflow"))?;
        self.keep_expiry(&key, sum.to_string().as_bytes());
        Ok(Reply::Integer(sum))
    }

    fn incrbyfloat(&mut self, args: Args<'_>) -> Outcome {
        let key = self.key(arg(args, 1));
        let text = self.text(&key)?;
        let refusal = "ERR value is not a valid float";
        let text = added(text.as_deref(), increment(arg(args, 2))?, refusal)?;
        self.keep_expiry(&key, &text);
        Ok(Reply::Bulk(text))
    }

    /// `DELEX key [IFEQ value | IFNE value]` (Redis 8.4).
    fn delex(&mut self, args: Args<'_>) -> Outcome {
        match (args.len(), args.get(2), args.get(3)) {
            (2, ..) => Ok(Reply::Integer(i64::from(self.overlay.remove(&self.key(arg(args, 1)))))),
            (4, Some(word), Some(value)) if word.eq_ignore_ascii_case(b"ifeq") => {
                self.delete_if(arg(args, 1), value, true)
            }
            (4, Some(word), Some(value)) if word.eq_ignore_ascii_case(b"ifne") => {
                self.delete_if(arg(args, 1), value, false)
            }
            _ => Err(Stop::NotServed),
        }
    }

    fn delete_if(&mut self, key: &[u8], value: &[u8], equal: bool) -> Outcome {
        let key = self.key(key);
        let text = self.string(&key)?;
        let deletes = text.is_some_and(|text| (text == value) == equal);
        Ok(Reply::Integer(i64::from(deletes && self.overlay.remove(&key))))
    }
}

fn negated(amount: &[u8]) -> Result<i64, Stop> {
    int(amount)?.checked_neg().ok_or_else(|| Stop::error("ERR decrement would overflow"))
}

/// The bytes from `from` to `to`, both included; below 0 they count from the end.
fn range(text: &[u8], from: i64, to: i64) -> &[u8] {
    if from < 0 && to < 0 && from > to {
        return b"";
    }
    // A string in memory is no longer than an i64 can count.
    let length = i64::try_from(text.len()).unwrap_or(i64::MAX);
    let place = |at: i64| if at < 0 { at.saturating_add(length).max(0) } else { at };
    let (from, to) = (place(from), place(to).min(length - 1));
    match (usize::try_from(from), usize::try_from(to)) {
        (Ok(from), Ok(to)) if from <= to => &text[from..=to],
        _ => b"",
    }
}
