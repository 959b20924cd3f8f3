//! Commands on elements inside of a list: LINDEX, LINSERT, LREM, LSET, LTRIM, LPOS, LMPOP.

use super::{End, positive};
use crate::command::number::integer;
use crate::degraded::number::{NOT_AN_INTEGER, int};
use crate::degraded::reply::Reply;
use crate::degraded::turn::{Outcome, SYNTAX, Stop, Turn, arg};
use crate::resp::Args;

/// Runs `name` if it is one of these.
pub(super) fn run(turn: &mut Turn<'_>, name: &str, args: Args<'_>) -> Option<Outcome> {
    Some(match name {
        "lindex" => turn.lindex(args),
        "linsert" => turn.linsert(args),
        "lrem" => turn.lrem(args),
        "lset" => turn.lset(args),
        "ltrim" => turn.ltrim(args),
        "lpos" => turn.lpos(args),
        "lmpop" => turn.lmpop(args),
        _ => return None,
    })
}

/// The place of an index, which counts from the end below 0.
fn place(index: i64, length: usize) -> Option<usize> {
    let length = i64::try_from(length).unwrap_or(i64::MAX);
    let at = if index < 0 { index.checked_add(length)? } else { index };
    usize::try_from(at).ok().filter(|_| at < length)
}

/// What LPOS looks for.
struct Wanted<'a> {
    element: &'a [u8],
    /// Matches to be passed over before the first that counts; from the end if `backwards`.
    skipped: usize,
    backwards: bool,
    /// None: one, and it alone is the reply. 0: all.
    count: Option<usize>,
    /// Elements to be looked at; 0: all.
    longest: usize,
}

impl<'a> Wanted<'a> {
    fn parse(args: Args<'a>) -> Result<Self, Stop> {
        let mut wanted =
            Self { element: arg(args, 2), skipped: 0, backwards: false, count: None, longest: 0 };
        for at in (3..args.len()).step_by(2) {
            let Some(number) = args.get(at + 1) else { return Err(Stop::error(SYNTAX)) };
            match arg(args, at).to_ascii_lowercase().as_slice() {
                b"rank" => {
                    let rank = integer(number).filter(|rank| *rank != i64::MIN);
                    let rank = rank.ok_or_else(|| Stop::error(NOT_AN_INTEGER))?;
                    if rank == 0 {
                        return Err(Stop::error(NO_RANK));
                    }
                    wanted.backwards = rank < 0;
                    wanted.skipped = usize::try_from(rank.abs() - 1).unwrap_or(usize::MAX);
                }
                b"count" => wanted.count = Some(not_negative(number, "COUNT")?),
                b"maxlen" => wanted.longest = not_negative(number, "MAXLEN")?,
                _ => return Err(Stop::error(SYNTAX)),
            }
        }
        Ok(wanted)
    }
}

const NO_RANK: &str = "ERR RANK can't be zero: use 1 to start from the first match, 2 from the \
                       second ... or use negative to start from the end of the list";

fn not_negative(number: &[u8], name: &str) -> Result<usize, Stop> {
    let number = integer(number).and_then(|number| usize::try_from(number).ok());
    number.ok_or_else(|| Stop::Error(format!("ERR {name} can't be negative")))
}

impl Turn<'_> {
    fn lindex(&mut self, args: Args<'_>) -> Outcome {
        let key = self.key(arg(args, 1));
        let Some(list) = self.list(&key)? else { return Ok(Reply::Nil) };
        let at = place(int(arg(args, 2))?, list.len());
        Ok(Reply::bulk_or_nil(at.and_then(|at| list.get(at)).cloned()))
    }

    fn linsert(&mut self, args: Args<'_>) -> Outcome {
        let behind = match arg(args, 2).to_ascii_lowercase().as_slice() {
            b"before" => 0,
            b"after" => 1,
            _ => return Err(Stop::error(SYNTAX)),
        };
        let key = self.key(arg(args, 1));
        let Some(list) = self.list(&key)? else { return Ok(Reply::Integer(0)) };
        let Some(at) = list.iter().position(|item| item == arg(args, 3)) else {
            return Ok(Reply::Integer(-1));
        };
        let list = self.list_mut(&key)?;
        list.insert(at + behind, arg(args, 4).to_vec());
        Ok(Reply::count(list.len()))
    }

    fn lrem(&mut self, args: Args<'_>) -> Outcome {
        let count = int(arg(args, 2))?;
        let key = self.key(arg(args, 1));
        let Some(list) = self.list(&key)? else { return Ok(Reply::Integer(0)) };
        let is_it = |at: &usize| list[*at] == arg(args, 3);
        let most = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
        let most = if most == 0 { usize::MAX } else { most };
        let gone: Vec<usize> = match count < 0 {
            true => (0..list.len()).rev().filter(is_it).take(most).collect(),
            false => (0..list.len()).filter(is_it).take(most).collect(),
        };
        if !gone.is_empty() {
            let gone: std::collections::BTreeSet<usize> = gone.iter().copied().collect();
            let mut at = 0..;
            // Each element has a place.
            self.list_mut(&key)?.retain(|_| at.next().is_none_or(|at| !gone.contains(&at)));
            self.overlay.drop_empty(&key);
        }
        Ok(Reply::count(gone.len()))
    }

    fn lset(&mut self, args: Args<'_>) -> Outcome {
        let key = self.key(arg(args, 1));
        let Some(list) = self.list(&key)? else { return Err(Stop::error("ERR no such key")) };
        let at = place(int(arg(args, 2))?, list.len());
        match at.map(|at| Ok((at, self.list_mut(&key)?))).transpose()? {
            Some((at, list)) => list[at] = arg(args, 3).to_vec(),
            None => return Err(Stop::error("ERR index out of range")),
        }
        Ok(Reply::OK)
    }

    fn ltrim(&mut self, args: Args<'_>) -> Outcome {
        let (from, to) = (int(arg(args, 2))?, int(arg(args, 3))?);
        let key = self.key(arg(args, 1));
        let Some(list) = self.list(&key)? else { return Ok(Reply::OK) };
        let kept = super::places(from, to, list.len());
        let list = self.list_mut(&key)?;
        list.truncate(kept.end);
        list.drain(..kept.start.min(list.len()));
        self.overlay.drop_empty(&key);
        Ok(Reply::OK)
    }

    fn lpos(&mut self, args: Args<'_>) -> Outcome {
        let wanted = Wanted::parse(args)?;
        let key = self.key(arg(args, 1));
        let list = self.list(&key)?;
        let length = list.map_or(0, std::collections::VecDeque::len);
        let nth = |at: usize| if wanted.backwards { length - 1 - at } else { at };
        let looked_at = if wanted.longest == 0 { length } else { wanted.longest.min(length) };
        let is_it = |at: &usize| list.is_some_and(|list| list[*at] == wanted.element);
        let found = (0..looked_at).map(nth).filter(is_it).skip(wanted.skipped).map(Reply::count);
        Ok(match wanted.count {
            None => { found }.next().unwrap_or(Reply::Nil),
            Some(0) => Reply::Array(found.collect()),
            Some(count) => Reply::Array(found.take(count).collect()),
        })
    }

    /// `LMPOP numkeys key … LEFT | RIGHT [COUNT count]`.
    fn lmpop(&mut self, args: Args<'_>) -> Outcome {
        let (keys, end, count) = many(args, [b"left", b"right"])?;
        let end = if end == 0 { End::Left } else { End::Right };
        for name in keys {
            let key = self.key(name);
            let items = self.pop_items(&key, count, end)?;
            if !items.is_empty() {
                let items = items.into_iter().map(Reply::Bulk).collect();
                return Ok(Reply::Array(vec![Reply::Bulk(name.to_vec()), Reply::Array(items)]));
            }
        }
        Ok(Reply::NilArray)
    }
}

/// The keys, which of two words stands behind them, and how many elements are wanted at most.
type Many<'a> = (Vec<&'a [u8]>, usize, usize);

/// The arguments of LMPOP and ZMPOP.
pub(in crate::degraded) fn many<'a>(args: Args<'a>, words: [&[u8]; 2]) -> Result<Many<'a>, Stop> {
    let above_zero = |number: &[u8], name: &str| {
        let number = positive(number).ok().filter(|number| *number > 0);
        number.ok_or_else(|| Stop::Error(format!("ERR {name} should be greater than 0")))
    };
    let keys = above_zero(arg(args, 1), "numkeys")?;
    let word = keys.checked_add(2).and_then(|at| Some((at, args.get(at)?)));
    let (at, word) = word.ok_or_else(|| Stop::error(SYNTAX))?;
    let which = words.iter().position(|known| word.eq_ignore_ascii_case(known));
    let which = which.ok_or_else(|| Stop::error(SYNTAX))?;
    let count = match (args.get(at + 1), args.get(at + 2), args.len() - at) {
        (None, ..) => 1,
        (Some(word), Some(count), 3) if word.eq_ignore_ascii_case(b"count") => {
            above_zero(count, "count")?
        }
        _ => return Err(Stop::error(SYNTAX)),
    };
    Ok((args.iter().skip(2).take(keys).collect(), which, count))
}
