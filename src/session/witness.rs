//! What a session tells the gate of what Redis let its client do (SPEC 6), each thing once.
//!
//! A session remembers what it has told, so that a lock command costs one atomic read here.

use std::sync::Arc;

use crate::degraded::auth::{Gate, Proof, Who};
use crate::resp::reply::Reply;

use super::state::{Credentials, State};

/// Where credentials of this client that Redis has not accepted come from, and what was told.
#[derive(Debug, Default)]
pub(super) struct Witness {
    /// The credentials are the configuration's alone: Redis has not been asked yet.
    is_local: bool,
    /// The gate's epoch when the link was opened.
    since: u64,
    told: Told,
}

/// What was told already.
#[derive(Debug, Default)]
struct Told {
    /// Of this very login.
    user: Option<Arc<[u8]>>,
    epoch: u64,
    rules: Vec<Box<str>>,
    /// Rules about which Redis was asked what the client may not do.
    asked: Vec<Box<str>>,
}

impl Witness {
    /// Who the client is, and how it has proved that.
    pub(super) fn who<'s>(&self, state: &'s State) -> Who<'s> {
        let proof = match state.credentials() {
            None => Proof::Nothing,
            Some(_) if self.is_local => Proof::Local,
            Some(_) => Proof::Upstream,
        };
        Who { user: &state.user, proof }
    }

    /// The client was let in without Redis.
    pub(super) fn let_in(&mut self, proof: Proof) {
        self.is_local = proof == Proof::Local;
    }

    /// A new link is being opened.
    pub(super) fn link_opened(&mut self, gate: &dyn Gate) {
        self.since = gate.epoch();
        self.told = Told::default();
    }

    /// Redis has accepted these, on AUTH, on HELLO or at the start of a new link.
    pub(super) fn accepted(&mut self, credentials: &Credentials, gate: &dyn Gate) {
        self.is_local = false;
        gate.saw_accepted(credentials.user(), &credentials.password);
    }

    /// Redis's answer to AUTH or HELLO, with the credentials in it.
    pub(super) fn greeted(
        &mut self,
        credentials: Option<&Credentials>,
        frame: &[u8],
        state: &State,
        gate: &dyn Gate,
    ) {
        match (frame.strip_prefix(b"-"), credentials) {
            (Some(error), _) => self.refused(credentials, error, state, gate),
            (None, Some(credentials)) => self.accepted(credentials, gate),
            (None, None) => {}
        }
    }

    /// Redis has answered AUTH or HELLO with this error.
    pub(super) fn refused(
        &self,
        credentials: Option<&Credentials>,
        error: &[u8],
        state: &State,
        gate: &dyn Gate,
    ) {
        match credentials {
            Some(credentials) if error.starts_with(b"WRONGPASS") => {
                gate.saw_rejected(credentials.user(), &credentials.password);
            }
            _ if error.starts_with(b"NOAUTH") => gate.saw_refused(self.who(state), None),
            _ => {}
        }
    }

    /// What was told is of no use after another login, or once the gate has forgotten something.
    fn refresh(&mut self, state: &State, gate: &dyn Gate) {
        let epoch = gate.epoch();
        let same_user = |user: &Arc<[u8]>| Arc::ptr_eq(user, &state.user);
        if self.told.epoch != epoch || !self.told.user.as_ref().is_some_and(same_user) {
            self.told = Told { user: Some(state.user.clone()), epoch, ..Told::default() };
        }
    }

    /// True for a client whose credentials Redis has accepted.
    pub(super) fn is_upstream(&self, state: &State) -> bool {
        self.who(state).proof == Proof::Upstream
    }

    /// True if Redis is to be asked what the client may not do under this rule; once for a login.
    pub(super) fn has_to_ask(&mut self, rule: &str, state: &State, gate: &dyn Gate) -> bool {
        self.refresh(state, gate);
        if self.told.asked.iter().any(|asked| **asked == *rule) {
            return false;
        }
        self.told.asked.push(rule.into());
        gate.has_to_ask(self.who(state), rule)
    }

    /// Redis has carried out a lock command that writes, under this rule.
    pub(super) fn used(&mut self, rule: &str, state: &State, gate: &dyn Gate) {
        self.refresh(state, gate);
        if !self.told.rules.iter().any(|told| **told == *rule) {
            gate.saw_use(self.who(state), rule, self.since);
            self.told.rules.push(rule.into());
        }
    }

    /// Redis has answered a command on locks of this rule, or on none, with this error.
    pub(super) fn failed(&self, rule: Option<&str>, error: &[u8], state: &State, gate: &dyn Gate) {
        if error.starts_with(b"NOAUTH") {
            gate.saw_refused(self.who(state), None);
        } else if let Some(rule) = rule
            && is_forbidden(error)
        {
            // That this command is refused is known, and says nothing of the others.
            let known = |name: &str| gate.is_denied(self.who(state), rule, name);
            if !command_of(error).is_some_and(known) {
                gate.saw_refused(self.who(state), Some(rule));
            }
        }
    }

    /// Redis's answer to a command that writes, on a lock of this rule.
    pub(super) fn answered(
        &mut self,
        rule: &str,
        reply: &Reply<'_>,
        state: &State,
        gate: &dyn Gate,
    ) {
        match reply {
            Reply::Error(error) => self.failed(Some(rule), error, state, gate),
            Reply::Simple(b"QUEUED") => {}
            _ => self.used(rule, state, gate),
        }
    }
}

/// True for Redis's words to a user without rights, also from inside a script.
fn is_forbidden(error: &[u8]) -> bool {
    error.starts_with(b"NOPERM") || error.starts_with(b"ERR The user executing the script")
}

/// The command that the user may not run, in Redis's words.
fn command_of(error: &[u8]) -> Option<&str> {
    let error = std::str::from_utf8(error).ok().filter(|error| error.starts_with("NOPERM"))?;
    error.split_once("to run the '")?.1.split_once('\'').map(|(name, _)| name)
}
