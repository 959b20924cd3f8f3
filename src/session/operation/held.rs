//! EXEC of a transaction that Lockside has held back, because Redis could not queue it.

use crate::lock::record::LockKey;
use crate::resp::encode;
use crate::session::Shared;
use crate::session::state::{HeldBack, Watched};

use super::knock::{Knocking, Wish};
use super::replay::Replaying;
use super::serve::{Serving, with_world};
use super::{Flow, Operation, Scope};

/// EXEC of a transaction that was held back.
pub(in crate::session) fn execute_held_back(
    scope: &mut Scope<'_, '_>,
) -> (Option<Box<Operation>>, Flow) {
    let Some((held, watched)) = scope.state.end_held_back() else {
        return (None, scope.answer_error("ERR EXEC without MULTI"));
    };
    if held.aborted {
        let text = "EXECABORT Transaction discarded because of previous errors.";
        return (None, scope.answer_error(text));
    }
    Knocking::begin(Wish::Transaction(held, watched), scope)
}

/// Carries out a transaction of a client that may do what is in it.
pub(super) fn execute_all(
    held: HeldBack,
    watched: Option<Watched>,
    scope: &mut Scope<'_, '_>,
) -> (Option<Box<Operation>>, Flow) {
    let shared = scope.cx.shared;
    if watched.as_ref().is_some_and(|watched| has_changed(watched, shared)) {
        let mut reply = Vec::new();
        encode::null_array(&mut reply, scope.state.protocol);
        return (None, scope.answer(&reply));
    }
    let plain = !held.commands.iter().any(|command| scope.is_locks(command));
    if plain && shared.board.view().reachable {
        return Replaying::begin(&held.commands, scope);
    }
    Serving::transaction(held.commands, watched, scope)
}

/// True if a watched key is not what it was, or nobody can tell.
pub(super) fn has_changed(watched: &Watched, shared: &Shared) -> bool {
    let moved = |(key, before): &(LockKey, u64)| {
        with_world(shared, |world| crate::degraded::version(key, world)) != *before
    };
    watched.lost || watched.keys.iter().any(moved)
}
