//! Scripts on lock keys, and commands that have to compute on a lock's value: run in the envelope
//! (SPEC 5), then settled before the client is answered.

mod blind;
mod enveloped;
mod held;
mod left;
mod replicas;

use std::sync::Arc;

use crate::command::script::{ScriptCall, Source};
use crate::crash;
use crate::ledger::{Answer, Ticket};
use crate::lock::content;
use crate::lock::envelope::{Guard, scripts};
use crate::lock::record::LockKey;
use crate::resp::Args;
use crate::resp::encode;
use crate::scripts::Script;

use super::acquire::{CLIENT_GONE, LINK_LOST, TABLE_FULL, are_wanted};
use super::durable;
use super::exchange::Exchange;
use super::settle::{Loss, Next, Settlement};
use super::{Flow, Operation, Scope, TIMED};
pub(super) use enveloped::{Effect, Enveloped};
pub(super) use held::{Held, says_no};

#[derive(Debug)]
enum Step {
    /// The client's text was sent by SCRIPT LOAD, so that Redis compiles it by itself.
    Loading,
    /// The envelope was sent; by its text, once Redis has said that it does not have it.
    Running { by_text: bool },
    /// WAIT was sent: whether enough replicas have what the script did.
    Replicating(Box<Effect>),
    /// What was done is being made durable, in the ledger and in Redis; this is the client's reply.
    Settling(Box<Settlement>, Vec<u8>),
    /// It has changed nothing, or not all of its locks: the ledger is being read, for another sidecar
    /// may have granted one of them.
    Reading(Ticket, Box<Effect>),
    /// The ledger knows a holder of a lock of it that it has not changed: Redis is asked whether it has
    /// that holder at all.
    Doubting(Held, Box<Effect>),
    /// It has found its own token, and the ledger has no holder: Redis is asked whether that is what it
    /// has made of an old command.
    Finding(LockKey, Box<Effect>),
    /// The ledger's holders are being put into Redis; for the last of these locks the reply is still
    /// to come.
    Seating { locks: Vec<LockKey>, replies: usize },
}

/// One script, or one computed command, under way.
pub(in crate::session) struct Scripting {
    call: Enveloped,
    step: Step,
    /// The text is new: kept once Redis has accepted it.
    text: Option<Vec<u8>>,
    ran_again: bool,
    /// It has run once more because Redis may have had a lock of it again only after its "no".
    is_repeated: bool,
    /// What the client is told when what it took is given back.
    refusal: &'static str,
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
        let (step, refusal) = (Step::Loading, TABLE_FULL);
        let mut operation =
            Self { call, step, text, ran_again: false, is_repeated: false, refusal };
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

    /// None: Redis does not have a lock of it as the ledger has it, which carries it out alone.
    pub(super) fn reply(&mut self, frame: &[u8], scope: &mut Scope<'_, '_>) -> Option<Flow> {
        Some(match &mut self.step {
            Step::Loading => self.loaded(frame, scope),
            Step::Running { by_text: false } if is_noscript(frame) => self.send(true, scope),
            Step::Running { .. } => self.ran(frame, scope),
            Step::Doubting(..) => return self.doubted(frame, scope),
            Step::Finding(..) => return self.found(frame, scope),
            Step::Seating { locks, replies } => {
                *replies += 1;
                if *replies < locks.len() {
                    return Some(TIMED);
                }
                look_at(locks, scope);
                self.send(false, scope)
            }
            Step::Replicating(_) => self.replicated(frame, scope),
            Step::Reading(..) => Flow::Close,
            Step::Settling(settlement, _) => {
                let next = settlement.reply(frame, scope);
                self.go_on(next, scope)
            }
        })
    }

    /// The client's command again.
    pub(super) fn words(&self) -> Vec<Vec<u8>> {
        self.call.words()
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
        let effect = self.complete(effect, scope);
        scope.witness_script(&self.call.keys, &effect);
        crash::here("script-answered");
        if effect.taken.is_empty() {
            return self.has_taken_nothing(effect, scope);
        }
        if are_wanted(scope) {
            return self.replicate(effect, scope);
        }
        self.settle(effect, scope)
    }

    /// Has what the script did made durable.
    fn settle(&mut self, effect: Effect, scope: &mut Scope<'_, '_>) -> Flow {
        let table = &scope.shared().table;
        let full = effect.taken.iter().any(|taken| table.is_full_for(&taken.lock));
        if effect.is_too_large {
            self.refusal = TOO_LARGE;
        }
        let (settlement, next) = match full || effect.is_too_large {
            true => {
                // What it has released is released all the same.
                match scope.decides() {
                    true if effect.releases.is_empty() => {}
                    true => scope.book_unattended(effect.releases),
                    false => scope.follow_up(effect.releases),
                }
                (Settlement::give_back(effect.taken, scope), Next::Wait)
            }
            false => Settlement::begin(effect.taken, effect.releases, scope),
        };
        self.step = Step::Settling(Box::new(settlement), effect.reply);
        self.go_on(next, scope)
    }

    pub(super) fn answered(&mut self, answer: &Answer, scope: &mut Scope<'_, '_>) -> Option<Flow> {
        if let Step::Reading(ticket, effect) = &mut self.step {
            let effect = (*ticket == answer.ticket).then(|| std::mem::take(&mut **effect))?;
            return Some(self.doubt(effect, scope));
        }
        let Step::Settling(settlement, _) = &mut self.step else { return None };
        let next = settlement.answered(answer, scope)?;
        Some(self.go_on(next, scope))
    }

    pub(super) fn ledger_late(&mut self, scope: &mut Scope<'_, '_>) -> Flow {
        if let Step::Reading(ticket, effect) = &mut self.step {
            scope.shared().door.forget(*ticket);
            let effect = std::mem::take(&mut **effect);
            return self.doubt(effect, scope);
        }
        let Step::Settling(settlement, _) = &mut self.step else { return Flow::Close };
        let next = settlement.ledger_late(scope);
        self.go_on(next, scope)
    }

    /// Claims of the script have lost: with the holders in Redis the same script says no in its
    /// own words (SPEC 5).
    fn run_again(&mut self, losses: &[Loss], scope: &mut Scope<'_, '_>) -> Flow {
        let (here, now_ms) = (scope.state.db, scope.shared().clock.unix_ms());
        let known = |loss: &Loss| {
            let holder = loss.holder.as_ref().map(|holder| &holder.claim);
            let is_known = |mark: &Arc<[u8]>| content::of_mark(mark).is_some();
            let known = holder.is_some_and(|claim| claim.other.as_ref().is_none_or(is_known));
            known && loss.lock.db() == here && !loss.has_run_out(now_ms)
        };
        if self.ran_again || !losses.iter().all(known) {
            return scope.answer_error(&lost_to(losses, scope));
        }
        self.ran_again = true;
        for holder in losses.iter().filter_map(|loss| loss.holder.as_ref()) {
            let claim = &holder.claim;
            // It has not run out, see above.
            let left = claim.expires_at_ms.map(|at| at.saturating_sub(now_ms).to_string());
            let (key, stored) = (claim.key.key(), &claim.stored);
            match (&claim.other, &left) {
                (None, None) => scope.send(&[b"SET", key, stored, b"NX"]),
                (None, Some(left)) => {
                    scope.send(&[b"SET", key, stored, b"NX", b"PX", left.as_bytes()]);
                }
                (Some(mark), left) => {
                    let (mut guard, left) = (Vec::new(), left.as_deref().unwrap_or_default());
                    Guard::Other(mark).encode(&mut guard);
                    let script = scripts::SET_MISSING.text.as_bytes();
                    scope.send(&[b"EVAL", script, b"1", key, b"-", &guard, left.as_bytes()]);
                }
            }
        }
        let locks = losses.iter().map(|loss| loss.lock.clone()).collect();
        self.step = Step::Seating { locks, replies: 0 };
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
            Next::GivenBack => scope.answer_error(self.refusal),
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
    /// asked, or has taken nothing, or what it did before its reply was lost is put right by a repair.
    pub(super) fn unanswered(&self) -> Option<Vec<Vec<u8>>> {
        let is_open = matches!(
            self.step,
            Step::Loading
                | Step::Running { .. }
                | Step::Reading(..)
                | Step::Doubting(..)
                | Step::Finding(..)
        );
        is_open.then(|| self.call.words())
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
            Step::Reading(_, effect) | Step::Doubting(_, effect) | Step::Finding(_, effect) => {
                let effect = std::mem::take(&mut **effect);
                return self.believe(effect, scope);
            }
            Step::Replicating(_) => return self.withdraw(LINK_LOST.to_owned(), scope),
            Step::Seating { locks, .. } => {
                look_at(locks, scope);
                NOT_HELD.to_owned()
            }
            Step::Running { .. } if connected => return scope.answer_unknown(reason),
            _ => scope.shared().unavailable(reason),
        };
        scope.answer_error(&text)
    }
}

/// Holders were put into Redis that may have released meanwhile, and a repair that has looked before
/// has found nothing to do: it is to look again.
fn look_at(locks: &[LockKey], scope: &Scope<'_, '_>) {
    locks.iter().for_each(|lock| scope.shared().repairs.touch(lock));
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
    if text.starts_with("TRYAGAIN") || text.starts_with("NOREPLICAS") {
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
/// In the words of the envelope, which refuses what would make a lock so large.
const TOO_LARGE: &str =
    "ERR lockside: a lock that is no string has at most 1024 elements and 64 KiB";
pub(super) const RAN_OUT: &str = "TRYAGAIN lockside: not acquired: the script ran, but these keys \
    ran out or were taken by another before they were made persistent";
