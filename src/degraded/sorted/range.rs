//! Commands that give, count or take away a part of a sorted set, by rank or by score.

use super::Members;
use super::lex::Names;
use crate::degraded::double;
use crate::degraded::number::int;
use crate::degraded::reply::Reply;
use crate::degraded::turn::{Outcome, SYNTAX, Stop, Turn, arg};
use crate::lock::content::Score;
use crate::resp::Args;

/// Runs `name` if it is one of these.
pub(super) fn run(turn: &mut Turn<'_>, name: &str, args: Args<'_>) -> Option<Outcome> {
    Some(match name {
        "zrank" => turn.zrank(args, false),
        "zrevrank" => turn.zrank(args, true),
        "zcount" => turn.zcount(args),
        "zrange" => turn.zrange(args, Form::default()),
        "zrevrange" => turn.zrange(args, Form { reversed: true, is_old: true, ..Form::default() }),
        "zrangebyscore" => {
            turn.zrange(args, Form { is_old: true, by_score: true, ..Form::default() })
        }
        "zrevrangebyscore" => {
            turn.zrange(args, Form { reversed: true, is_old: true, by_score: true, by_lex: false })
        }
        "zrangebylex" => turn.zrange(args, Form { is_old: true, by_lex: true, ..Form::default() }),
        "zrevrangebylex" => {
            turn.zrange(args, Form { reversed: true, is_old: true, by_lex: true, by_score: false })
        }
        "zlexcount" => turn.zlexcount(args),
        "zremrangebylex" => turn.zremrange_by_lex(args),
        "zremrangebyscore" => turn.zremrange(args, true),
        "zremrangebyrank" => turn.zremrange(args, false),
        _ => return None,
    })
}

/// What a command of this family is by its name.
#[derive(Debug, Clone, Copy, Default)]
struct Form {
    reversed: bool,
    /// Not ZRANGE itself, which says the rest in words.
    is_old: bool,
    by_score: bool,
    by_lex: bool,
}

/// An end of a range of scores.
#[derive(Debug, Clone, Copy)]
struct Bound {
    score: Score,
    /// The score itself is out.
    is_open: bool,
}

impl Bound {
    fn parse(text: &[u8]) -> Result<Self, Stop> {
        let (is_open, number) = match text.strip_prefix(b"(") {
            Some(number) => (true, number),
            None => (false, text),
        };
        let score = double::bound(number).and_then(Score::new);
        let score = score.ok_or_else(|| Stop::error("ERR min or max is not a float"))?;
        Ok(Self { score, is_open })
    }
}

/// Scores between two ends.
#[derive(Debug, Clone, Copy)]
struct Scores {
    min: Bound,
    max: Bound,
}

impl Scores {
    fn parse(min: &[u8], max: &[u8]) -> Result<Self, Stop> {
        Ok(Self { min: Bound::parse(min)?, max: Bound::parse(max)? })
    }

    fn has(&self, score: Score) -> bool {
        let above = if self.min.is_open { score > self.min.score } else { score >= self.min.score };
        let below = if self.max.is_open { score < self.max.score } else { score <= self.max.score };
        above && below
    }
}

/// Ranks from and to, which count from the end below 0, as a range of places.
fn places(from: i64, to: i64, count: usize) -> std::ops::Range<usize> {
    let length = i64::try_from(count).unwrap_or(i64::MAX);
    let place = |at: i64| if at < 0 { at.saturating_add(length).max(0) } else { at };
    let end =
        if to < 0 { to.saturating_add(length).saturating_add(1) } else { to.saturating_add(1) };
    let end = usize::try_from(end.clamp(0, length)).unwrap_or(0);
    let start = usize::try_from(place(from).min(length)).unwrap_or(0);
    start..end.max(start)
}

/// All members by score, and by their bytes where that is the same.
pub(in crate::degraded) fn in_order(
    members: Option<&Members>,
    reversed: bool,
) -> Vec<(Vec<u8>, Score)> {
    let all = members.into_iter().flatten();
    let mut all: Vec<_> = all.map(|(member, score)| (member.clone(), *score)).collect();
    all.sort_by(|(one, one_score), (other, score)| one_score.cmp(score).then(one.cmp(other)));
    if reversed {
        all.reverse();
    }
    all
}

/// The words behind the two ends.
#[derive(Debug, Clone, Copy, Default)]
struct Words {
    with_scores: bool,
    limit: Option<(i64, i64)>,
    by_score: bool,
    by_lex: bool,
    reversed: bool,
}

impl Words {
    fn parse(args: Args<'_>, form: Form) -> Result<Self, Stop> {
        let Form { by_score, by_lex, reversed, .. } = form;
        let mut words = Self { by_score, by_lex, reversed, ..Self::default() };
        let mut at = 4;
        while let Some(word) = args.get(at) {
            at += 1;
            match word.to_ascii_lowercase().as_slice() {
                b"withscores" => words.with_scores = true,
                b"limit" if args.len() >= at + 2 => {
                    words.limit = Some((int(arg(args, at))?, int(arg(args, at + 1))?));
                    at += 2;
                }
                b"byscore" if !form.is_old => words.by_score = true,
                b"rev" if !form.is_old => words.reversed = true,
                b"bylex" if !form.is_old => words.by_lex = true,
                _ => return Err(Stop::error(SYNTAX)),
            }
        }
        if words.with_scores && words.by_lex {
            return Err(Stop::error(
                "ERR syntax error, WITHSCORES not supported in combination with BYLEX",
            ));
        }
        if words.limit.is_some() && !words.by_score && !words.by_lex {
            return Err(Stop::error(
                "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or \
                 BYLEX",
            ));
        }
        Ok(words)
    }
}

impl Turn<'_> {
    fn zrank(&self, args: Args<'_>, reversed: bool) -> Outcome {
        let key = self.key(arg(args, 1));
        let all = in_order(self.sorted(&key)?, reversed);
        let place = all.iter().position(|(member, _)| member == arg(args, 2));
        Ok(place.map_or(Reply::Nil, Reply::count))
    }

    fn zcount(&self, args: Args<'_>) -> Outcome {
        let scores = Scores::parse(arg(args, 2), arg(args, 3))?;
        let key = self.key(arg(args, 1));
        let members = self.sorted(&key)?.into_iter().flatten();
        Ok(Reply::count(members.filter(|(_, score)| scores.has(**score)).count()))
    }

    fn zrange(&self, args: Args<'_>, form: Form) -> Outcome {
        let words = Words::parse(args, form)?;
        let (from, to) = (arg(args, 2), arg(args, 3));
        let key = self.key(arg(args, 1));
        let found = if words.by_score {
            // Reversed, the higher end stands first.
            let scores = match words.reversed {
                true => Scores::parse(to, from)?,
                false => Scores::parse(from, to)?,
            };
            let mut found = in_order(self.sorted(&key)?, words.reversed);
            found.retain(|(_, score)| scores.has(*score));
            limited(found, words.limit)
        } else if words.by_lex {
            let names = match words.reversed {
                true => Names::parse(to, from)?,
                false => Names::parse(from, to)?,
            };
            let mut found = in_order(self.sorted(&key)?, words.reversed);
            found.retain(|(name, _)| names.has(name));
            limited(found, words.limit)
        } else {
            let (from, to) = (int(from)?, int(to)?);
            let all = in_order(self.sorted(&key)?, words.reversed);
            let places = places(from, to, all.len());
            all[places].to_vec()
        };
        Ok(if words.with_scores {
            let scored = found.into_iter().map(|(member, score)| (member, score.number()));
            Reply::Scored(scored.collect())
        } else {
            Reply::Array(found.into_iter().map(|(member, _)| Reply::Bulk(member)).collect())
        })
    }

    fn zremrange(&mut self, args: Args<'_>, by_score: bool) -> Outcome {
        let (from, to) = (arg(args, 2), arg(args, 3));
        let key = self.key(arg(args, 1));
        let gone: Vec<(Vec<u8>, Score)> = if by_score {
            let scores = Scores::parse(from, to)?;
            let mut all = in_order(self.sorted(&key)?, false);
            all.retain(|(_, score)| scores.has(*score));
            all
        } else {
            let (from, to) = (int(from)?, int(to)?);
            let all = in_order(self.sorted(&key)?, false);
            let places = places(from, to, all.len());
            all[places].to_vec()
        };
        let gone: Vec<Vec<u8>> = gone.into_iter().map(|(member, _)| member).collect();
        self.remove_members(&key, &gone)
    }
}

/// `LIMIT offset count`: a negative offset gives nothing, a negative count all.
fn limited(mut found: Vec<(Vec<u8>, Score)>, limit: Option<(i64, i64)>) -> Vec<(Vec<u8>, Score)> {
    let Some((offset, count)) = limit else { return found };
    let Ok(offset) = usize::try_from(offset) else { return Vec::new() };
    found.drain(..offset.min(found.len()));
    if let Ok(count) = usize::try_from(count) {
        found.truncate(count);
    }
    found
}
