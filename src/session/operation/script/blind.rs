//! DEL, UNLINK and GETDEL in `fast`, where others write to the same ledger: what such a command deletes
//! may be a grant that another sidecar has not written yet. So it runs in the envelope, which tells
//! what stood there, and by which fence at most: the ledger can then be told that this is over,
//! whichever of the two is written first (SPEC 8).

use crate::command::{Class, LockUse, lookup};
use crate::degraded::Words;
use crate::ledger::Cause;
use crate::lock::value;
use crate::resp::Args;
use crate::resp::encode;
use crate::resp::reply::Reply;
use crate::session::operation::exchange::{self, Exchange, Purpose};
use crate::session::operation::fresh::is_blind;
use crate::session::operation::{Flow, Operation, Scope, settle};

use super::enveloped::Body;
use super::{Effect, Scripting, Step, is_too_much};

impl Scripting {
    /// A command that ends whatever hold it meets.
    pub(in crate::session::operation) fn begin_blind(
        lock_use: &LockUse,
        args: Args<'_>,
        scope: &mut Scope<'_, '_>,
    ) -> (Option<Box<Operation>>, Flow) {
        match scope.asks_for_fences() && !is_too_much(args, scope) {
            true => Self::begin_command(args, scope),
            false => Exchange::begin(lock_use, args, scope),
        }
    }

    /// The same command as it came, where this user may not run scripts.
    pub(in crate::session::operation) fn without_script(
        &self,
        frame: &[u8],
        scope: &mut Scope<'_, '_>,
    ) -> Option<(Option<Box<Operation>>, Flow)> {
        let is_first = matches!(self.step, Step::Running { .. });
        if !is_first || !frame.starts_with(b"-NOPERM") {
            return None;
        }
        let (words, lock_use) = self.blind()?;
        Some(Exchange::begin(&lock_use, Words::new(&words).args(), scope))
    }

    fn blind(&self) -> Option<(Vec<Vec<u8>>, LockUse)> {
        let Body::Command(_) = &self.call.body else { return None };
        let words = self.call.words();
        let spec = Words::new(&words).args().get(0).and_then(lookup);
        match spec?.class {
            Class::Lock(lock_use) if is_blind(&lock_use) => Some((words, lock_use)),
            _ => None,
        }
    }

    /// What such a command means for locks that Redis had lost and the table has, as
    /// [`Purpose::releases`].
    pub(super) fn complete(&self, mut effect: Effect, scope: &mut Scope<'_, '_>) -> Effect {
        let Some((words, lock_use)) = self.blind() else { return effect };
        let frame = std::mem::take(&mut effect.reply);
        let purpose = exchange::purpose(&lock_use, Words::new(&words).args(), scope);
        let reply = Reply::parse(&frame).map(|(reply, _)| reply);
        let mut shown = Vec::new();
        let has_lost = match (&purpose, &reply) {
            (Purpose::TakeOut(lock), Some(Reply::Null)) if scope.decides() => {
                if let Some(record) = scope.shared().table.find(lock) {
                    let stamp = scope.shared().stamp_of(lock.key());
                    encode::bulk(&mut shown, value::strip(&record.stored, stamp));
                }
                true
            }
            (Purpose::Delete(_), Some(Reply::Integer(_))) => {
                purpose.show_deleted(&frame, scope, &mut shown);
                true
            }
            _ => false,
        };
        if has_lost {
            let table = &scope.shared().table;
            let locks = purpose.locks(scope.state.db);
            let known = locks.iter().filter(|lock| table.find(lock).is_some());
            let lost = known.filter(|lock| !effect.released.contains(lock));
            let lost = lost.map(|lock| (lock, None));
            effect.releases.extend(settle::releases(lost, None, Cause::Client, scope));
        }
        effect.reply = if shown.is_empty() { frame } else { shown };
        effect
    }
}
