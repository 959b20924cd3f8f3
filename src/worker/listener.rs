//! Where clients come in: TCP and unix sockets.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mio::event::Source;
use mio::net::{TcpListener, UnixListener};
use mio::{Interest, Registry, Token};

use crate::upstream::stream::Stream;
use crate::upstream::{listen_tcp, tune_tcp};

/// A bound listener of one worker.
#[derive(Debug)]
pub enum Listener {
    /// A TCP port.
    Tcp(TcpListener),
    /// A unix socket, and its file, which is removed at the end.
    Unix(UnixListener, SocketFile),
}

/// The file of a unix socket; removed when dropped.
#[derive(Debug)]
pub struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Listener {
    /// Binds a TCP address. `shared`: other workers bind it too (SO_REUSEPORT).
    pub fn tcp(address: SocketAddr, shared: bool) -> io::Result<Self> {
        listen_tcp(address, shared).map(Self::Tcp)
    }

    /// Binds a unix socket. A file that a dead process left is taken over; a live one is not.
    pub fn unix(path: &Path) -> io::Result<Self> {
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens here"));
        }
        if path.exists() {
            std::fs::remove_file(path)?;
        }
        let listener = UnixListener::bind(path)?;
        Ok(Self::Unix(listener, SocketFile(path.to_path_buf())))
    }

    /// The TCP address that was bound.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix(..) => None,
        }
    }

    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match self {
            Self::Tcp(listener) => listener.register(registry, token, Interest::READABLE),
            Self::Unix(listener, _) => listener.register(registry, token, Interest::READABLE),
        }
    }

    pub(super) fn accept(&self) -> io::Result<(Stream, Arc<str>)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept()?;
                tune_tcp(&stream)?;
                Ok((Stream::Tcp(stream), Arc::from(peer.to_string())))
            }
            Self::Unix(listener, file) => {
                let (stream, _) = listener.accept()?;
                Ok((Stream::Unix(stream), Arc::from(file.0.display().to_string())))
            }
        }
    }
}

/// An accept that failed for this one connection only.
pub(super) fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
            | io::ErrorKind::NotConnected
            | io::ErrorKind::InvalidInput
    )
}

/// One client too many: Redis's own words, then the end.
pub(super) fn turn_away(client: &mut Stream) {
    // A client that does not even take this has no use for it.
    let _ = client.write(b"-ERR max number of clients reached\r\n");
}
