//! What the engine looks at, put together from what the session shares with others.

use crate::degraded::{self, World};
use crate::lock::record::{LockKey, Record};
use crate::lock::value::Stamp;
use crate::session::Shared;
use crate::session::operation::Scope;
use crate::session::operation::gate::denials;

/// Runs `step` with what the engine looks at.
pub(in crate::session) fn with_world<T>(shared: &Shared, step: impl FnOnce(&World<'_>) -> T) -> T {
    with_graceful_world(shared, (0, None), &|_, _| false, step)
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
