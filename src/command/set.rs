//! The forms of SET, and SETNX.
//!
//! Only what Redis would run is parsed; whatever Redis would answer with an error (conflicting
//! options, a bad expire time) is [`NotSet`], so that it is forwarded untouched and Redis's own
//! error comes out. The rules are those of Redis's `parseExtendedStringArgumentsOrReply` and
//! `getExpireMillisecondsOrReply`, held against a running server by a test.

use super::number::integer;
use crate::resp::Args;

/// A SET that Redis would run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SetForm<'a> {
    /// The key.
    pub key: &'a [u8],
    /// The value that the client wrote.
    pub value: &'a [u8],
    /// When it is written; `None`: always.
    pub condition: Option<Condition<'a>>,
    /// `GET`: the reply is the old value.
    pub get: bool,
    /// The time to live that was asked for.
    pub expiry: Option<Expiry>,
    /// `KEEPTTL`; never together with `expiry`.
    pub keep_ttl: bool,
}

/// When a SET writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition<'a> {
    /// The key does not exist: an acquire.
    Nx,
    /// The key exists.
    Xx,
    /// The value is this one (Valkey 8.1, Redis 8.4; a syntax error on older servers).
    IfEq(&'a [u8]),
    /// The value is not this one (Redis 8.4).
    IfNe(&'a [u8]),
    /// The value's digest is this one: 16 hex digits (Redis 8.4).
    IfDigestEq(&'a [u8]),
    /// The value's digest is not this one (Redis 8.4).
    IfDigestNe(&'a [u8]),
}

/// An expire time as it was asked for; the amount is above 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expiry {
    /// What the amount counts.
    pub unit: Unit,
    /// How many of it.
    pub amount: i64,
}

/// The four ways to say an expire time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// `EX`: seconds from now.
    Ex,
    /// `PX`: milliseconds from now.
    Px,
    /// `EXAT`: Unix time in seconds.
    ExAt,
    /// `PXAT`: Unix time in milliseconds.
    PxAt,
}

/// Not a SET that Redis would run: forward it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotSet;

/// Redis refuses a relative time that overflows i64 when its clock (milliseconds since 1970) is
/// added. There is no clock here, so the year 2109 stands for it: what lies between is forwarded
/// although Redis would take it (a time to live of 292 million years).
const CLOCK_BOUND_MS: i64 = 1 << 42;

impl<'a> SetForm<'a> {
    /// Takes a SET apart: options in any order and case. `args[0]` is not looked at.
    pub fn parse(args: Args<'a>) -> Result<Self, NotSet> {
        let (key, value) = args.get(1).zip(args.get(2)).ok_or(NotSet)?;
        let mut form = Self::bare(key, value);
        let mut at = 3;
        while let Some(option) = args.get(at) {
            at += form.take(option, args.get(at + 1)).ok_or(NotSet)?;
        }
        form.expiry.is_none_or(Expiry::is_valid).then_some(form).ok_or(NotSet)
    }

    /// Takes a SETNX apart: a SET with NX and nothing else. `args[0]` is not looked at.
    pub fn parse_setnx(args: Args<'a>) -> Result<Self, NotSet> {
        match (args.get(1), args.get(2), args.len()) {
            (Some(key), Some(value), 3) => {
                Ok(Self { condition: Some(Condition::Nx), ..Self::bare(key, value) })
            }
            _ => Err(NotSet),
        }
    }

    /// The time to live in milliseconds at `now_unix_ms`; `None` without an expire time. 0 for a
    /// point in time that has passed (Redis then takes the command and the key is gone at once).
    pub fn ttl_ms(&self, now_unix_ms: u64) -> Option<u64> {
        self.expiry.map(|expiry| expiry.ttl_ms(now_unix_ms))
    }

    fn bare(key: &'a [u8], value: &'a [u8]) -> Self {
        Self { key, value, condition: None, get: false, expiry: None, keep_ttl: false }
    }

    /// Takes one option, with its value where it has one; says how many arguments that was.
    fn take(&mut self, option: &[u8], next: Option<&'a [u8]>) -> Option<usize> {
        // Redis compares C strings: an option ends at its first NUL byte.
        let option = option.split(|byte| *byte == 0).next().unwrap_or_default();
        let mut word = [0_u8; 7];
        let word = word.get_mut(..option.len())?;
        word.copy_from_slice(option);
        word.make_ascii_lowercase();
        match &*word {
            b"nx" => self.exists(Condition::Nx),
            b"xx" => self.exists(Condition::Xx),
            b"get" => {
                self.get = true;
                Some(1)
            }
            b"keepttl" => {
                self.keep_ttl = true;
                self.expiry.is_none().then_some(1)
            }
            b"ex" => self.expires(Unit::Ex, next?),
            b"px" => self.expires(Unit::Px, next?),
            b"exat" => self.expires(Unit::ExAt, next?),
            b"pxat" => self.expires(Unit::PxAt, next?),
            b"ifeq" => self.compares(Condition::IfEq(next?)),
            b"ifne" => self.compares(Condition::IfNe(next?)),
            b"ifdeq" => self.compares(Condition::IfDigestEq(digest(next?)?)),
            b"ifdne" => self.compares(Condition::IfDigestNe(digest(next?)?)),
            _ => None,
        }
    }

    /// NX may be said twice, but not together with another condition.
    fn exists(&mut self, condition: Condition<'a>) -> Option<usize> {
        let free = self.condition.is_none_or(|earlier| earlier == condition);
        self.condition = Some(condition);
        free.then_some(1)
    }

    fn compares(&mut self, condition: Condition<'a>) -> Option<usize> {
        self.condition.replace(condition).is_none().then_some(2)
    }

    /// The same unit may be said twice, and the last one counts, also when an earlier amount was
    /// no number; two units, or one with KEEPTTL, are an error.
    fn expires(&mut self, unit: Unit, amount: &[u8]) -> Option<usize> {
        let free = !self.keep_ttl && self.expiry.is_none_or(|earlier| earlier.unit == unit);
        self.expiry = Some(Expiry { unit, amount: integer(amount).unwrap_or(0) });
        free.then_some(2)
    }
}

impl Expiry {
    /// Whether Redis takes it: above 0, and no overflow on the way to a Unix time in
    /// milliseconds. An amount that is no number stands here as 0.
    fn is_valid(self) -> bool {
        let milliseconds = match self.unit {
            Unit::Ex | Unit::ExAt => self.amount.checked_mul(1000),
            Unit::Px | Unit::PxAt => Some(self.amount),
        };
        let bound = match self.unit {
            Unit::Ex | Unit::Px => i64::MAX - CLOCK_BOUND_MS,
            Unit::ExAt | Unit::PxAt => i64::MAX,
        };
        milliseconds.is_some_and(|milliseconds| (1..=bound).contains(&milliseconds))
    }

    /// Milliseconds from `now_unix_ms` on; 0 if that has passed.
    pub fn ttl_ms(self, now_unix_ms: u64) -> u64 {
        let amount = self.amount.unsigned_abs();
        match self.unit {
            Unit::Ex => amount.saturating_mul(1000),
            Unit::Px => amount,
            Unit::ExAt => amount.saturating_mul(1000).saturating_sub(now_unix_ms),
            Unit::PxAt => amount.saturating_sub(now_unix_ms),
        }
    }
}

fn digest(text: &[u8]) -> Option<&[u8]> {
    (text.len() == 16 && text.iter().all(u8::is_ascii_hexdigit)).then_some(text)
}
