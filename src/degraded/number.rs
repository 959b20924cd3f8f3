//! Numbers and expire times as Redis reads them from a command, with Redis 7.0's own errors. Pure.

use super::turn::Stop;
use crate::command::number::integer;

/// What Redis says to an argument, or a value, that is no integer.
pub(super) const NOT_AN_INTEGER: &str = "ERR value is not an integer or out of range";

/// An argument as an integer.
pub(super) fn int(text: &[u8]) -> Result<i64, Stop> {
    integer(text).ok_or_else(|| Stop::error(NOT_AN_INTEGER))
}

/// What an expire time counts, and from when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unit {
    /// Seconds; else milliseconds.
    pub(super) seconds: bool,
    /// A Unix time; else from now on.
    pub(super) absolute: bool,
}

impl Unit {
    /// The unit of an option of SET or GETEX.
    pub(super) fn of_option(option: &[u8]) -> Option<Self> {
        let units: [(&[u8], bool, bool); 4] = [
            (b"ex", true, false),
            (b"px", false, false),
            (b"exat", true, true),
            (b"pxat", false, true),
        ];
        let found = units.iter().find(|(name, ..)| option.eq_ignore_ascii_case(name))?;
        Some(Self { seconds: found.1, absolute: found.2 })
    }

    /// The time of an amount in milliseconds since the Unix epoch; may have passed. None where
    /// that overflows.
    pub(super) fn at_ms(self, amount: i64, now_ms: u64) -> Option<i64> {
        let ms = if self.seconds { amount.checked_mul(1000)? } else { amount };
        let now = i64::try_from(now_ms).unwrap_or(i64::MAX);
        if self.absolute { Some(ms) } else { ms.checked_add(now) }
    }

    /// The time of an amount that must be above 0, as SET, SETEX and GETEX want it.
    pub(super) fn future_ms(self, amount: &[u8], now_ms: u64, name: &str) -> Result<u64, Stop> {
        let amount = int(amount)?;
        let at_ms = if amount > 0 { self.at_ms(amount, now_ms) } else { None };
        let at_ms = at_ms.and_then(|at_ms| u64::try_from(at_ms).ok());
        at_ms.ok_or_else(|| invalid_expire(name))
    }
}

/// What Redis says to an expire time that is out of range.
pub(super) fn invalid_expire(name: &str) -> Stop {
    Stop::Error(format!("ERR invalid expire time in '{name}' command"))
}
