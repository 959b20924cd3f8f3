//! One client's connection and its link to Redis: two sockets, what waits between them, and the
//! session that decides.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use mio::Token;

use crate::session::{CLOSED_BY_REDIS, Cx, Session};
use crate::upstream::stream::{Outbox, Stream};

use super::wires::{Io, Link, Turn, Wired, describe};

/// One connection.
pub(super) struct Conn {
    pub(super) session: Session,
    pub(super) io: Io,
    input: BytesMut,
    client_readable: bool,
    /// The client has ended its side: what is left to read ends with the end.
    client_closed: bool,
    client_eof: bool,
    /// When a connection whose client has gone is closed, finished or not.
    linger_until: Option<Instant>,
    /// When the earliest reminder of this connection is due.
    pub(super) reminder: Option<Instant>,
}

/// What to do with a connection after its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    /// It waits for its sockets.
    Keep,
    /// It has more to do at once.
    Again,
    /// It is over.
    Close,
}

/// How often one connection reads from a socket before the others get their turn.
const READS_A_TURN: usize = 8;

impl Conn {
    pub(super) fn new(session: Session, client: Stream, link_token: Token) -> Self {
        Self {
            session,
            io: Io {
                client,
                client_out: Outbox::default(),
                client_dead: false,
                link: None,
                link_error: None,
                link_token,
                attempt: 0,
            },
            input: BytesMut::new(),
            client_readable: true,
            client_closed: false,
            client_eof: false,
            linger_until: None,
            reminder: None,
        }
    }

    /// The client's socket is ready. `closed`: its other end sends no more.
    pub(super) fn client_ready(&mut self, readable: bool, closed: bool) {
        self.client_closed |= closed;
        self.client_readable |= readable || closed;
    }

    /// The link's socket is ready.
    pub(super) fn link_ready(&mut self, readable: bool, closed: bool) {
        if let Some(link) = &mut self.io.link {
            link.closed |= closed;
            link.readable |= readable || closed;
        }
    }

    /// Bytes that this connection holds in memory.
    pub(super) fn buffered(&self) -> usize {
        let link = self.io.link.as_ref().map_or(0, |link| link.out.len());
        self.input.len() + self.io.client_out.len() + link + self.session.buffered()
    }

    /// When this connection wants to be looked at again, whatever its sockets do.
    pub(super) fn deadline(&self, origin: Instant) -> Option<Instant> {
        let connect = self.io.link.as_ref().filter(|link| !link.connected);
        let session = self.session.deadline();
        // Asked after every turn, and nearly always there is none.
        if connect.is_none() && session.is_none() && self.linger_until.is_none() {
            return None;
        }
        let connect = connect.map(|link| link.connect_by);
        let session = session.map(|at| origin + at);
        // An operation is let finish, however long ago the connection was to be closed: a time
        // that has passed and changes nothing would be due again at once, for ever.
        let linger = self.linger_until.filter(|_| !self.session.has_operation());
        [connect, session, linger].into_iter().flatten().min()
    }

    /// True when nothing is under way, waits to be read or waits to be written.
    pub(super) fn is_idle(&self) -> bool {
        self.session.is_idle() && self.input.is_empty() && self.io.client_out.is_empty()
    }
}

/// One turn of one connection: everything that can be done without waiting.
pub(super) struct Driver<'a, 'b> {
    pub(super) conn: &'a mut Conn,
    pub(super) turn: &'b Turn<'b>,
    pub(super) scratch: &'b mut [u8],
    pub(super) shared: &'b crate::session::Shared,
    pub(super) flights: &'b mut crate::session::flights::Flights,
    pub(super) now: Duration,
    /// The worker's number.
    pub(super) worker: usize,
}

impl Driver<'_, '_> {
    /// Runs `step` with the session and its world.
    pub(super) fn with<T>(&mut self, step: impl FnOnce(&mut Session, &mut Cx<'_>) -> T) -> T {
        let mut wires = Wired { io: &mut self.conn.io, turn: self.turn };
        let mut cx = Cx {
            now: self.now,
            worker: self.worker,
            shared: self.shared,
            wires: &mut wires,
            flights: self.flights,
        };
        step(&mut self.conn.session, &mut cx)
    }

    /// Tells the session that the client's other end sends no more.
    pub(super) fn client_closed(&mut self) {
        self.with(|session, cx| session.client_gone(cx));
    }

    /// The mode has changed: what waits for a Redis that is not there any more need not wait.
    pub(super) fn view_changed(&mut self) {
        self.with(|session, cx| session.view_changed(cx));
        let view = self.shared.board.view();
        let mut gives_up = false;
        self.with(|session, cx| gives_up = session.gives_up_link(view, cx));
        if gives_up {
            self.conn.io.link_error = Some("Redis does not answer".into());
        }
    }

    /// Does what the sockets allow now.
    pub(super) fn run(&mut self) -> After {
        self.check_deadlines();
        self.flush();
        let mut more = self.read_link();
        self.report_link_error();
        self.take_input();
        more |= self.read_client();
        if self.conn.io.link.as_ref().is_some_and(|link| !link.connected) {
            // On one machine a connect is often done at once.
            self.flush();
        }
        self.report_link_error();
        self.finish_client();
        if self.is_over() && !self.last_rites() {
            return After::Close;
        }
        if more { After::Again } else { After::Keep }
    }

    fn check_deadlines(&mut self) {
        if self.conn.session.deadline().is_some_and(|at| at <= self.now) {
            if !self.conn.session.awaits_ledger() {
                self.conn.io.link = None;
            }
            self.with(|session, cx| session.timed_out(cx));
        }
        let late = |link: &Link| !link.connected && link.connect_by <= self.turn.now;
        if self.conn.io.link.as_ref().is_some_and(late) {
            self.conn.io.link_error = Some("connect timed out".into());
        }
    }

    fn flush(&mut self) {
        let io = &mut self.conn.io;
        if !io.client_dead && io.client_out.flush(&mut io.client).is_err() {
            io.client_died();
        }
        let Some(link) = &mut io.link else { return };
        if !link.connected {
            match link.stream.take_error() {
                Ok(None) if link.stream.is_connected() => {
                    link.connected = true;
                    self.turn.upstream.note_there();
                }
                Ok(None) => return,
                Ok(Some(error)) | Err(error) => {
                    io.link_error = Some(describe(&error));
                    return;
                }
            }
        }
        if let Err(error) = link.out.flush(&mut link.stream) {
            io.link_error = Some(describe(&error));
        }
    }

    /// Reads Redis's replies, unless the client does not take those that it has.
    fn read_link(&mut self) -> bool {
        for _ in 0..READS_A_TURN {
            // An operation's reply is one, and has a deadline.
            let behind = self.conn.io.client_out.len() > self.turn.limits.client_output;
            if behind && !self.conn.session.has_operation() {
                return false;
            }
            let Some(link) = &mut self.conn.io.link else { return false };
            if !link.readable || !link.connected {
                return false;
            }
            match link.stream.read(self.scratch) {
                Ok(0) => {
                    self.conn.io.link_error = Some(CLOSED_BY_REDIS.into());
                    return false;
                }
                Ok(count) => {
                    // A short read has emptied the socket; the next byte is a new event. The end
                    // is none, if it was there with the last one.
                    link.readable = link.closed || count == self.scratch.len();
                    self.link_bytes(count);
                }
                Err(error) => return self.link_read_failed(&error),
            }
        }
        self.conn.io.link.as_ref().is_some_and(|link| link.readable)
    }

    fn link_read_failed(&mut self, error: &io::Error) -> bool {
        let io = &mut self.conn.io;
        match error.kind() {
            io::ErrorKind::WouldBlock => {
                if let Some(link) = &mut io.link {
                    link.readable = false;
                }
                false
            }
            io::ErrorKind::Interrupted => true,
            _ => {
                io.link_error = Some(describe(error));
                false
            }
        }
    }

    fn link_bytes(&mut self, count: usize) {
        let scratch = std::mem::take(&mut self.scratch);
        let result = self.with(|session, cx| session.upstream_bytes(&scratch[..count], cx));
        self.scratch = scratch;
        if let Err(error) = result {
            tracing::warn!(%error, "a link to Redis is dropped");
            self.conn.io.link_error = Some(error.to_string());
        }
    }

    fn report_link_error(&mut self) {
        if self.conn.io.link_error.is_some() {
            self.end_link();
        }
    }

    fn end_link(&mut self) {
        // A session that is told of a failed link may open another, which may fail at once.
        for _ in 0..READS_A_TURN {
            let Some(reason) = self.conn.io.link_error.take() else { return };
            let connected = self.conn.io.link.take().is_some_and(|link| link.connected);
            if !connected {
                self.turn.upstream.note_away(&reason);
            }
            self.with(|session, cx| session.link_failed(&reason, connected, cx));
        }
    }

    /// Hands what waits to the session.
    fn take_input(&mut self) {
        if self.conn.input.is_empty() || !self.conn.session.takes_commands() {
            return;
        }
        let mut input = std::mem::take(&mut self.conn.input);
        loop {
            let consumed = self.with(|session, cx| session.client_bytes(&input, cx));
            input.advance(consumed);
            // An operation may have been answered at once: then the next command can go on.
            if consumed == 0 || input.is_empty() || !self.conn.session.takes_commands() {
                break;
            }
        }
        self.conn.input = if input.is_empty() { BytesMut::new() } else { input };
    }

    /// Reads the client's commands, unless Redis does not take those that it has.
    fn read_client(&mut self) -> bool {
        for _ in 0..READS_A_TURN {
            if !self.conn.client_readable || self.conn.client_eof || !self.may_read_client() {
                return false;
            }
            match self.conn.io.client.read(self.scratch) {
                Ok(0) => self.conn.client_eof = true,
                Ok(count) => {
                    let more = self.conn.client_closed || count == self.scratch.len();
                    self.conn.client_readable = more;
                    self.client_bytes(count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.conn.client_readable = false;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    self.conn.io.client_died();
                    self.conn.client_eof = true;
                }
            }
        }
        self.conn.client_readable && !self.conn.client_eof && self.may_read_client()
    }

    fn may_read_client(&self) -> bool {
        let conn = &self.conn;
        if conn.session.has_ended() {
            return false;
        }
        let limits = self.turn.limits;
        let link_full =
            conn.io.link.as_ref().is_some_and(|link| link.out.len() > limits.upstream_output);
        // While a lock command waits, the client's next commands wait with it. If its replies are
        // not read either, it may be a client that writes all before it reads: it is let go on,
        // up to the limit for one client.
        let stuck = conn.io.client_out.len() > limits.client_output;
        let waits = !conn.session.takes_commands() || conn.session.command_waits();
        let waiting = waits && conn.input.len() > self.scratch.len();
        !link_full && (!waiting || stuck)
    }

    fn client_bytes(&mut self, count: usize) {
        self.conn.session.heard_of_client(self.conn.io.client_out.written());
        let scratch = std::mem::take(&mut self.scratch);
        if self.conn.input.is_empty() && self.conn.session.takes_commands() {
            let bytes = &scratch[..count];
            let consumed = self.with(|session, cx| session.client_bytes(bytes, cx));
            self.conn.input.extend_from_slice(&scratch[consumed..count]);
        } else {
            self.conn.input.extend_from_slice(&scratch[..count]);
        }
        self.scratch = scratch;
        self.take_input();
        let crowded = self.turn.crowded && self.conn.input.len() > self.scratch.len();
        if crowded || self.conn.input.len() > self.turn.limits.client_buffer {
            self.conn.input = BytesMut::new();
            self.conn.client_eof = true;
            let text = if crowded { CROWDED } else { TOO_LARGE };
            self.with(|session, cx| session.refuse_more(text, cx));
        }
    }

    /// The client sends no more: Redis is told the same, once it has everything.
    fn finish_client(&mut self) {
        self.conn.client_eof |= self.conn.io.client_dead;
        if self.conn.client_eof {
            self.with(|session, cx| session.client_gone(cx));
            self.take_input(); // An acquire that waited is answered by that.
        }
        if !self.conn.client_eof || self.conn.session.has_operation() {
            return;
        }
        if self.conn.io.client_dead {
            self.conn.linger_until.get_or_insert(self.turn.now + self.turn.limits.linger);
        }
        // What is left is half a command, unless a whole one waits for its turn.
        let taken = self.conn.input.is_empty() || !self.conn.session.command_waits();
        if let Some(link) = &mut self.conn.io.link
            && taken
            && link.connected
            && link.out.is_empty()
            && !link.shut
        {
            link.shut = true;
            link.stream.shutdown_write();
        }
    }

    /// Gives back what the client was never told of; true while that is under way.
    fn last_rites(&mut self) -> bool {
        let written = self.conn.io.client_out.written();
        self.with(|session, cx| session.last_rites(written, cx))
    }

    fn is_over(&self) -> bool {
        let conn = &self.conn;
        if conn.session.has_operation() {
            return false;
        }
        if conn.linger_until.is_some_and(|until| until <= self.turn.now) {
            return true;
        }
        let flushed = conn.io.client_out.is_empty() || conn.io.client_dead;
        (conn.session.has_ended() || conn.client_eof && conn.io.link.is_none()) && flushed
    }
}

const TOO_LARGE: &str = "ERR lockside: a command is larger than limits.client_buffer allows";
const CROWDED: &str =
    "ERR lockside: the commands of all clients together are larger than limits.total_buffer allows";
