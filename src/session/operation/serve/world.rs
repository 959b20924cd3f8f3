//! What the engine looks at, put together from what the session shares with others; and a look by that in
//! place of Redis's.

use crate::degraded::{self, Caller, Evaluation, World};
use crate::lock::record::{LockKey, Record};
use crate::lock::value::Stamp;
use crate::resp::Args;
use crate::session::Shared;
use crate::session::operation::Scope;
use crate::session::operation::gate::denials;

/// Runs `step` with what the engine looks at.
pub(in crate::session) fn with_world<T>(shared: &Shared, step: impl FnOnce(&World<'_>) -> T) -> T {
    with_graceful_world(shared, (0, None), &|_, _| false, step)
}

/// What the ledger has a read of one lock of database `db` say. None where that can't be told: Redis may
/// know more of the lock, or the content is not kept, or the command is none that is served.
pub(in crate::session::operation) fn look(
    args: Args<'_>,
    db: u32,
    scope: &Scope<'_, '_>,
) -> Option<Vec<u8>> {
    let lock = args.get(1).map(|key| LockKey::new(db, key));
    let is_contested = lock.is_some_and(|lock| !scope.shared().door.contested(&lock).is_empty());
    if is_contested || scope.is_held_back(args.get(1).into_iter()) {
        return None;
    }
    let caller = Caller { db, protocol: scope.state.protocol };
    match with_world_of(scope, (0, None), |world| degraded::evaluate(args, &caller, world)) {
        Evaluation::Done { reply, changes, .. }
            if changes.is_empty() && !reply.starts_with(b"-MASTERDOWN") =>
        {
            Some(reply)
        }
        _ => None,
    }
}

/// The same for the client of this session: what it may not do is refused. Holds that ran out stand for
/// so much longer. With this of one lock in place of what the table has.
pub(super) fn with_world_of<T>(
    scope: &Scope<'_, '_>,
    besides: (u64, Option<&(LockKey, Record)>),
    step: impl FnOnce(&World<'_>) -> T,
) -> T {
    let shared = scope.cx.shared;
    let denied = denials(scope.witness.who(scope.state), shared);
    with_graceful_world(shared, besides, &denied, step)
}

fn with_graceful_world<T>(
    shared: &Shared,
    (grace_ms, instead): (u64, Option<&(LockKey, Record)>),
    denied: &dyn Fn(&str, &[u8]) -> bool,
    step: impl FnOnce(&World<'_>) -> T,
) -> T {
    let stamp = |value: &[u8], stamp: Stamp| shared.stamper.stamp(value, stamp, &shared.clock);
    step(&World {
        rules: &shared.rules,
        table: &shared.table,
        companions: &shared.companions,
        scripts: &shared.scripts,
        stamp: &stamp,
        denied,
        now_ms: shared.clock.unix_ms(),
        grace_ms,
        instead,
        limits: degraded::Limits {
            max_lock_value: shared.max_lock_value,
            databases: shared.databases(),
        },
    })
}
