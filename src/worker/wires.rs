//! The two sockets of a connection, and what its session does to them.

use std::io;
use std::time::Instant;

use mio::{Registry, Token};

use crate::session::Wires;
use crate::upstream::Upstream;
use crate::upstream::stream::{Outbox, Stream};

use super::Limits;

/// The link to Redis.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) stream: Stream,
    pub(super) out: Outbox,
    pub(super) connected: bool,
    pub(super) connect_by: Instant,
    pub(super) readable: bool,
    /// Redis has ended its side: what is left to read ends with the end.
    pub(super) closed: bool,
    /// The sending side was ended, after the client ended its own.
    pub(super) shut: bool,
}

/// The sockets of a connection: what the session acts on.
pub(super) struct Io {
    pub(super) client: Stream,
    pub(super) client_out: Outbox,
    pub(super) client_dead: bool,
    pub(super) link: Option<Link>,
    pub(super) link_error: Option<String>,
    pub(super) link_token: Token,
    pub(super) attempt: usize,
}

/// What one connection needs of its worker for a turn.
pub(super) struct Turn<'a> {
    pub(super) registry: &'a Registry,
    pub(super) upstream: &'a Upstream,
    pub(super) limits: &'a Limits,
    pub(super) now: Instant,
    /// All connections together hold as much as they may.
    pub(super) crowded: bool,
}

/// [`Io`] with what it needs to open a link.
pub(super) struct Wired<'a> {
    pub(super) io: &'a mut Io,
    pub(super) turn: &'a Turn<'a>,
}

impl Wires for Wired<'_> {
    fn to_upstream(&mut self, bytes: &[u8]) {
        // What follows lost bytes must not go out without them.
        if self.io.link_error.is_some() {
            return;
        }
        if self.io.link.is_none() {
            self.open();
        }
        let Some(link) = &mut self.io.link else { return };
        if !link.connected {
            link.out.hold(bytes);
        } else if let Err(error) = link.out.send(&mut link.stream, bytes) {
            self.io.link_error = Some(describe(&error));
        }
    }

    fn to_client(&mut self, bytes: &[u8]) {
        if self.io.client_dead {
            return;
        }
        if self.io.client_out.send(&mut self.io.client, bytes).is_err() {
            self.io.client_died();
        }
    }

    fn reopen(&mut self) {
        self.io.link = None;
        self.io.link_error = None;
        self.open();
    }

    fn client_accepted(&self) -> u64 {
        // What is handed over for a client that is gone is never written.
        if self.io.client_dead { u64::MAX } else { self.io.client_out.accepted() }
    }

    fn client_is_behind(&self) -> bool {
        self.io.client_out.len() > self.turn.limits.client_output
    }
}

impl Wired<'_> {
    fn open(&mut self) {
        self.io.attempt += 1;
        let opened = self.turn.upstream.connect(self.io.attempt - 1).and_then(|mut stream| {
            stream.register(self.turn.registry, self.io.link_token)?;
            Ok(stream)
        });
        match opened {
            Ok(stream) => {
                self.io.link = Some(Link {
                    stream,
                    out: Outbox::default(),
                    connected: false,
                    connect_by: self.turn.now + self.turn.limits.connect_timeout,
                    readable: false,
                    closed: false,
                    shut: false,
                });
            }
            Err(error) => self.io.link_error = Some(describe(&error)),
        }
    }
}

impl Io {
    pub(super) fn client_died(&mut self) {
        self.client_dead = true;
        self.client_out.clear();
    }
}

/// An io error for people, without numbers that only a programmer reads.
pub(super) fn describe(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".into(),
        io::ErrorKind::ConnectionReset => "connection reset".into(),
        io::ErrorKind::BrokenPipe => "connection closed".into(),
        io::ErrorKind::NotFound => "no such address".into(),
        _ => error.to_string(),
    }
}
