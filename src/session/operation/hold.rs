//! `fast`: a command on a lock of which Redis may know more than the ledger is not answered by the
//! ledger alone. It waits until Redis was looked at (SPEC 8).

use std::time::Duration;

use crate::command::{Class, lookup};
use crate::degraded::Words;
use crate::ledger::Guarantee;
use crate::lock::record::LockKey;
use crate::mode::Mode;

use super::knock::{Knocking, Wish};
use super::{Flow, Operation, Scope};

/// Waits until the locks of a wish were looked at.
pub(in crate::session) struct Holding {
    wish: Option<Wish>,
    until: Duration,
}

impl Scope<'_, '_> {
    /// True if Redis may know more of one of these locks than the ledger, and is about to be looked at.
    pub(super) fn is_held_back<'k>(&self, mut keys: impl Iterator<Item = &'k [u8]>) -> bool {
        let shared = self.shared();
        let view = shared.board.view();
        let is_unheard = |key: &[u8]| {
            shared.rules.find(key).is_some()
                && shared.repairs.is_unheard(&LockKey::new(self.state.db, key))
        };
        shared.guarantee == Guarantee::Fast
            && view.reachable
            && matches!(view.mode, Mode::Healthy | Mode::Recovering)
            && keys.any(is_unheard)
    }
}

impl Holding {
    /// Begins to wait, if that is due. The wish comes back if not.
    pub(super) fn begin(
        wish: Wish,
        keys: &[Vec<u8>],
        scope: &Scope<'_, '_>,
    ) -> Result<(Option<Box<Operation>>, Flow), Wish> {
        if !scope.is_held_back(keys.iter().map(Vec::as_slice)) {
            return Err(wish);
        }
        let holding = Self { wish: Some(wish), until: scope.release_until() };
        let flow = Flow::Ledger { until: scope.cx.now + PAUSE };
        Ok((Some(Box::new(Operation::Hold(holding))), flow))
    }

    /// Looks whether it is over.
    pub(super) fn look(&mut self, scope: &mut Scope<'_, '_>) -> (Option<Box<Operation>>, Flow) {
        let Some(wish) = self.wish.take() else { return (None, Flow::Close) };
        if scope.is_held_back(wish.keys().iter().map(Vec::as_slice)) {
            if scope.cx.now >= self.until {
                return (None, scope.answer_error(NOT_LOOKED));
            }
            self.wish = Some(wish);
            return (None, Flow::Ledger { until: scope.cx.now + PAUSE });
        }
        // Redis may be asked by now.
        if let Wish::Command(words) = &wish {
            let words = Words::new(words);
            let args = words.args();
            if let Some(Class::Lock(lock_use)) = args.get(0).and_then(lookup).map(|spec| spec.class)
            {
                return Operation::begin_lock(&lock_use, args, scope);
            }
        }
        Knocking::begin(wish, scope)
    }

    /// The link was lost, which has no part in it yet.
    pub(super) fn waiting(&self, scope: &Scope<'_, '_>) -> Flow {
        Flow::Ledger { until: scope.cx.now + PAUSE }
    }
}

/// Between two looks at whether it is over.
const PAUSE: Duration = Duration::from_millis(5);
/// The error of what has waited too long.
pub(super) const NOT_LOOKED: &str = "TRYAGAIN lockside: nothing was done: Redis may know more of this \
    lock than the ledger, and has not been looked at yet; ask again";
