//! Replies of commands as Lua values, and what a script returns as a reply, as in Redis 7.0.

use mlua::{Lua, LuaString, Table, Value};

use super::budget::Budget;
use super::number::{all_digits, truncated};
use crate::degraded::reply::Reply;

/// How deep a script's reply may be nested. Redis goes on to some 8,000; a table inside itself
/// never ends.
const DEEPEST: usize = 100;
const TOO_DEEP: &str = "ERR lockside: the script's reply is nested too deep for a sidecar whose \
                        upstream is unavailable; nothing was done";
/// Steps for each element of a reply.
const ELEMENT_STEPS: u64 = 20;
/// Steps for finding out what a table stands for.
const TABLE_STEPS: u64 = 200;

/// The error table that `redis.pcall` returns, and `redis.call` raises. `counted`: it came from a
/// command, and Redis has counted it.
pub(super) fn error_table(lua: &Lua, text: &[u8], counted: bool) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    table.raw_set("err", lua.create_string(text)?)?;
    if counted {
        table.raw_set("ignore_error_stats_update", true)?;
    }
    Ok(table)
}

/// An error's text as Redis puts it into a table: with a code in front.
pub(super) fn with_code(text: &[u8]) -> Vec<u8> {
    match memchr::memchr(b' ', text) {
        Some(space) => {
            let (code, rest) = text.split_at(space);
            [code, b" ", trimmed(&rest[1..])].concat()
        }
        None => [b"ERR ", trimmed(text)].concat(),
    }
}

fn trimmed(text: &[u8]) -> &[u8] {
    let is_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
    let start = text.iter().position(|byte| !is_end(byte)).unwrap_or(text.len());
    let end = text.iter().rposition(|byte| !is_end(byte)).map_or(start, |last| last + 1);
    &text[start..end]
}

/// A command's reply, an error excepted, as a script sees it.
pub(super) fn to_lua(lua: &Lua, reply: &Reply, resp3: bool) -> mlua::Result<Value> {
    Ok(match reply {
        Reply::Status(word) => {
            let table = lua.create_table()?;
            table.raw_set("ok", lua.create_string(word)?)?;
            Value::Table(table)
        }
        Reply::Error(text) => Value::Table(error_table(lua, &with_code(text), true)?),
        // Lua has no integers.
        Reply::Integer(number) => Value::Number(*number as f64),
        Reply::Bulk(bytes) => Value::String(lua.create_string(bytes)?),
        Reply::Nil | Reply::NilArray if resp3 => Value::Nil,
        Reply::Nil | Reply::NilArray => Value::Boolean(false),
        Reply::Array(replies) => {
            let table = lua.create_table_with_capacity(replies.len(), 0)?;
            for (at, reply) in replies.iter().enumerate() {
                table.raw_set(at + 1, to_lua(lua, reply, resp3)?)?;
            }
            Value::Table(table)
        }
        Reply::Double(number) => double(lua, *number, resp3)?,
        Reply::Map(pairs) => map(lua, pairs, resp3)?,
        Reply::Set(members) => set(lua, members, resp3)?,
        Reply::Scored(members) => scored(lua, members, resp3)?,
        // No command that a script may call answers these.
        Reply::Boolean(_) | Reply::BigNumber(_) | Reply::Verbatim { .. } => Value::Nil,
    })
}

/// A table with one field, as scripts get what only RESP3 has.
fn tagged(lua: &Lua, name: &str, value: impl mlua::IntoLua) -> mlua::Result<Value> {
    let table = lua.create_table()?;
    table.raw_set(name, value)?;
    Ok(Value::Table(table))
}

fn double(lua: &Lua, number: f64, resp3: bool) -> mlua::Result<Value> {
    match resp3 {
        true => tagged(lua, "double", number),
        false => lua.create_string(all_digits(number)).map(Value::String),
    }
}

fn map(lua: &Lua, pairs: &[(Reply, Reply)], resp3: bool) -> mlua::Result<Value> {
    let table = lua.create_table()?;
    for (name, value) in pairs {
        let (name, value) = (to_lua(lua, name, resp3)?, to_lua(lua, value, resp3)?);
        if resp3 {
            table.raw_set(name, value)?;
        } else {
            table.raw_push(name)?;
            table.raw_push(value)?;
        }
    }
    if resp3 { tagged(lua, "map", table) } else { Ok(Value::Table(table)) }
}

fn set(lua: &Lua, members: &[Reply], resp3: bool) -> mlua::Result<Value> {
    let table = lua.create_table()?;
    for member in members {
        let member = to_lua(lua, member, resp3)?;
        if resp3 { table.raw_set(member, true)? } else { table.raw_push(member)? }
    }
    if resp3 { tagged(lua, "set", table) } else { Ok(Value::Table(table)) }
}

fn scored(lua: &Lua, members: &[(Vec<u8>, f64)], resp3: bool) -> mlua::Result<Value> {
    let table = lua.create_table()?;
    for (member, score) in members {
        let (member, score) = (lua.create_string(member)?, double(lua, *score, resp3)?);
        if resp3 {
            let pair = lua.create_table()?;
            pair.raw_push(member)?;
            pair.raw_push(score)?;
            table.raw_push(pair)?;
        } else {
            table.raw_push(member)?;
            table.raw_push(score)?;
        }
    }
    Ok(Value::Table(table))
}

/// Makes replies of what scripts return.
pub(super) struct ToReply<'a> {
    /// What it may cost.
    pub(super) budget: &'a Budget,
    /// The script has chosen RESP3: it has booleans.
    pub(super) resp3: bool,
}

impl ToReply<'_> {
    /// The reply for a returned value.
    pub(super) fn value(&self, value: &Value, depth: usize) -> mlua::Result<Reply> {
        self.budget.charge(ELEMENT_STEPS)?;
        if depth > DEEPEST {
            return Err(self.budget.refuse(TOO_DEEP));
        }
        Ok(match value {
            Value::String(text) => {
                let text = text.as_bytes();
                self.budget.charge(text.len() as u64 / 8)?;
                Reply::Bulk(text.to_vec())
            }
            Value::Boolean(value) if self.resp3 => Reply::Boolean(*value),
            Value::Boolean(true) => Reply::Integer(1),
            Value::Boolean(false) => Reply::Nil,
            Value::Integer(number) => Reply::Integer(*number),
            Value::Number(number) => Reply::Integer(truncated(*number)),
            Value::Table(table) => self.table(table, depth)?,
            _ => Reply::Nil,
        })
    }

    fn table(&self, table: &Table, depth: usize) -> mlua::Result<Reply> {
        self.budget.charge(TABLE_STEPS)?;
        if let Some(text) = text_field(table, "err")? {
            return Ok(Reply::Error(text.into()));
        }
        if let Some(text) = text_field(table, "ok")? {
            return Ok(Reply::Status(text.into()));
        }
        match table.raw_get::<Value>("double")? {
            Value::Integer(number) => return Ok(Reply::Double(number as f64)),
            Value::Number(number) => return Ok(Reply::Double(number)),
            _ => {}
        }
        if let Value::String(digits) = table.raw_get::<Value>("big_number")? {
            return Ok(Reply::BigNumber(digits.as_bytes().to_vec()));
        }
        if let Value::Table(verbatim) = table.raw_get::<Value>("verbatim_string")?
            && let Some(format) = text_field(&verbatim, "format")?
            && let Value::String(text) = verbatim.raw_get::<Value>("string")?
        {
            let text = text.as_bytes().to_vec();
            return Ok(Reply::Verbatim { format, text });
        }
        if let Value::Table(map) = table.raw_get::<Value>("map")? {
            return self.map(&map, depth);
        }
        if let Value::Table(set) = table.raw_get::<Value>("set")? {
            return self.set(&set, depth);
        }
        self.array(table, depth)
    }

    fn array(&self, table: &Table, depth: usize) -> mlua::Result<Reply> {
        let mut replies = Vec::new();
        loop {
            let value = table.raw_get::<Value>(replies.len() + 1)?;
            if value.is_nil() {
                return Ok(Reply::Array(replies));
            }
            replies.push(self.value(&value, depth + 1)?);
        }
    }

    fn map(&self, table: &Table, depth: usize) -> mlua::Result<Reply> {
        let mut pairs = Vec::new();
        for pair in table.pairs::<Value, Value>() {
            let (key, value) = pair?;
            pairs.push((self.value(&key, depth + 1)?, self.value(&value, depth + 1)?));
        }
        Ok(Reply::Map(pairs))
    }

    fn set(&self, table: &Table, depth: usize) -> mlua::Result<Reply> {
        let mut members = Vec::new();
        for pair in table.pairs::<Value, Value>() {
            members.push(self.value(&pair?.0, depth + 1)?);
        }
        Ok(Reply::Set(members))
    }
}

/// A field that is a string, up to its first NUL: Redis takes it for C's.
fn text_field(table: &Table, name: &str) -> mlua::Result<Option<Vec<u8>>> {
    Ok(match table.raw_get::<Value>(name)? {
        Value::String(text) => Some(cut_at_nul(&text)),
        _ => None,
    })
}

fn cut_at_nul(text: &LuaString) -> Vec<u8> {
    let bytes = text.as_bytes();
    let end = memchr::memchr(0, &bytes).unwrap_or(bytes.len());
    bytes[..end].to_vec()
}
