//! Commands on sets, as in Redis 7.0; members come in the order of their bytes. What draws by lot
//! (SPOP, SRANDMEMBER) is not served: an evaluation comes to the same each time.

use std::collections::BTreeSet;

use super::reply::Reply;
use super::turn::{Outcome, Stop, Turn, WRONG_TYPE, arg};
use crate::lock::content::Content;
use crate::lock::record::LockKey;
use crate::resp::Args;

/// Runs `name` if it is one of these.
pub(super) fn run(turn: &mut Turn<'_>, name: &str, args: Args<'_>) -> Option<Outcome> {
    Some(match name {
        "sadd" => turn.sadd(args),
        "srem" => turn.srem(args),
        "scard" => turn.scard(args),
        "sismember" => turn.sismember(args),
        "smismember" => turn.smismember(args),
        "smembers" => turn.smembers(args),
        _ => return None,
    })
}

impl Turn<'_> {
    fn set_of(&self, key: &LockKey) -> Result<Option<&BTreeSet<Vec<u8>>>, Stop> {
        match self.content(key)? {
            None => Ok(None),
            Some(Content::Set(members)) => Ok(Some(members)),
            Some(_) => Err(Stop::error(WRONG_TYPE)),
        }
    }

    fn set_mut(&mut self, key: &LockKey) -> Result<&mut BTreeSet<Vec<u8>>, Stop> {
        self.set_of(key)?;
        match self.overlay.content_mut(key, || Content::Set(BTreeSet::new())) {
            Some(Content::Set(members)) => Ok(members),
            _ => Err(Stop::error(WRONG_TYPE)),
        }
    }

    fn sadd(&mut self, args: Args<'_>) -> Outcome {
        let key = self.key(arg(args, 1));
        let members = self.set_mut(&key)?;
        let new = args.iter().skip(2).filter(|member| members.insert(member.to_vec())).count();
        Ok(Reply::count(new))
    }

    fn srem(&mut self, args: Args<'_>) -> Outcome {
        let key = self.key(arg(args, 1));
        if self.set_of(&key)?.is_none() {
            return Ok(Reply::Integer(0));
        }
        let members = self.set_mut(&key)?;
        let gone = args.iter().skip(2).filter(|member| members.remove(*member)).count();
        self.overlay.drop_empty(&key);
        Ok(Reply::count(gone))
    }

    fn scard(&self, args: Args<'_>) -> Outcome {
        Ok(Reply::count(self.set_of(&self.key(arg(args, 1)))?.map_or(0, BTreeSet::len)))
    }

    fn sismember(&self, args: Args<'_>) -> Outcome {
        let key = self.key(arg(args, 1));
        let is_in = self.set_of(&key)?.is_some_and(|members| members.contains(arg(args, 2)));
        Ok(Reply::Integer(i64::from(is_in)))
    }

    fn smismember(&self, args: Args<'_>) -> Outcome {
        let key = self.key(arg(args, 1));
        let members = self.set_of(&key)?;
        let is_in = |member: &[u8]| members.is_some_and(|members| members.contains(member));
        let one = |member| Reply::Integer(i64::from(is_in(member)));
        Ok(Reply::Array(args.iter().skip(2).map(one).collect()))
    }

    fn smembers(&self, args: Args<'_>) -> Outcome {
        let key = self.key(arg(args, 1));
        let members = self.set_of(&key)?.into_iter().flatten();
        Ok(Reply::Set(members.map(|member| Reply::Bulk(member.clone())).collect()))
    }
}
