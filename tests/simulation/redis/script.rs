//! Scripts in the simulated Redis: every text runs as it is, Lockside's envelopes and guarded
//! scripts as well as clients' own, in a real Lua 5.1 with a `redis` table as Redis 7.0 has it.
//!
//! One Lua state serves all runs of a thread: no text here leaves anything in it.

use std::cell::RefCell;
use std::collections::BTreeMap;

use lockside::lock::envelope::sha1_hex;
use lockside::resp::encode::{self, Protocol};
use lockside::resp::reply::Reply;
use mlua::{Function, Lua, LuaOptions, MultiValue, StdLib, Table, Value};

use super::Redis;
use super::commands::{number, shown};

/// Gives what runs a script: its error, or its value.
const PRELUDE: &str = r"
local sha1hex = ...
local command
redis = {
  pcall = function(...) return command(...) end,
  call = function(...)
    local r = command(...)
    if type(r) == 'table' and r.err then error(r, 0) end
    return r
  end,
  sha1hex = sha1hex,
  setresp = function() end,
  status_reply = function(text) return {ok = text} end,
  error_reply = function(text) return {err = text} end,
  REDIS_VERSION_NUM = 0x00070000,
}
return function(carries_out, script)
  command = carries_out
  local ok, r = pcall(script)
  command = nil
  if not ok and type(r) ~= 'table' then r = {err = 'ERR ' .. tostring(r)} end
  return r
end
";

struct Machine {
    lua: Lua,
    start: Function,
    /// Compiled texts: whether Redis knows them is another question.
    texts: RefCell<BTreeMap<[u8; 40], Function>>,
}

thread_local! {
    static MACHINE: Machine = Machine::new().unwrap();
}

impl Machine {
    fn new() -> mlua::Result<Self> {
        let libraries = StdLib::STRING | StdLib::TABLE | StdLib::MATH;
        let options = LuaOptions::new().catch_rust_panics(false);
        let lua = Lua::new_with(libraries, options)?;
        let sha1hex = lua.create_function(|lua, text: mlua::LuaString| {
            lua.create_string(sha1_hex(&text.as_bytes()))
        })?;
        let start = lua.load(PRELUDE).call(sha1hex)?;
        Ok(Self { lua, start, texts: RefCell::default() })
    }

    fn compiled(&self, sha: [u8; 40], text: &[u8]) -> Result<(), String> {
        let mut texts = self.texts.borrow_mut();
        if let std::collections::btree_map::Entry::Vacant(place) = texts.entry(sha) {
            let text = self.lua.load(text).set_name("@user_script").into_function();
            place.insert(text.map_err(|error| error.to_string())?);
        }
        Ok(())
    }

    fn run(
        &self,
        redis: &mut Redis,
        sha: &[u8; 40],
        keys: &[Vec<u8>],
        args: &[Vec<u8>],
        out: &mut Vec<u8>,
    ) -> mlua::Result<()> {
        let script = self.texts.borrow()[sha].clone();
        let globals = self.lua.globals();
        globals.raw_set("KEYS", strings(&self.lua, keys)?)?;
        globals.raw_set("ARGV", strings(&self.lua, args)?)?;
        let loses_reports = redis.loses_reports;
        let redis = RefCell::new(redis);
        self.lua.scope(|scope| {
            let command = scope.create_function(|lua, args: MultiValue| {
                let mut reply = Vec::new();
                redis.borrow_mut().run(words(&args), &mut reply);
                to_lua(lua, &Reply::parse(&reply).unwrap().0)
            })?;
            let mut value: Value = self.start.call((command, script))?;
            if loses_reports && let Some(own) = reported(&value)? {
                value = own;
            }
            write(&value, out)
        })
    }
}

/// SCRIPT LOAD and SCRIPT EXISTS.
pub(super) fn script(redis: &mut Redis, words: &[Vec<u8>], out: &mut Vec<u8>) {
    if words[1].eq_ignore_ascii_case(b"EXISTS") {
        encode::array(out, words.len() - 2);
        for sha in &words[2..] {
            let is_known = redis.scripts.iter().any(|known| known[..] == sha[..]);
            encode::integer(out, i64::from(is_known));
        }
        return;
    }
    assert!(words[1].eq_ignore_ascii_case(b"LOAD"), "Redis was sent {}", shown(words));
    if let Some(sha) = learn(redis, &words[2], out) {
        encode::bulk(out, &sha);
    }
}

/// EVAL and EVALSHA.
pub(super) fn eval(redis: &mut Redis, words: &[Vec<u8>], out: &mut Vec<u8>) {
    let sha = match words[0].len() == b"EVAL".len() {
        true => match learn(redis, &words[1], out) {
            Some(sha) => sha,
            None => return,
        },
        false => words[1][..].try_into().unwrap(),
    };
    if !redis.scripts.contains(&sha) {
        return encode::error(out, b"NOSCRIPT No matching script. Please use EVAL.");
    }
    let count = usize::try_from(number(&words[2])).unwrap();
    let (keys, args) = words[3..].split_at(count);
    MACHINE.with(|machine| machine.run(redis, &sha, keys, args, out)).unwrap();
}

/// A text that is sent is known from then on, if Lua takes it.
fn learn(redis: &mut Redis, text: &[u8], out: &mut Vec<u8>) -> Option<[u8; 40]> {
    let sha = sha1_hex(text);
    match MACHINE.with(|machine| machine.compiled(sha, text)) {
        Ok(()) => {
            redis.scripts.insert(sha);
            Some(sha)
        }
        Err(why) => {
            encode::error(out, format!("ERR Error compiling script: {why}").as_bytes());
            None
        }
    }
}

fn strings(lua: &Lua, words: &[Vec<u8>]) -> mlua::Result<Table> {
    lua.create_sequence_from(
        words.iter().map(|word| lua.create_string(word)).collect::<mlua::Result<Vec<_>>>()?,
    )
}

fn words(args: &MultiValue) -> Vec<Vec<u8>> {
    let word = |value: &Value| match value {
        Value::String(text) => text.as_bytes().to_vec(),
        Value::Integer(number) => number.to_string().into_bytes(),
        Value::Number(number) => number.to_string().into_bytes(),
        other => panic!("redis.call is given {other:?} among {args:?}"),
    };
    args.iter().map(word).collect()
}

fn to_lua(lua: &Lua, reply: &Reply<'_>) -> mlua::Result<Value> {
    let field = |name: &str, text: &[u8]| -> mlua::Result<Value> {
        let table = lua.create_table()?;
        table.raw_set(name, lua.create_string(text)?)?;
        Ok(Value::Table(table))
    };
    Ok(match reply {
        Reply::Simple(text) => field("ok", text)?,
        Reply::Error(text) => field("err", text)?,
        Reply::Integer(number) => Value::Number(*number as f64),
        Reply::Bulk(text) => Value::String(lua.create_string(text)?),
        Reply::Null => Value::Boolean(false),
        reply => {
            let table = lua.create_table()?;
            for (at, element) in reply.elements().enumerate() {
                table.raw_set(at + 1, to_lua(lua, &Reply::parse(element).unwrap().0)?)?;
            }
            Value::Table(table)
        }
    })
}

/// A value as Redis answers it to a client that speaks RESP2.
fn write(value: &Value, out: &mut Vec<u8>) -> mlua::Result<()> {
    match value {
        Value::String(text) => encode::bulk(out, &text.as_bytes()),
        Value::Integer(number) => encode::integer(out, *number),
        Value::Number(number) => encode::integer(out, *number as i64),
        Value::Boolean(true) => encode::integer(out, 1),
        Value::Boolean(false) | Value::Nil => encode::null(out, Protocol::Resp2),
        Value::Table(table) => {
            if let Value::String(text) = table.raw_get("err")? {
                encode::error(out, &text.as_bytes());
            } else if let Value::String(text) = table.raw_get("ok")? {
                encode::simple(out, &text.as_bytes());
            } else {
                let values = table.sequence_values::<Value>().collect::<mlua::Result<Vec<_>>>()?;
                encode::array(out, values.len());
                values.iter().try_for_each(|value| write(value, out))?;
            }
        }
        other => panic!("a script answers {other:?}"),
    }
    Ok(())
}

/// For a planted bug: the client's own value, in a reply that says which locks were taken.
fn reported(value: &Value) -> mlua::Result<Option<Value>> {
    let Value::Table(table) = value else { return Ok(None) };
    let Value::String(report) = table.raw_get(2)? else { return Ok(None) };
    Ok(report.as_bytes().starts_with(b"t").then_some(table.raw_get(3)?))
}
