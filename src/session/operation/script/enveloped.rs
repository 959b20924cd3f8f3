//! One call of an envelope: what is sent, and what its reply says.

use std::sync::Arc;

use crate::command::script::ScriptCall;
use crate::ledger::entry::OBSERVED;
use crate::ledger::{Ask, Cause, Claim, ContentChange};
use crate::lock::content;
use crate::lock::envelope::{
    self, Call, Changed, Envelope, Guard, KeyTerms, Outcome, Released, Run, Taken,
};
use crate::lock::record::{Confidence, LockKey, Record};
use crate::lock::rule::{Mode, Rule};
use crate::resp::Args;
use crate::resp::encode::{self, Protocol};
use crate::scripts::Script;
use crate::session::operation::Scope;
use crate::session::operation::settle::{self, Provisional, stored_of};

/// What is run: a client's script, or one command.
#[derive(Debug, Clone)]
pub(in crate::session::operation) enum Body {
    Script(Arc<Script>),
    Command(&'static Envelope),
}

impl Body {
    fn envelope(&self) -> &Envelope {
        match self {
            Self::Script(script) => &script.envelope,
            Self::Command(envelope) => envelope,
        }
    }
}

/// What a call of an envelope did.
#[derive(Debug, Default)]
pub(in crate::session::operation) struct Effect {
    /// The client's own reply.
    pub(in crate::session::operation) reply: Vec<u8>,
    /// Locks that are still provisional.
    pub(in crate::session::operation) taken: Vec<Provisional>,
    /// Locks that are free, or another's, now.
    pub(in crate::session::operation) released: Vec<LockKey>,
    /// What the ledger is to be told of that.
    pub(in crate::session::operation) releases: Vec<Ask>,
    /// One of those that were taken is no string and larger than a lock may be.
    pub(in crate::session::operation) is_too_large: bool,
}

impl Effect {
    /// The locks that it has changed in any way.
    pub(in crate::session::operation) fn changed(&self) -> impl Iterator<Item = &LockKey> {
        let told = self.releases.iter().filter_map(changed_by);
        self.released.iter().chain(told).chain(self.taken.iter().map(|taken| &taken.lock))
    }

    /// True for a lock that it has changed.
    pub(in crate::session::operation) fn has_changed(&self, lock: &LockKey) -> bool {
        self.changed().any(|changed| changed == lock)
    }
}

/// The lock that the ledger is told of a change of.
fn changed_by(ask: &Ask) -> Option<&LockKey> {
    match ask {
        Ask::Release(key, ..)
        | Ask::ReleaseValue { key, .. }
        | Ask::ReleaseAny(key, _)
        | Ask::Content { key, .. }
        | Ask::Extend(key, ..) => Some(key),
        _ => None,
    }
}

/// One call of an envelope, with what is needed to send it and to read its reply.
#[derive(Debug, Clone)]
pub(in crate::session::operation) struct Enveloped {
    pub(super) body: Body,
    pub(super) keys: Vec<Vec<u8>>,
    pub(super) args: Vec<Vec<u8>>,
    pub(super) read_only: bool,
    marker: [u8; 16],
}

impl Enveloped {
    /// A command on lock keys, all of whose keys are given.
    pub(in crate::session::operation) fn command(args: Args<'_>, scope: &Scope<'_, '_>) -> Self {
        let resp3 = scope.state.protocol == Protocol::Resp3;
        let keys = args.get(0).and_then(crate::command::lookup);
        let keys = keys.map_or_else(Vec::new, |spec| spec.keys(args).map(<[u8]>::to_vec).collect());
        Self {
            body: Body::Command(Envelope::for_command(resp3)),
            keys,
            args: args.iter().map(<[u8]>::to_vec).collect(),
            read_only: false,
            marker: marker(scope),
        }
    }

    /// A client's script.
    pub(in crate::session::operation) fn script(
        call: &ScriptCall<'_>,
        script: Arc<Script>,
        scope: &Scope<'_, '_>,
    ) -> Self {
        Self {
            body: Body::Script(script),
            keys: call.keys().map(<[u8]>::to_vec).collect(),
            args: call.arguments().map(<[u8]>::to_vec).collect(),
            read_only: call.read_only,
            marker: marker(scope),
        }
    }

    /// Sends the call, by the envelope's SHA or its text.
    pub(in crate::session::operation) fn send(&self, by_text: bool, scope: &mut Scope<'_, '_>) {
        let shared = scope.shared();
        let keys: Vec<&[u8]> = self.keys.iter().map(Vec::as_slice).collect();
        let args: Vec<&[u8]> = self.args.iter().map(Vec::as_slice).collect();
        let terms = |(index, key): (usize, &&[u8])| {
            let rule = shared.rules.find(key)?;
            let lock = scope.lock_key(key);
            let asked = shared.table.asked_ttl_ms(&lock);
            let mut terms = terms(index, rule, asked);
            // A script takes a lock without TTL for a lost one; a command is answered as it is.
            if asked.is_none() && self.is_command() && shared.table.find(&lock).is_some() {
                terms.virtual_ttl_ms = None;
            }
            Some(terms)
        };
        let locks: Vec<KeyTerms> = keys.iter().enumerate().filter_map(terms).collect();
        let unique = shared.stamper.unique(&shared.clock);
        let call = Call {
            envelope: self.body.envelope(),
            run: match (by_text, self.read_only) {
                (true, false) => Run::Text,
                (false, false) => Run::Sha,
                (true, true) => Run::TextReadOnly,
                (false, true) => Run::ShaReadOnly,
            },
            keys: &keys,
            args: &args,
            locks: &locks,
            unique: &unique,
            marker: &self.marker,
            database: scope.state.next_db(),
            counter: scope.asks_for_fences().then_some(&shared.fence_counter[..]),
        };
        let mut command = Vec::new();
        call.encode(&mut command);
        scope.cx.wires.to_upstream(&command);
    }

    /// The keys that it names, in this database.
    pub(in crate::session::operation) fn locks(&self, db: u32) -> Vec<LockKey> {
        self.keys.iter().map(|key| LockKey::new(db, key)).collect()
    }

    /// The client's own command again; not for one whose arguments were forgotten.
    pub(in crate::session::operation) fn words(&self) -> Vec<Vec<u8>> {
        let Body::Script(script) = &self.body else { return self.args.clone() };
        let name = if self.read_only { "EVAL_RO" } else { "EVAL" };
        let head = [name.into(), script.text.clone(), self.keys.len().to_string().into_bytes()];
        head.into_iter().chain(self.keys.iter().cloned()).chain(self.args.iter().cloned()).collect()
    }

    /// True when another lock would pass the limit, and this call may take one: it writes, and
    /// none of its keys is a lock that is held already, which it may want to release.
    pub(in crate::session::operation) fn finds_no_room(&self, scope: &Scope<'_, '_>) -> bool {
        let table = &scope.shared().table;
        !self.read_only && self.keys.iter().all(|key| table.is_full_for(&scope.lock_key(key)))
    }

    /// True for a command.
    pub(in crate::session::operation) fn is_command(&self) -> bool {
        matches!(self.body, Body::Command(_))
    }

    /// True for a command that takes locks or does nothing.
    pub(in crate::session::operation) fn is_acquire(&self) -> bool {
        const NAMES: [&[u8]; 2] = [b"msetnx", b"msetex"];
        let name = self.args.first().filter(|_| self.is_command());
        name.is_some_and(|name| NAMES.iter().any(|of| name.eq_ignore_ascii_case(of)))
    }

    /// True for what takes no lock: it looks at one, or changes one that is there.
    pub(super) fn is_look(&self) -> bool {
        self.is_command() || self.read_only
    }

    /// The keys that it names.
    pub(in crate::session::operation) fn keys(&self) -> &[Vec<u8>] {
        &self.keys
    }

    /// The call was sent and will not be sent again.
    pub(in crate::session::operation) fn forget_arguments(&mut self) {
        // A command's name is one of them.
        self.args.truncate(usize::from(self.is_command()));
        self.args.shrink_to_fit();
    }

    /// Reads a reply; the table follows what was released. `None` if it makes no sense.
    pub(in crate::session::operation) fn read(
        &self,
        frame: &[u8],
        scope: &mut Scope<'_, '_>,
    ) -> Option<Effect> {
        match envelope::unwrap(frame, &self.marker).ok()? {
            Outcome::Raw => Some(Effect {
                reply: self.own_error(frame),
                taken: Vec::new(),
                released: Vec::new(),
                releases: Vec::new(),
                is_too_large: false,
            }),
            Outcome::Wrapped { taken, released, changed, fence, reply } => {
                let (released, mut releases) = self.released(&released, fence, scope);
                // A lock that is claimed with all that stands there needs no word of the change.
                let is_taken = |changed: &&Changed<'_>| {
                    let place = (changed.index, changed.database);
                    taken.iter().any(|taken| (taken.index, taken.database) == place)
                };
                let changes =
                    changed.iter().filter_map(|one| self.change(one, is_taken(&one), scope));
                releases.extend(changes);
                let is_too_large = taken.iter().any(|one| {
                    one.fresh
                        && matches!(one.guard, Guard::Other(mark) if content::is_too_large(mark))
                });
                releases.extend(taken.iter().filter_map(|taken| self.extension(taken, scope)));
                let is_new = |taken: &&Taken<'_>| taken.fresh || self.is_persistent(taken, scope);
                let provisional = taken
                    .iter()
                    .filter(is_new)
                    .filter_map(|taken| self.take(taken, scope))
                    .collect();
                let mut own = Vec::new();
                match reply {
                    Some(reply) => own.extend_from_slice(reply),
                    None => encode::null(&mut own, scope.state.protocol),
                }
                Some(Effect { reply: own, taken: provisional, released, releases, is_too_large })
            }
        }
    }

    /// An error that names the envelope names the client's script instead.
    fn own_error(&self, frame: &[u8]) -> Vec<u8> {
        let envelope = self.body.envelope();
        let mut own = frame.to_vec();
        if frame.first() == Some(&b'-')
            && let Some(at) = memchr::memmem::find(frame, &envelope.sha)
        {
            own[at..at + 40].copy_from_slice(&envelope.client_sha);
        }
        own
    }

    fn released(
        &self,
        released: &[Released<'_>],
        fence: Option<u64>,
        scope: &Scope<'_, '_>,
    ) -> (Vec<LockKey>, Vec<Ask>) {
        let key = |released: &Released<'_>| {
            Some(LockKey::new(released.database, self.keys.get(released.index)?))
        };
        let found = released.iter().filter_map(|one| Some((key(one)?, stored_of(&one.guard))));
        let found: Vec<_> = found.collect();
        let seen =
            found.iter().map(|(key, stored)| (key, (!stored.is_empty()).then_some(&**stored)));
        let releases = settle::releases(seen, fence, Cause::Client, scope);
        (found.into_iter().map(|(key, _)| key).collect(), releases)
    }

    /// What the ledger is to be told of a lock whose content a script has changed. `is_taken`: it is
    /// claimed anew, if nobody knows it.
    fn change(&self, changed: &Changed<'_>, is_taken: bool, scope: &Scope<'_, '_>) -> Option<Ask> {
        let bytes = |content: &[u8]| {
            content::split(&content::canonical(&[b"0:", content].concat())).1.into()
        };
        let key = LockKey::new(changed.database, self.keys.get(changed.index)?);
        let change =
            ContentChange { from: bytes(changed.from), to: bytes(changed.to), whole: false };
        match scope.shared().table.find(&key) {
            Some(_) if change.from == change.to => None,
            Some(record) => Some(Ask::Content { key, claim: record.claim, change }),
            None if is_taken => None,
            // It was made behind Lockside's back: as a repair would, once it had found it.
            None => {
                let rule = scope.shared().rules.find(key.key())?;
                let mark = content::renamed(b"0:", &change.to);
                Some(Ask::Observe(self.observation(key, mark, rule, scope)))
            }
        }
    }

    fn observation(
        &self,
        key: LockKey,
        mark: Arc<[u8]>,
        rule: &Rule,
        scope: &Scope<'_, '_>,
    ) -> Claim {
        Claim {
            key,
            stored: [].into(),
            other: Some(mark),
            rule: scope.shared().rule_name(rule),
            client: OBSERVED.into(),
            at_ms: scope.shared().clock.unix_ms(),
            asked_ttl_ms: None,
            expires_at_ms: None,
            marker: None,
        }
    }

    fn is_persistent(&self, taken: &Taken<'_>, scope: &Scope<'_, '_>) -> bool {
        let rule = self.keys.get(taken.index).and_then(|key| scope.shared().rules.find(key));
        rule.is_none_or(|rule| rule.mode == Mode::Persistent)
    }

    /// What the ledger is to be told of a lock of a `ttl` rule that was found there, and has another
    /// end now: its client counts on that, and a restart must not forget it. It claims nothing: what
    /// was released meanwhile stays so.
    fn extension(&self, taken: &Taken<'_>, scope: &Scope<'_, '_>) -> Option<Ask> {
        if taken.fresh || self.is_persistent(taken, scope) {
            return None;
        }
        let Provisional { lock, record, .. } = self.take(taken, scope)?;
        let known = scope.shared().table.find(&lock);
        let is_it = |known: &Record| {
            known.stored == record.stored && known.other.is_some() == record.other.is_some()
        };
        let claim = known.filter(is_it).and_then(|known| known.claim);
        match (claim, record.expires_at_ms, scope.claim_of(&lock, &record)) {
            (Some(claim), Some(at_ms), _) => Some(Ask::Extend(lock, claim, at_ms)),
            (_, _, Ask::Claim(claim) | Ask::ClaimExpiring(claim)) => Some(Ask::Renew(claim)),
            _ => None,
        }
    }

    /// What a script left, to be settled.
    fn take(&self, taken: &Taken<'_>, scope: &Scope<'_, '_>) -> Option<Provisional> {
        let shared = scope.shared();
        let key = self.keys.get(taken.index)?;
        let rule = shared.rules.find(key)?;
        let lock = LockKey::new(taken.database, key);
        let known = shared.table.find(&lock).filter(|_| !taken.fresh);
        let now_ms = shared.clock.unix_ms();
        let persistent = rule.mode == Mode::Persistent;
        // The envelope gives a lock that was left without a TTL the rule's.
        let ttl_ms = taken.ttl_ms.unwrap_or_else(|| ms(rule.default_ttl).max(1));
        let record = Record {
            stored: stored_of(&taken.guard),
            rule: shared.rule_name(rule),
            granted_at_ms: known.as_ref().map_or(now_ms, |record| record.granted_at_ms),
            asked_ttl_ms: taken.ttl_ms,
            confidence: Confidence::Held,
            client: scope.client(),
            expires_at_ms: (!persistent).then(|| now_ms.saturating_add(ttl_ms)),
            claim: None,
            fence: None,
            other: None,
            marker: None,
        };
        if let Some(known) = known.filter(|known| known.claim.is_some())
            && persistent
            && matches!(taken.guard, Guard::Other(_))
            && known.other.is_some()
        {
            // Its content is what has changed. A repair takes the TTL off that it still had.
            shared.repairs.touch(&lock);
            return None;
        }
        let other = match taken.guard {
            Guard::Other(mark) => Some(content::canonical(mark)),
            Guard::Value(_) => None,
        };
        let mut guard = Vec::new();
        other.as_deref().map_or(taken.guard, Guard::Other).encode(&mut guard);
        let record = Record { other, ..record };
        Some(Provisional { lock, guard, record, safety_ttl: rule.safety_ttl, persistent })
    }
}

/// 16 bytes that no script can guess.
fn marker(scope: &Scope<'_, '_>) -> [u8; 16] {
    let clock = scope.shared().clock;
    let mut marker = [0; 16];
    for (place, byte) in marker.iter_mut().enumerate() {
        // Letters only: the marker also stands in logs of Redis (MONITOR, SLOWLOG).
        let bits = clock.random() >> (place % 8);
        *byte = b'a' + (bits % 26) as u8;
    }
    marker
}

fn ms(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(1)
}

fn terms(index: usize, rule: &Rule, asked_ttl_ms: Option<u64>) -> KeyTerms {
    KeyTerms {
        index,
        persistent: rule.mode == Mode::Persistent,
        stamp: rule.stamp,
        safety_ttl_ms: ms(rule.safety_ttl).max(1),
        virtual_ttl_ms: Some(asked_ttl_ms.unwrap_or_else(|| ms(rule.default_ttl))),
        default_ttl_ms: ms(rule.default_ttl).max(1),
    }
}
