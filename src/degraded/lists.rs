//! Commands on lists: companions by which lock libraries signal (SPEC 6), blocking ones included.

use std::collections::VecDeque;

use super::number::int;
use super::reply::Reply;
use super::turn::{NOT_FROM_SCRIPT, Outcome, SYNTAX, Stop, Turn, WRONG_TYPE, arg};
use crate::command::number::integer;
use crate::lock::content::Content;
use crate::lock::record::LockKey;
use crate::resp::Args;

mod items;

pub(super) use items::many;

/// An end of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Left,
    Right,
}

/// Runs `name` if it is one of these.
pub(super) fn run(turn: &mut Turn<'_>, name: &str, args: Args<'_>) -> Option<Outcome> {
    use End::{Left, Right};
    Some(match name {
        "lpush" => turn.push(args, Left, false),
        "rpush" => turn.push(args, Right, false),
        "lpushx" => turn.push(args, Left, true),
        "rpushx" => turn.push(args, Right, true),
        "lpop" => turn.pop(args, Left, name),
        "rpop" => turn.pop(args, Right, name),
        "llen" => turn.llen(args),
        "lrange" => turn.lrange(args),
        "blpop" => turn.blocking_pop(args, Left),
        "brpop" => turn.blocking_pop(args, Right),
        "lmove" => turn.lmove(args),
        "rpoplpush" => turn.move_item(args, Right, Left),
        "blmove" => turn.blmove(args),
        "brpoplpush" => turn.blocking_move(args, Right, Left, 3),
        _ => return items::run(turn, name, args),
    })
}

impl Turn<'_> {
    pub(super) fn list(&self, key: &LockKey) -> Result<Option<&VecDeque<Vec<u8>>>, Stop> {
        match self.content(key)? {
            None => Ok(None),
            Some(Content::List(items)) => Ok(Some(items)),
            Some(_) => Err(Stop::error(WRONG_TYPE)),
        }
    }

    /// The elements to be changed, as [`Turn::list`] finds them.
    pub(super) fn list_mut(&mut self, key: &LockKey) -> Result<&mut VecDeque<Vec<u8>>, Stop> {
        self.list(key)?;
        match self.overlay.content_mut(key, || Content::List(VecDeque::new())) {
            Some(Content::List(items)) => Ok(items),
            _ => Err(Stop::error(WRONG_TYPE)),
        }
    }

    fn push_items<'b>(
        &mut self,
        key: &LockKey,
        items: impl Iterator<Item = &'b [u8]>,
        end: End,
    ) -> Result<usize, Stop> {
        let list = self.list_mut(key)?;
        for item in items.map(<[u8]>::to_vec) {
            match end {
                End::Left => list.push_front(item),
                End::Right => list.push_back(item),
            }
        }
        Ok(list.len())
    }

    fn pop_items(&mut self, key: &LockKey, count: usize, end: End) -> Result<Vec<Vec<u8>>, Stop> {
        let mut popped = Vec::new();
        if self.list(key)?.is_none() || count == 0 {
            return Ok(popped);
        }
        let list = self.list_mut(key)?;
        while popped.len() < count {
            let item = match end {
                End::Left => list.pop_front(),
                End::Right => list.pop_back(),
            };
            match item {
                Some(item) => popped.push(item),
                None => break,
            }
        }
        self.overlay.drop_empty(key);
        Ok(popped)
    }

    fn push(&mut self, args: Args<'_>, end: End, only_existing: bool) -> Outcome {
        let key = self.key(arg(args, 1));
        if only_existing && self.list(&key)?.is_none() {
            return Ok(Reply::Integer(0));
        }
        self.push_items(&key, args.iter().skip(2), end).map(Reply::count)
    }

    fn pop(&mut self, args: Args<'_>, end: End, name: &str) -> Outcome {
        let key = self.key(arg(args, 1));
        let count = match (args.get(2), args.len()) {
            (_, 4..) => return Err(self.wrong_arity(name)),
            (Some(count), _) => Some(positive(count)?),
            (None, _) => None,
        };
        let exists = self.list(&key)?.is_some();
        let items = self.pop_items(&key, count.unwrap_or(1), end)?;
        Ok(match (count, exists) {
            (Some(_), false) => Reply::NilArray,
            (Some(_), true) => Reply::Array(items.into_iter().map(Reply::Bulk).collect()),
            (None, _) => Reply::bulk_or_nil(items.into_iter().next()),
        })
    }

    fn llen(&mut self, args: Args<'_>) -> Outcome {
        Ok(Reply::count(self.list(&self.key(arg(args, 1)))?.map_or(0, VecDeque::len)))
    }

    fn lrange(&mut self, args: Args<'_>) -> Outcome {
        let (from, to) = (int(arg(args, 2))?, int(arg(args, 3))?);
        let key = self.key(arg(args, 1));
        let Some(list) = self.list(&key)? else { return Ok(Reply::Array(Vec::new())) };
        let items = list.range(places(from, to, list.len())).cloned();
        Ok(Reply::Array(items.map(Reply::Bulk).collect()))
    }

    fn blocking_pop(&mut self, args: Args<'_>, end: End) -> Outcome {
        let timeout_ms = timeout(arg(args, args.len() - 1))?;
        let names: Vec<&[u8]> = args.iter().skip(1).take(args.len() - 2).collect();
        for name in &names {
            let key = self.key(name);
            if let Some(item) = self.pop_items(&key, 1, end)?.pop() {
                return Ok(Reply::Array(vec![Reply::Bulk(name.to_vec()), Reply::Bulk(item)]));
            }
        }
        let keys = names.iter().map(|name| self.key(name)).collect();
        self.block(keys, timeout_ms, Reply::NilArray)
    }

    fn block(&self, keys: Vec<LockKey>, timeout_ms: u64, empty: Reply) -> Outcome {
        if self.in_script {
            return Err(Stop::error(NOT_FROM_SCRIPT));
        }
        if self.in_transaction {
            return Ok(empty);
        }
        Err(Stop::Block { keys, timeout_ms })
    }

    fn lmove(&mut self, args: Args<'_>) -> Outcome {
        let (from, to) = ends(args)?;
        self.move_item(args, from, to)
    }

    fn blmove(&mut self, args: Args<'_>) -> Outcome {
        let (from, to) = ends(args)?;
        self.blocking_move(args, from, to, 5)
    }

    fn blocking_move(&mut self, args: Args<'_>, from: End, to: End, timeout_at: usize) -> Outcome {
        let timeout_ms = timeout(arg(args, timeout_at))?;
        let source = self.key(arg(args, 1));
        if self.list(&source)?.is_none() {
            return self.block(vec![source], timeout_ms, Reply::Nil);
        }
        self.move_item(args, from, to)
    }

    fn move_item(&mut self, args: Args<'_>, from: End, to: End) -> Outcome {
        let (source, target) = (self.key(arg(args, 1)), self.key(arg(args, 2)));
        if self.list(&source)?.is_none() {
            return Ok(Reply::Nil);
        }
        self.list(&target)?;
        // The push of a list onto itself comes before its end is looked at: its expiry stays.
        let expires_at_ms = self.overlay.find(&source).and_then(|entry| entry.expires_at_ms);
        let Some(item) = self.pop_items(&source, 1, from)?.pop() else { return Ok(Reply::Nil) };
        self.push_items(&target, std::iter::once(item.as_slice()), to)?;
        if source == target {
            self.set_expiry(&target, expires_at_ms);
        }
        Ok(Reply::Bulk(item))
    }
}

fn ends(args: Args<'_>) -> Result<(End, End), Stop> {
    let end = |word: &[u8]| match word.to_ascii_lowercase().as_slice() {
        b"left" => Ok(End::Left),
        b"right" => Ok(End::Right),
        _ => Err(Stop::error(SYNTAX)),
    };
    Ok((end(arg(args, 3))?, end(arg(args, 4))?))
}

/// Elements from and to, which count from the end below 0, as a range of places.
fn places(from: i64, to: i64, count: usize) -> std::ops::Range<usize> {
    let length = i64::try_from(count).unwrap_or(i64::MAX);
    let place = |at: i64| if at < 0 { at.saturating_add(length) } else { at };
    let end = usize::try_from(place(to).saturating_add(1).clamp(0, length)).unwrap_or(0);
    let start = usize::try_from(place(from).clamp(0, length)).unwrap_or(0);
    start..end.max(start)
}

fn positive(count: &[u8]) -> Result<usize, Stop> {
    const NOT_POSITIVE: &str = "ERR value is out of range, must be positive";
    let count = integer(count).and_then(|count| usize::try_from(count).ok());
    count.ok_or_else(|| Stop::error(NOT_POSITIVE))
}

/// Seconds with a fraction, as milliseconds; 0 is for ever.
fn timeout(seconds: &[u8]) -> Result<u64, Stop> {
    let text = std::str::from_utf8(seconds).ok().filter(|text| !text.starts_with('+'));
    let seconds = text.and_then(|text| text.parse::<f64>().ok()).filter(|s| s.is_finite());
    let seconds =
        seconds.ok_or_else(|| Stop::error("ERR timeout is not a float or out of range"))?;
    let ms = (seconds * 1000.0).ceil();
    if ms < 0.0 {
        return Err(Stop::error("ERR timeout is negative"));
    }
    if ms > i64::MAX as f64 {
        return Err(Stop::error("ERR timeout is out of range"));
    }
    Ok(ms as u64)
}
