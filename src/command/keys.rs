//! Where the keys of a command are, and an iterator over them.
//!
//! Positions follow Redis: `COMMAND`'s first, last and step where that says it all, and for the
//! commands that Redis marks `movablekeys` the way in which its own parsers read them.

use super::number::integer;
use crate::resp::Args;

/// Where a command's keys are. Positions count the command's name as 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keys {
    /// No keys (also channels, which are not keys).
    None,
    /// Every `step`-th argument from `first` to `last`; a negative `last` counts from the end.
    Range {
        /// Position of the first key.
        first: u8,
        /// Position of the last key; -1 is the last argument.
        last: i8,
        /// Distance between keys.
        step: u8,
    },
    /// A number of keys at `count`, and that many keys behind it, `step` apart.
    Counted {
        /// Position of the number.
        count: u8,
        /// Distance between keys.
        step: u8,
        /// Position of a destination key before them; 0 is none.
        destination: u8,
    },
    /// `XREAD`, `XREADGROUP`: the first half of what follows `STREAMS`.
    Streams,
    /// `SORT`: argument 1, and what follows `STORE`.
    Sort,
    /// `GEORADIUS`, `GEORADIUSBYMEMBER`: argument 1, and what follows `STORE` or `STOREDIST`.
    GeoRadius {
        /// Position of the first option.
        options: u8,
    },
    /// `MIGRATE`: argument 3, or what follows `KEYS` when that is empty.
    Migrate,
}

/// The keys of one command; see [`super::Spec::keys`].
#[derive(Debug, Clone)]
pub struct KeyIter<'a> {
    args: Args<'a>,
    /// A key outside the run that comes first (a destination); 0 is none.
    before: usize,
    next: usize,
    end: usize,
    step: usize,
    /// A key outside the run that comes last (what follows STORE); 0 is none.
    after: usize,
}

impl Keys {
    /// The keys of `args`, which have passed the arity check.
    pub(super) fn of<'a>(self, args: Args<'a>) -> KeyIter<'a> {
        let none = KeyIter::none(args);
        match self {
            Keys::None => none,
            Keys::Range { first, last, step } => range(args, first, last, step).unwrap_or(none),
            Keys::Counted { count, step, destination } => {
                let run = counted(args, usize::from(count), usize::from(step));
                run.map_or(none, |run| KeyIter { before: usize::from(destination), ..run })
            }
            Keys::Streams => streams(args).unwrap_or(none),
            Keys::Sort => KeyIter { after: sort_store(args), ..KeyIter::run(args, 1, 2, 1) },
            Keys::GeoRadius { options } => {
                KeyIter { after: geo_store(args, options), ..KeyIter::run(args, 1, 2, 1) }
            }
            Keys::Migrate => migrate(args).unwrap_or(none),
        }
    }

    /// The key that a command of the STORE family overwrites; none for its read-only forms.
    pub(super) fn destination_of<'a>(self, args: Args<'a>) -> KeyIter<'a> {
        let at = match self {
            Keys::Range { first, .. } => usize::from(first),
            Keys::Counted { destination, .. } => usize::from(destination),
            Keys::Sort => sort_store(args),
            Keys::GeoRadius { options } => geo_store(args, options),
            Keys::None | Keys::Streams | Keys::Migrate => 0,
        };
        KeyIter { before: at, ..KeyIter::none(args) }
    }
}

impl<'a> KeyIter<'a> {
    pub(super) fn none(args: Args<'a>) -> Self {
        Self::run(args, 0, 0, 1)
    }

    fn run(args: Args<'a>, next: usize, end: usize, step: usize) -> Self {
        Self { args, before: 0, next, end, step, after: 0 }
    }
}

impl<'a> Iterator for KeyIter<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        let at = if self.before != 0 {
            std::mem::take(&mut self.before)
        } else if self.next < self.end {
            let at = self.next;
            self.next += self.step;
            at
        } else if self.after != 0 {
            std::mem::take(&mut self.after)
        } else {
            return None;
        };
        self.args.get(at)
    }
}

fn range(args: Args<'_>, first: u8, last: i8, step: u8) -> Option<KeyIter<'_>> {
    let (first, step) = (usize::from(first), usize::from(step));
    let last = match usize::try_from(last) {
        Ok(last) => last,
        Err(_) => args.len().checked_sub(usize::from(last.unsigned_abs()))?,
    };
    let end = (last + 1).min(args.len());
    // MSET with a key that has no value is malformed.
    let whole = step == 1 || end.checked_sub(first)?.is_multiple_of(step);
    whole.then(|| KeyIter::run(args, first, end, step))
}

fn counted(args: Args<'_>, count: usize, step: usize) -> Option<KeyIter<'_>> {
    let keys = usize::try_from(integer(args.get(count)?)?).ok()?;
    let end = keys.checked_mul(step)?.checked_add(count + 1)?;
    // No keys: right for EVAL, malformed for the others.
    (keys > 0 && end <= args.len()).then(|| KeyIter::run(args, count + 1, end, step))
}

/// Reads the options before `STREAMS` as Redis does; an unknown one makes the command malformed.
fn streams(args: Args<'_>) -> Option<KeyIter<'_>> {
    let mut at = 1;
    loop {
        let option = args.get(at)?;
        at += match_option(
            option,
            &[("block", 2), ("count", 2), ("group", 3), ("claim", 2), ("noack", 1), ("streams", 0)],
        )?;
        if option.eq_ignore_ascii_case(b"streams") {
            break;
        }
    }
    let rest = args.len() - at - 1;
    let run = KeyIter::run(args, at + 1, at + 1 + rest / 2, 1);
    (rest > 0 && rest.is_multiple_of(2)).then_some(run)
}

/// Position of the key after the last `STORE` of a SORT; 0 without one.
fn sort_store(args: Args<'_>) -> usize {
    last_store(args, 2, &[("limit", 3), ("get", 2), ("by", 2)], &["store"])
}

/// Position of the key after the last `STORE` or `STOREDIST` of a GEORADIUS; 0 without one.
fn geo_store(args: Args<'_>, options: u8) -> usize {
    last_store(args, usize::from(options), &[("count", 2)], &["store", "storedist"])
}

fn last_store(args: Args<'_>, from: usize, skip: &[(&str, usize)], words: &[&str]) -> usize {
    let (mut at, mut found) = (from, 0);
    while let Some(option) = args.get(at) {
        let is_store = words.iter().any(|word| option.eq_ignore_ascii_case(word.as_bytes()));
        if is_store && at + 1 < args.len() {
            found = at + 1;
            at += 2;
        } else {
            at += match_option(option, skip).unwrap_or(1);
        }
    }
    found
}

fn migrate(args: Args<'_>) -> Option<KeyIter<'_>> {
    let single = args.get(3)?;
    let mut at = 6;
    while let Some(option) = args.get(at) {
        if option.eq_ignore_ascii_case(b"keys") {
            return single.is_empty().then(|| KeyIter::run(args, at + 1, args.len(), 1));
        }
        at += match_option(option, &[("auth2", 3), ("auth", 2)]).unwrap_or(1);
    }
    Some(KeyIter::run(args, 3, 4, 1))
}

fn match_option(option: &[u8], known: &[(&str, usize)]) -> Option<usize> {
    known.iter().find(|(name, _)| option.eq_ignore_ascii_case(name.as_bytes())).map(|known| known.1)
}
