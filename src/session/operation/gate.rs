//! Whether a client may use locks while Redis can't be asked, and what operations tell the gate
//! of Redis's answers (SPEC 6).

use crate::command::lookup;
use crate::degraded::Words;
use crate::degraded::auth::{Access, Who};
use crate::ledger::entry::{OBSERVED, OBSERVED_ANEW};
use crate::lock::record::LockKey;
use crate::lock::rule::{Rule, Rules};
use crate::resp::Args;
use crate::resp::reply::Reply;
use crate::session::Shared;

use super::Scope;
use super::exchange::Purpose;
use super::script::Effect;
use super::transaction::What;

/// Why this client may not use these keys now; none if it may.
pub(in crate::session) fn gate_refusal<'k>(
    keys: impl Iterator<Item = &'k [u8]>,
    who: Who<'_>,
    shared: &Shared,
) -> Option<&'static str> {
    let rule = |key| rule_of(key, &shared.rules);
    let access = |rule: &Rule| shared.gate.access(who, &rule.name);
    let refused = keys.filter_map(rule).map(access).find(|access| *access != Access::Granted)?;
    Some(match refused {
        Access::Unknown => NOAUTH,
        _ => NOPERM,
    })
}

/// True for commands that Redis was seen to refuse this client on such keys.
pub(super) fn denials<'s>(who: Who<'s>, shared: &'s Shared) -> impl Fn(&str, &[u8]) -> bool + 's {
    let is_denied = move |rule: &Rule, name: &str| shared.gate.is_denied(who, &rule.name, name);
    move |name, key| rule_of(key, &shared.rules).is_some_and(|rule| is_denied(rule, name))
}

/// The rule that has this key as a lock or a companion.
pub(super) fn rule_of<'r>(key: &[u8], rules: &'r Rules) -> Option<&'r Rule> {
    rules.find(key).or_else(|| rules.get(rules.companion_of(key)?))
}

/// True if this client may use the locks of any rule.
pub(in crate::session) fn may_use_some_locks(who: Who<'_>, shared: &Shared) -> bool {
    shared.rules.iter().any(|(_, rule)| shared.gate.access(who, &rule.name) == Access::Granted)
}

impl Scope<'_, '_> {
    /// True if the command names a lock or a companion.
    pub(super) fn is_locks(&self, command: &[Vec<u8>]) -> bool {
        let words = Words::new(command);
        let rules = &self.shared().rules;
        let ours = |key: &[u8]| rules.find(key).is_some() || rules.companion_of(key).is_some();
        words.args().get(0).and_then(lookup).is_some_and(|spec| spec.keys(words.args()).any(ours))
    }

    /// True if all keys of the command are locks or companions: without Redis it is served.
    pub(super) fn names_only_locks(&self, command: &[Vec<u8>]) -> bool {
        let words = Words::new(command);
        let rules = &self.shared().rules;
        let ours = |key: &[u8]| rules.find(key).is_some() || rules.companion_of(key).is_some();
        words.args().get(0).and_then(lookup).is_some_and(|spec| spec.keys(words.args()).all(ours))
    }

    /// True if somebody has put this lock into Redis directly, and may take it away there (`observe`).
    pub(super) fn is_foreign(&self, key: &[u8], client: &str) -> bool {
        [OBSERVED, OBSERVED_ANEW].contains(&client)
            && self.shared().rules.find(key).is_some_and(|rule| rule.observe)
    }

    /// True if the client may use all locks that the command names, whatever Redis would say now.
    pub(super) fn is_let_in(&self, args: Args<'_>) -> bool {
        let spec = args.get(0).and_then(crate::command::lookup);
        spec.is_none_or(|spec| {
            gate_refusal(spec.keys(args), self.witness.who(self.state), self.shared()).is_none()
        })
    }

    /// As [`Scope::is_let_in`], for one lock.
    pub(super) fn may_use(&self, key: &[u8]) -> bool {
        let who = self.witness.who(self.state);
        gate_refusal(std::iter::once(key), who, self.shared()).is_none()
    }

    /// Redis's answer to a command that writes, on a lock of this rule.
    pub(super) fn witness_reply(&mut self, rule: &str, reply: &Reply<'_>) {
        self.witness.answered(rule, reply, self.state, &*self.cx.shared.gate);
    }

    /// Redis has said that the client may write locks of this rule.
    pub(super) fn witness_use(&mut self, rule: &str) {
        self.witness.used(rule, self.state, &*self.cx.shared.gate);
    }

    /// Redis's error on a command on locks of this rule, or on none.
    pub(super) fn witness_error(&mut self, rule: Option<&str>, error: &[u8]) {
        self.witness.failed(rule, error, self.state, &*self.cx.shared.gate);
    }

    /// Redis's error on a command that reads under a lock.
    pub(super) fn witness_error_on(&mut self, key: &[u8], error: &[u8]) {
        let rule = self.cx.shared.rules.find(key);
        self.witness_error(rule.map(|rule| rule.name.as_str()), error);
    }

    /// Redis's answer to what was sent as it came: a read proves nothing of writing.
    pub(super) fn witness_answer(&mut self, purpose: &Purpose, reply: &Reply<'_>) {
        let locks = match purpose {
            Purpose::TakeOut(lock) => std::slice::from_ref(lock),
            Purpose::Delete(locks) => locks,
            Purpose::View(keys) => {
                let Reply::Error(error) = reply else { return };
                let rules = &self.cx.shared.rules;
                let first = keys.iter().flatten().find_map(|key| rules.find(key));
                return self.witness_error(first.map(|rule| rule.name.as_str()), error);
            }
            _ => &[],
        };
        if let (Reply::Error(error), []) = (reply, locks) {
            self.witness_error(None, error);
        }
        for rule in locks.iter().filter_map(|lock| self.cx.shared.rules.find(lock.key())) {
            self.witness_reply(&rule.name, reply);
        }
    }

    /// Redis has refused to queue this in a transaction.
    pub(super) fn witness_not_queued(&mut self, what: &What, error: &[u8]) {
        match what {
            What::Acquire(ask) => self.witness_error(Some(&ask.rule), error),
            What::Enveloped(call) => self.witness_script_error(call.keys(), error),
            What::Other(purpose) => self.witness_answer(purpose, &Reply::Error(error)),
            What::Inside(look) => self.witness_error_on(look.key(), error),
        }
    }

    /// What a script, or a command in an envelope, has done.
    pub(super) fn witness_script(&mut self, keys: &[Vec<u8>], effect: &Effect) {
        if let Some(error) = effect.reply.strip_prefix(b"-") {
            return self.witness_script_error(keys, error);
        }
        let taken = effect.taken.iter().map(|taken| &taken.lock);
        let locks: Vec<&LockKey> = taken.chain(&effect.released).collect();
        for rule in locks.iter().filter_map(|lock| self.cx.shared.rules.find(lock.key())) {
            let (gate, state) = (&*self.cx.shared.gate, &*self.state);
            self.witness.used(&rule.name, state, gate);
        }
    }

    /// Redis's error on a script with these keys.
    pub(super) fn witness_script_error(&mut self, keys: &[Vec<u8>], error: &[u8]) {
        // Which key is to blame is not said.
        let shared = self.cx.shared;
        for rule in keys.iter().filter_map(|key| shared.rules.find(key)) {
            self.witness_error(Some(&rule.name), error);
        }
    }
}

/// Redis's own code and words first, as for all of these.
pub(in crate::session) const NOAUTH: &str = "NOAUTH Authentication required. lockside: upstream \
    is unavailable, and was not seen to let this client use locks; see [[user]] in the \
    configuration";
const NOPERM: &str = "NOPERM lockside: upstream is unavailable, and was not seen to let this user \
    use these locks; see [[user]] in the configuration";
