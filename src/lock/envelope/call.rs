//! The command that runs an envelope: client's keys and arguments, then the parameters.

use super::Envelope;
use crate::lock::value::{Stamp, Unique};

/// What the envelope needs to know of one lock key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyTerms {
    /// Place in the call's keys, from 0.
    pub index: usize,
    /// True for a persistent rule, false for a ttl rule.
    pub persistent: bool,
    /// Which values the rule stamps.
    pub stamp: Stamp,
    /// TTL of a lock until it is made persistent, in ms. At least 1.
    pub safety_ttl_ms: u64,
    /// TTL that scripts see of a lock without one, in ms.
    pub virtual_ttl_ms: Option<u64>,
    /// TTL of a lock of a ttl rule whose client gave none, in ms. At least 1.
    pub default_ttl_ms: u64,
}

/// How the client asked for its script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Run {
    /// `EVAL` with the envelope's text.
    Text,
    /// `EVALSHA` with the envelope's SHA: Redis answers `-NOSCRIPT` where it has not seen it.
    Sha,
    /// `EVAL_RO`.
    TextReadOnly,
    /// `EVALSHA_RO`.
    ShaReadOnly,
}

/// One call of a client's script, or of a command.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// The envelope of the client's text, or the one for commands.
    pub envelope: &'a Envelope,
    /// How it is run.
    pub run: Run,
    /// The client's keys, unchanged.
    pub keys: &'a [&'a [u8]],
    /// The client's arguments, unchanged. For a command: its name and its arguments.
    pub args: &'a [&'a [u8]],
    /// The keys that are lock keys. Every index is below the number of keys and below 10^7.
    pub locks: &'a [KeyTerms],
    /// Time and nonce of the stamps.
    pub unique: &'a Unique,
    /// 16 bytes that no script can guess: they mark a wrapped reply.
    pub marker: &'a [u8; 16],
    /// The database that the client's connection has selected.
    pub database: u32,
    /// The key of the counter of fences, where the highest is to be told with what was released. Not
    /// for a read-only call.
    pub counter: Option<&'a [u8]>,
}

impl Call<'_> {
    /// Appends the command, as a RESP array of bulk strings.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let count = 3 + self.keys.len() + self.args.len() + self.locks.len() + 1;
        out.extend_from_slice(format!("*{count}\r\n").as_bytes());
        let (name, script): (&[u8], &[u8]) = match self.run {
            Run::Text => (b"EVAL", &self.envelope.text),
            Run::Sha => (b"EVALSHA", &self.envelope.sha),
            Run::TextReadOnly => (b"EVAL_RO", &self.envelope.text),
            Run::ShaReadOnly => (b"EVALSHA_RO", &self.envelope.sha),
        };
        bulk(out, name);
        bulk(out, script);
        bulk(out, self.keys.len().to_string().as_bytes());
        for part in self.keys.iter().chain(self.args) {
            bulk(out, part);
        }
        for terms in self.locks {
            bulk(out, terms.encode().as_bytes());
        }
        bulk(out, &self.head());
    }

    /// The last argument; `start.lua` knows the offsets.
    fn head(&self) -> Vec<u8> {
        let read_only = matches!(self.run, Run::TextReadOnly | Run::ShaReadOnly);
        let mut head = Vec::with_capacity(100);
        head.extend_from_slice(self.marker);
        head.extend_from_slice(self.unique.nonce());
        head.extend_from_slice(self.unique.timestamp());
        head.extend_from_slice(&self.envelope.client_sha);
        let counter = self.counter.filter(|_| !read_only);
        head.push(match counter {
            Some(_) => b'f',
            None if read_only => b'r',
            None => b'w',
        });
        head.extend_from_slice(format!("{:07}{}", self.locks.len(), self.database).as_bytes());
        if let Some(counter) = counter {
            head.push(b' ');
            head.extend_from_slice(counter);
        }
        head
    }
}

impl KeyTerms {
    fn encode(&self) -> String {
        let mode = if self.persistent { 'p' } else { 't' };
        let stamp = match self.stamp {
            Stamp::Auto => 'a',
            Stamp::Always => 'y',
            Stamp::Never => 'n',
        };
        let (index, safety) = (self.index + 1, self.safety_ttl_ms);
        let default = self.default_ttl_ms;
        let shown = self.virtual_ttl_ms.map_or_else(|| "-1".to_owned(), |ms| ms.to_string());
        format!("{mode}{stamp}{index:07} {safety} {shown} {default}")
    }
}

fn bulk(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(format!("${}\r\n", bytes.len()).as_bytes());
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_come_behind_the_clients_arguments() {
        let unique = Unique::new("23-11-2026 13:20:05", 1).unwrap();
        let envelope = Envelope::wrap(b"return 1");
        let terms = KeyTerms {
            index: 0,
            persistent: true,
            stamp: Stamp::Auto,
            safety_ttl_ms: 10_000,
            virtual_ttl_ms: Some(30_000),
            default_ttl_ms: 3_600_000,
        };
        let call = Call {
            envelope: &envelope,
            run: Run::Sha,
            keys: &[b"lock:a"],
            args: &[b"token"],
            locks: &[terms],
            unique: &unique,
            marker: b"mmmmmmmmmmmmmmmm",
            database: 5,
            counter: None,
        };
        let mut out = Vec::new();
        call.encode(&mut out);
        let sha = std::str::from_utf8(&envelope.sha).unwrap();
        let expected = format!(
            "*7\r\n$7\r\nEVALSHA\r\n$40\r\n{sha}\r\n$1\r\n1\r\n$6\r\nlock:a\r\n$5\r\ntoken\r\n\
             $29\r\npa0000001 10000 30000 3600000\r\n$100\r\n{}",
            "mmmmmmmmmmmmmmmm000000000000000123-11-2026 13:20:05\
             e0e1f9fabfc9d4800c877a703b823ac0578ff8dbw00000015\r\n"
        );
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
