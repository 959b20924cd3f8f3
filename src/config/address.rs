//! Where to listen, where Redis is, and passwords that don't show.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo};

use super::problem::Wrong;

/// A password. `Debug` and error texts never show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text` from being shown.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The password itself, to be sent to Redis and nowhere else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

/// Where clients connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// A TCP address. Port 0 lets the system choose one.
    Tcp(SocketAddr),
    /// A unix socket at an absolute path.
    Unix(PathBuf),
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

/// Where a Redis is. Its text (`Display`) is what logs and errors call it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// A host name or IP address (IPv6 without brackets), resolved at each connect.
    Tcp {
        /// The host.
        host: String,
        /// The port, 1 to 65535.
        port: u16,
    },
    /// A unix socket at an absolute path.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

impl Address {
    /// Reads `HOST:PORT` (IPv6 in brackets) or `unix:///path`, as `Display` writes them.
    ///
    /// # Errors
    /// What is wrong and what was expected, for a person.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no address; expected HOST:PORT or unix:///path");
        if let Some(path) = text.strip_prefix("unix://") {
            return unix_path(path).map(Self::Unix).map_err(|wrong| wrong.to_string());
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(wrong)?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = bare.unwrap_or(host);
        let plain = !host.contains(['@', '/', '[', ']']) && (bare.is_some() || !host.contains(':'));
        (plain && !host.is_empty()).then(|| Self::Tcp { host: host.into(), port }).ok_or_else(wrong)
    }
}

/// What an upstream URL says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub(super) address: Address,
    pub(super) username: Option<String>,
    pub(super) password: Option<Secret>,
}

const LISTEN_EXPECTED: &str = r#""IP:PORT" such as "127.0.0.1:6380", or "unix:///absolute/path""#;
const URL_EXPECTED: &str = r#""redis://[user[:password]@]host[:port]" or "unix:///absolute/path""#;

/// Reads one entry of `listen`.
pub(super) fn parse_listen(text: &str) -> Result<Listen, Wrong> {
    if let Some(path) = text.strip_prefix("unix://") {
        return unix_path(path).map(Listen::Unix);
    }
    if let Some(port) = text.strip_prefix("localhost:").and_then(|port| port.parse().ok()) {
        return Ok(Listen::Tcp(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)));
    }
    let wrong = || Wrong::new(format!("{text:?} is no address to listen on"), LISTEN_EXPECTED);
    text.parse().map(Listen::Tcp).map_err(|_| wrong())
}

/// Reads `upstream.url`. No text of it comes back in an error: it can hold a password.
pub(super) fn parse_upstream(url: &str) -> Result<Endpoint, Wrong> {
    let scheme = url.split_once("://").map(|(scheme, _)| scheme);
    match scheme {
        Some("redis") => tcp_endpoint(url),
        Some("unix") => unix_endpoint(url),
        Some("rediss" | "valkeys" | "redis+sentinel" | "sentinel") => {
            let what =
                format!("{}:// is not supported in this version", scheme.unwrap_or_default());
            Err(Wrong::new(what, URL_EXPECTED))
        }
        _ => Err(Wrong::new("not a URL of a Redis", URL_EXPECTED)),
    }
}

fn tcp_endpoint(url: &str) -> Result<Endpoint, Wrong> {
    if url.contains(['?', '#']) {
        let what = "options behind ? or # are not supported";
        let expected = format!("{URL_EXPECTED}; in a password write ? as %3F and # as %23");
        return Err(Wrong::new(what, expected));
    }
    let info = connection_info(url)?;
    let ConnectionAddr::Tcp(host, port) = info.addr() else {
        return Err(Wrong::new("not a URL of a Redis", URL_EXPECTED));
    };
    if host.is_empty() || *port == 0 {
        return Err(Wrong::new("host or port is missing", URL_EXPECTED));
    }
    let address = Address::Tcp { host: host.clone(), port: *port };
    Ok(endpoint(address, &info))
}

fn unix_endpoint(url: &str) -> Result<Endpoint, Wrong> {
    let rest = url.strip_prefix("unix://").unwrap_or_default();
    let path = unix_path(rest.split(['?', '#']).next().unwrap_or_default())?;
    let info = connection_info(url)?;
    Ok(endpoint(Address::Unix(path), &info))
}

/// The `redis` crate's own reading of a URL: percent-encoding, IPv6, `?user=&pass=` of a socket.
fn connection_info(url: &str) -> Result<ConnectionInfo, Wrong> {
    // The crate's error may quote the URL, so it is dropped.
    let wrong = |_| {
        let expected =
            format!("{URL_EXPECTED}; in a user or password write @ : / % as %40 %3A %2F %25");
        Wrong::new("not a URL of a Redis", expected)
    };
    let info = url.into_connection_info().map_err(wrong)?;
    match info.redis_settings().db() {
        0 => Ok(info),
        db => Err(Wrong::new(
            format!("names database {db}, but each client selects its own (SELECT)"),
            "no database in the URL, or 0",
        )),
    }
}

fn endpoint(address: Address, info: &ConnectionInfo) -> Endpoint {
    let settings = info.redis_settings();
    Endpoint {
        address,
        username: settings.username().map(str::to_owned),
        password: settings.password().map(Secret::new),
    }
}

/// Paths must be absolute, since a service's working directory is anybody's guess, and short
/// enough for `sockaddr_un`.
fn unix_path(path: &str) -> Result<PathBuf, Wrong> {
    const LONGEST: usize = 107;
    if !path.starts_with('/') || path.ends_with('/') || path.contains('\0') {
        return Err(Wrong::new("the socket's path is not absolute", r#""unix:///absolute/path""#));
    }
    if path.len() > LONGEST {
        let what = format!("the socket's path has {} bytes", path.len());
        return Err(Wrong::new(what, format!("at most {LONGEST}")));
    }
    Ok(PathBuf::from(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16) -> Address {
        Address::Tcp { host: host.into(), port }
    }

    #[test]
    fn upstream_urls() {
        let plain = parse_upstream("redis://redis.example:7000").unwrap();
        assert_eq!(plain.address, tcp("redis.example", 7000));
        assert_eq!((plain.username, plain.password), (None, None));
        assert_eq!(parse_upstream("redis://h").unwrap().address, tcp("h", 6379));
        assert_eq!(parse_upstream("redis://h/0").unwrap().address, tcp("h", 6379));
        let six = parse_upstream("redis://[::1]:6400").unwrap();
        assert_eq!(six.address, tcp("::1", 6400));
        assert_eq!(six.address.to_string(), "[::1]:6400");
        let user = parse_upstream("redis://bob:p%40ss@h:1").unwrap();
        assert_eq!(user.username.as_deref(), Some("bob"));
        assert_eq!(user.password.as_ref().map(Secret::expose), Some("p@ss"));
        let socket = parse_upstream("unix:///run/redis.sock").unwrap();
        assert_eq!(socket.address.to_string(), "unix:///run/redis.sock");
    }

    #[test]
    fn a_refused_url_is_not_quoted() {
        let refused = [
            "redis://bob:hunter2@h:99999",
            "redis://bob:hunter2@h/3",
            "redis://bob:hunter2@h?db=1",
            "rediss://bob:hunter2@h",
            "redis+sentinel://bob:hunter2@h",
            "bob:hunter2@h",
            "redis://:hunter2@",
            "unix://hunter2",
            "unix:///a?db=4&pass=hunter2",
        ];
        for url in refused {
            let wrong = parse_upstream(url).unwrap_err().to_string();
            assert!(!wrong.contains("hunter2"), "{wrong}");
        }
    }

    #[test]
    fn addresses_read_back() {
        for text in ["redis.example:6379", "[::1]:1", "127.0.0.1:65535", "unix:///run/l.sock"] {
            assert_eq!(Address::parse(text).unwrap().to_string(), text);
        }
        for bad in ["", "h", "h:", "h:0", ":1", "u:p@h:1", "::1:5", "redis://h:1", "unix://x"] {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn listen_addresses() {
        assert_eq!(parse_listen("127.0.0.1:0").unwrap().to_string(), "127.0.0.1:0");
        assert_eq!(parse_listen("localhost:6380").unwrap().to_string(), "127.0.0.1:6380");
        assert_eq!(parse_listen("[::]:6380").unwrap().to_string(), "[::]:6380");
        assert_eq!(parse_listen("unix:///run/l.sock").unwrap().to_string(), "unix:///run/l.sock");
        for bad in ["", "6380", "127.0.0.1", "localhost:x", "h:1", "unix://x", "unix:///x/"] {
            assert!(parse_listen(bad).is_err(), "{bad}");
        }
        assert!(parse_listen(&format!("unix:///{}", "x".repeat(107))).is_err());
    }
}
