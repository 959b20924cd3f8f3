//! Commands on sorted sets, as in Redis 7.0: locks such as Symfony's, with an expiry for each token,
//! and semaphores. `range` has those that give a part of one.

use std::collections::BTreeMap;

use super::double;
use super::reply::Reply;
use super::turn::{Outcome, SYNTAX, Stop, Turn, WRONG_TYPE, arg};
use crate::lock::content::{Content, Score};
use crate::lock::record::LockKey;
use crate::resp::Args;

mod lex;
mod pop;
mod range;

pub(super) use range::in_order;

/// Members and scores.
pub(super) type Members = BTreeMap<Vec<u8>, Score>;

/// Runs `name` if it is one of these.
pub(super) fn run(turn: &mut Turn<'_>, name: &str, args: Args<'_>) -> Option<Outcome> {
    Some(match name {
        "zadd" => turn.zadd(args),
        "zincrby" => turn.zincrby(args),
        "zrem" => turn.zrem(args),
        "zcard" => turn.zcard(args),
        "zscore" => turn.zscore(args),
        "zmscore" => turn.zmscore(args),
        _ => return range::run(turn, name, args).or_else(|| pop::run(turn, name, args)),
    })
}

const NOT_A_FLOAT: &str = "ERR value is not a valid float";
const NOT_A_NUMBER: &str = "ERR resulting score is not a number (NaN)";

/// The score of an argument, as it was given: a new member's is told to its client with its sign, -0 too.
fn given(text: &[u8]) -> Result<f64, Stop> {
    double::score(text).ok_or_else(|| Stop::error(NOT_A_FLOAT))
}

/// The words between ZADD's key and its first score.
#[derive(Debug, Clone, Copy, Default)]
struct Options {
    nx: bool,
    xx: bool,
    gt: bool,
    lt: bool,
    ch: bool,
    incr: bool,
}

impl Options {
    /// The options, and where the scores begin.
    fn parse(args: Args<'_>) -> Result<(Self, usize), Stop> {
        let (mut found, mut at) = (Self::default(), 2);
        while let Some(word) = args.get(at) {
            match word.to_ascii_lowercase().as_slice() {
                b"nx" => found.nx = true,
                b"xx" => found.xx = true,
                b"gt" => found.gt = true,
                b"lt" => found.lt = true,
                b"ch" => found.ch = true,
                b"incr" => found.incr = true,
                _ => break,
            }
            at += 1;
        }
        let count = args.len() - at;
        let refused = if count == 0 || !count.is_multiple_of(2) {
            SYNTAX
        } else if found.nx && found.xx {
            "ERR XX and NX options at the same time are not compatible"
        } else if (found.gt || found.lt) && found.nx || found.gt && found.lt {
            "ERR GT, LT, and/or NX options at the same time are not compatible"
        } else if found.incr && count > 2 {
            "ERR INCR option supports a single increment-element pair"
        } else {
            return Ok((found, at));
        };
        Err(Stop::error(refused))
    }

    /// The score that a member has afterwards; none if it stays as it is.
    fn score(self, old: Option<Score>, given: Score) -> Result<Option<Score>, Stop> {
        let Some(old) = old else { return Ok((!self.xx).then_some(given)) };
        if self.nx {
            return Ok(None);
        }
        let new = if self.incr { sum(old, given)? } else { given };
        let is_kept = self.gt && new <= old || self.lt && new >= old;
        Ok((!is_kept).then_some(new))
    }
}

fn sum(one: Score, other: Score) -> Result<Score, Stop> {
    Score::new(one.number() + other.number()).ok_or_else(|| Stop::error(NOT_A_NUMBER))
}

impl Turn<'_> {
    /// The members of a sorted set.
    pub(super) fn sorted(&self, key: &LockKey) -> Result<Option<&Members>, Stop> {
        match self.content(key)? {
            None => Ok(None),
            Some(Content::Sorted(members)) => Ok(Some(members)),
            Some(_) => Err(Stop::error(WRONG_TYPE)),
        }
    }

    fn sorted_mut(&mut self, key: &LockKey) -> Result<&mut Members, Stop> {
        self.sorted(key)?;
        match self.overlay.content_mut(key, || Content::Sorted(Members::new())) {
            Some(Content::Sorted(members)) => Ok(members),
            _ => Err(Stop::error(WRONG_TYPE)),
        }
    }

    fn zadd(&mut self, args: Args<'_>) -> Outcome {
        let (options, from) = Options::parse(args)?;
        let pairs =
            (from..args.len()).step_by(2).map(|at| Ok((given(arg(args, at))?, arg(args, at + 1))));
        let pairs: Vec<(f64, &[u8])> = pairs.collect::<Result<_, Stop>>()?;
        self.add_scores(&self.key(arg(args, 1)), options, &pairs)
    }

    fn add_scores(&mut self, key: &LockKey, options: Options, pairs: &[(f64, &[u8])]) -> Outcome {
        let members = self.sorted_mut(key)?;
        let (mut added, mut changed, mut last, mut failed) = (0, 0, None, None);
        let mut told = 0.0;
        for (given, member) in pairs {
            let old = members.get(*member).copied();
            // No NaN comes out of [`given`].
            match Score::new(*given).map_or(Ok(None), |score| options.score(old, score)) {
                Ok(new) => {
                    last = new;
                    told = old.map_or(*given, |_| new.map_or(0.0, Score::number));
                }
                // Only of INCR, which has one pair: nothing was done.
                Err(error) => failed = Some(error),
            }
            if let (Some(new), None) = (last, &failed) {
                added += usize::from(old.is_none());
                changed += usize::from(old != Some(new));
                members.insert(member.to_vec(), new);
            }
        }
        self.overlay.drop_empty(key);
        failed.map_or(Ok(()), Err)?;
        Ok(match (options.incr, options.ch) {
            (true, _) => last.map_or(Reply::Nil, |_| Reply::Double(told)),
            (false, true) => Reply::count(changed),
            (false, false) => Reply::count(added),
        })
    }

    fn zincrby(&mut self, args: Args<'_>) -> Outcome {
        let by = given(arg(args, 2))?;
        let options = Options { incr: true, ..Options::default() };
        self.add_scores(&self.key(arg(args, 1)), options, &[(by, arg(args, 3))])
    }

    fn zrem(&mut self, args: Args<'_>) -> Outcome {
        let key = self.key(arg(args, 1));
        let members: Vec<Vec<u8>> = args.iter().skip(2).map(<[u8]>::to_vec).collect();
        self.remove_members(&key, &members)
    }

    /// Takes these members away; the reply is how many were there.
    fn remove_members(&mut self, key: &LockKey, gone: &[Vec<u8>]) -> Outcome {
        if self.sorted(key)?.is_none() {
            return Ok(Reply::Integer(0));
        }
        let members = self.sorted_mut(key)?;
        let count = gone.iter().filter(|member| members.remove(*member).is_some()).count();
        self.overlay.drop_empty(key);
        Ok(Reply::count(count))
    }

    fn zcard(&self, args: Args<'_>) -> Outcome {
        Ok(Reply::count(self.sorted(&self.key(arg(args, 1)))?.map_or(0, Members::len)))
    }

    fn zscore(&self, args: Args<'_>) -> Outcome {
        let key = self.key(arg(args, 1));
        Ok(score_or_nil(self.sorted(&key)?, arg(args, 2)))
    }

    fn zmscore(&self, args: Args<'_>) -> Outcome {
        let key = self.key(arg(args, 1));
        let members = self.sorted(&key)?;
        let score = |member| score_or_nil(members, member);
        Ok(Reply::Array(args.iter().skip(2).map(score).collect()))
    }
}

fn score_or_nil(members: Option<&Members>, member: &[u8]) -> Reply {
    let score = members.and_then(|members| members.get(member));
    score.map_or(Reply::Nil, |score| Reply::Double(score.number()))
}
