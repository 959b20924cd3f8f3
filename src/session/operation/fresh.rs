//! A command that ends whatever hold it meets (DEL, UNLINK, GETDEL) names that hold to the ledger as
//! the lock table has it. Where other sidecars write to the same ledger, the table may be behind: so
//! the ledger is read before the command goes to Redis (SPEC 5). A look at locks has it read once Redis
//! has answered. Who is alone need not.

use std::time::Duration;

use crate::command::{Class, LockUse, lookup};
use crate::ledger::{Answer, Guarantee, Ticket};
use crate::mode::Mode;
use crate::resp::{Args, Command};

use super::script::Scripting;
use super::{Flow, Operation, Scope};

/// The ledger is being read for a command.
pub(in crate::session) struct Reading {
    command: Command,
    /// None: a repair of the lock is waited for.
    ticket: Option<Ticket>,
    until: Duration,
}

impl Scope<'_, '_> {
    /// Has the ledger read, if another sidecar may have written what the table does not know yet.
    pub(super) fn read_ledger(&self) -> Option<(Ticket, Duration)> {
        let is_due = self.decides() && self.shared().door.has_company();
        let ticket = is_due.then(|| self.book(Vec::new()).ok())??;
        Some((ticket, self.release_until()))
    }
}

impl Scope<'_, '_> {
    /// The same for a look at locks, after Redis has answered it, where the ledger is the truth. All who
    /// look at one moment have one exchange together.
    pub(super) fn read_for_look(&self) -> Option<(Ticket, Duration)> {
        let (ticket, _) = self.believes_ledger().then(|| self.read_ledger())??;
        Some((ticket, self.look_until()))
    }
}

impl Scope<'_, '_> {
    /// True if Redis is asked first about the locks that the command names.
    pub(super) fn asks_redis(&self, args: Args<'_>) -> bool {
        let shared = self.shared();
        let due =
            |key| shared.rules.find(key).is_some() && shared.repairs.is_due(&self.lock_key(key));
        shared.board.view().mode == Mode::Healthy
            && !args.get(0).and_then(lookup).is_some_and(|spec| spec.lock_keys(args).any(due))
    }
}

impl Scope<'_, '_> {
    /// The error of a command that the ledger alone can't carry out.
    pub(super) fn not_served(&self) -> String {
        match self.shared().board.view().mode {
            // Redis has not the lock as the ledger has it.
            Mode::Healthy => NOT_ALONE.to_owned(),
            _ => self.shared().only_locks(),
        }
    }
}

/// True for a command that ends whatever hold it meets.
pub(super) fn is_blind(lock_use: &LockUse) -> bool {
    matches!(lock_use, LockUse::Delete | LockUse::Getdel)
}

impl Reading {
    /// Begins to read, if that is of use.
    pub(super) fn begin(args: Args<'_>, scope: &Scope<'_, '_>) -> Option<(Box<Operation>, Flow)> {
        let (ticket, until) = scope.read_ledger()?;
        let reading = Self { command: args.to_command(), ticket: Some(ticket), until };
        let flow = reading.waiting();
        Some((Box::new(Operation::Read(reading)), flow))
    }

    /// `fast`, where others may be granted the lock by Redis: while this sidecar says that Redis
    /// decides, a lock that is being repaired is not granted by the ledger alone (SPEC 8). The command
    /// waits for the repair. None where that is of no use.
    pub(super) fn until_repaired(
        args: Args<'_>,
        scope: &Scope<'_, '_>,
    ) -> Option<(Box<Operation>, Flow)> {
        let shared = scope.shared();
        let waits = shared.guarantee == Guarantee::Fast
            && shared.board.view().mode == Mode::Healthy
            && shared.door.has_company();
        let until = scope.release_until();
        let reading = Self { command: args.to_command(), ticket: None, until };
        let flow = Flow::Ledger { until: scope.cx.now + PAUSE };
        waits.then(|| (Box::new(Operation::Read(reading)), flow))
    }

    /// It was read: the command goes on. None: that was another's answer.
    pub(super) fn answered(
        &mut self,
        answer: &Answer,
        scope: &mut Scope<'_, '_>,
    ) -> Option<(Option<Box<Operation>>, Flow)> {
        if Some(answer.ticket) != self.ticket {
            return None;
        }
        let args = self.command.args();
        let spec = args.get(0).and_then(lookup);
        let Some(Class::Lock(lock_use)) = spec.map(|spec| spec.class) else {
            return Some((None, Flow::Close));
        };
        if !scope.asks_redis(args) {
            return Some(Operation::serve(args, scope));
        }
        Some(Scripting::begin_blind(&lock_use, args, scope))
    }

    /// The client's command, which nobody has heard of yet.
    pub(super) fn words(&self) -> Vec<Vec<u8>> {
        self.command.args().iter().map(<[u8]>::to_vec).collect()
    }

    /// Nothing was sent. A repair that was waited for may be done.
    pub(super) fn ledger_late(
        &mut self,
        scope: &mut Scope<'_, '_>,
    ) -> (Option<Box<Operation>>, Flow) {
        if let Some(ticket) = self.ticket {
            scope.shared().door.forget(ticket);
            return (None, scope.answer_error(NOT_READ));
        }
        let args = self.command.args();
        if scope.asks_redis(args) || scope.shared().board.view().mode != Mode::Healthy {
            let spec = args.get(0).and_then(lookup);
            let Some(Class::Lock(lock_use)) = spec.map(|spec| spec.class) else {
                return (None, Flow::Close);
            };
            return Operation::begin_lock(&lock_use, args, scope);
        }
        if scope.cx.now >= self.until {
            return (None, scope.answer_error(NOT_REPAIRED));
        }
        (None, Flow::Ledger { until: scope.cx.now + PAUSE })
    }

    /// Redis has no part in it yet.
    pub(super) fn waiting(&self) -> Flow {
        Flow::Ledger { until: self.until }
    }
}

/// Between two looks at whether a lock is repaired.
const PAUSE: Duration = Duration::from_millis(5);
const NOT_REPAIRED: &str =
    "TRYAGAIN lockside: nothing was done: the lock is being repaired in Redis; ask again";
const NOT_ALONE: &str = "TRYAGAIN lockside: nothing was done: Redis can't be asked about this lock now, and \
    the ledger alone can't answer; ask again";
/// The error of what would be told that there is no such lock, before anybody could know.
pub(super) const NEVER_READ: &str = "TRYAGAIN lockside: nothing was done: the ledger has not been \
    read since this Lockside started, so it does not know who holds this lock; ask again";
/// The error of a release before which the ledger could not be read.
pub(super) const NOT_READ: &str =
    "TRYAGAIN lockside: nothing was done: the ledger has not answered in time";
