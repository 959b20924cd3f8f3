//! Where Redis is, and how a link to it is opened.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use mio::net::{TcpStream, UnixStream};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::config::Address;
pub(crate) mod line;
pub(crate) mod stream;
pub mod tracker;

use stream::Stream;

/// The upstream: its place, and for a name the addresses it had when it was last looked up.
///
/// A worker never waits for a name server: [`Upstream::resolve`] is called at start and now and
/// then by the control thread.
#[derive(Debug)]
pub struct Upstream {
    address: Address,
    resolved: RwLock<Arc<[SocketAddr]>>,
    /// The last attempt to connect failed.
    away: AtomicBool,
}

impl Upstream {
    /// An upstream whose name has not been looked up yet.
    pub fn new(address: Address) -> Self {
        Self { address, resolved: RwLock::new(Arc::from([])), away: AtomicBool::new(false) }
    }

    /// The place, as configured.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Looks the name up. May wait for a name server. When the look-up fails, what was known
    /// before stays.
    pub fn resolve(&self) -> io::Result<()> {
        if let Address::Tcp { host, port } = &self.address {
            let found: Arc<[SocketAddr]> = (host.as_str(), *port).to_socket_addrs()?.collect();
            *self.resolved.write().unwrap_or_else(PoisonError::into_inner) = found;
        }
        Ok(())
    }

    /// The addresses of the upstream's name when it was last looked up; none for a unix socket.
    pub fn addresses(&self) -> Arc<[SocketAddr]> {
        self.resolved.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// True if the upstream, as last looked up, is what listens at `address`.
    pub fn is_at(&self, address: SocketAddr) -> bool {
        let resolved = self.resolved.read().unwrap_or_else(PoisonError::into_inner).clone();
        let everywhere = address.ip().is_unspecified();
        resolved.iter().any(|upstream| {
            let here = upstream.ip() == address.ip() || everywhere && upstream.ip().is_loopback();
            here && upstream.port() == address.port()
        })
    }

    /// A link could not be opened. People are told once, not for each.
    pub(crate) fn note_away(&self, reason: &str) {
        if !self.away.swap(true, Ordering::Relaxed) {
            tracing::warn!(upstream = %self.address, reason, "the upstream is unavailable");
        }
    }

    /// A link stands.
    pub(crate) fn note_there(&self) {
        if self.away.load(Ordering::Relaxed) && self.away.swap(false, Ordering::Relaxed) {
            tracing::info!(upstream = %self.address, "the upstream answers again");
        }
    }

    /// Starts to connect. Success means only that it is under way. `attempt` chooses among the
    /// addresses of a name, so that a second try takes the next one.
    pub(crate) fn connect(&self, attempt: usize) -> io::Result<Stream> {
        match &self.address {
            Address::Unix(path) => UnixStream::connect(path).map(Stream::Unix),
            Address::Tcp { .. } => {
                let resolved = self.resolved.read().unwrap_or_else(PoisonError::into_inner).clone();
                let address = *resolved.get(attempt % resolved.len().max(1)).ok_or_else(|| {
                    io::Error::new(io::ErrorKind::NotFound, "the host's name is not known")
                })?;
                let stream = TcpStream::connect(address)?;
                tune_tcp(&stream)?;
                Ok(Stream::Tcp(stream))
            }
        }
    }
}

/// No delay for a lone request; a peer that vanished is noticed, as Redis does (tcp-keepalive).
pub(crate) fn tune_tcp(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(std::time::Duration::from_secs(300))
        .with_interval(std::time::Duration::from_secs(100));
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

/// A listening socket that several workers can share by SO_REUSEPORT.
pub(crate) fn listen_tcp(address: SocketAddr, shared: bool) -> io::Result<mio::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if shared {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(mio::net::TcpListener::from_std(socket.into()))
}

/// Connections that may wait to be accepted; the kernel cuts it to its own limit.
const BACKLOG: i32 = 4096;
