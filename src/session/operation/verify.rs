//! What a new link is asked before its client's first lock command: which run of Redis it has met, and
//! what the client may not do.
//!
//! # Which run
//!
//! Which run of Redis a new link has met, asked before its first lock command (SPEC 7).
//!
//! A Redis that was restarted or replaced between two commands may have lost its locks, and every
//! "no" and every "not yours" that it says would be wrong until a repair pass has been made. So a
//! link whose run is not the one that the last pass was made for is not asked about locks: the
//! command waits here until the mode has changed, or the pass is done.
//!
//! # What the client may not do
//!
//! A user may have rights to some commands on locks alone, and an outage gives it no more (SPEC 6). So
//! Redis is asked about each command that is served without it, once for a user and a rule, inside of a
//! MULTI that is discarded.

use std::time::Duration;

use crate::degraded::{Denied, questions};
use crate::resp::reply::Reply;

use super::{Flow, Operation, Scope, TIMED};

/// How long to wait before looking again.
const PAUSE: Duration = Duration::from_millis(10);

/// The question under way.
pub(in crate::session) struct Verifying {
    /// True once the link is as good as verified.
    pub(in crate::session) done: bool,
    /// The client's rights are asked, not the run.
    rights: Option<Rights>,
}

/// Questions about the commands on a lock.
struct Rights {
    key: Vec<u8>,
    rule: String,
    /// Replies that are awaited, that to DISCARD included. None: MULTI's.
    left: Option<usize>,
    asked: usize,
    denied: Denied,
    /// Each reply so far was about rights.
    is_sure: bool,
}

impl Verifying {
    pub(super) fn begin(scope: &mut Scope<'_, '_>) -> (Option<Box<Operation>>, Flow) {
        scope.send(&[b"INFO", b"server"]);
        (Some(Box::new(Operation::Verify(Self { done: false, rights: None }))), TIMED)
    }

    /// Asks what the client may not do under the rule of this lock.
    pub(super) fn begin_rights(
        key: &[u8],
        rule: &str,
        scope: &mut Scope<'_, '_>,
    ) -> (Option<Box<Operation>>, Flow) {
        // Alone: what would follow a refused MULTI would be carried out.
        scope.send(&[b"MULTI"]);
        let (key, rule) = (key.to_vec(), rule.to_owned());
        let denied = Denied::NONE;
        let rights = Rights { key, rule, left: None, asked: 0, denied, is_sure: true };
        (Some(Box::new(Operation::Verify(Self { done: false, rights: Some(rights) }))), TIMED)
    }

    pub(super) fn reply(&mut self, frame: &[u8], scope: &mut Scope<'_, '_>) -> Flow {
        if let Some(rights) = &mut self.rights {
            return rights.reply(frame, scope);
        }
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

impl Rights {
    fn reply(&mut self, frame: &[u8], scope: &mut Scope<'_, '_>) -> Flow {
        match self.left {
            // Who may not begin a transaction is known by what it does.
            None if frame != b"+OK\r\n" => return Flow::Done,
            None => {
                let mut count = 1;
                for words in questions(&self.key) {
                    scope.send(&words);
                    count += 1;
                }
                scope.send(&[b"DISCARD"]);
                self.left = Some(count);
            }
            Some(1) => {
                let who = scope.witness.who(scope.state);
                if self.is_sure {
                    scope.cx.shared.gate.saw_rights(who, &self.rule, self.denied);
                }
                return Flow::Done;
            }
            Some(left) => {
                self.is_sure &= self.denied.hear(self.asked, frame);
                self.asked += 1;
                self.left = Some(left - 1);
            }
        }
        TIMED
    }
}

fn pause(scope: &Scope<'_, '_>) -> Flow {
    Flow::Ledger { until: scope.cx.now + PAUSE }
}

fn run_id(info: &[u8]) -> Option<&str> {
    let line = info.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"run_id:"))?;
    std::str::from_utf8(line.trim_ascii()).ok()
}
