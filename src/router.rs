//! The only place that chooses what becomes of a command: upstream, the lock path, an answer of
//! Lockside's own, or a refusal. Pure.

use crate::command::subcommand::{self, ScriptUse};
use crate::command::{Class, KeyspaceUse, LockUse, Spec, StateUse, lookup};
use crate::lock::rule::Rules;
use crate::resp::Args;

/// Where a command goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// Nowhere: an empty line, which Redis does not answer.
    Ignore,
    /// To Redis, as it came.
    Upstream,
    /// To Redis, and what it changes is followed.
    State(StateUse),
    /// The end of a transaction, which may have lock commands in it.
    Exec,
    /// A command on a lock key.
    Lock(LockUse),
    /// A command on all locks of a database.
    Keyspace(KeyspaceUse),
    /// A look at keys that show the fences of locks, perhaps with others.
    Fence,
    /// A question that Lockside answers, or adds to.
    Ask(Ask),
    /// An error at once.
    Refuse(String),
}

/// What Lockside answers itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// `LOCKSIDE …`.
    Lockside,
    /// `INFO …`, which gets a section of its own.
    Info,
    /// `SCRIPT EXISTS …`, which is true only for what both have.
    ScriptExists,
}

/// Chooses for a complete command.
pub fn route(args: Args<'_>, rules: &Rules) -> Route {
    let Some(name) = args.get(0) else { return Route::Ignore };
    let Some(spec) = lookup(name) else { return Route::Upstream };
    if rules.has_fences() && shows_fence(spec, args, rules) {
        return route_fence(spec);
    }
    match spec.class {
        Class::Plain => Route::Upstream,
        Class::Lock(lock_use) if touches_lock(spec, args, rules) => route_lock(spec, lock_use),
        Class::Lock(_) => Route::Upstream,
        Class::Keyspace(keyspace_use) => Route::Keyspace(keyspace_use),
        Class::State(state_use) => route_state(state_use, args),
    }
}

/// True for an unfinished command that can be passed on before it is complete: what is known of
/// it says that it has no lock key.
pub fn may_stream(args: Args<'_>, rules: &Rules) -> bool {
    let Some(name) = args.get(0) else { return false };
    let Some(spec) = lookup(name) else { return true };
    let is_fence = |key| rules.has_fences() && rules.fence_of(key).is_some();
    match spec.class {
        Class::Plain if rules.has_fences() => {
            spec.first_key_decides() && args.get(1).is_some_and(|key| !is_fence(key))
        }
        Class::Plain => true,
        Class::Lock(_) if spec.first_key_decides() => {
            args.get(1).is_some_and(|key| rules.find(key).is_none() && !is_fence(key))
        }
        _ => false,
    }
}

fn touches_lock(spec: &'static Spec, args: Args<'_>, rules: &Rules) -> bool {
    spec.lock_keys(args).any(|key| rules.find(key).is_some())
}

fn shows_fence(spec: &'static Spec, args: Args<'_>, rules: &Rules) -> bool {
    spec.keys(args).any(|key| rules.fence_of(key).is_some())
}

/// Such keys are read-only (SPEC 5): what could write one, or look at one in a way that only Redis
/// could answer, is refused.
fn route_fence(spec: &Spec) -> Route {
    const READS: [&str; 9] =
        ["get", "mget", "strlen", "exists", "type", "ttl", "pttl", "expiretime", "pexpiretime"];
    let name = spec.name.to_uppercase();
    match spec.class {
        _ if READS.contains(&spec.name) => Route::Fence,
        Class::Lock(LockUse::Script { .. }) => Route::Refuse(format!(
            "ERR lockside: {name} is refused: a script can't read the fence of a lock; read it by \
             GET before"
        )),
        _ => Route::Refuse(format!(
            "ERR lockside: {name} is refused: a key with the fence_suffix of its rule shows the \
             fence of a lock and is read-only; GET, MGET, STRLEN, EXISTS, TYPE and TTL read it"
        )),
    }
}

fn route_lock(spec: &Spec, lock_use: LockUse) -> Route {
    match lock_use {
        LockUse::Refused(advice) | LockUse::StoreRefused(advice) => Route::Refuse(format!(
            "ERR lockside: {} on a lock key is refused: {advice}",
            spec.name.to_uppercase()
        )),
        lock_use => Route::Lock(lock_use),
    }
}

fn route_state(state_use: StateUse, args: Args<'_>) -> Route {
    match state_use {
        StateUse::Exec => Route::Exec,
        StateUse::Lockside => Route::Ask(Ask::Lockside),
        StateUse::Info => Route::Ask(Ask::Info),
        StateUse::Script if subcommand::script(args) == ScriptUse::Exists => {
            Route::Ask(Ask::ScriptExists)
        }
        state_use => Route::State(state_use),
    }
}
