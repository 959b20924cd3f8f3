//! MULTI … EXEC: queued commands as one evaluation, all or nothing.
//!
//! What WATCH saw is compared by the caller, with [`super::version`].

use super::reply::Reply;
use super::turn::{Stop, Turn, Words};
use super::{Caller, Evaluation, World};

/// Evaluates the commands between MULTI and EXEC: their replies as one array. A command's own
/// error stands in its place and the others go on, as in Redis. If one is not served, none is.
/// Blocking commands don't block; SELECT holds for the commands behind it, and the caller follows
/// it for the connection.
pub fn evaluate_transaction(
    commands: &[Vec<Vec<u8>>],
    caller: &Caller,
    world: &World<'_>,
) -> Evaluation {
    let mut turn = Turn::new(world, caller);
    turn.in_transaction = true;
    let mut replies = Vec::with_capacity(commands.len());
    for command in commands {
        let words = Words::new(command);
        replies.push(match turn.run(words.args()) {
            Ok(reply) => reply,
            Err(Stop::Error(text)) => Reply::error(text),
            Err(Stop::Refused(text)) => return Evaluation::refused(text, caller),
            Err(Stop::NotServed | Stop::Block { .. }) => return Evaluation::NotServed,
        });
    }
    turn.done(Reply::Array(replies))
}
