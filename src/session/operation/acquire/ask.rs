//! What an acquire command asks for, read from its arguments, and the command sent in its place.

use std::sync::Arc;
use std::time::Duration;

use crate::command::LockUse;
use crate::command::set::{Condition, Expiry, SetForm, Unit};
use crate::lock::record::{Confidence, Record};
use crate::lock::rule::Mode;
use crate::resp::Args;
use crate::resp::encode;
use crate::session::Shared;
use crate::session::operation::Scope;

/// Which reply the client expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::session::operation) enum Form {
    /// `SET … NX`: OK or nil.
    Set,
    /// `SET … NX GET`: nil when it was set, else the value that is there.
    SetGet,
    /// `SETNX`: 1 or 0.
    Setnx,
}

/// What a client asks for with an acquire, read from its command.
pub(in crate::session::operation) struct Ask {
    pub(in crate::session::operation) key: Vec<u8>,
    pub(in crate::session::operation) stored: Arc<[u8]>,
    pub(in crate::session::operation) form: Form,
    pub(in crate::session::operation) asked_ttl_ms: Option<u64>,
    /// The expiry that is sent: two arguments of SET.
    pub(in crate::session::operation) expiry: [Vec<u8>; 2],
    pub(in crate::session::operation) rule: Arc<str>,
    pub(super) persistent: bool,
    /// How long the provisional key lives, or the lock of a `ttl` rule.
    pub(super) lifetime: Duration,
    /// The rule's: what an acquire waits for the ledger at most, unless configured.
    pub(super) safety_ttl: Duration,
}

/// What an acquire command turns out to be.
pub(in crate::session::operation) enum Read {
    Acquire(Box<Ask>),
    /// SET without NX: the value is overwritten.
    Overwrite,
    /// Nothing that Redis accepts, or a value too large for a lock: Redis sees it as it came.
    Other,
}

/// Reads an acquire command on a lock key.
pub(in crate::session::operation) fn read(
    lock_use: &LockUse,
    args: Args<'_>,
    scope: &mut Scope<'_, '_>,
) -> Read {
    let now_ms = scope.shared().clock.unix_ms();
    let parsed = match lock_use {
        LockUse::Setnx => SetForm::parse_setnx(args).map(|set| (set, Form::Setnx)),
        _ => SetForm::parse(args).map(|set| (set, if set.get { Form::SetGet } else { Form::Set })),
    };
    let Ok((set, form)) = parsed else { return Read::Other };
    if set.condition != Some(Condition::Nx) {
        return Read::Overwrite;
    }
    let (key, value, ttl_ms) = (set.key, set.value, set.ttl_ms(now_ms));
    if ttl_ms == Some(0) {
        // A time that has passed: Redis answers OK, and there is no key.
        return Read::Other;
    }
    let expiry = set.expiry.map(expiry_args);
    if value.len() > scope.shared().max_lock_value {
        return Read::Other;
    }
    let Some(rule) = scope.cx.shared.rules.find(key) else { return Read::Other };
    let stored = scope.shared().stamper.stamp(value, rule.stamp, &scope.shared().clock);
    let persistent = rule.mode == Mode::Persistent;
    let lifetime = match ttl_ms {
        Some(ms) if !persistent => Duration::from_millis(ms),
        None if !persistent => rule.default_ttl,
        _ => rule.safety_ttl,
    };
    let expiry = expiry.filter(|_| !persistent).unwrap_or_else(|| px(lifetime));
    Read::Acquire(Box::new(Ask {
        key: key.to_vec(),
        stored,
        form,
        asked_ttl_ms: ttl_ms,
        expiry,
        rule: scope.shared().rule_name(rule),
        persistent,
        lifetime,
        safety_ttl: rule.safety_ttl,
    }))
}

/// An expiry as the client gave it.
fn expiry_args(expiry: Expiry) -> [Vec<u8>; 2] {
    let unit = match expiry.unit {
        Unit::Ex => "EX",
        Unit::Px => "PX",
        Unit::ExAt => "EXAT",
        Unit::PxAt => "PXAT",
    };
    [unit.into(), expiry.amount.to_string().into_bytes()]
}

/// A lifetime as SET's arguments: whole seconds as EX, as people expect to read it in MONITOR.
fn px(lifetime: Duration) -> [Vec<u8>; 2] {
    if lifetime.subsec_millis() == 0 {
        [b"EX".to_vec(), lifetime.as_secs().to_string().into_bytes()]
    } else {
        [b"PX".to_vec(), lifetime.as_millis().to_string().into_bytes()]
    }
}

impl Ask {
    /// The command that is sent in place of the client's.
    pub(in crate::session::operation) fn command(&self) -> Vec<u8> {
        let mut args: Vec<&[u8]> =
            vec![b"SET", &self.key, &self.stored, b"NX", &self.expiry[0], &self.expiry[1]];
        if self.form == Form::SetGet {
            args.push(b"GET");
        }
        let mut command = Vec::with_capacity(96 + self.key.len() + self.stored.len());
        encode::command(&mut command, &args);
        command
    }

    /// What the table keeps once it is granted.
    pub(in crate::session::operation) fn record(
        &self,
        client: Arc<str>,
        shared: &Shared,
    ) -> Record {
        let now_ms = shared.clock.unix_ms();
        let lifetime_ms = u64::try_from(self.lifetime.as_millis()).unwrap_or(u64::MAX);
        Record {
            stored: self.stored.clone(),
            rule: self.rule.clone(),
            granted_at_ms: now_ms,
            asked_ttl_ms: self.asked_ttl_ms,
            confidence: Confidence::Held,
            client,
            expires_at_ms: (!self.persistent).then(|| now_ms.saturating_add(lifetime_ms)),
            claim: None,
            fence: None,
            other: None,
            marker: None,
        }
    }

    /// True when the key has to be made persistent (step 4).
    pub(in crate::session::operation) fn is_persistent(&self) -> bool {
        self.persistent
    }

    /// The rule's safety TTL.
    pub(in crate::session::operation) fn safety_ttl(&self) -> Duration {
        self.safety_ttl
    }

    /// The client's reply for "you have it".
    pub(in crate::session::operation) fn granted_reply(
        &self,
        protocol: encode::Protocol,
        out: &mut Vec<u8>,
    ) {
        match self.form {
            Form::Set => encode::simple(out, b"OK"),
            Form::SetGet => encode::null(out, protocol),
            Form::Setnx => encode::integer(out, 1),
        }
    }
}
