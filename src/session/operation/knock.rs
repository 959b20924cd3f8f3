//! Locks are served without Redis, but Redis answers: whom the gate does not know yet, Redis is
//! asked about, on the client's own link (SPEC 6).
//!
//! So it is after each start, until the first repair pass is complete. The question is a SET that
//! Redis refuses for its words (`NX XX`) once it has looked at the user's rights: it changes
//! nothing, whoever asks.

use std::collections::VecDeque;

use crate::command::lookup;
use crate::degraded::Words;
use crate::degraded::auth::Access;
use crate::lock::record::Position;
use crate::resp::reply::Reply;
use crate::session::state::{HeldBack, Watched};

use super::ask::Releasing;
use super::held::execute_all;
use super::hold::Holding;
use super::serve::Serving;
use super::{Flow, Operation, Scope, TIMED, gate};

/// What the client wants.
pub(super) enum Wish {
    Command(Vec<Vec<u8>>),
    Transaction(Box<HeldBack>, Option<Watched>),
    /// A person ends the hold of this claim.
    Release(Vec<u8>, Position),
}

/// Questions about a client's rights under way.
pub(in crate::session) struct Knocking {
    wish: Option<Wish>,
    /// The rules that were asked about, in the order of the replies.
    asked: VecDeque<String>,
    /// Redis's first no.
    refusal: Option<Vec<u8>>,
}

/// The keys that a command names.
pub(super) fn keys_of(command: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let words = Words::new(command);
    let spec = words.args().get(0).and_then(lookup);
    spec.map_or_else(Vec::new, |spec| spec.keys(words.args()).map(<[u8]>::to_vec).collect())
}

impl Wish {
    pub(super) fn keys(&self) -> Vec<Vec<u8>> {
        match self {
            Self::Command(command) => keys_of(command),
            Self::Release(key, _) => vec![key.clone()],
            Self::Transaction(held, watched) => {
                // Whether a lock has changed is told to those alone who may use it.
                let watched = watched.iter().flat_map(|watched| &watched.keys);
                let watched = watched.map(|(lock, _)| lock.key().to_vec());
                held.commands.iter().flat_map(|command| keys_of(command)).chain(watched).collect()
            }
        }
    }

    fn fulfil(self, scope: &mut Scope<'_, '_>) -> (Option<Box<Operation>>, Flow) {
        match self {
            Self::Command(command) => Serving::command(Words::new(&command).args(), scope),
            Self::Transaction(held, watched) => execute_all(*held, watched, scope),
            Self::Release(key, claim) => Releasing::begin(&key, claim, scope),
        }
    }
}

impl Knocking {
    /// Fulfils the wish if the client may have it.
    pub(super) fn begin(wish: Wish, scope: &mut Scope<'_, '_>) -> (Option<Box<Operation>>, Flow) {
        let keys = wish.keys();
        let wish = match Holding::begin(wish, &keys, scope) {
            Ok(held) => return held,
            Err(wish) => wish,
        };
        let shared = scope.cx.shared;
        let who = scope.witness.who(scope.state);
        let Some(refusal) = gate::gate_refusal(keys.iter().map(Vec::as_slice), who, shared) else {
            return wish.fulfil(scope);
        };
        if !shared.board.view().reachable {
            return (None, scope.answer_error(refusal));
        }
        let mut questions: Vec<(&str, &[u8])> = Vec::new();
        for key in &keys {
            let Some(rule) = gate::rule_of(key, &shared.rules) else { continue };
            let new = questions.iter().all(|(asked, _)| *asked != rule.name);
            if new && shared.gate.access(who, &rule.name) != Access::Granted {
                questions.push((&rule.name, key));
            }
        }
        for (_, key) in &questions {
            scope.send(&[b"SET", key, b"0", b"NX", b"XX"]);
        }
        let asked = questions.iter().map(|(rule, _)| (*rule).to_owned()).collect();
        let knocking = Self { wish: Some(wish), asked, refusal: None };
        (Some(Box::new(Operation::Knock(knocking))), TIMED)
    }

    /// The operation that follows, once Redis has said yes to all.
    pub(super) fn reply(
        &mut self,
        frame: &[u8],
        scope: &mut Scope<'_, '_>,
    ) -> (Option<Box<Operation>>, Flow) {
        let rule = self.asked.pop_front().unwrap_or_default();
        match Reply::parse(frame) {
            Some((Reply::Error(error), _)) if error.starts_with(b"ERR syntax error") => {
                scope.witness_use(&rule);
            }
            Some((Reply::Error(error), _)) => {
                scope.witness_error(Some(&rule), error);
                self.refusal.get_or_insert_with(|| frame.to_vec());
            }
            _ => return (None, Flow::Close),
        }
        if !self.asked.is_empty() {
            return (None, TIMED);
        }
        match (self.refusal.take(), self.wish.take()) {
            (None, Some(wish)) => wish.fulfil(scope),
            (Some(refusal), _) => (None, scope.answer(&refusal)),
            (None, None) => (None, Flow::Close),
        }
    }

    pub(super) fn link_failed(&mut self, reason: &str, scope: &mut Scope<'_, '_>) -> Flow {
        let text = scope.shared().unavailable(reason);
        scope.answer_error(&text)
    }
}
