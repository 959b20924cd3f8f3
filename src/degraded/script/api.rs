//! What of a script's `redis` needs nothing but its arguments; and the errors that it raises.

use std::rc::Rc;

use mlua::{Function, IntoLuaMulti, Lua, MultiValue, Table, Value};

use super::budget::Budget;
use super::convert::{error_table, with_code};
use super::number::truncated;
use crate::lock::envelope::sha1_hex;

/// An error table to be raised.
#[derive(Debug, thiserror::Error)]
#[error("an error of redis.call")]
pub(super) struct Raised {
    /// Code and text.
    pub(super) text: Vec<u8>,
    /// It came from a command.
    pub(super) counted: bool,
}

/// An error that is a text, as functions of Lua's libraries raise it.
#[derive(Debug, thiserror::Error)]
#[error("an error of a library")]
pub(super) struct RaisedText(pub(super) String);

impl RaisedText {
    /// With the line of the script that called the function of Rust which fails.
    pub(super) fn raised(lua: &Lua, words: &str) -> mlua::Error {
        let place = lua.inspect_stack(1, |debug| {
            let line = debug.current_line()?;
            Some(format!("{}:{line}: ", debug.source().short_src?))
        });
        mlua::Error::external(Self(place.flatten().unwrap_or_default() + words))
    }
}

/// An error of a `redis.*` function of these words.
pub(super) fn raise<T>(words: &str) -> mlua::Result<T> {
    let text = format!("ERR {words}").into_bytes();
    Err(mlua::Error::external(Raised { text, counted: false }))
}

/// Steps for each argument, beside its bytes.
const TEXT_STEPS: usize = 50;
const WRONG_FIELD: &[u8] = b"ERR wrong number or type of arguments";

const CONSTANTS: &[(&str, i64)] = &[
    ("LOG_DEBUG", 0),
    ("LOG_VERBOSE", 1),
    ("LOG_NOTICE", 2),
    ("LOG_WARNING", 3),
    ("REPL_NONE", 0),
    ("REPL_AOF", 1),
    ("REPL_SLAVE", 2),
    ("REPL_REPLICA", 2),
    ("REPL_ALL", 3),
    ("REDIS_VERSION_NUM", 0x0007_0000),
];

/// Puts the functions and constants into `redis`.
pub(super) fn fill(lua: &Lua, redis: &Table, budget: &Rc<Budget>) -> mlua::Result<()> {
    let set = |name: &str, function: Function| redis.raw_set(name, function);
    set("sha1hex", charged(lua, budget, sha1hex)?)?;
    set("error_reply", charged(lua, budget, error_reply)?)?;
    set("status_reply", charged(lua, budget, status_reply)?)?;
    set("log", lua.create_function(log)?)?;
    set("set_repl", lua.create_function(set_repl)?)?;
    set("replicate_commands", lua.create_function(|_, _: MultiValue| Ok(true))?)?;
    set("breakpoint", lua.create_function(|_, _: MultiValue| Ok(false))?)?;
    set("debug", lua.create_function(|_, _: MultiValue| Ok(()))?)?;
    for (name, number) in CONSTANTS {
        redis.raw_set(*name, *number)?;
    }
    redis.raw_set("REDIS_VERSION", "7.0.0")
}

/// A function that goes over the bytes of its arguments.
fn charged<R: IntoLuaMulti + 'static>(
    lua: &Lua,
    budget: &Rc<Budget>,
    function: fn(&Lua, MultiValue) -> mlua::Result<R>,
) -> mlua::Result<Function> {
    let budget = Rc::clone(budget);
    lua.create_function(move |lua, args: MultiValue| {
        let size = |arg: &Value| arg.as_string().map_or(0, |text| text.as_bytes().len());
        let bytes: usize = args.iter().map(size).sum();
        budget.charge((TEXT_STEPS * args.len() + bytes / 4) as u64)?;
        function(lua, args)
    })
}

/// Where the error is that is being handled: the innermost function of the script's own.
pub(super) fn place(lua: &Lua) -> (Option<String>, Option<i64>) {
    // 0 is this function, 1 the handler.
    for level in 2.. {
        let found = lua.inspect_stack(level, |debug| {
            let source = debug.source();
            let name = source.source.map(|name| name.into_owned()).unwrap_or_default();
            let line = debug.current_line().map_or(-1, |line| line as i64);
            (name, source.what, line)
        });
        match found {
            None => break,
            Some((name, what, _)) if what == "C" || name == "=lockside" => {}
            // `return string.find()`: who called a function of the prelude is forgotten.
            Some((name, ..)) if name == "=(tail call)" => break,
            Some((name, _, line)) => return (Some(name), Some(line)),
        }
    }
    (None, None)
}

/// An argument as a number.
pub(super) fn number(lua: &Lua, args: &MultiValue, at: usize) -> mlua::Result<Option<f64>> {
    lua.coerce_number(args.get(at).cloned().unwrap_or(Value::Nil))
}

fn sha1hex(lua: &Lua, args: MultiValue) -> mlua::Result<Value> {
    if args.len() != 1 {
        return raise("wrong number of arguments");
    }
    let text = lua.coerce_string(args.front().cloned().unwrap_or(Value::Nil))?;
    let sha = sha1_hex(&text.map(|text| text.as_bytes().to_vec()).unwrap_or_default());
    lua.create_string(sha).map(Value::String)
}

fn error_reply(lua: &Lua, args: MultiValue) -> mlua::Result<Table> {
    match (args.len(), args.front()) {
        (1, Some(Value::String(text))) => {
            let text = text.as_bytes();
            // It is C's string.
            let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
            error_table(lua, &with_code(text.strip_prefix(b"-").unwrap_or(text)), false)
        }
        _ => error_table(lua, WRONG_FIELD, false),
    }
}

fn status_reply(lua: &Lua, args: MultiValue) -> mlua::Result<Table> {
    match (args.len(), args.front()) {
        (1, Some(text @ Value::String(_))) => {
            let table = lua.create_table()?;
            table.raw_set("ok", text.clone())?;
            Ok(table)
        }
        _ => error_table(lua, WRONG_FIELD, false),
    }
}

/// `redis.log`: its arguments are looked at. The text goes nowhere: it may hold what clients keep
/// secret, and an evaluation may be one of several.
fn log(lua: &Lua, args: MultiValue) -> mlua::Result<()> {
    if args.len() < 2 {
        return raise("redis.log() requires two arguments or more.");
    }
    match number(lua, &args, 0)?.map(truncated) {
        None => raise("First argument must be a number (log level)."),
        Some(0..=3) => Ok(()),
        Some(_) => raise("Invalid debug level."),
    }
}

/// `redis.set_repl`: there is no replica.
fn set_repl(lua: &Lua, args: MultiValue) -> mlua::Result<()> {
    if args.len() != 1 {
        return raise("redis.set_repl() requires two arguments.");
    }
    match number(lua, &args, 0)?.map_or(0, truncated) {
        0..=3 => Ok(()),
        _ => raise("Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE."),
    }
}
