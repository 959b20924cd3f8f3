//! A transaction that was held back and turned out to have nothing to do with locks: Redis, which
//! answers, gets it as a whole.

use crate::resp::encode;

use super::{Flow, Operation, Scope, UNTIMED};

/// MULTI, its commands and EXEC, sent at once; only EXEC's reply is the client's.
pub(in crate::session) struct Replaying {
    /// Replies before EXEC's.
    skip: usize,
}

impl Replaying {
    pub(super) fn begin(
        commands: &[Vec<Vec<u8>>],
        scope: &mut Scope<'_, '_>,
    ) -> (Option<Box<Operation>>, Flow) {
        let mut bytes = Vec::new();
        encode::command(&mut bytes, &[b"MULTI"]);
        for command in commands {
            let words: Vec<&[u8]> = command.iter().map(Vec::as_slice).collect();
            encode::command(&mut bytes, &words);
        }
        encode::command(&mut bytes, &[b"EXEC"]);
        scope.cx.wires.to_upstream(&bytes);
        let replaying = Self { skip: commands.len() + 1 };
        (Some(Box::new(Operation::Replay(replaying))), UNTIMED)
    }

    pub(super) fn reply(&mut self, frame: &[u8], scope: &mut Scope<'_, '_>) -> Flow {
        if self.skip > 0 {
            self.skip -= 1;
            return UNTIMED;
        }
        scope.answer(frame)
    }

    pub(super) fn link_failed(
        &mut self,
        reason: &str,
        connected: bool,
        scope: &mut Scope<'_, '_>,
    ) -> Flow {
        if connected {
            return scope.answer_unknown(reason);
        }
        let text = scope.shared().unavailable(reason);
        scope.answer_error(&text)
    }
}
