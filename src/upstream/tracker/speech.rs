//! What the tracker says to Redis, and what the frames that come back mean. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::resp::encode;
use crate::resp::reply::{Kind, Reply};

/// Most bytes of one frame. Redis tells of all keys that one command or script has changed in one.
pub const MAX_FRAME: usize = 16 << 20;

/// Asked for, in this order, when a connection was made: each is answered by one frame.
pub const ANSWERS: usize = 3;

/// The commands of a new connection: RESP3 with authentication, the run, tracking. One write.
pub fn opening(login: Option<(&str, &str)>, prefixes: &BTreeSet<Vec<u8>>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut hello: Vec<&[u8]> = vec![b"HELLO", b"3"];
    if let Some((user, password)) = login {
        hello.extend([b"AUTH".as_slice(), user.as_bytes(), password.as_bytes()]);
    }
    hello.extend([b"SETNAME".as_slice(), b"lockside-tracker"]);
    encode::command(&mut bytes, &hello);
    encode::command(&mut bytes, &[b"INFO", b"server"]);
    let mut tracking: Vec<&[u8]> = vec![b"CLIENT", b"TRACKING", b"ON", b"BCAST"];
    for prefix in prefixes {
        tracking.extend([b"PREFIX".as_slice(), prefix]);
    }
    encode::command(&mut bytes, &tracking);
    bytes
}

/// Asks for a sign of life.
pub fn ping() -> Vec<u8> {
    let mut bytes = Vec::new();
    encode::command(&mut bytes, &[b"PING"]);
    bytes
}

/// What the answers to [`opening`] come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opened {
    /// Redis will tell of changes; its `run_id`, if it says it.
    Tracking(Option<Arc<str>>),
    /// This Redis, or this user's rights, will not have it: why.
    Never(Arc<str>),
    /// Not now: why.
    NotNow(Arc<str>),
}

/// What these answers mean. The first refusal counts, but who may not ask INFO is told of changes all
/// the same.
pub fn opened(answers: &[Vec<u8>; ANSWERS]) -> Opened {
    let [hello, info, tracking] = answers;
    match refused(hello).or_else(|| refused(tracking)) {
        Some(refusal) => refusal,
        None => Opened::Tracking(run_id(info)),
    }
}

/// What an error says of tracking; none for another frame.
fn refused(frame: &[u8]) -> Option<Opened> {
    let Some((Reply::Error(text), _)) = Reply::parse(frame) else { return None };
    // Codes and texts of Redis; none of them quotes an argument of ours but a prefix.
    let text = String::from_utf8_lossy(text).into_owned();
    let never = ["ERR ", "NOPROTO", "NOPERM", "WRONGPASS", "NOAUTH"];
    let is_full = text.contains("max number of clients");
    Some(match never.iter().any(|code| text.starts_with(code)) && !is_full {
        // A Redis before 6 quotes the command, which has the password.
        true if text.contains("unknown command") => {
            Opened::Never("Redis is older than 6 and has no tracking".into())
        }
        true => Opened::Never(text.into()),
        false => Opened::NotNow(text.into()),
    })
}

fn run_id(info: &[u8]) -> Option<Arc<str>> {
    let (reply, _) = Reply::parse(info)?;
    let text = String::from_utf8_lossy(reply.text()?).into_owned();
    text.lines().find_map(|line| line.strip_prefix("run_id:")).map(|id| id.trim().into())
}

/// What a frame says that came unasked, or as the answer to [`ping`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// These keys have changed.
    Changed(Vec<Vec<u8>>),
    /// All keys of some database were flushed.
    Flushed,
    /// An answer.
    Alive,
    /// No frame of a connection that is well: it is to be given up.
    Garbled,
}

/// What this frame says.
pub fn heard(frame: &[u8]) -> Heard {
    match Reply::parse(frame) {
        Some((push @ Reply::Aggregate { kind: Kind::Push, .. }, _)) => pushed(&push),
        Some((Reply::Error(_), _)) | None => Heard::Garbled,
        Some(_) => Heard::Alive,
    }
}

/// `>2`, `invalidate`, and the keys, or null for all of them.
fn pushed(push: &Reply<'_>) -> Heard {
    let mut elements = push.elements();
    let mut next = || elements.next().and_then(Reply::parse).map(|(reply, _)| reply);
    match (next(), next()) {
        (Some(Reply::Bulk(b"invalidate")), Some(Reply::Null)) => Heard::Flushed,
        (Some(Reply::Bulk(b"invalidate")), Some(keys)) => {
            let keys = keys.elements().filter_map(Reply::parse);
            Heard::Changed(keys.filter_map(|(key, _)| key.text().map(<[u8]>::to_vec)).collect())
        }
        // Others were not asked for.
        _ => Heard::Alive,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &str = "=29\r\ntxt:# Server\r\nrun_id:abc123\r\n\r\n";

    fn told(hello: &str, tracking: &str) -> Opened {
        opened(&[hello, INFO, tracking].map(|text| text.as_bytes().to_vec()))
    }

    #[test]
    fn one_write_opens_it() {
        let prefixes = [b"lock:".to_vec(), b"m".to_vec()].into();
        let text = String::from_utf8(opening(Some(("u", "p")), &prefixes)).unwrap();
        let words: Vec<_> =
            text.split("\r\n").filter(|word| !word.starts_with(['*', '$'])).collect();
        assert_eq!(
            words.join(" ").trim(),
            "HELLO 3 AUTH u p SETNAME lockside-tracker INFO server CLIENT TRACKING ON BCAST \
             PREFIX lock: PREFIX m"
        );
    }

    #[test]
    fn answers_say_whether_redis_will_tell() {
        assert_eq!(told("%1\r\n+a\r\n+b\r\n", "+OK\r\n"), Opened::Tracking(Some("abc123".into())));
        let old = "-ERR unknown command `HELLO`, with args beginning with: `3`, `secret`\r\n";
        assert_eq!(
            told(old, "-ERR\r\n"),
            Opened::Never("Redis is older than 6 and has no tracking".into())
        );
        let forbidden = "-NOPERM this user has no permissions\r\n";
        assert!(matches!(told("%0\r\n", forbidden), Opened::Never(why) if why.contains("NOPERM")));
        for passing in ["-LOADING Redis is loading", "-ERR max number of clients reached"] {
            let said = told(&format!("{passing}\r\n"), "+OK\r\n");
            assert_eq!(said, Opened::NotNow(passing[1..].into()));
        }
    }

    #[test]
    fn pushes_name_keys() {
        let some = b">2\r\n$10\r\ninvalidate\r\n*2\r\n$1\r\na\r\n$3\r\nb\r\n\r\n";
        assert_eq!(heard(some), Heard::Changed(vec![b"a".to_vec(), b"b\r\n".to_vec()]));
        assert_eq!(heard(b">2\r\n$10\r\ninvalidate\r\n_\r\n"), Heard::Flushed);
        assert_eq!(heard(b">2\r\n$10\r\ninvalidate\r\n*-1\r\n"), Heard::Flushed);
        assert_eq!(heard(b">2\r\n$7\r\nmessage\r\n$1\r\nx\r\n"), Heard::Alive);
        assert_eq!(heard(b"+PONG\r\n"), Heard::Alive);
        assert_eq!(heard(b"-NOAUTH\r\n"), Heard::Garbled);
        assert_eq!(heard(b">2\r\n$10\r\n"), Heard::Garbled);
    }
}
