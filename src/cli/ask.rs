//! One blocking connection to a Redis or a Lockside, for questions of the command line.
//!
//! Every wait has an end: the `redis` crate's own set-up would wait for ever on a process that
//! accepts and never answers, so AUTH and SELECT are sent here, after the time-outs are set.

use std::net::IpAddr;
use std::time::Duration;

use redis::{
    Client, Cmd, Connection, ConnectionAddr, ErrorKind, IntoConnectionInfo, Pipeline,
    RedisConnectionInfo, RedisError, RedisResult, Value,
};

use super::advice::Whom;
use crate::config::{Address, Listen, Settings, Upstream};

/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest wait for one reply. A list of a million locks takes its time.
const REPLY_TIMEOUT: Duration = Duration::from_secs(30);

/// Why there is no answer, and what to do: one line for a person.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// No connection, or none that answers in time.
    #[error("can't reach {0}: {1}; {hint}", hint = .2.unreachable())]
    Unreachable(Address, String, Whom),
    /// It answers with an error.
    #[error("{0} refuses: {1}; {hint}", hint = .2.refused(.1))]
    Refused(Address, String, Whom),
    /// It answers, but not as it should.
    #[error("what answers at {0} is no {2:?}: {1}; {hint}", hint = .2.stranger())]
    Stranger(Address, String, Whom),
}

/// A connection, authenticated and in its database.
pub(super) struct Link {
    connection: Connection,
    address: Address,
    whom: Whom,
}

impl Link {
    /// Connects to a running Lockside.
    pub(super) fn open(
        address: Address,
        user: Option<&str>,
        password: Option<&str>,
        db: u32,
    ) -> Result<Self, Failure> {
        let mut link = Self::connect(address, Whom::Lockside, CONNECT_TIMEOUT, REPLY_TIMEOUT)?;
        link.authenticate(user, password)?;
        if db != 0 {
            link.ask(redis::cmd("SELECT").arg(db))?;
        }
        Ok(link)
    }

    /// Connects to the Redis behind, as Lockside itself does.
    pub(super) fn upstream(upstream: &Upstream) -> Result<Self, Failure> {
        let address = upstream.address.clone();
        let mut link = Self::connect(
            address,
            Whom::Redis,
            upstream.connect_timeout,
            upstream.command_timeout,
        )?;
        let password = upstream.password.as_ref().map(|secret| secret.expose());
        link.authenticate(upstream.username.as_deref(), password)?;
        Ok(link)
    }

    /// Connects, and says nothing yet.
    pub(super) fn connect(
        address: Address,
        whom: Whom,
        connect_timeout: Duration,
        reply_timeout: Duration,
    ) -> Result<Self, Failure> {
        let place = match &address {
            Address::Tcp { host, port } => ConnectionAddr::Tcp(host.clone(), *port),
            Address::Unix(path) => ConnectionAddr::Unix(path.clone()),
        };
        let quiet = RedisConnectionInfo::default().set_skip_set_lib_name();
        let open = || -> Result<Connection, RedisError> {
            let info = place.into_connection_info()?.set_redis_settings(quiet);
            let connection = Client::open(info)?.get_connection_with_timeout(connect_timeout)?;
            connection.set_read_timeout(Some(reply_timeout))?;
            connection.set_write_timeout(Some(reply_timeout))?;
            Ok(connection)
        };
        match open() {
            Ok(connection) => Ok(Self { connection, address, whom }),
            Err(error) => Err(Failure::Unreachable(address, error.to_string(), whom)),
        }
    }

    /// AUTH, where there is a password.
    pub(super) fn authenticate(
        &mut self,
        user: Option<&str>,
        password: Option<&str>,
    ) -> Result<(), Failure> {
        let Some(password) = password else { return Ok(()) };
        let mut auth = redis::cmd("AUTH");
        auth.arg(user).arg(password);
        // A server without AUTH quotes a command's arguments: the password.
        let harmless = |text: String| text.split(", with args").next().map(str::to_owned);
        let reply = self.try_ask(&auth)?.map_err(harmless);
        reply.map(drop).map_err(|text| self.refused(&text.unwrap_or_default()))
    }

    /// Sends one command and waits for its reply; an error reply is a [`Failure::Refused`].
    pub(super) fn ask(&mut self, command: &Cmd) -> Result<Value, Failure> {
        self.try_ask(command)?.map_err(|text| self.refused(&text))
    }

    /// Sends one command and waits for its reply; an error reply is a value.
    pub(super) fn try_ask(&mut self, command: &Cmd) -> Result<Result<Value, String>, Failure> {
        match command.query::<Value>(&mut self.connection) {
            Ok(value) => Ok(Ok(value)),
            Err(error) if matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension) => {
                Ok(Err(server_words(&error)))
            }
            Err(error) => Err(self.lost(&error)),
        }
    }

    /// Sends commands together; error replies are values.
    pub(super) fn ask_all(
        &mut self,
        commands: &mut Pipeline,
    ) -> Result<Vec<Result<Value, String>>, Failure> {
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        let replies =
            commands.ignore_errors().query::<Vec<RedisResult<Value>>>(&mut self.connection);
        match replies {
            Ok(replies) => Ok(replies
                .into_iter()
                .map(|reply| reply.map_err(|error| server_words(&error)))
                .collect()),
            Err(error) => Err(self.lost(&error)),
        }
    }

    /// Sends a `LOCKSIDE` subcommand. An error reply to it mostly means a plain Redis.
    pub(super) fn ask_lockside(&mut self, command: &Cmd) -> Result<Value, Failure> {
        self.try_ask(command)?.map_err(|text| {
            match text.to_lowercase().contains("unknown command") {
                true => self.stranger(&text),
                false => self.refused(&text),
            }
        })
    }

    /// An error reply where none may be.
    pub(super) fn refused(&self, words: &str) -> Failure {
        Failure::Refused(self.address.clone(), words.into(), self.whom)
    }

    fn lost(&self, error: &RedisError) -> Failure {
        let why = if error.is_timeout() { "no reply in time".into() } else { error.to_string() };
        Failure::Unreachable(self.address.clone(), why, self.whom)
    }

    /// A reply that can't be what a Lockside, or a Redis, sends.
    pub(super) fn stranger(&self, what: &str) -> Failure {
        Failure::Stranger(self.address.clone(), what.into(), self.whom)
    }
}

/// The server's own error line: code and message, without the client crate's words around it.
fn server_words(error: &RedisError) -> String {
    let parts = [error.code(), error.detail()];
    let words: Vec<&str> = parts.into_iter().flatten().collect();
    words.join(" ")
}

/// The address at which a Lockside with these settings can be asked from this machine.
pub(super) fn configured_address(settings: &Settings) -> Result<Address, &'static str> {
    let tcp = match settings.listen.first() {
        Some(Listen::Unix(path)) => return Ok(Address::Unix(path.clone())),
        Some(Listen::Tcp(tcp)) if tcp.port() != 0 => tcp,
        _ => return Err("the configured port is chosen at start; say --at HOST:PORT"),
    };
    let host = match tcp.ip() {
        IpAddr::V4(any) if any.is_unspecified() => "127.0.0.1".into(),
        IpAddr::V6(any) if any.is_unspecified() => "::1".into(),
        ip => ip.to_string(),
    };
    Ok(Address::Tcp { host, port: tcp.port() })
}
