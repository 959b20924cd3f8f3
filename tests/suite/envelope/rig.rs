//! A private redis-server, a raw client, and a stand-in for the part of Lockside that runs
//! envelopes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use lockside::lock::envelope::scripts::{PERSIST, Script};
use lockside::lock::envelope::{Call, Envelope, Guard, KeyTerms, Outcome, Run, unwrap};
use lockside::lock::value::{Stamp, Unique};

pub(super) const TIME: &str = "23-11-2026 13:20:05";
pub(super) const MARKER: &[u8; 16] = b"fedcba9876543210";
pub(super) const VIRTUAL_TTL: u64 = 30_000;

/// A redis-server of this test alone, ended with it.
pub(super) struct Server {
    child: Child,
    port: u16,
    _directory: tempfile::TempDir,
}

impl Server {
    pub(super) fn start() -> Self {
        let port = crate::support::process::free_port();
        let directory = tempfile::tempdir().unwrap();
        let mut child = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
            .args(["--save", "", "--appendonly", "no", "--dir"])
            .arg(directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("redis-server is installed");
        let output = BufReader::new(child.stdout.take().unwrap());
        let ready = output.lines().any(|line| line.unwrap().contains("Ready to accept"));
        assert!(ready, "redis-server did not start");
        Self { child, port, _directory: directory }
    }

    pub(super) fn connect(&self, resp3: bool) -> Client {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut client = Client { reader: BufReader::new(stream), resp3 };
        if resp3 {
            client.ask(&[b"HELLO", b"3"]);
        }
        client
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A connection that gives replies as raw bytes.
pub(super) struct Client {
    reader: BufReader<TcpStream>,
    pub(super) resp3: bool,
}

impl Client {
    pub(super) fn ask(&mut self, parts: &[&[u8]]) -> Vec<u8> {
        let mut out = format!("*{}\r\n", parts.len()).into_bytes();
        for part in parts {
            out.extend_from_slice(format!("${}\r\n", part.len()).as_bytes());
            out.extend_from_slice(part);
            out.extend_from_slice(b"\r\n");
        }
        self.exchange(&out)
    }

    /// A command of words, its reply as text.
    pub(super) fn say(&mut self, line: &str) -> String {
        let parts: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        String::from_utf8_lossy(&self.ask(&parts)).into_owned()
    }

    pub(super) fn exchange(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.reader.get_mut().write_all(bytes).unwrap();
        self.frame()
    }

    pub(super) fn frame(&mut self) -> Vec<u8> {
        let (mut frame, mut pending) = (Vec::new(), 1_i64);
        while pending > 0 {
            let start = frame.len();
            self.reader.read_until(b'\n', &mut frame).unwrap();
            assert!(frame.len() > start, "the server closed the connection");
            pending -= 1;
            let line = String::from_utf8_lossy(&frame[start + 1..frame.len() - 2]).into_owned();
            match frame[start] {
                b'$' | b'=' | b'!' if line != "-1" => {
                    let length = line.parse::<usize>().unwrap() + 2;
                    let body = frame.len();
                    frame.resize(body + length, 0);
                    self.reader.read_exact(&mut frame[body..]).unwrap();
                }
                b'*' | b'~' | b'>' => pending += line.parse::<i64>().unwrap().max(0),
                b'%' => pending += 2 * line.parse::<i64>().unwrap(),
                _ => {}
            }
        }
        frame
    }

    /// Whatever bytes a key of an integer reply has.
    pub(super) fn integer(&mut self, line: &str) -> i64 {
        self.say(line).trim_start_matches(':').trim_end().parse().unwrap()
    }

    /// A guarded script on one key.
    pub(super) fn guarded(&mut self, script: &Script, key: &[u8], guard: Guard<'_>) -> i64 {
        let mut encoded = Vec::new();
        guard.encode(&mut encoded);
        let reply = self.ask(&[b"EVAL", script.text.as_bytes(), b"1", key, &encoded]);
        let reply = String::from_utf8(reply).unwrap();
        let number = reply.strip_prefix("*1\r\n:").unwrap_or_else(|| panic!("{reply}"));
        number.trim_end().parse().unwrap()
    }
}

/// What one call left behind.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// What the client gets.
    pub(super) reply: Vec<u8>,
    /// Reports as words: `+key` taken, `~key` kept, `-key` released.
    pub(super) changes: Vec<String>,
}

/// Runs scripts as Lockside does: in the envelope, then the guarded PERSIST of what was taken.
pub(super) struct Sidecar {
    pub(super) redis: Client,
    pub(super) persistent: bool,
    pub(super) stamp: Stamp,
    /// How many of the keys, from the first, are locks.
    pub(super) locks: usize,
    pub(super) run: Run,
    pub(super) random: u64,
}

impl Sidecar {
    pub(super) fn new(redis: Client) -> Self {
        let stamp = Stamp::Auto;
        Self { redis, persistent: true, stamp, locks: usize::MAX, run: Run::Text, random: 0 }
    }

    pub(super) fn terms(&self, index: usize) -> KeyTerms {
        KeyTerms {
            index,
            persistent: self.persistent,
            stamp: self.stamp,
            safety_ttl_ms: 10_000,
            virtual_ttl_ms: Some(VIRTUAL_TTL),
            default_ttl_ms: 3_600_000,
        }
    }

    pub(super) fn script(&mut self, text: &[u8], keys: &[&[u8]], args: &[&[u8]]) -> Answer {
        self.call(&Envelope::wrap(text), keys, args)
    }

    /// A direct command; its lock keys are named, because the caller's command table knows them.
    pub(super) fn command(&mut self, keys: &[&[u8]], command: &[&[u8]]) -> Answer {
        let envelope = Envelope::for_command(self.redis.resp3);
        self.call(envelope, keys, command)
    }

    fn call(&mut self, envelope: &Envelope, keys: &[&[u8]], args: &[&[u8]]) -> Answer {
        let frame = self.frame(envelope, keys, args);
        self.settle(&frame, keys)
    }

    /// Redis's own reply to the envelope.
    pub(super) fn frame(&mut self, envelope: &Envelope, keys: &[&[u8]], args: &[&[u8]]) -> Vec<u8> {
        self.random += 1;
        let unique = Unique::new(TIME, self.random).unwrap();
        let locks: Vec<_> = (0..keys.len().min(self.locks)).map(|i| self.terms(i)).collect();
        let (run, marker) = (self.run, MARKER);
        let call = Call {
            envelope,
            run,
            keys,
            args,
            locks: &locks,
            unique: &unique,
            marker,
            database: 0,
            counter: None,
        };
        let mut out = Vec::new();
        call.encode(&mut out);
        self.redis.exchange(&out)
    }

    fn settle(&mut self, frame: &[u8], keys: &[&[u8]]) -> Answer {
        let (taken, released, changed, reply) = match unwrap(frame, MARKER).unwrap() {
            Outcome::Raw => return Answer { reply: frame.to_vec(), changes: Vec::new() },
            Outcome::Wrapped { taken, released, changed, reply, .. } => {
                (taken, released, changed, reply)
            }
        };
        let name = |index: usize| String::from_utf8_lossy(keys[index]).into_owned();
        let mut changes = Vec::new();
        for lock in &released {
            changes.push(format!("-{}", name(lock.index)));
        }
        for lock in &changed {
            changes.push(format!("*{}", name(lock.index)));
        }
        for lock in &taken {
            let sign = if lock.fresh { '+' } else { '~' };
            changes.push(format!("{sign}{}", name(lock.index)));
            if self.persistent {
                self.redis.say(&format!("SELECT {}", lock.database));
                let done = self.redis.guarded(&PERSIST, keys[lock.index], lock.guard);
                assert_eq!(done, 1, "guarded PERSIST of {:?}", lock);
                self.redis.say("SELECT 0");
            }
        }
        let null: &[u8] = if self.redis.resp3 { b"_\r\n" } else { b"$-1\r\n" };
        Answer { reply: reply.unwrap_or(null).to_vec(), changes }
    }
}

/// Both servers, for one protocol.
pub(super) struct Pair {
    pub(super) direct: Client,
    pub(super) sidecar: Sidecar,
}

impl Pair {
    pub(super) fn connect(direct: &Server, enveloped: &Server, resp3: bool) -> Self {
        Self { direct: direct.connect(resp3), sidecar: Sidecar::new(enveloped.connect(resp3)) }
    }

    pub(super) fn reset(&mut self) {
        self.direct.say("FLUSHALL");
        self.sidecar.redis.say("FLUSHALL");
    }

    /// The same command as a client would send it to either.
    pub(super) fn set_up(&mut self, line: &str) {
        let parts: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let plain = self.direct.ask(&parts);
        let answer = self.sidecar.command(&[parts[1]], &parts);
        assert_eq!(text(&plain), text(&answer.reply), "set-up {line}");
    }

    /// The script's reply from both.
    pub(super) fn script(
        &mut self,
        script: &[u8],
        keys: &[&[u8]],
        args: &[&[u8]],
    ) -> (String, Answer) {
        let count = keys.len().to_string();
        let mut parts: Vec<&[u8]> = vec![b"EVAL", script, count.as_bytes()];
        if matches!(self.sidecar.run, Run::TextReadOnly | Run::ShaReadOnly) {
            parts[0] = b"EVAL_RO";
        }
        parts.extend(keys.iter().chain(args));
        let plain = self.direct.ask(&parts);
        (text(&plain), self.sidecar.script(script, keys, args))
    }
}

pub(super) fn text(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}
