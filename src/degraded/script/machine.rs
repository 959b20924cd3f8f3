//! One run of a script, in a Lua state of its own that ends with it: nothing that a script leaves
//! behind meets another.
//!
//! Lua's own libraries lie in `prelude.lua` behind functions of the same names; the functions here
//! are `redis.*`, and what the prelude needs. A function that fails raises a Rust error, of which
//! the prelude makes Lua's before a script sees it.

use std::cell::RefCell;
use std::rc::Rc;

use mlua::{
    Function, HookTriggers, Lua, LuaOptions, MultiValue, Scope, StdLib, Table, Value, VmState,
};

use super::api::{self, Raised, RaisedText, number, place, raise};
use super::budget::{Budget, MEMORY, PERIOD};
use super::convert::{ToReply, error_table, to_lua, with_code};
use super::json::{Codec, decode};
use super::number::{all_digits, truncated};
use super::random::Random;
use super::text::Text;
use crate::degraded::reply::Reply;
use crate::degraded::steps::{BYTES_PER_STEP, Steps};
use crate::degraded::turn::{Stop, Turn};

const PRELUDE: &str = include_str!("prelude.lua");
/// Where errors are said to be, as in Redis.
const CHUNK: &str = "@user_script";
/// Steps for each command, beside its bytes.
const COMMAND_STEPS: u64 = 250;
/// Steps for a Lua state and the prelude in it.
const STATE_STEPS: u64 = 10_000;
/// Steps for each error that is caught.
const CATCH_STEPS: u64 = 50;

/// What the functions of one run share.
struct Run<'r, 'a> {
    turn: RefCell<&'r mut Turn<'a>>,
    budget: Rc<Budget>,
    random: RefCell<Random>,
    resp3: std::cell::Cell<bool>,
}

/// Runs a script's text. Its keys and arguments are what the client sent.
pub(super) fn run(
    turn: &mut Turn<'_>,
    text: &Text<'_>,
    keys: &[&[u8]],
    argv: &[&[u8]],
) -> Result<Reply, Stop> {
    let budget = Rc::new(Budget::new(turn.steps.clone()));
    // Time alone makes the numbers differ between runs, as they do in Redis.
    let seed = (turn.now_ms() % 0x7FFF_FFFF) as i32;
    let run = Run {
        turn: RefCell::new(turn),
        budget: Rc::clone(&budget),
        random: RefCell::new(Random::seeded(seed)),
        resp3: std::cell::Cell::new(false),
    };
    let begun = budget.charge(STATE_STEPS);
    let reply =
        begun.and_then(|()| new_state(&budget)).and_then(|lua| run.go(&lua, text, keys, argv));
    match (budget.end(), reply) {
        (Some(end), _) => Err(end),
        (None, Ok(reply)) => reply.map_err(Stop::Error),
        (None, Err(mlua::Error::MemoryError(_))) => {
            let _ = budget.exhausted();
            Err(budget.end().unwrap_or(Stop::NotServed))
        }
        (None, Err(error)) => Err(Stop::Refused(format!("ERR lockside: the script: {error}"))),
    }
}

/// Whether Lua takes the text; else its words.
pub(super) fn compile(text: &Text<'_>) -> Result<(), String> {
    let budget = Rc::new(Budget::new(Steps::new()));
    let lua = new_state(&budget).map_err(|error| error.to_string())?;
    load(&lua, text).map(drop).map_err(|error| match error {
        mlua::Error::SyntaxError { message, .. } => message,
        error => error.to_string(),
    })
}

fn new_state(budget: &Rc<Budget>) -> mlua::Result<Lua> {
    let libraries = StdLib::STRING | StdLib::TABLE | StdLib::MATH;
    let lua = Lua::new_with(libraries, LuaOptions::default())?;
    lua.set_memory_limit(MEMORY)?;
    let budget = Rc::clone(budget);
    let every = HookTriggers::new().every_nth_instruction(PERIOD);
    lua.set_global_hook(every, move |lua, _| {
        budget.charge_period(lua.used_memory()).map(|()| VmState::Continue)
    })?;
    Ok(lua)
}

fn load(lua: &Lua, text: &Text<'_>) -> mlua::Result<Function> {
    let mut body = text.body.to_vec();
    if body.first() == Some(&27) {
        // Compiled code: for Redis's Lua it is text as well, and wrong.
        body.insert(0, b' ');
    }
    lua.load(body).set_name(CHUNK).into_function()
}

fn strings(lua: &Lua, words: &[&[u8]]) -> mlua::Result<Table> {
    let table = lua.create_table_with_capacity(words.len(), 0)?;
    for (at, word) in words.iter().enumerate() {
        table.raw_set(at + 1, lua.create_string(word)?)?;
    }
    Ok(table)
}

impl Run<'_, '_> {
    /// The script's reply, or the error that it ended with.
    fn go(
        &self,
        lua: &Lua,
        text: &Text<'_>,
        keys: &[&[u8]],
        argv: &[&[u8]],
    ) -> mlua::Result<Result<Reply, String>> {
        lua.scope(|scope| {
            let native = lua.create_table()?;
            self.helpers(lua, scope, &native)?;
            native.raw_set("redis", self.redis(lua, scope)?)?;
            let prelude = lua.load(PRELUDE).set_name("=lockside").into_function()?;
            let (start, globals) = prelude.call::<(Function, Table)>(native)?;
            self.budget.begin(lua.used_memory());
            let bytes: usize = keys.iter().chain(argv).map(|word| word.len()).sum();
            self.budget.charge((text.whole.len() * 4 + bytes / BYTES_PER_STEP) as u64)?;
            globals.raw_set("KEYS", strings(lua, keys)?)?;
            globals.raw_set("ARGV", strings(lua, argv)?)?;
            let script = match load(lua, text) {
                Ok(script) => script,
                Err(mlua::Error::SyntaxError { message, .. }) => {
                    return Ok(Err(super::compile_error(&message)));
                }
                Err(error) => return Err(error),
            };
            // As in Redis, a script that EVAL has run can be named by EVALSHA.
            let scripts = self.turn.borrow().world.scripts;
            if scripts.find(&text.sha).is_none() {
                scripts.insert(text.whole);
            }
            let (ok, value) = start.call::<(bool, Value)>(script)?;
            if ok {
                let convert = ToReply { budget: &self.budget, resp3: self.resp3.get() };
                return convert.value(&value, 0).map(Ok);
            }
            self.failure(lua, value, text).map(Ok)
        })
    }

    /// The reply of a script that ended with an error.
    fn failure(&self, lua: &Lua, error: Value, text: &Text<'_>) -> mlua::Result<Reply> {
        let sha = String::from_utf8_lossy(&text.sha).into_owned();
        let error = self.check(lua, error)?;
        let Value::Table(table) = error else {
            let words = match &error {
                Value::String(words) => words.as_bytes().to_vec(),
                _ => b"execution failure".to_vec(),
            };
            let words = &words[..words.len().min(100)];
            let head = format!("ERR Error running script {sha}, ");
            return Ok(Reply::Error([head.as_bytes(), words].concat().into()));
        };
        let field = |name: &str| -> mlua::Result<Option<Vec<u8>>> {
            let value = table.get::<Value>(name)?;
            Ok(lua.coerce_string(value)?.map(|text| text.as_bytes().to_vec()))
        };
        let mut words = field("err")?.unwrap_or_else(|| b"(null)".to_vec());
        words.truncate(memchr::memchr(0, &words).unwrap_or(words.len()));
        if let (Some(source), Some(line)) = (field("source")?, field("line")?) {
            let tail = [b" script: ", sha.as_bytes(), b", on ", &source, b":", &line, b"."];
            words.extend(tail.concat());
        }
        Ok(Reply::Error(words.into()))
    }

    /// An error as a script may see it. An error of this if the script is given up.
    fn check(&self, lua: &Lua, error: Value) -> mlua::Result<Value> {
        self.budget.charge(CATCH_STEPS)?;
        match &error {
            Value::Error(inner) => {
                if let Some(raised) = inner.downcast_ref::<Raised>() {
                    return error_table(lua, &raised.text, raised.counted).map(Value::Table);
                }
                match inner.downcast_ref::<RaisedText>() {
                    Some(raised) => lua.create_string(&raised.0).map(Value::String),
                    // Too many arguments, or the like: nothing that Redis has.
                    None => Err(self.budget.exhausted()),
                }
            }
            Value::String(text) if *text == "not enough memory" => Err(self.budget.exhausted()),
            _ => Ok(error),
        }
    }

    /// What the prelude needs.
    fn helpers<'s>(
        &'s self,
        lua: &Lua,
        scope: &'s Scope<'s, '_>,
        native: &Table,
    ) -> mlua::Result<()> {
        let budget = &self.budget;
        let set = |name: &str, function: Function| native.raw_set(name, function);
        set("check", scope.create_function(|lua, error: Value| self.check(lua, error))?)?;
        set("place", lua.create_function(|lua, ()| Ok(place(lua)))?)?;
        set("charge", scope.create_function(|_, steps: f64| budget.charge(steps as u64))?)?;
        let memory = |lua: &Lua, ()| Ok(budget.counted(lua.used_memory()) as f64);
        set("memory", scope.create_function(memory)?)?;
        set(
            "weigh",
            scope.create_function(|lua, (text, pattern): (Value, Value)| {
                let text = lua.coerce_string(text)?.map_or(0, |text| text.as_bytes().len());
                let Some(pattern) = lua.coerce_string(pattern)? else { return Ok(()) };
                budget.charge_pattern(text, &pattern.as_bytes())
            })?,
        )?;
        set(
            "absent",
            scope.create_function(|_, name: String| -> mlua::Result<()> {
                Err(budget.refuse(&format!(
                    "MASTERDOWN lockside: scripts have no {name} while upstream is unavailable; \
                     nothing was done"
                )))
            })?,
        )?;
        let (bit, operands) = super::bit::library(lua)?;
        native.raw_set("bit", bit)?;
        native.raw_set("operands", operands)?;
        set("decode", scope.create_function(|lua, args| self.decode(lua, args))?)?;
        let next: Function = lua.globals().raw_get("next")?;
        set("encode", scope.create_function(move |lua, args| self.encode(lua, args, &next))?)?;
        native.raw_set("null", Value::NULL)?;
        let random = &self.random;
        set("random", scope.create_function(|_, ()| Ok(random.borrow_mut().fraction()))?)?;
        set(
            "randomseed",
            scope.create_function(|_, seed: f64| {
                *random.borrow_mut() = Random::seeded(seed as i32);
                Ok(())
            })?,
        )?;
        set("truncated", lua.create_function(|_, number: f64| Ok(f64::from(number as i32)))?)
    }

    /// The script's `redis`.
    fn redis<'s>(&'s self, lua: &Lua, scope: &'s Scope<'s, '_>) -> mlua::Result<Table> {
        let redis = lua.create_table()?;
        let set = |name: &str, function: Function| redis.raw_set(name, function);
        set("call", scope.create_function(|lua, args| self.call(lua, args, true))?)?;
        set("pcall", scope.create_function(|lua, args| self.call(lua, args, false))?)?;
        set("setresp", scope.create_function(|lua, args| self.set_resp(lua, args))?)?;
        api::fill(lua, &redis, &self.budget)?;
        let budget = &self.budget;
        set(
            "acl_check_cmd",
            scope.create_function(|_, _: MultiValue| -> mlua::Result<()> {
                Err(budget.give_up(Stop::NotServed))
            })?,
        )?;
        Ok(redis)
    }

    /// `redis.call` and `redis.pcall`.
    fn call(&self, lua: &Lua, args: MultiValue, raises: bool) -> mlua::Result<Value> {
        let failed = |text: Vec<u8>, counted: bool| {
            if raises {
                return Err(mlua::Error::external(Raised { text, counted }));
            }
            error_table(lua, &text, counted).map(Value::Table)
        };
        if args.is_empty() {
            return failed(NO_ARGUMENT.to_vec(), false);
        }
        let mut words = Vec::with_capacity(args.len());
        for arg in &args {
            match arg {
                Value::String(text) => words.push(text.as_bytes().to_vec()),
                Value::Integer(number) => words.push(all_digits(*number as f64).into_bytes()),
                Value::Number(number) => words.push(all_digits(*number).into_bytes()),
                _ => return failed(WRONG_ARGUMENT.to_vec(), false),
            }
        }
        let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        let bytes: usize = words.iter().map(|word| word.len()).sum();
        self.budget.charge(COMMAND_STEPS + bytes as u64 / 8)?;
        let mut turn = self.turn.borrow_mut();
        let reply = turn.call(&words);
        if turn.is_unserved() {
            return Err(self.budget.give_up(Stop::NotServed));
        }
        if let Some(text) = turn.refusal.take() {
            return Err(self.budget.refuse(&text));
        }
        match reply {
            Reply::Error(text) => failed(with_code(&text), true),
            reply => to_lua(lua, &reply, self.resp3.get()),
        }
    }

    /// `cjson.decode`.
    fn decode(&self, lua: &Lua, args: MultiValue) -> mlua::Result<Value> {
        decode(&Codec { lua, budget: &self.budget }, &args).map_err(|fault| fault.raised(lua))
    }

    /// `cjson.encode`; `next`: Lua's own.
    fn encode(&self, lua: &Lua, args: MultiValue, next: &Function) -> mlua::Result<Value> {
        match (Codec { lua, budget: &self.budget }).encode(&args, next) {
            Ok(text) => lua.create_string(text).map(Value::String),
            Err(fault) => Err(fault.raised(lua)),
        }
    }

    fn set_resp(&self, lua: &Lua, args: MultiValue) -> mlua::Result<()> {
        if args.len() != 1 {
            return raise("redis.setresp() requires one argument.");
        }
        match number(lua, &args, 0)?.map(truncated) {
            Some(2) => self.resp3.set(false),
            Some(3) => self.resp3.set(true),
            _ => return raise("RESP version must be 2 or 3."),
        }
        Ok(())
    }
}

const NO_ARGUMENT: &[u8] = b"ERR Please specify at least one argument for this redis lib call";
const WRONG_ARGUMENT: &[u8] = b"ERR Lua redis lib command arguments must be strings or integers";
