//! A raw RESP client: bytes out, reply frames in, every read with a deadline.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use super::wait::{PATIENCE, poll_for};
use super::words::{encode, encode_line};

/// One connection.
pub(crate) struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    start: usize,
}

impl Client {
    /// Connects to a port of 127.0.0.1 where a server must listen.
    pub(crate) fn connect(port: u16) -> Self {
        Self::attempt(port).unwrap_or_else(|error| panic!("connect to port {port}: {error}"))
    }

    /// Connects, or says why not.
    pub(crate) fn attempt(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&([127, 0, 0, 1], port).into(), PATIENCE)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::new(), start: 0 })
    }

    /// Writes all bytes; panics if the peer has closed or takes nothing for long.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).unwrap();
    }

    /// Writes all bytes, or says why not.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Sends a line as a command.
    pub(crate) fn send_line(&mut self, line: &str) {
        self.send(&encode_line(line));
    }

    /// Sends a line as a command and reads one frame, as text.
    pub(crate) fn ask(&mut self, line: &str) -> String {
        self.send_line(line);
        self.text()
    }

    /// Sends a command of any bytes and reads one frame.
    pub(crate) fn call<A: AsRef<[u8]>>(&mut self, arguments: &[A]) -> Vec<u8> {
        self.send(&encode(arguments));
        self.frame()
    }

    /// The next frame as text.
    pub(crate) fn text(&mut self) -> String {
        String::from_utf8_lossy(&self.frame()).into_owned()
    }

    /// The next frame; panics if none comes in time or the connection ends before it.
    pub(crate) fn frame(&mut self) -> Vec<u8> {
        match self.frame_within(PATIENCE) {
            Ok(frame) => frame,
            Err(error) => {
                let rest = &self.buffer[self.start..];
                let rest = String::from_utf8_lossy(&rest[..rest.len().min(300)]);
                panic!("no frame: {error}; read so far: {rest:?}")
            }
        }
    }

    /// The next frame, or why there is none (`TimedOut`, `UnexpectedEof`).
    pub(crate) fn frame_within(&mut self, patience: Duration) -> io::Result<Vec<u8>> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(length) = frame_length(&self.buffer[self.start..]) {
                let frame = self.buffer[self.start..self.start + length].to_vec();
                self.start += length;
                return Ok(frame);
            }
            self.fill(deadline)?;
        }
    }

    /// `count` frames, one after the other.
    pub(crate) fn frames(&mut self, count: usize) -> Vec<Vec<u8>> {
        (0..count).map(|_| self.frame()).collect()
    }

    /// Everything up to the end of the connection; panics if it stays open.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        self.rest_within(PATIENCE)
    }

    /// As `rest`, with another patience.
    pub(crate) fn rest_within(&mut self, patience: Duration) -> Vec<u8> {
        let deadline = Instant::now() + patience;
        loop {
            match self.fill(deadline) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::TimedOut => {
                    panic!("still open; read {:?}", String::from_utf8_lossy(self.pending()))
                }
                Err(_) => return self.buffer.split_off(self.start),
            }
        }
    }

    /// What has been read and not been taken as a frame.
    pub(crate) fn pending(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    /// Ends the writing half: the peer sees the end, replies can still come.
    pub(crate) fn finish(&mut self) {
        // Fails where the peer has closed already: then it has seen the end.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Sends a command that all that was sent before has been read by then: PING on this
    /// connection, whose server answers its clients in the order in which they became ready.
    pub(crate) fn fence(&mut self) {
        assert_eq!(self.ask("PING fence"), "$5\r\nfence\r\n");
    }

    /// The socket, for tests that read or write by themselves.
    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Reads more into the buffer, or fails with `TimedOut` or `UnexpectedEof`.
    fn fill(&mut self, deadline: Instant) -> io::Result<()> {
        if self.start > 1 << 20 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        self.stream.set_read_timeout(Some(left))?;
        let mut chunk = [0; 64 << 10];
        match self.stream.read(&mut chunk) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                self.buffer.extend_from_slice(&chunk[..count]);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Err(ErrorKind::TimedOut.into()),
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Asks until the reply satisfies `good`; panics with the last reply.
pub(crate) fn ask_until(client: &mut Client, line: &str, good: impl Fn(&str) -> bool) -> String {
    let what = format!("a good reply to {line}");
    poll_for(&what, PATIENCE, || Some(client.ask(line)).filter(|reply| good(reply)))
}

/// Length of the frame at the start of `bytes`, if it is there to its end. RESP2 and RESP3.
pub(crate) fn frame_length(bytes: &[u8]) -> Option<usize> {
    let line_end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    let (kind, head) = (bytes[0], &bytes[1..line_end]);
    let mut at = line_end + 2;
    let number = || std::str::from_utf8(head).ok()?.parse::<i64>().ok();
    let items = match kind {
        b'+' | b'-' | b':' | b',' | b'#' | b'_' | b'(' => return Some(at),
        b'$' | b'=' | b'!' => {
            let body = usize::try_from(number()?).map_or(0, |length| length + 2);
            return (bytes.len() >= at + body).then_some(at + body);
        }
        b'*' | b'~' | b'>' => number()?.max(0),
        b'%' => number()? * 2,
        b'|' => number()? * 2 + 1,
        other => panic!("no RESP type: {:?} in {:?}", other as char, String::from_utf8_lossy(head)),
    };
    for _ in 0..items {
        at += frame_length(&bytes[at..])?;
    }
    Some(at)
}
