//! `cjson.encode` and `cjson.decode` as Redis 7.0 has them (lua-cjson 2.1 with its defaults), the
//! words of their errors included, which a script may catch. Neither recurses: a thousand levels would
//! need a stack that workers don't have.

mod decode;

use mlua::{Function, Lua, MultiValue, Table, Value};

use super::api::RaisedText;
use super::budget::Budget;
use super::number::general;
pub(super) use decode::decode;

/// How deep values may be nested, in both ways.
const DEEPEST: usize = 1000;
/// Steps for each element.
const ELEMENT_STEPS: u64 = 50;
/// An array with holes is refused past so many elements, if it has more holes than elements.
const SAFE_LENGTH: f64 = 10.0;

/// What went wrong.
pub(super) enum Fault {
    /// An error that cjson raises in these words, behind the place.
    Raise(String),
    /// The script is given up.
    End(mlua::Error),
}

impl From<mlua::Error> for Fault {
    fn from(error: mlua::Error) -> Self {
        Self::End(error)
    }
}

impl Fault {
    /// What a function of Lua fails with.
    pub(super) fn raised(self, lua: &Lua) -> mlua::Error {
        match self {
            Self::Raise(words) => RaisedText::raised(lua, &words),
            Self::End(error) => error,
        }
    }
}

fn raise<T>(words: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::Raise(words.into()))
}

/// Both ways of one run.
pub(super) struct Codec<'a> {
    /// The run's Lua.
    pub(super) lua: &'a Lua,
    /// What it may cost.
    pub(super) budget: &'a Budget,
}

/// A table that is being written.
enum Level {
    Array { table: Table, at: i64, length: i64 },
    Object { table: Table, key: Value },
}

impl Codec<'_> {
    /// `cjson.encode`; `next`: Lua's own.
    pub(super) fn encode(&self, args: &MultiValue, next: &Function) -> Result<Vec<u8>, Fault> {
        let (1, Some(value)) = (args.len(), args.front()) else {
            return raise("bad argument #1 to 'encode' (expected 1 argument)");
        };
        let (mut out, mut levels) = (Vec::new(), Vec::new());
        levels.extend(self.write(value, 1, &mut out)?);
        while let Some(level) = levels.last_mut() {
            let value = match level {
                Level::Array { table, at, length } => next_element(table, at, *length, &mut out)?,
                Level::Object { table, key } => self.next_member(table, key, next, &mut out)?,
            };
            match value {
                Some(value) => {
                    let depth = levels.len() + 1;
                    levels.extend(self.write(&value, depth, &mut out)?);
                }
                None => drop(levels.pop()),
            }
        }
        Ok(out)
    }

    /// Writes a value; of a table its start, the rest is to follow.
    fn write(
        &self,
        value: &Value,
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Result<Option<Level>, Fault> {
        self.budget.charge(ELEMENT_STEPS)?;
        match value {
            Value::Nil => out.extend_from_slice(b"null"),
            value if *value == Value::NULL => out.extend_from_slice(b"null"),
            Value::Boolean(true) => out.extend_from_slice(b"true"),
            Value::Boolean(false) => out.extend_from_slice(b"false"),
            Value::Integer(number) => write_number(*number as f64, out)?,
            Value::Number(number) => write_number(*number, out)?,
            Value::String(text) => self.write_string(&text.as_bytes(), out)?,
            Value::Table(table) => return self.open(table, depth, out).map(Some),
            other => {
                let kind = match other {
                    Value::LightUserData(_) => "userdata",
                    other => other.type_name(),
                };
                return raise(format!("Cannot serialise {kind}: type not supported"));
            }
        }
        Ok(None)
    }

    fn open(&self, table: &Table, depth: usize, out: &mut Vec<u8>) -> Result<Level, Fault> {
        if depth > DEEPEST {
            return raise(format!("Cannot serialise, excessive nesting ({depth})"));
        }
        let table = table.clone();
        Ok(match self.array_length(&table)? {
            Some(length) => {
                out.push(b'[');
                Level::Array { table, at: 0, length }
            }
            None => {
                out.push(b'{');
                Level::Object { table, key: Value::Nil }
            }
        })
    }

    fn write_string(&self, text: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
        self.budget.charge(text.len() as u64)?;
        out.push(b'"');
        for byte in text {
            match byte {
                b'"' | b'\\' | b'/' => out.extend_from_slice(&[b'\\', *byte]),
                8 => out.extend_from_slice(b"\\b"),
                9 => out.extend_from_slice(b"\\t"),
                10 => out.extend_from_slice(b"\\n"),
                12 => out.extend_from_slice(b"\\f"),
                13 => out.extend_from_slice(b"\\r"),
                0..32 | 127 => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
                byte => out.push(*byte),
            }
        }
        out.push(b'"');
        Ok(())
    }

    /// The length of a table that is an array: all keys are positive integers.
    fn array_length(&self, table: &Table) -> Result<Option<i64>, Fault> {
        let (mut longest, mut count) = (0.0, 0.0);
        for pair in table.pairs::<Value, Value>() {
            self.budget.charge(ELEMENT_STEPS)?;
            let at = match pair?.0 {
                Value::Integer(at) => at as f64,
                Value::Number(at) => at,
                _ => return Ok(None),
            };
            if at < 1.0 || at.fract() != 0.0 {
                return Ok(None);
            }
            (longest, count) = (at.max(longest), count + 1.0);
        }
        if longest > count * 2.0 && longest > SAFE_LENGTH {
            return raise("Cannot serialise table: excessively sparse array");
        }
        Ok((longest > 0.0).then_some(longest as i64))
    }

    /// The value of the next member, behind its name.
    fn next_member(
        &self,
        table: &Table,
        key: &mut Value,
        next: &Function,
        out: &mut Vec<u8>,
    ) -> Result<Option<Value>, Fault> {
        let is_first = key.is_nil();
        let (name, value) = next.call::<(Value, Value)>((table.clone(), key.clone()))?;
        if name.is_nil() {
            out.push(b'}');
            return Ok(None);
        }
        if !is_first {
            out.push(b',');
        }
        match &name {
            Value::String(name) => self.write_string(&name.as_bytes(), out)?,
            Value::Integer(_) | Value::Number(_) => {
                let number = name.as_f64().or(name.as_i64().map(|number| number as f64));
                out.push(b'"');
                write_number(number.unwrap_or_default(), out)?;
                out.push(b'"');
            }
            name => {
                let kind = name.type_name();
                return raise(format!(
                    "Cannot serialise {kind}: table key must be a number or string"
                ));
            }
        }
        out.push(b':');
        *key = name;
        Ok(Some(value))
    }
}

fn next_element(
    table: &Table,
    at: &mut i64,
    length: i64,
    out: &mut Vec<u8>,
) -> Result<Option<Value>, Fault> {
    if *at == length {
        out.push(b']');
        return Ok(None);
    }
    if *at > 0 {
        out.push(b',');
    }
    *at += 1;
    Ok(Some(table.raw_get(*at)?))
}

fn write_number(number: f64, out: &mut Vec<u8>) -> Result<(), Fault> {
    if !number.is_finite() {
        return raise("Cannot serialise number: must not be NaN or Inf");
    }
    out.extend_from_slice(general(number, 14).as_bytes());
    Ok(())
}
