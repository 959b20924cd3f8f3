//! A command that blocks on companions here, and goes back to Redis.

use std::time::Duration;

use crate::session::operation::Scope;

use super::{Serving, Work};

impl Serving {
    /// The command, if it only blocks on companions, and until when; it does so here no more.
    pub(in crate::session::operation) fn take_blocked(
        &mut self,
        scope: &Scope<'_, '_>,
    ) -> Option<(Vec<Vec<u8>>, Duration)> {
        let until = self.blocks_until?;
        scope.shared().companions.unblock((scope.cx.worker, scope.id));
        match &mut self.work {
            Work::Command(words) => Some((std::mem::take(words), until)),
            Work::Transaction(_) => None,
        }
    }
}
