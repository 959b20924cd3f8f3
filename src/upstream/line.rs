//! A connection to Redis for one question at a time, each answered by a deadline or given up: for
//! probes, and for what Redis says unasked.
//!
//! The workers' links never wait, and the `redis` crate has no deadline over a connect and its
//! replies together: so this is a socket with time-outs, and `resp` to read by.

use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, Socket, Type};

use crate::config::Address;
use crate::mode::Sign;
use crate::resp::reply::ReplyScanner;
use crate::upstream::Upstream;

/// Bytes of a reply to a question; `INFO server` has about 2 KiB.
const MAX_REPLY: usize = 64 * 1024;

/// Why there is no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The connection has ended.
    Ended,
    /// The deadline has passed.
    Late,
    /// What came is no RESP, or too long.
    Garbled,
}

impl Fault {
    /// What it says of a connection that was made just now.
    pub(crate) fn sign(self) -> Sign {
        match self {
            Self::Ended => Sign::Reset,
            Self::Late => Sign::Silent,
            Self::Garbled => Sign::NotRedis,
        }
    }
}

/// A connected socket and what has come on it.
#[derive(Debug)]
pub(crate) struct Line {
    socket: Socket,
    buffer: Vec<u8>,
}

impl Line {
    /// Connects to the first address of `upstream` that accepts.
    ///
    /// # Errors
    /// [`Sign::ConnectTimeout`], or [`Sign::Refused`] for whatever else hinders it.
    pub(crate) fn connect(upstream: &Upstream, deadline: Instant) -> Result<Self, Sign> {
        let places = places(upstream);
        let mut sign = Sign::Refused;
        for (at, place) in places.iter().enumerate() {
            // At most usize::MAX addresses; what is left of the time is shared by those to come.
            let share = u32::try_from(places.len() - at).unwrap_or(u32::MAX);
            match connect(place, left(deadline) / share) {
                Ok(socket) => return Ok(Self { socket, buffer: Vec::new() }),
                Err(kind @ (ErrorKind::TimedOut | ErrorKind::WouldBlock)) => {
                    tracing::trace!(?kind, "no connection in time");
                    sign = Sign::ConnectTimeout;
                }
                Err(kind) => tracing::trace!(?kind, "no connection"),
            }
        }
        Err(sign)
    }

    /// Sends commands. A failure shows when their replies are read, behind what came before it:
    /// a server that is full says so and closes.
    pub(crate) fn send(&mut self, commands: &[u8], deadline: Instant) {
        // A zero time-out would mean none.
        let timeout = left(deadline).max(Duration::from_millis(1));
        let sent = self
            .socket
            .set_write_timeout(Some(timeout))
            .and_then(|()| self.socket.write_all(commands));
        if let Err(error) = sent {
            tracing::trace!(%error, "a probe could not be sent");
        }
    }

    /// The next reply's bytes.
    pub(crate) fn reply(&mut self, deadline: Instant) -> Result<Vec<u8>, Fault> {
        self.frame(MAX_REPLY, deadline)
    }

    /// The next frame's bytes, of which there are at most so many. What has come by the deadline
    /// stays for the next call.
    pub(crate) fn frame(&mut self, most: usize, deadline: Instant) -> Result<Vec<u8>, Fault> {
        let mut scanner = ReplyScanner::default();
        let mut scanned = 0;
        loop {
            let progress = scanner.scan(&self.buffer[scanned..]).map_err(|_| Fault::Garbled)?;
            scanned += progress.consumed;
            if progress.done {
                let rest = self.buffer.split_off(scanned);
                return Ok(std::mem::replace(&mut self.buffer, rest));
            }
            if self.buffer.len() > most {
                return Err(Fault::Garbled);
            }
            self.fill(deadline)?;
        }
    }

    fn fill(&mut self, deadline: Instant) -> Result<(), Fault> {
        let timeout = left(deadline);
        if timeout.is_zero() {
            return Err(Fault::Late);
        }
        let mut chunk = [0; 16 * 1024];
        let read =
            self.socket.set_read_timeout(Some(timeout)).and_then(|()| self.socket.read(&mut chunk));
        match read {
            Ok(0) => Err(Fault::Ended),
            Ok(count) => {
                self.buffer.extend_from_slice(&chunk[..count]);
                Ok(())
            }
            Err(error) => match error.kind() {
                ErrorKind::Interrupted => Ok(()),
                ErrorKind::WouldBlock | ErrorKind::TimedOut => Err(Fault::Late),
                _ => Err(Fault::Ended),
            },
        }
    }
}

fn places(upstream: &Upstream) -> Vec<SockAddr> {
    match upstream.address() {
        // The configuration has checked the path's length.
        Address::Unix(path) => SockAddr::unix(path).into_iter().collect(),
        Address::Tcp { .. } => upstream.addresses().iter().copied().map(SockAddr::from).collect(),
    }
}

fn connect(place: &SockAddr, timeout: Duration) -> Result<Socket, ErrorKind> {
    if timeout.is_zero() {
        return Err(ErrorKind::TimedOut);
    }
    let open = || {
        let domain = if place.is_unix() { Domain::UNIX } else { place.domain() };
        let socket = Socket::new(domain, Type::STREAM, None)?;
        socket.connect_timeout(place, timeout)?;
        if !place.is_unix() {
            socket.set_tcp_nodelay(true)?;
        }
        Ok(socket)
    };
    open().map_err(|error: std::io::Error| error.kind())
}

fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}
