//! EVAL, EVALSHA and their `_RO` forms while Redis is down: scripts run in an embedded Lua 5.1.
//!
//! A script runs on the caller's thread, inside the evaluation: it takes microseconds, has no
//! effect but the evaluation's changes, and may be evaluated again. It is bounded in steps and in
//! memory (`budget`); one that passes a bound, or touches what only Redis has, is given up as a
//! whole, whatever it has caught with `pcall`, and nothing of it is applied.
//!
//! # What is different from Redis 7.0
//!
//! - `cmsgpack`, `struct`, all of `cjson` but `encode`, `decode` and `null`, `redis.acl_check_cmd` and commands that Redis alone
//!   knows: the script is not served.
//! - `redis.log` logs nothing. `math.random` gives other numbers, until `math.randomseed`.
//! - A reply that is nested deeper than 100 is refused. Patterns that may take long are refused.
//! - A bad argument in `return f(...)` has no line number, if `f` is one of those that the prelude
//!   bounds (nearly all of `string`, `table.sort`, `table.concat`, `math.random`, `pairs`, `loadstring`). Level 2
//!   and more in `error(text, level)` count a `pcall` of the script as two calls.
//! - Recursion without end passes the bound for memory before Lua's own.

mod api;
mod bit;
mod budget;
mod convert;
mod json;
mod machine;
mod number;
mod random;
mod text;

use std::borrow::Cow;

use super::number::NOT_AN_INTEGER;
use super::reply::Reply;
use super::turn::{Outcome, Stop, Turn, arg};
use crate::command::number::integer;
use crate::command::script::{ScriptCall, Source};
use crate::resp::Args;
pub(super) use number::all_digits;
use text::Text;

const NOSCRIPT: &str = "NOSCRIPT No matching script. Please use EVAL.";
const WRITES: &str = "ERR Can not execute a script with write flag using *_ro command.";

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
    let name = String::from_utf8_lossy(arg(args, 0)).to_ascii_lowercase();
    for key in call.keys() {
        if (turn.world.denied)(&name, key) {
            return Err(turn.denied());
        }
        let key = turn.key(key);
        turn.overlay.load(&key)?;
    }
    let text = Text::parse(&text).map_err(Stop::Error)?;
    if call.read_only && text.has_flags && !text.no_writes {
        return Err(Stop::error(WRITES));
    }
    let (keys, argv): (Vec<&[u8]>, Vec<&[u8]>) =
        (call.keys().collect(), call.arguments().collect());
    turn.overlay.present(argv.iter().copied());
    turn.overlay.has_scripts = true;
    turn.steps.charge(turn.overlay.len() as u64 * 10)?;
    let (outer_db, before) = (turn.db, turn.overlay.held());
    (turn.in_script, turn.is_read_only) = (true, call.read_only || text.no_writes);
    let reply = machine::run(turn, &text, &keys, &argv);
    (turn.in_script, turn.is_read_only) = (false, false);
    turn.db = outer_db;
    if matches!(reply, Ok(Reply::Error(_)) | Err(Stop::Error(_))) {
        turn.overlay.drop_failed_takes(&before);
    }
    if turn.is_unserved() { Err(Stop::NotServed) } else { reply }
}

/// Whether Redis would take a text (`SCRIPT LOAD`), else its error.
///
/// # Errors
/// Redis's words for a text that can't be compiled, with the code in front.
pub fn compile(text: &[u8]) -> Result<(), String> {
    let text = Text::parse(text)?;
    machine::compile(&text).map_err(|words| compile_error(&words))
}

fn compile_error(words: &str) -> String {
    format!("ERR Error compiling script (new function): {words}")
}

/// Redis's own error for a call that it would not run.
fn malformed(args: Args<'_>) -> Stop {
    Stop::error(match integer(arg(args, 2)) {
        None => NOT_AN_INTEGER,
        Some(count) if count < 0 => "ERR Number of keys can't be negative",
        Some(_) => "ERR Number of keys can't be greater than number of args",
    })
}
