//! Repair's own connection to Redis: blocking, one command at a time, and no wait without an end.
//!
//! It belongs to one run of Redis: `run_id` is asked for when it is opened, and a connection never
//! changes its server. After a failure it is of no more use; open another.

use std::sync::Arc;

use redis::{
    Client, Cmd, Connection, ConnectionAddr, ErrorKind, IntoConnectionInfo, RedisConnectionInfo,
    RedisError, Value,
};

use crate::config::{Address, Upstream};
use crate::lock::content;
use crate::lock::envelope::scripts;

use super::command::{Answer, Body, Command, SCAN_COUNT};
use super::plan::Found;

/// An open connection.
pub struct Link {
    connection: Connection,
    db: u32,
    run_id: Arc<str>,
}

impl Link {
    /// Connects, authenticates as Lockside's own user, and asks which run of Redis this is. Waits at
    /// most for `connect_timeout` and then `command_timeout` for each of two replies.
    ///
    /// # Errors
    /// Why not, for people, without secrets.
    pub fn open(upstream: &Upstream) -> Result<Self, Arc<str>> {
        let connection = connect(upstream).map_err(|error| harmless(&error))?;
        let mut link = Self { connection, db: 0, run_id: "".into() };
        if let Some(password) = &upstream.password {
            let mut auth = redis::cmd("AUTH");
            auth.arg(upstream.username.as_deref()).arg(password.expose());
            link.query(&auth).map_err(|error| harmless(&error))?;
        }
        let info = link.query(redis::cmd("INFO").arg("server"));
        link.run_id = run_id(&info.map_err(|error| harmless(&error))?)
            .ok_or("Redis does not say its run_id")?;
        Ok(link)
    }

    /// The run of Redis that this connection belongs to.
    pub fn run_id(&self) -> &Arc<str> {
        &self.run_id
    }

    /// Sends a command and waits for its answer.
    pub fn ask(&mut self, command: &Command) -> Answer {
        let answer = self.select(command.db).and_then(|()| match &command.body {
            Body::Script { script, keys, args } => {
                let call = |name: &str, text: &[u8]| {
                    let mut call = redis::cmd(name);
                    call.arg(text).arg(keys.len()).arg(keys).arg(args);
                    call
                };
                match self.query(&call("EVALSHA", &script.sha)) {
                    Err(error) if error.code() == Some("NOSCRIPT") => {
                        self.query(&call("EVAL", script.text.as_bytes()))
                    }
                    answer => answer,
                }
            }
            Body::Scan { cursor, pattern } => {
                let mut scan = redis::cmd("SCAN");
                scan.arg(*cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(SCAN_COUNT);
                self.query(&scan)
            }
        });
        match answer {
            Ok(value) => read(command, value)
                .unwrap_or_else(|| Answer::Failed("Redis's answer can't be read".into())),
            Err(error) if matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension) => {
                Answer::Refused(harmless(&error))
            }
            Err(error) => Answer::Failed(harmless(&error)),
        }
    }

    fn select(&mut self, db: u32) -> Result<(), RedisError> {
        if self.db != db {
            self.query(redis::cmd("SELECT").arg(db))?;
            self.db = db;
        }
        Ok(())
    }

    fn query(&mut self, command: &Cmd) -> Result<Value, RedisError> {
        command.query(&mut self.connection)
    }
}

/// The `redis` crate's own set-up would wait for ever on a process that accepts and never answers;
/// so it is left out, and the time-outs are set before anything is sent.
fn connect(upstream: &Upstream) -> Result<Connection, RedisError> {
    let place = match &upstream.address {
        Address::Tcp { host, port } => ConnectionAddr::Tcp(host.clone(), *port),
        Address::Unix(path) => ConnectionAddr::Unix(path.clone()),
    };
    let quiet = RedisConnectionInfo::default().set_skip_set_lib_name();
    let info = place.into_connection_info()?.set_redis_settings(quiet);
    let connection = Client::open(info)?.get_connection_with_timeout(upstream.connect_timeout)?;
    connection.set_read_timeout(Some(upstream.command_timeout))?;
    connection.set_write_timeout(Some(upstream.command_timeout))?;
    Ok(connection)
}

/// An error without a command's arguments, which some servers quote: they may hold a token.
fn harmless(error: &RedisError) -> Arc<str> {
    if error.is_timeout() {
        return "no reply in time".into();
    }
    match error.code() {
        Some(code) => {
            let detail = error.detail().unwrap_or_default();
            let detail = detail.split(", with args").next().unwrap_or_default();
            format!("{code} {detail}").into()
        }
        None => error.category().into(),
    }
}

fn run_id(info: &Value) -> Option<Arc<str>> {
    let text = String::from_utf8_lossy(bytes(info)?).into_owned();
    text.lines().find_map(|line| line.strip_prefix("run_id:")).map(|id| id.trim().into())
}

/// What the answer to `command` says; none if it is no such answer.
fn read(command: &Command, value: Value) -> Option<Answer> {
    let Value::Array(items) = value else { return None };
    match &command.body {
        Body::Script { script, .. } if script.sha == scripts::LOOK.sha => {
            let found = items.chunks_exact(3).map(read_found).collect::<Option<_>>()?;
            Some(Answer::Found(found))
        }
        Body::Script { .. } => {
            let marks = items.iter().map(integer).collect::<Option<_>>()?;
            Some(Answer::Marks(marks))
        }
        Body::Scan { .. } => {
            let [cursor, Value::Array(keys)] = items.as_slice() else { return None };
            let cursor = std::str::from_utf8(bytes(cursor)?).ok()?.parse().ok()?;
            let keys = keys.iter().map(|key| bytes(key).map(<[u8]>::to_vec));
            Some(Answer::Scanned { cursor, keys: keys.collect::<Option<_>>()? })
        }
    }
}

/// The three elements of `look.lua`.
fn read_found(items: &[Value]) -> Option<Found> {
    let [kind, held, ttl] = items else { return None };
    let ttl_ms = u64::try_from(integer(ttl)?).ok();
    let held = bytes(held)?.to_vec();
    match bytes(kind)? {
        b"n" => Some(Found::Missing),
        b"s" => Some(Found::Value { stored: held, ttl_ms }),
        b"o" => Some(Found::Other { guard: content::canonical(&held).to_vec(), ttl_ms }),
        _ => None,
    }
}

fn integer(value: &Value) -> Option<i64> {
    if let Value::Int(number) = value { Some(*number) } else { None }
}

fn bytes(value: &Value) -> Option<&[u8]> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::VerbatimString { text, .. } | Value::SimpleString(text) => Some(text.as_bytes()),
        _ => None,
    }
}
