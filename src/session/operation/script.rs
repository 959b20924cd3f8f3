//! Scripts on lock keys, and commands that have to compute on a lock's value: run in the envelope
//! (SPEC 5), then settled before the client is answered.

use std::sync::Arc;

use crate::command::script::{ScriptCall, Source};
use crate::crash;
use crate::ledger::{Answer, Ask, Cause};
use crate::lock::envelope::{self, Call, Envelope, Guard, KeyTerms, Outcome, Released, Run, Taken};
use crate::lock::record::{Confidence, LockKey, Record};
use crate::lock::rule::{Mode, Rule};
use crate::resp::Args;
use crate::resp::encode::{self, Protocol};
use crate::scripts::Script;

use super::acquire::{CLIENT_GONE, TABLE_FULL};
use super::durable;
use super::exchange::Exchange;
use super::settle::{self, Loss, Next, Provisional, Settlement, stored_of};
use super::{Flow, Operation, Scope, TIMED};

/// What is run: a client's script, or one command.
#[derive(Debug, Clone)]
pub(super) enum Body {
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
pub(super) struct Effect {
    /// The client's own reply.
    pub(super) reply: Vec<u8>,
    /// Locks that are still provisional.
    pub(super) taken: Vec<Provisional>,
    /// Locks that are free, or another's, now.
    pub(super) released: Vec<LockKey>,
    /// What the ledger is to be told of that.
    pub(super) releases: Vec<Ask>,
}

/// One call of an envelope, with what is needed to send it and to read its reply.
#[derive(Debug, Clone)]
pub(super) struct Enveloped {
    body: Body,
    keys: Vec<Vec<u8>>,
    args: Vec<Vec<u8>>,
    read_only: bool,
    marker: [u8; 16],
}

impl Enveloped {
    /// A command on lock keys, all of whose keys are given.
    pub(super) fn command(args: Args<'_>, scope: &Scope<'_, '_>) -> Self {
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
    pub(super) fn script(
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
    pub(super) fn send(&self, by_text: bool, scope: &mut Scope<'_, '_>) {
        let shared = scope.shared();
        let keys: Vec<&[u8]> = self.keys.iter().map(Vec::as_slice).collect();
        let args: Vec<&[u8]> = self.args.iter().map(Vec::as_slice).collect();
        let terms = |(index, key): (usize, &&[u8])| {
            let rule = shared.rules.find(key)?;
            let asked = shared.table.asked_ttl_ms(&scope.lock_key(key));
            Some(terms(index, rule, asked))
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
        };
        let mut command = Vec::new();
        call.encode(&mut command);
        scope.cx.wires.to_upstream(&command);
    }

    /// The keys that it names, in this database.
    pub(super) fn locks(&self, db: u32) -> Vec<LockKey> {
        self.keys.iter().map(|key| LockKey::new(db, key)).collect()
    }

    /// The client's own command again; none for one whose arguments were forgotten.
    fn words(&self) -> Vec<Vec<u8>> {
        let Body::Script(script) = &self.body else { return self.args.clone() };
        let name = if self.read_only { "EVAL_RO" } else { "EVAL" };
        let head = [name.into(), script.text.clone(), self.keys.len().to_string().into_bytes()];
        head.into_iter().chain(self.keys.iter().cloned()).chain(self.args.iter().cloned()).collect()
    }

    /// True when another lock would pass the limit, and this call may take one: it writes, and
    /// none of its keys is a lock that is held already, which it may want to release.
    pub(super) fn finds_no_room(&self, scope: &Scope<'_, '_>) -> bool {
        let table = &scope.shared().table;
        !self.read_only && self.keys.iter().all(|key| table.is_full_for(&scope.lock_key(key)))
    }

    /// The keys that it names.
    pub(super) fn keys(&self) -> &[Vec<u8>] {
        &self.keys
    }

    /// The call was sent and will not be sent again.
    pub(super) fn forget_arguments(&mut self) {
        self.args = Vec::new();
    }

    /// Reads a reply; the table follows what was released. `None` if it makes no sense.
    pub(super) fn read(&self, frame: &[u8], scope: &mut Scope<'_, '_>) -> Option<Effect> {
        match envelope::unwrap(frame, &self.marker).ok()? {
            Outcome::Raw => Some(Effect {
                reply: self.own_error(frame),
                taken: Vec::new(),
                released: Vec::new(),
                releases: Vec::new(),
            }),
            Outcome::Wrapped { taken, released, reply } => {
                let (released, releases) = self.released(&released, scope);
                let provisional =
                    taken.iter().filter_map(|taken| self.take(taken, scope)).collect();
                let mut own = Vec::new();
                match reply {
                    Some(reply) => own.extend_from_slice(reply),
                    None => encode::null(&mut own, scope.state.protocol),
                }
                Some(Effect { reply: own, taken: provisional, released, releases })
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
        scope: &Scope<'_, '_>,
    ) -> (Vec<LockKey>, Vec<Ask>) {
        let key = |released: &Released<'_>| {
            Some(LockKey::new(released.database, self.keys.get(released.index)?))
        };
        let found = released.iter().filter_map(|one| Some((key(one)?, stored_of(&one.guard))));
        let found: Vec<_> = found.collect();
        let seen =
            found.iter().map(|(key, stored)| (key, (!stored.is_empty()).then_some(&**stored)));
        let releases = settle::releases(seen, Cause::Client, scope);
        (found.into_iter().map(|(key, _)| key).collect(), releases)
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
        if let Some(known) = known.filter(|known| known.claim.is_some()) {
            // The same hold goes on, under a `ttl` rule with another end.
            if let (Some(claim), Some(at)) = (known.claim, record.expires_at_ms) {
                scope.book_unattended(vec![Ask::Extend(lock, claim, at)]);
                return None;
            }
        }
        let mut guard = Vec::new();
        taken.guard.encode(&mut guard);
        let other = matches!(taken.guard, Guard::Other(_)).then(|| guard.clone().into());
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
        virtual_ttl_ms: asked_ttl_ms.unwrap_or_else(|| ms(rule.default_ttl)),
        default_ttl_ms: ms(rule.default_ttl).max(1),
    }
}

#[derive(Debug)]
enum Step {
    /// The client's text was sent by SCRIPT LOAD, so that Redis compiles it by itself.
    Loading,
    /// The envelope was sent; by its text, once Redis has said that it does not have it.
    Running { by_text: bool },
    /// What was done is being made durable, in the ledger and in Redis; this is the client's reply.
    Settling(Settlement, Vec<u8>),
    /// The ledger's holders are being put into Redis; so many replies are still to come.
    Seating(usize),
}

/// One script, or one computed command, under way.
pub(in crate::session) struct Scripting {
    call: Enveloped,
    step: Step,
    /// The text is new: kept once Redis has accepted it.
    text: Option<Vec<u8>>,
    ran_again: bool,
}

impl Scripting {
    /// A command that has to be computed, such as `EXPIRE` or `SET … XX`.
    pub(super) fn begin_command(
        args: Args<'_>,
        scope: &mut Scope<'_, '_>,
    ) -> (Option<Box<Operation>>, Flow) {
        if is_too_much(args, scope) {
            return (None, scope.answer_error(TOO_MUCH));
        }
        let call = Enveloped::command(args, scope);
        Self::run(call, None, scope)
    }

    /// EVAL, EVALSHA and their read-only forms.
    pub(super) fn begin_script(
        args: Args<'_>,
        scope: &mut Scope<'_, '_>,
    ) -> (Option<Box<Operation>>, Flow) {
        let Ok(call) = ScriptCall::parse(args) else { return Exchange::pass(args, scope) };
        match call.source {
            Source::Sha(sha) => match scope.shared().scripts.find(sha) {
                Some(script) => {
                    let call = Enveloped::script(&call, script, scope);
                    Self::run(call, None, scope)
                }
                None => (None, scope.answer_error(NOSCRIPT)),
            },
            Source::Text(text) => {
                let envelope = scope.shared().scripts.known(text);
                let new = envelope.is_none().then(|| text.to_vec());
                let script = envelope.unwrap_or_else(|| Arc::new(Script::new(text)));
                let call = Enveloped::script(&call, script, scope);
                Self::run(call, new, scope)
            }
        }
    }

    fn run(
        call: Enveloped,
        text: Option<Vec<u8>>,
        scope: &mut Scope<'_, '_>,
    ) -> (Option<Box<Operation>>, Flow) {
        if !call.read_only
            && let Some(flow) = scope.refuse_if_blocked()
        {
            return (None, flow);
        }
        let mut operation = Self { call, step: Step::Loading, text, ran_again: false };
        let flow = match &operation.text {
            Some(text) => {
                scope.send(&[b"SCRIPT", b"LOAD", text]);
                TIMED
            }
            None => operation.send(false, scope),
        };
        (Some(Box::new(Operation::Script(operation))), flow)
    }

    fn send(&mut self, by_text: bool, scope: &mut Scope<'_, '_>) -> Flow {
        self.step = Step::Running { by_text };
        self.call.send(by_text, scope);
        crash::here("script-sent");
        // A script that runs for longer keeps Redis from everything else: that is an outage too.
        TIMED
    }

    pub(super) fn reply(&mut self, frame: &[u8], scope: &mut Scope<'_, '_>) -> Flow {
        match &mut self.step {
            Step::Loading => self.loaded(frame, scope),
            Step::Running { by_text: false } if is_noscript(frame) => self.send(true, scope),
            Step::Running { .. } => self.ran(frame, scope),
            Step::Seating(left) if *left > 1 => {
                *left -= 1;
                TIMED
            }
            Step::Seating(_) => self.send(false, scope),
            Step::Settling(settlement, _) => {
                let next = settlement.reply(frame, scope);
                self.go_on(next, scope)
            }
        }
    }

    fn loaded(&mut self, frame: &[u8], scope: &mut Scope<'_, '_>) -> Flow {
        let refused = frame.first() == Some(&b'-');
        // A user who may run scripts but not load them: the text goes unchecked, at no other's
        // risk (docs of `Envelope`).
        if refused && !frame.starts_with(b"-NOPERM") {
            scope.witness_error(None, &frame[1..]);
            return scope.answer(frame);
        }
        if let Some(text) = self.text.take() {
            scope.shared().scripts.insert(&text);
        }
        self.send(false, scope)
    }

    fn ran(&mut self, frame: &[u8], scope: &mut Scope<'_, '_>) -> Flow {
        let Some(effect) = self.call.read(frame, scope) else {
            return scope.answer_error(UNREADABLE);
        };
        scope.witness_script(&self.call.keys, &effect);
        crash::here("script-answered");
        if effect.taken.is_empty() && effect.releases.is_empty() {
            return scope.answer(&effect.reply);
        }
        let table = &scope.shared().table;
        let full = effect.taken.iter().any(|taken| table.is_full_for(&taken.lock));
        let (settlement, next) = match full {
            true => (Settlement::give_back(effect.taken, scope), Next::Wait),
            false => Settlement::begin(effect.taken, effect.releases, scope),
        };
        self.step = Step::Settling(settlement, effect.reply);
        self.go_on(next, scope)
    }

    pub(super) fn answered(&mut self, answer: &Answer, scope: &mut Scope<'_, '_>) -> Option<Flow> {
        let Step::Settling(settlement, _) = &mut self.step else { return None };
        let next = settlement.answered(answer, scope)?;
        Some(self.go_on(next, scope))
    }

    pub(super) fn ledger_late(&mut self, scope: &mut Scope<'_, '_>) -> Flow {
        let Step::Settling(settlement, _) = &mut self.step else { return Flow::Close };
        let next = settlement.ledger_late(scope);
        self.go_on(next, scope)
    }

    /// Claims of the script have lost: with the holders in Redis the same script says no in its
    /// own words (SPEC 5).
    fn run_again(&mut self, losses: &[Loss], scope: &mut Scope<'_, '_>) -> Flow {
        let here = scope.state.db;
        let known = |loss: &Loss| {
            let holder = loss.holder.as_ref().map(|holder| &holder.claim);
            holder.is_some_and(|claim| claim.other.is_none()) && loss.lock.db() == here
        };
        if self.ran_again || !losses.iter().all(known) {
            return scope.answer_error(&lost_to(losses, scope));
        }
        self.ran_again = true;
        for holder in losses.iter().filter_map(|loss| loss.holder.as_ref()) {
            scope.send(&[b"SET", holder.claim.key.key(), &holder.claim.stored, b"NX"]);
        }
        self.step = Step::Seating(losses.len());
        TIMED
    }

    fn go_on(&mut self, next: Next, scope: &mut Scope<'_, '_>) -> Flow {
        let Step::Settling(settlement, own) = &self.step else { return Flow::Close };
        match next {
            Next::Wait => TIMED,
            Next::Ledger(until) => Flow::Ledger { until },
            Next::Reopen => Flow::Reopen,
            Next::Lost(losses) => self.run_again(&losses, scope),
            Next::Blocked(text) => scope.answer_error(&blocked(&text)),
            Next::Unknown if scope.client_gone => scope.answer_error(CLIENT_GONE),
            Next::Unknown => scope.answer_error(UNKNOWN),
            Next::GivenBack => scope.answer_error(TABLE_FULL),
            Next::Settled(held) if held.iter().all(|held| *held) => {
                let flow = scope.answer(own);
                crash::here("script-told");
                let end = scope.cx.wires.client_accepted();
                scope.grants.extend(settlement.grants(&held, end));
                flow
            }
            Next::Settled(held) => {
                let text = format!("{RAN_OUT}: {}", settlement.lost_keys(&held));
                scope.answer_error(&text)
            }
        }
    }

    pub(super) fn reopened(&mut self, scope: &mut Scope<'_, '_>) -> Flow {
        match &mut self.step {
            Step::Settling(settlement, _) => {
                settlement.reopened(scope);
                TIMED
            }
            _ => Flow::Close,
        }
    }

    /// The client's command, while it may still be carried out by the ledger alone: Redis was not
    /// asked, or what it did before its reply was lost is put right by a repair.
    pub(super) fn unanswered(&self) -> Option<Vec<Vec<u8>>> {
        matches!(self.step, Step::Loading | Step::Running { .. }).then(|| self.call.words())
    }

    pub(super) fn link_failed(
        &mut self,
        reason: &str,
        connected: bool,
        scope: &mut Scope<'_, '_>,
    ) -> Flow {
        let text = match &mut self.step {
            Step::Settling(settlement, _) => match settlement.lost(scope) {
                // There is no link to run it again on.
                Next::Lost(losses) => lost_to(&losses, scope),
                next => return self.go_on(next, scope),
            },
            Step::Seating(_) => NOT_HELD.to_owned(),
            Step::Running { .. } if connected => return scope.answer_unknown(reason),
            _ => scope.shared().unavailable(reason),
        };
        scope.answer_error(&text)
    }
}

/// True for a command that can't be run in the envelope: too many arguments, or too large.
pub(super) fn is_too_much(args: Args<'_>, scope: &Scope<'_, '_>) -> bool {
    let too_large = |arg: &[u8]| arg.len() > scope.shared().max_computed_argument;
    args.len() > MAX_COMPUTED_ARGS || args.iter().any(too_large)
}

/// The error in place of an element that makes no sense.
pub(super) fn unreadable() -> Vec<u8> {
    let mut error = Vec::new();
    encode::error(&mut error, UNREADABLE.as_bytes());
    error
}

fn is_noscript(frame: &[u8]) -> bool {
    // Redis's own words: what a client's script says with that code is its reply.
    frame.starts_with(b"-NOSCRIPT No matching script")
}

/// What is said of claims that have lost, where the script can't be run again.
pub(super) fn lost_to(losses: &[Loss], scope: &Scope<'_, '_>) -> String {
    let owner = |loss: &Loss| {
        let claim = &loss.holder.as_ref()?.claim;
        let stamp = scope.shared().stamp_of(loss.lock.key());
        let value = crate::lock::value::strip(&claim.stored, stamp);
        Some(durable::owner(&claim.client, value))
    };
    let owners: Vec<String> = losses.iter().filter_map(owner).collect();
    format!("TRYAGAIN lockside: not acquired: lost to {}", owners.join(", "))
}

/// The error for claims or releases that the ledger did not take in time.
pub(super) fn blocked(text: &str) -> String {
    if text.starts_with("TRYAGAIN") {
        return text.to_owned();
    }
    format!("TRYAGAIN lockside: not acquired, or releasing: {text}")
}

const NOT_HELD: &str = "TRYAGAIN lockside: not acquired: another holds the lock";
/// Lua's stack takes no more.
const MAX_COMPUTED_ARGS: usize = 7000;
pub(super) const TOO_MUCH: &str =
    "ERR lockside: too many or too large arguments for a command on a lock key";
/// Redis's own words, so that every client sends the text.
pub(super) const NOSCRIPT: &str = "NOSCRIPT No matching script. Please use EVAL.";
const UNREADABLE: &str = "ERR lockside: unknown outcome: the script's report could not be read";
const UNKNOWN: &str = "TRYAGAIN lockside: unknown outcome: the script ran, but Redis did not say \
    whether its locks were made persistent; they are shown as unconfirmed until they are released";
pub(super) const RAN_OUT: &str = "TRYAGAIN lockside: not acquired: the script ran, but these keys \
    ran out or were taken by another before they were made persistent";
