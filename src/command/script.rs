//! The call of a script: EVAL, EVALSHA and their `_RO` forms, taken apart.
//!
//! Only calls that Redis would run are parsed; any other is forwarded, and Redis's own error
//! comes out.

use super::number::integer;
use super::{Class, LockUse, lookup};
use crate::resp::Args;

/// One call of a script.
#[derive(Debug, Clone, Copy)]
pub struct ScriptCall<'a> {
    /// The script itself.
    pub source: Source<'a>,
    /// A `_RO` form: the script may only read.
    pub read_only: bool,
    args: Args<'a>,
    keys: usize,
}

/// A script by its text or by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source<'a> {
    /// The text, of EVAL.
    Text(&'a [u8]),
    /// What EVALSHA names: as the client wrote it, in any case, and perhaps no SHA1 at all.
    Sha(&'a [u8]),
}

/// Not a call of a script that Redis would run: forward it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotScript;

/// Where the first key is: `EVAL script numkeys key ...`.
const FIRST_KEY: usize = 3;

impl<'a> ScriptCall<'a> {
    /// Takes `args` apart. [`NotScript`] for another command, too few arguments, and a number of
    /// keys that is no integer, is negative, or is above the arguments that follow.
    pub fn parse(args: Args<'a>) -> Result<Self, NotScript> {
        let spec = args.get(0).and_then(lookup).ok_or(NotScript)?;
        let Class::Lock(LockUse::Script { by_sha, read_only }) = spec.class else {
            return Err(NotScript);
        };
        let (script, count) = args.get(1).zip(args.get(2)).ok_or(NotScript)?;
        let keys = integer(count).and_then(|count| usize::try_from(count).ok()).ok_or(NotScript)?;
        if keys > args.len() - FIRST_KEY {
            return Err(NotScript);
        }
        let source = if by_sha { Source::Sha(script) } else { Source::Text(script) };
        Ok(Self { source, read_only, args, keys })
    }

    /// How many keys there are.
    pub fn key_count(&self) -> usize {
        self.keys
    }

    /// `KEYS`, in order.
    pub fn keys(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.between(FIRST_KEY, FIRST_KEY + self.keys)
    }

    /// `ARGV`, in order.
    pub fn arguments(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.between(FIRST_KEY + self.keys, self.args.len())
    }

    fn between(&self, start: usize, end: usize) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let args = self.args;
        (start..end).filter_map(move |at| args.get(at))
    }
}
