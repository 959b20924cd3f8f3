//! EVAL, EVALSHA and their `_RO` forms while Redis is down.
//!
//! Texts of well-known shapes are recognised, whatever their white space, comments and quotes;
//! any other is not served. Everything else of the engine knows [`run_script`] alone.

mod known;
mod normal;

use std::borrow::Cow;

use super::number::NOT_AN_INTEGER;
use super::turn::{Outcome, Stop, Turn, arg};
use crate::command::number::integer;
use crate::command::script::{ScriptCall, Source};
use crate::resp::Args;

const NOSCRIPT: &str = "NOSCRIPT No matching script. Please use EVAL.";

/// Runs the script of an EVAL or EVALSHA. Its keys have to be locks or companions.
pub(super) fn run_script(turn: &mut Turn<'_>, args: Args<'_>) -> Outcome {
    let call = ScriptCall::parse(args).map_err(|_| malformed(args))?;
    let text: Cow<'_, [u8]> = match call.source {
        Source::Text(text) => text.into(),
        Source::Sha(sha) => {
            let script = turn.world.scripts.find(sha).ok_or_else(|| Stop::error(NOSCRIPT))?;
            script.text.clone().into()
        }
    };
    for key in call.keys() {
        let key = turn.key(key);
        turn.overlay.load(&key)?;
    }
    let (keys, argv): (Vec<&[u8]>, Vec<&[u8]>) =
        (call.keys().collect(), call.arguments().collect());
    let run = known::find(&normal::normalise(&text), keys.len(), argv.len());
    let run = run.ok_or(Stop::NotServed)?;
    turn.overlay.present(argv.iter().copied());
    let outer_db = turn.db;
    (turn.in_script, turn.is_read_only) = (true, call.read_only);
    let reply = run(turn, &keys, &argv);
    (turn.in_script, turn.is_read_only) = (false, false);
    turn.db = outer_db;
    if turn.is_unserved() { Err(Stop::NotServed) } else { Ok(reply) }
}

/// Redis's own error for a call that it would not run.
fn malformed(args: Args<'_>) -> Stop {
    Stop::error(match integer(arg(args, 2)) {
        None => NOT_AN_INTEGER,
        Some(count) if count < 0 => "ERR Number of keys can't be negative",
        Some(_) => "ERR Number of keys can't be greater than number of args",
    })
}
