//! Commands on hashes: locks such as Redisson's, a field for each owner that counts how often it has
//! locked. As in Redis 7.0; fields come in the order of their names.

use std::collections::BTreeMap;

use super::float::{Long, Read};
use super::number::int;
use super::overlay::Value;
use super::reply::Reply;
use super::turn::{Outcome, Stop, Turn, WRONG_TYPE, arg};
use crate::command::number::integer;
use crate::lock::content::Content;
use crate::lock::record::LockKey;
use crate::resp::Args;

/// The number of INCRBYFLOAT and HINCRBYFLOAT.
pub(super) fn increment(text: &[u8]) -> Result<Long, Stop> {
    match Long::read(text) {
        Read::Is(by) => Ok(by),
        Read::Beyond => Err(Stop::NotServed),
        Read::No => Err(Stop::error("ERR value is not a valid float")),
    }
}

/// The text of a value, 0 where there is none, and a number together.
pub(super) fn added(value: Option<&[u8]>, by: Long, refusal: &str) -> Result<Vec<u8>, Stop> {
    let value = match Long::read(value.unwrap_or(b"0")) {
        Read::Is(value) => value,
        Read::Beyond => return Err(Stop::NotServed),
        Read::No => return Err(Stop::error(refusal)),
    };
    let sum = value.plus(by).and_then(Long::text);
    sum.map(String::into_bytes).ok_or(Stop::NotServed)
}

type Fields = BTreeMap<Vec<u8>, Vec<u8>>;

/// Runs `name` if it is one of these.
pub(super) fn run(turn: &mut Turn<'_>, name: &str, args: Args<'_>) -> Option<Outcome> {
    Some(match name {
        "hset" => turn.hset(name, args).map(Reply::count),
        "hmset" => turn.hset(name, args).map(|_| Reply::OK),
        "hsetnx" => turn.hsetnx(args),
        "hget" => turn.hget(args),
        "hmget" => turn.hmget(args),
        "hgetall" => turn.hgetall(args),
        "hkeys" => turn.hash_list(args, |(field, _)| field),
        "hvals" => turn.hash_list(args, |(_, value)| value),
        "hdel" => turn.hdel(args),
        "hexists" => turn.hget_with(args, |value| Reply::Integer(i64::from(value.is_some()))),
        "hlen" => turn.hlen(args),
        "hstrlen" => turn.hget_with(args, |value| Reply::count(value.map_or(0, <[u8]>::len))),
        "hincrby" => turn.hincrby(args),
        "hincrbyfloat" => turn.hincrbyfloat(args),
        _ => return None,
    })
}

impl Turn<'_> {
    /// What a key holds that is no string.
    pub(super) fn content(&self, key: &LockKey) -> Result<Option<&Content>, Stop> {
        match self.overlay.find(key).map(|entry| &entry.value) {
            None => Ok(None),
            Some(Value::Content(content)) => Ok(Some(content)),
            Some(Value::String(_)) => Err(Stop::error(WRONG_TYPE)),
            Some(Value::Elsewhere) => Err(Stop::NotServed),
        }
    }

    fn hash(&self, key: &LockKey) -> Result<Option<&Fields>, Stop> {
        match self.content(key)? {
            None => Ok(None),
            Some(Content::Hash(fields)) => Ok(Some(fields)),
            Some(_) => Err(Stop::error(WRONG_TYPE)),
        }
    }

    /// The fields to be changed; there are none yet where there is no key. A caller that leaves none
    /// says so ([`Overlay::drop_empty`](super::overlay::Overlay::drop_empty)).
    fn hash_mut(&mut self, key: &LockKey) -> Result<&mut Fields, Stop> {
        self.hash(key)?;
        match self.overlay.content_mut(key, || Content::Hash(Fields::new())) {
            Some(Content::Hash(fields)) => Ok(fields),
            _ => Err(Stop::error(WRONG_TYPE)),
        }
    }

    fn hset(&mut self, name: &str, args: Args<'_>) -> Result<usize, Stop> {
        if !args.len().is_multiple_of(2) {
            // In these words in a script too: the command itself says it.
            let text = format!("ERR wrong number of arguments for '{name}' command");
            return Err(Stop::Error(text));
        }
        let key = self.key(arg(args, 1));
        let fields = self.hash_mut(&key)?;
        let before = fields.len();
        for at in (2..args.len()).step_by(2) {
            fields.insert(arg(args, at).to_vec(), arg(args, at + 1).to_vec());
        }
        Ok(fields.len() - before)
    }

    fn hsetnx(&mut self, args: Args<'_>) -> Outcome {
        let key = self.key(arg(args, 1));
        let fields = self.hash_mut(&key)?;
        if fields.contains_key(arg(args, 2)) {
            return Ok(Reply::Integer(0));
        }
        fields.insert(arg(args, 2).to_vec(), arg(args, 3).to_vec());
        Ok(Reply::Integer(1))
    }

    fn hget_with(&self, args: Args<'_>, reply: impl Fn(Option<&[u8]>) -> Reply) -> Outcome {
        let key = self.key(arg(args, 1));
        let value = self.hash(&key)?.and_then(|fields| fields.get(arg(args, 2)));
        Ok(reply(value.map(Vec::as_slice)))
    }

    fn hget(&self, args: Args<'_>) -> Outcome {
        let key = self.key(arg(args, 1));
        let value = self.hash(&key)?.and_then(|fields| fields.get(arg(args, 2)));
        Ok(Reply::bulk_or_nil(value.cloned()))
    }

    fn hmget(&self, args: Args<'_>) -> Outcome {
        let key = self.key(arg(args, 1));
        let fields = self.hash(&key)?;
        let value = |field: &[u8]| fields.and_then(|fields| fields.get(field)).cloned();
        Ok(Reply::Array(args.iter().skip(2).map(value).map(Reply::bulk_or_nil).collect()))
    }

    fn hgetall(&self, args: Args<'_>) -> Outcome {
        let key = self.key(arg(args, 1));
        let fields = self.hash(&key)?.into_iter().flatten();
        let pair = |(field, value): (&Vec<u8>, &Vec<u8>)| {
            (Reply::Bulk(field.clone()), Reply::Bulk(value.clone()))
        };
        Ok(Reply::Map(fields.map(pair).collect()))
    }

    fn hash_list<'b>(
        &'b self,
        args: Args<'_>,
        pick: impl Fn((&'b Vec<u8>, &'b Vec<u8>)) -> &'b Vec<u8>,
    ) -> Outcome {
        let fields = self.hash(&self.key(arg(args, 1)))?.into_iter().flatten();
        Ok(Reply::Array(fields.map(|pair| Reply::Bulk(pick(pair).clone())).collect()))
    }

    fn hdel(&mut self, args: Args<'_>) -> Outcome {
        let key = self.key(arg(args, 1));
        if self.hash(&key)?.is_none() {
            return Ok(Reply::Integer(0));
        }
        let fields = self.hash_mut(&key)?;
        let gone = args.iter().skip(2).filter(|field| fields.remove(*field).is_some()).count();
        self.overlay.drop_empty(&key);
        Ok(Reply::count(gone))
    }

    fn hlen(&self, args: Args<'_>) -> Outcome {
        Ok(Reply::count(self.hash(&self.key(arg(args, 1)))?.map_or(0, Fields::len)))
    }

    fn hincrbyfloat(&mut self, args: Args<'_>) -> Outcome {
        let by = increment(arg(args, 3))?;
        let (key, field) = (self.key(arg(args, 1)), arg(args, 2));
        let value = self.hash(&key)?.and_then(|fields| fields.get(field));
        let text = added(value.map(Vec::as_slice), by, "ERR hash value is not a float")?;
        self.hash_mut(&key)?.insert(field.to_vec(), text.clone());
        Ok(Reply::Bulk(text))
    }

    fn hincrby(&mut self, args: Args<'_>) -> Outcome {
        let by = int(arg(args, 3))?;
        let key = self.key(arg(args, 1));
        let fields = self.hash(&key)?;
        let number = match fields.and_then(|fields| fields.get(arg(args, 2))) {
            Some(text) => {
                integer(text).ok_or_else(|| Stop::error("ERR hash value is not an integer"))?
            }
            None => 0,
        };
        let sum = number.checked_add(by);
        let sum = sum.ok_or_else(|| Stop::error("ERR increment or decrement would overflow"))?;
        let field = arg(args, 2).to_vec();
        self.hash_mut(&key)?.insert(field, sum.to_string().into_bytes());
        Ok(Reply::Integer(sum))
    }
}
