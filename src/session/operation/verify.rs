//! Which run of Redis a new link has met, asked before its first lock command (SPEC 7).
//!
//! A Redis that was restarted or replaced between two commands may have lost its locks, and every
//! "no" and every "not yours" that it says would be wrong until a repair pass has been made. So a
//! link whose run is not the one that the last pass was made for is not asked about locks: the
//! command waits here until the mode has changed, or the pass is done.

use std::time::Duration;

use crate::resp::reply::Reply;

use super::{Flow, Operation, Scope, TIMED};

/// How long to wait before looking again.
const PAUSE: Duration = Duration::from_millis(10);

/// The question under way.
pub(in crate::session) struct Verifying {
    /// True once the link is as good as verified.
    pub(in crate::session) done: bool,
}

impl Verifying {
    pub(super) fn begin(scope: &mut Scope<'_, '_>) -> (Option<Box<Operation>>, Flow) {
        scope.send(&[b"INFO", b"server"]);
        (Some(Box::new(Operation::Verify(Self { done: false }))), TIMED)
    }

    pub(super) fn reply(&mut self, frame: &[u8], scope: &mut Scope<'_, '_>) -> Flow {
        let reply = Reply::parse(frame).map(|(reply, _)| reply);
        let run = reply.as_ref().and_then(Reply::text).and_then(run_id);
        // Who may not ask is trusted to meet what the probe of its own has met.
        self.done = run.is_none_or(|run| scope.shared().reports.is_expected(run));
        if self.done {
            return Flow::Done;
        }
        if let Some(run) = run {
            scope.shared().reports.verify(run);
        }
        pause(scope)
    }

    /// The link broke: the health thread was told, and finds out what that means.
    pub(super) fn link_failed(&mut self, scope: &Scope<'_, '_>) -> Flow {
        pause(scope)
    }
}

fn pause(scope: &Scope<'_, '_>) -> Flow {
    Flow::Ledger { until: scope.cx.now + PAUSE }
}

fn run_id(info: &[u8]) -> Option<&str> {
    let line = info.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"run_id:"))?;
    std::str::from_utf8(line.trim_ascii()).ok()
}
