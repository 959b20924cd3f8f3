//! A connected socket, TCP or unix, and the bytes that wait to be written to it.

use std::io::{self, Read, Write};
use std::net::Shutdown;

use bytes::{Buf, BytesMut};
use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};

/// An empty outbox keeps no more than this, so that an idle client costs next to nothing.
const KEPT_CAPACITY: usize = 0;

/// A non-blocking stream socket.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    /// Registers for everything once, edge-triggered: no system call arms or disarms it later.
    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let all = Interest::READABLE | Interest::WRITABLE;
        match self {
            Self::Tcp(stream) => stream.register(registry, token, all),
            Self::Unix(stream) => stream.register(registry, token, all),
        }
    }

    /// Ends the sending side; the peer reads what was sent, then the end.
    pub(crate) fn shutdown_write(&self) {
        // The peer may be gone already: then there is nothing to end.
        let _ = match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Self::Unix(stream) => stream.shutdown(Shutdown::Write),
        };
    }

    /// The error that ended a connect, if it has ended.
    pub(crate) fn take_error(&self) -> io::Result<Option<io::Error>> {
        match self {
            Self::Tcp(stream) => stream.take_error(),
            Self::Unix(stream) => stream.take_error(),
        }
    }

    /// True once a connect has succeeded.
    pub(crate) fn is_connected(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.peer_addr().is_ok(),
            Self::Unix(stream) => stream.peer_addr().is_ok(),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buf),
            Self::Unix(stream) => stream.read(buf),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(buf),
            Self::Unix(stream) => stream.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Bytes that a socket would not take yet.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    waiting: BytesMut,
    /// Bytes that the socket has taken, ever.
    written: u64,
}

impl Outbox {
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Bytes that the socket has taken, ever.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// Bytes ever handed over: what was taken and what waits.
    pub(crate) fn accepted(&self) -> u64 {
        self.written + self.waiting.len() as u64
    }

    /// Writes what the socket takes now and keeps the rest.
    pub(crate) fn send(&mut self, stream: &mut Stream, mut bytes: &[u8]) -> io::Result<()> {
        if self.waiting.is_empty() {
            let taken = write_some(stream, bytes)?;
            self.written += taken as u64;
            bytes = &bytes[taken..];
        }
        self.hold(bytes);
        Ok(())
    }

    /// Keeps bytes for a socket that is not connected yet.
    pub(crate) fn hold(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.waiting.extend_from_slice(bytes);
        }
    }

    /// Writes as much of what waits as the socket takes.
    pub(crate) fn flush(&mut self, stream: &mut Stream) -> io::Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let taken = write_some(stream, &self.waiting)?;
        self.written += taken as u64;
        self.waiting.advance(taken);
        if self.waiting.is_empty() && self.waiting.capacity() > KEPT_CAPACITY {
            self.waiting = BytesMut::new();
        }
        Ok(())
    }

    /// Forgets what waits.
    pub(crate) fn clear(&mut self) {
        self.waiting = BytesMut::new();
    }
}

/// Writes until the socket takes no more; gives how many bytes it took.
fn write_some(stream: &mut Stream, bytes: &[u8]) -> io::Result<usize> {
    let mut taken = 0;
    while taken < bytes.len() {
        match stream.write(&bytes[taken..]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => taken += count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(taken)
}
