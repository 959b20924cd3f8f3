//! A link to Redis that fails on purpose: it sits between Lockside and a redis-server, cuts the
//! commands that Lockside sends out of the stream, and loses, holds or drops what a test says.
//!
//! Commands are counted and matched over all links, in the order in which they come. What no fault
//! is set for goes through untouched. It knows nothing of Lockside.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use super::client::frame_length;
use super::redis::Redis;
use super::wait::{PATIENCE, wait_until};

/// What happens to one command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Redis carries it out; its reply is dropped and the link cut.
    LoseReply,
    /// It never reaches Redis, and the link is cut.
    LoseCommand,
    /// It waits, and all behind it on its link, until [`FaultProxy::release`]. It is carried out
    /// then even if Lockside has closed the link.
    HoldCommand,
    /// Redis carries it out; the reply waits until [`FaultProxy::release`].
    HoldReply,
}

#[derive(Debug, Default)]
struct Plan {
    /// Faults to come, each for the next command that contains its words.
    faults: VecDeque<(&'static str, Fault)>,
    /// Each command that came, its arguments joined by spaces.
    seen: Vec<String>,
    /// Commands or replies that are held now.
    held: usize,
    /// How often [`FaultProxy::release`] was called.
    releases: usize,
    /// The links that were accepted.
    open: Vec<TcpStream>,
    refuses: bool,
    swallows: bool,
    over: bool,
}

type Shared = Arc<(Mutex<Plan>, Condvar)>;

/// The proxy. Dropped, it lets go of everything.
pub(crate) struct FaultProxy {
    port: u16,
    shared: Shared,
}

impl FaultProxy {
    /// Starts in front of `redis`, on a port of its own.
    pub(crate) fn start(redis: &Redis) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Shared::default();
        let (plan, redis) = (shared.clone(), redis.port());
        thread::spawn(move || accept(&listener, redis, &plan));
        Self { port, shared }
    }

    /// Where Lockside finds it, on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The next command that contains `words` (and that no fault set before takes) meets `fault`.
    pub(crate) fn next(&self, words: &'static str, fault: Fault) {
        self.change(|plan| plan.faults.push_back((words, fault)));
    }

    /// From now on new connections are closed at once, or no longer.
    pub(crate) fn refuse(&self, refuses: bool) {
        self.change(|plan| plan.refuses = refuses);
    }

    /// From now on nothing that comes is passed on, on any link: a black hole.
    pub(crate) fn swallow(&self) {
        self.change(|plan| plan.swallows = true);
    }

    /// Cuts every link that stands.
    pub(crate) fn cut_all(&self) {
        let links = self.change(|plan| std::mem::take(&mut plan.open));
        for link in links {
            // Closed already is as good.
            let _ = link.shutdown(Shutdown::Both);
        }
    }

    /// Waits until `count` commands or replies are held.
    pub(crate) fn wait_held(&self, count: usize) {
        wait_until("held", || self.change(|plan| plan.held) >= count);
    }

    /// Lets everything go on that is held now.
    pub(crate) fn release(&self) {
        self.change(|plan| plan.releases += 1);
    }

    /// How many commands that contain `words` came so far.
    pub(crate) fn count(&self, words: &str) -> usize {
        self.change(|plan| plan.seen.iter().filter(|command| command.contains(words)).count())
    }

    /// True once every fault has met its command.
    pub(crate) fn is_done(&self) -> bool {
        self.change(|plan| plan.faults.is_empty())
    }

    fn change<T>(&self, change: impl FnOnce(&mut Plan) -> T) -> T {
        let result = change(&mut self.shared.0.lock().unwrap());
        self.shared.1.notify_all();
        result
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        if let Ok(mut plan) = self.shared.0.lock() {
            (plan.over, plan.releases) = (true, usize::MAX);
        }
        self.shared.1.notify_all();
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn accept(listener: &TcpListener, redis: u16, shared: &Shared) {
    for link in listener.incoming() {
        let Ok(link) = link else { return };
        {
            let mut plan = shared.0.lock().unwrap();
            if plan.over {
                return;
            }
            if plan.refuses {
                continue;
            }
            plan.open.extend(link.try_clone());
        }
        let shared = shared.clone();
        thread::spawn(move || {
            let Ok(redis) = TcpStream::connect(("127.0.0.1", redis)) else { return };
            let _ = (redis.set_nodelay(true), link.set_nodelay(true));
            // An end of any kind ends the link; whoever is left on it sees the close.
            let _ = Link { link, redis, shared }.run();
        });
    }
}

/// One link. Commands go through one at a time, each with its reply: what Lockside sends as
/// pipelines is passed on as such a row, which is the same to both ends.
struct Link {
    link: TcpStream,
    redis: TcpStream,
    shared: Shared,
}

impl Link {
    fn run(mut self) -> std::io::Result<()> {
        let (mut commands, mut replies) = (Vec::new(), Vec::new());
        loop {
            let command = next_frame(&mut self.link, &mut commands)?;
            let fault = self.meet(&command);
            match fault {
                Some(Fault::LoseCommand) => return self.cut(),
                Some(Fault::HoldCommand) => self.hold(),
                _ => {}
            }
            self.redis.write_all(&command)?;
            let reply = next_frame(&mut self.redis, &mut replies)?;
            match fault {
                Some(Fault::LoseReply) => return self.cut(),
                Some(Fault::HoldReply) => self.hold(),
                _ => {}
            }
            // Whoever held the link may have gone; what it sent behind is carried out all the same.
            let _ = self.link.write_all(&reply);
        }
    }

    /// Counts the command; gives what is to happen to it. In a black hole: waits for the end.
    fn meet(&self, command: &[u8]) -> Option<Fault> {
        let text = text_of(command);
        let (lock, bell) = &*self.shared;
        let mut plan = lock.lock().unwrap();
        while plan.swallows && !plan.over {
            plan = bell.wait(plan).unwrap();
        }
        let at = plan.faults.iter().position(|(words, _)| text.contains(words));
        plan.seen.push(text);
        at.and_then(|at| plan.faults.remove(at)).map(|(_, fault)| fault)
    }

    fn hold(&self) {
        let (lock, bell) = &*self.shared;
        let mut plan = lock.lock().unwrap();
        let before = plan.releases;
        plan.held += 1;
        while plan.releases == before {
            plan = bell.wait_timeout(plan, PATIENCE).unwrap().0;
        }
        plan.held -= 1;
    }

    fn cut(&self) -> std::io::Result<()> {
        self.link.shutdown(Shutdown::Both)
    }
}

/// The next whole frame; an error at the end of the stream.
fn next_frame(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> std::io::Result<Vec<u8>> {
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let mut chunk = [0; 16 << 10];
    loop {
        if let Some(length) = frame_length(buffer) {
            return Ok(buffer.drain(..length).collect());
        }
        match stream.read(&mut chunk)? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            count => buffer.extend_from_slice(&chunk[..count]),
        }
    }
}

/// The arguments of a command, joined by spaces.
fn text_of(command: &[u8]) -> String {
    let text = String::from_utf8_lossy(command);
    let lines: Vec<&str> = text.split("\r\n").collect();
    lines.iter().skip(2).step_by(2).copied().collect::<Vec<_>>().join(" ")
}
