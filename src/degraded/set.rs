//! SET and GETEX: options, conditions and errors as in Redis 7.0, on locks and companions.

use super::number::{self, Unit, int};
use super::reply::Reply;
use super::turn::{Outcome, SYNTAX, Stop, Turn, Words, arg};
use crate::command::set::{Condition, SetForm};
use crate::lock::record::LockKey;
use crate::resp::Args;

impl Turn<'_> {
    /// `SET key value [NX | XX | IFEQ v | IFNE v] [GET] [EX | PX | EXAT | PXAT n | KEEPTTL]`.
    pub(super) fn set(&mut self, args: Args<'_>) -> Outcome {
        let form = SetForm::parse(args).map_err(|_| set_error(args))?;
        let key = self.key(form.key);
        let is_acquire = form.condition == Some(Condition::Nx) && !form.get;
        if is_acquire && self.is_own_grant(&key, form.value) {
            return Ok(Reply::OK);
        }
        let old = if form.get { self.string(&key)? } else { None };
        if !self.condition_holds(&key, form.condition)? {
            return Ok(Reply::bulk_or_nil(old));
        }
        let expires_at_ms = match form.expiry {
            Some(expiry) => Some(expires_at(expiry, self.now_ms())),
            None if form.keep_ttl => self.overlay.find(&key).and_then(|entry| entry.expires_at_ms),
            None => None,
        };
        self.overlay.put_string(&key, form.value, expires_at_ms);
        Ok(if form.get { Reply::bulk_or_nil(old) } else { Reply::OK })
    }

    /// `SETNX key value`.
    pub(super) fn setnx(&mut self, args: Args<'_>) -> Outcome {
        let key = self.key(arg(args, 1));
        if self.is_own_grant(&key, arg(args, 2)) {
            return Ok(Reply::Integer(1));
        }
        let free = self.overlay.find(&key).is_none();
        if free {
            self.overlay.put_string(&key, arg(args, 2), None);
        }
        Ok(Reply::Integer(i64::from(free)))
    }

    /// `SETEX key seconds value`, `PSETEX key milliseconds value`.
    pub(super) fn setex(&mut self, name: &str, seconds: bool, args: Args<'_>) -> Outcome {
        let unit = Unit { seconds, absolute: false };
        let at_ms = unit.future_ms(arg(args, 2), self.now_ms(), name)?;
        let key = self.key(arg(args, 1));
        self.overlay.put_string(&key, arg(args, 3), Some(at_ms));
        Ok(Reply::OK)
    }

    /// `GETEX key [EX | PX | EXAT | PXAT n | PERSIST]`.
    pub(super) fn getex(&mut self, args: Args<'_>) -> Outcome {
        let expiry = getex_options(args)?;
        let key = self.key(arg(args, 1));
        let Some(text) = self.string(&key)? else { return Ok(Reply::Nil) };
        match expiry {
            Renewal::None => {}
            Renewal::Persist => self.set_expiry(&key, None),
            Renewal::At(unit, amount) => {
                let at_ms = unit.future_ms(amount, self.now_ms(), "getex")?;
                self.set_expiry(&key, Some(at_ms));
            }
        }
        Ok(Reply::Bulk(text))
    }

    /// Whether an acquire is the repetition of one whose reply may never have come (SPEC 3).
    fn is_own_grant(&self, key: &LockKey, value: &[u8]) -> bool {
        // Only of a command alone, whose session has the ledger asked whether that grant still stands.
        !self.in_script && !self.in_transaction && self.overlay.is_unconfirmed_grant(key, value)
    }

    fn condition_holds(
        &self,
        key: &LockKey,
        condition: Option<Condition<'_>>,
    ) -> Result<bool, Stop> {
        let exists = self.overlay.find(key).is_some();
        Ok(match condition {
            None => true,
            Some(Condition::Nx) => !exists,
            Some(Condition::Xx) => exists,
            Some(Condition::IfEq(value)) => self.string(key)?.as_deref() == Some(value),
            Some(Condition::IfNe(value)) => self.string(key)?.as_deref() != Some(value),
            // The digest is one of Redis's own.
            Some(Condition::IfDigestEq(_) | Condition::IfDigestNe(_)) => {
                return Err(Stop::NotServed);
            }
        })
    }

    /// Moves a key's expiry, if it is there.
    pub(super) fn set_expiry(&mut self, key: &LockKey, expires_at_ms: Option<u64>) {
        if let Some(mut entry) = self.overlay.find(key).cloned() {
            entry.expires_at_ms = expires_at_ms;
            self.overlay.put(key, entry);
        }
    }
}

fn expires_at(expiry: crate::command::set::Expiry, now_ms: u64) -> u64 {
    now_ms.saturating_add(expiry.ttl_ms(now_ms))
}

/// Which error a SET has that `SetForm` does not take: its expire time if it is right with another
/// one, else its syntax.
fn set_error(args: Args<'_>) -> Stop {
    let mut words: Vec<&[u8]> = args.iter().collect();
    let (mut at, mut amount) = (3, None);
    while at < words.len() {
        if Unit::of_option(words[at]).is_some() && at + 1 < words.len() {
            amount = Some(words[at + 1]);
            words[at + 1] = b"1";
            at += 1;
        }
        at += 1;
    }
    match amount {
        Some(amount) if SetForm::parse(Words::new(&words).args()).is_ok() => {
            int(amount).map_or_else(|stop| stop, |_| number::invalid_expire("set"))
        }
        _ => Stop::error(SYNTAX),
    }
}

/// What GETEX does to the expiry.
enum Renewal<'a> {
    None,
    Persist,
    At(Unit, &'a [u8]),
}

fn getex_options(args: Args<'_>) -> Result<Renewal<'_>, Stop> {
    let syntax = || Stop::error(SYNTAX);
    let mut renewal = Renewal::None;
    let mut at = 2;
    while let Some(option) = args.get(at) {
        at += 1;
        if option.eq_ignore_ascii_case(b"persist") {
            if matches!(renewal, Renewal::At(..)) {
                return Err(syntax());
            }
            renewal = Renewal::Persist;
            continue;
        }
        let unit = Unit::of_option(option).ok_or_else(syntax)?;
        let again = matches!(&renewal, Renewal::At(earlier, _) if *earlier == unit);
        if !again && !matches!(renewal, Renewal::None) {
            return Err(syntax());
        }
        renewal = Renewal::At(unit, args.get(at).ok_or_else(syntax)?);
        at += 1;
    }
    Ok(renewal)
}
