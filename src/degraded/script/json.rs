//! `cjson.encode` and `cjson.decode` with the settings that Redis has. What they would do otherwise
//! than in Redis, they don't: the script is refused.

use mlua::{Lua, MultiValue, Table, Value};
use serde_json::Value as Json;

use super::budget::Budget;
use super::number::general;

/// How deep values may be nested; cjson goes on to 1000.
const DEEPEST: usize = 100;
/// Steps for each element.
const ELEMENT_STEPS: u64 = 20;
const UNLIKE: &str = "MASTERDOWN lockside: scripts have not all of cjson while upstream is \
                      unavailable; nothing was done";

/// What went wrong.
pub(super) enum Fault {
    /// An error that cjson raises, too, in these words or others.
    Raise(String),
    /// The script is given up.
    End(mlua::Error),
}

impl From<mlua::Error> for Fault {
    fn from(error: mlua::Error) -> Self {
        Self::End(error)
    }
}

/// Both ways of one run.
pub(super) struct Codec<'a> {
    /// The run's Lua.
    pub(super) lua: &'a Lua,
    /// What it may cost.
    pub(super) budget: &'a Budget,
}

impl Codec<'_> {
    /// `cjson.decode`.
    pub(super) fn decode(&self, args: &MultiValue) -> Result<Value, Fault> {
        let text = match (args.len(), args.front()) {
            (1, Some(Value::String(text))) => text.as_bytes().to_vec(),
            _ => return Err(self.unlike()),
        };
        self.budget.charge(text.len() as u64)?;
        // cjson takes any bytes, and words like `nan` and `0x1F`.
        let Ok(text) = std::str::from_utf8(&text) else { return Err(self.unlike()) };
        let json = serde_json::from_str::<Json>(text).map_err(|error| {
            Fault::Raise(format!(
                "Expected value but found invalid token at character {}",
                error.column()
            ))
        })?;
        self.lua_value(&json, 0)
    }

    fn lua_value(&self, json: &Json, depth: usize) -> Result<Value, Fault> {
        self.step(depth)?;
        Ok(match json {
            Json::Null => Value::NULL,
            Json::Bool(value) => Value::Boolean(*value),
            Json::Number(number) => Value::Number(number.as_f64().unwrap_or(f64::NAN)),
            Json::String(text) => Value::String(self.lua.create_string(text)?),
            Json::Array(elements) => {
                let table = self.lua.create_table()?;
                for (at, element) in elements.iter().enumerate() {
                    table.raw_set(at + 1, self.lua_value(element, depth + 1)?)?;
                }
                Value::Table(table)
            }
            Json::Object(members) => {
                let table = self.lua.create_table()?;
                for (name, member) in members {
                    table.raw_set(name.as_str(), self.lua_value(member, depth + 1)?)?;
                }
                Value::Table(table)
            }
        })
    }

    /// `cjson.encode`.
    pub(super) fn encode(&self, args: &MultiValue) -> Result<Vec<u8>, Fault> {
        let (1, Some(value)) = (args.len(), args.front()) else { return Err(self.unlike()) };
        let mut out = Vec::new();
        self.write(value, 0, &mut out)?;
        Ok(out)
    }

    fn write(&self, value: &Value, depth: usize, out: &mut Vec<u8>) -> Result<(), Fault> {
        self.step(depth)?;
        match value {
            Value::Nil => out.extend_from_slice(b"null"),
            value if *value == Value::NULL => out.extend_from_slice(b"null"),
            Value::Boolean(true) => out.extend_from_slice(b"true"),
            Value::Boolean(false) => out.extend_from_slice(b"false"),
            Value::Integer(number) => self.write_number(*number as f64, out)?,
            Value::Number(number) => self.write_number(*number, out)?,
            Value::String(text) => self.write_string(&text.as_bytes(), out)?,
            Value::Table(table) => match self.array_length(table)? {
                Some(length) => self.write_array(table, length, depth, out)?,
                None => self.write_object(table, depth, out)?,
            },
            _ => return Err(self.unlike()),
        }
        Ok(())
    }

    fn write_number(&self, number: f64, out: &mut Vec<u8>) -> Result<(), Fault> {
        if !number.is_finite() {
            return Err(self.unlike());
        }
        out.extend_from_slice(general(number, 14).as_bytes());
        Ok(())
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
        let (mut longest, mut count) = (0, 0);
        for pair in table.pairs::<Value, Value>() {
            self.budget.charge(ELEMENT_STEPS)?;
            match pair?.0 {
                Value::Integer(at) if at > 0 => (longest, count) = (longest.max(at), count + 1),
                _ => return Ok(None),
            }
        }
        match longest {
            0 => Ok(None),
            // cjson calls it excessively sparse.
            longest if longest > 10 && longest > count * 2 => Err(self.unlike()),
            longest => Ok(Some(longest)),
        }
    }

    fn write_array(
        &self,
        table: &Table,
        length: i64,
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        for at in 1..=length {
            out.push(if at == 1 { b'[' } else { b',' });
            self.write(&table.raw_get::<Value>(at)?, depth + 1, out)?;
        }
        out.push(b']');
        Ok(())
    }

    fn write_object(&self, table: &Table, depth: usize, out: &mut Vec<u8>) -> Result<(), Fault> {
        out.push(b'{');
        for (at, pair) in table.pairs::<Value, Value>().enumerate() {
            let (name, value) = pair?;
            if at > 0 {
                out.push(b',');
            }
            match name {
                Value::String(name) => self.write_string(&name.as_bytes(), out)?,
                Value::Integer(number) => {
                    let name = general(number as f64, 14);
                    self.write_string(name.as_bytes(), out)?;
                }
                Value::Number(number) => {
                    self.write_string(general(number, 14).as_bytes(), out)?;
                }
                _ => return Err(self.unlike()),
            }
            out.push(b':');
            self.write(&value, depth + 1, out)?;
        }
        out.push(b'}');
        Ok(())
    }

    fn step(&self, depth: usize) -> Result<(), Fault> {
        self.budget.charge(ELEMENT_STEPS)?;
        if depth > DEEPEST { Err(self.unlike()) } else { Ok(()) }
    }

    fn unlike(&self) -> Fault {
        Fault::End(self.budget.refuse(UNLIKE))
    }
}
