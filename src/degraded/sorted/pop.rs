//! Commands that take the first or the last members away: ZPOPMIN, ZPOPMAX, ZMPOP.

use super::range::in_order;
use crate::command::number::integer;
use crate::degraded::lists::many;
use crate::degraded::reply::Reply;
use crate::degraded::turn::{Outcome, SYNTAX, Stop, Turn, arg};
use crate::lock::content::Score;
use crate::lock::record::LockKey;
use crate::resp::Args;

/// Runs `name` if it is one of these.
pub(super) fn run(turn: &mut Turn<'_>, name: &str, args: Args<'_>) -> Option<Outcome> {
    Some(match name {
        "zpopmin" => turn.zpop(args, false),
        "zpopmax" => turn.zpop(args, true),
        "zmpop" => turn.zmpop(args),
        _ => return None,
    })
}

impl Turn<'_> {
    fn zpop(&mut self, args: Args<'_>, from_last: bool) -> Outcome {
        let count = match (args.get(2), args.len()) {
            (_, 4..) => return Err(Stop::error(SYNTAX)),
            (None, _) => None,
            (Some(count), _) => {
                let count = integer(count).and_then(|count| usize::try_from(count).ok());
                let refusal = "ERR value is out of range, must be positive";
                Some(count.ok_or_else(|| Stop::error(refusal))?)
            }
        };
        let key = self.key(arg(args, 1));
        let gone = self.pop_members(&key, count.unwrap_or(1), from_last)?;
        let scored = gone.into_iter().map(|(name, score)| (name, score.number()));
        Ok(match count {
            Some(_) => Reply::Scored(scored.collect()),
            // One alone is not put into a pair of its own.
            None => Reply::Array(
                scored
                    .flat_map(|(name, score)| [Reply::Bulk(name), Reply::Double(score)])
                    .collect(),
            ),
        })
    }

    /// `ZMPOP numkeys key … MIN | MAX [COUNT count]`.
    fn zmpop(&mut self, args: Args<'_>) -> Outcome {
        let (keys, which, count) = many(args, [b"min", b"max"])?;
        for name in keys {
            let key = self.key(name);
            let gone = self.pop_members(&key, count, which == 1)?;
            if !gone.is_empty() {
                let pair = |(name, score): (Vec<u8>, Score)| {
                    Reply::Array(vec![Reply::Bulk(name), Reply::Double(score.number())])
                };
                let pairs = gone.into_iter().map(pair).collect();
                return Ok(Reply::Array(vec![Reply::Bulk(name.to_vec()), Reply::Array(pairs)]));
            }
        }
        Ok(Reply::NilArray)
    }

    fn pop_members(
        &mut self,
        key: &LockKey,
        count: usize,
        from_last: bool,
    ) -> Result<Vec<(Vec<u8>, Score)>, Stop> {
        let mut gone = in_order(self.sorted(key)?, from_last);
        gone.truncate(count);
        let names: Vec<Vec<u8>> = gone.iter().map(|(name, _)| name.clone()).collect();
        self.remove_members(key, &names)?;
        Ok(gone)
    }
}
