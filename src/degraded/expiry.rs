//! Expiries: TTL and its kin, EXPIRE and its kin, PERSIST, as in Redis 7.0.
//!
//! The expiry of a persistent lock is virtual: EXPIRE and PERSIST answer by it and leave nothing
//! behind, a time that has passed releases, scripts read it, and a client that asks directly is
//! told the truth, -1 (SPEC 5).

use super::number::{Unit, int, invalid_expire};
use super::reply::Reply;
use super::turn::{Outcome, Stop, Turn, arg};
use crate::lock::record::LockKey;
use crate::resp::Args;

/// Runs `name` if it is one of these.
pub(super) fn run(turn: &mut Turn<'_>, name: &str, args: Args<'_>) -> Option<Outcome> {
    let unit = |seconds, absolute| Unit { seconds, absolute };
    Some(match name {
        "ttl" => turn.ttl(unit(true, false), args),
        "pttl" => turn.ttl(unit(false, false), args),
        "expiretime" => turn.ttl(unit(true, true), args),
        "pexpiretime" => turn.ttl(unit(false, true), args),
        "expire" => turn.expire(name, unit(true, false), args),
        "pexpire" => turn.expire(name, unit(false, false), args),
        "expireat" => turn.expire(name, unit(true, true), args),
        "pexpireat" => turn.expire(name, unit(false, true), args),
        "persist" => turn.persist(args),
        _ => return None,
    })
}

impl Turn<'_> {
    fn ttl(&mut self, unit: Unit, args: Args<'_>) -> Outcome {
        let key = self.key(arg(args, 1));
        let Some(entry) = self.overlay.find(&key) else { return Ok(Reply::Integer(-2)) };
        let hidden = self.overlay.is_persistent(&key) && !self.in_script;
        let Some(at_ms) = entry.expires_at_ms.filter(|_| !hidden) else {
            return Ok(Reply::Integer(-1));
        };
        let ms = if unit.absolute { at_ms } else { at_ms.saturating_sub(self.now_ms()) };
        let number = match unit.seconds {
            false => ms,
            true => ms.saturating_add(500) / 1000,
        };
        Ok(Reply::Integer(i64::try_from(number).unwrap_or(i64::MAX)))
    }

    fn expire(&mut self, name: &str, unit: Unit, args: Args<'_>) -> Outcome {
        let conditions = Conditions::parse(args)?;
        let amount = int(arg(args, 2))?;
        let at_ms = unit.at_ms(amount, self.now_ms()).ok_or_else(|| invalid_expire(name))?;
        let key = self.key(arg(args, 1));
        let Some(entry) = self.overlay.find(&key) else { return Ok(Reply::Integer(0)) };
        let expires_at_ms = entry.expires_at_ms.filter(|_| !self.is_without_ttl(&key));
        if !conditions.hold(expires_at_ms, at_ms) {
            return Ok(Reply::Integer(0));
        }
        match u64::try_from(at_ms) {
            Ok(at_ms) if at_ms > self.now_ms() => self.set_expiry(&key, Some(at_ms)),
            _ => {
                self.overlay.remove(&key);
            }
        }
        Ok(Reply::Integer(1))
    }

    fn persist(&mut self, args: Args<'_>) -> Outcome {
        let key = self.key(arg(args, 1));
        let has_expiry = self.overlay.find(&key).is_some_and(|entry| entry.expires_at_ms.is_some());
        if has_expiry {
            self.set_expiry(&key, None);
        }
        Ok(Reply::Integer(i64::from(has_expiry && !self.is_without_ttl(&key))))
    }

    /// True where a client's own command meets a persistent lock that was taken without a TTL. A script
    /// is shown the default all the same: many take a lock without TTL for a lost one (SPEC 5).
    fn is_without_ttl(&self, key: &LockKey) -> bool {
        !self.in_script && self.overlay.is_without_ttl(key)
    }
}

/// `NX`, `XX`, `GT`, `LT` of EXPIRE and its kin.
#[derive(Debug, Clone, Copy, Default)]
struct Conditions {
    nx: bool,
    xx: bool,
    gt: bool,
    lt: bool,
}

impl Conditions {
    fn parse(args: Args<'_>) -> Result<Self, Stop> {
        let mut found = Self::default();
        for option in args.iter().skip(3) {
            match option.to_ascii_lowercase().as_slice() {
                b"nx" => found.nx = true,
                b"xx" => found.xx = true,
                b"gt" => found.gt = true,
                b"lt" => found.lt = true,
                _ => {
                    let option = String::from_utf8_lossy(option);
                    return Err(Stop::Error(format!("ERR Unsupported option {option}")));
                }
            }
        }
        let text = match found {
            Self { nx: true, xx, gt, lt } if xx || gt || lt => "NX and XX, GT or LT options",
            Self { gt: true, lt: true, .. } => "GT and LT options",
            _ => return Ok(found),
        };
        Err(Stop::Error(format!("ERR {text} at the same time are not compatible")))
    }

    /// No expiry counts as one that never comes.
    fn hold(self, current_ms: Option<u64>, at_ms: i64) -> bool {
        let current = current_ms.map(|ms| i64::try_from(ms).unwrap_or(i64::MAX));
        !(self.nx && current.is_some()
            || self.xx && current.is_none()
            || self.gt && current.is_none_or(|current| at_ms <= current)
            || self.lt && current.is_some_and(|current| at_ms >= current))
    }
}
