//! A relay of bytes between Lockside and a Redis, which can be in trouble as networks are, and can
//! be led to another Redis.
//!
//! It knows nothing of commands: `fault_proxy` meets single ones, this one meets all. Trouble holds
//! for the links that stand and for new ones until it is changed. Each link has two threads that
//! sleep while nothing comes.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use super::process::free_port;
use super::wait::{PATIENCE, poll_for};

/// What is wrong with the way to Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Nothing.
    None,
    /// Nobody listens: connects are refused. Links that stand go on.
    Refuse,
    /// New links are accepted and closed at once. Links that stand go on.
    Hangup,
    /// Nothing is passed on, in either direction; afterwards it all arrives, late.
    BlackHole,
    /// Every piece takes this long, in each direction.
    Delay(Duration),
    /// Each link passes so many bytes more (both directions together), and is cut then.
    CutAfter(usize),
    /// Redis has lost the link, and Lockside has not been told: what it sends goes nowhere.
    HalfOpen,
}

struct Plan {
    trouble: Trouble,
    /// The process whose links are in trouble; none: all are.
    only: Option<u32>,
    /// Changes with the trouble.
    generation: u64,
    target: u16,
    /// Near ends of the links that were accepted.
    open: Vec<TcpStream>,
    listens: bool,
    over: bool,
}

type Shared = Arc<(Mutex<Plan>, Condvar)>;

/// The relay. Dropped, it cuts every link.
pub(crate) struct Relay {
    port: u16,
    shared: Shared,
}

impl Relay {
    /// Starts before the server at this port of 127.0.0.1, on a port of its own.
    pub(crate) fn before(target: u16) -> Self {
        let port = free_port();
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let (trouble, only, open) = (Trouble::None, None, Vec::new());
        let plan = Plan { trouble, only, generation: 0, target, open, listens: true, over: false };
        let shared: Shared = Arc::new((Mutex::new(plan), Condvar::new()));
        let plan = shared.clone();
        thread::spawn(move || listen(listener, port, &plan));
        Self { port, shared }
    }

    /// Where Lockside finds it, on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// From now on this is what is wrong. Links that were half open are reset by what comes next.
    pub(crate) fn set(&self, trouble: Trouble) {
        self.begin(trouble, None);
    }

    /// As `set`, for the links of one process alone. Connects are not refused for one: they are
    /// closed at once.
    pub(crate) fn set_for(&self, pid: u32, trouble: Trouble) {
        assert_ne!(trouble, Trouble::Refuse);
        self.begin(trouble, Some(pid));
    }

    fn begin(&self, trouble: Trouble, only: Option<u32>) {
        self.change(|plan| {
            (plan.trouble, plan.only) = (trouble, only);
            plan.generation += 1;
        });
        // Wakes the thread that accepts, if it does.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        poll_for("the relay listens or not", PATIENCE, || {
            self.change(|plan| plan.listens == (trouble != Trouble::Refuse)).then_some(())
        });
    }

    /// Cuts every link that stands.
    pub(crate) fn reset(&self) {
        for link in self.change(|plan| std::mem::take(&mut plan.open)) {
            // Closed already is as good.
            let _ = link.shutdown(Shutdown::Both);
        }
    }

    /// New links lead to the server at this port; those that stand are cut.
    pub(crate) fn lead_to(&self, target: u16) {
        self.change(|plan| plan.target = target);
        self.reset();
    }

    fn change<T>(&self, change: impl FnOnce(&mut Plan) -> T) -> T {
        let result = change(&mut self.shared.0.lock().unwrap());
        self.shared.1.notify_all();
        result
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Ok(mut plan) = self.shared.0.lock() {
            plan.over = true;
        }
        self.shared.1.notify_all();
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        self.reset();
    }
}

/// Accepts links; closes the listener while connects are to be refused.
fn listen(mut listener: TcpListener, port: u16, shared: &Shared) {
    loop {
        let accepted = listener.accept();
        let mut plan = shared.0.lock().unwrap();
        if plan.over {
            return;
        }
        if plan.trouble == Trouble::Refuse {
            drop(listener);
            plan.listens = false;
            shared.1.notify_all();
            let wanted = |plan: &mut Plan| plan.trouble == Trouble::Refuse && !plan.over;
            plan = shared.1.wait_while(plan, wanted).unwrap();
            if plan.over {
                return;
            }
            listener = poll_for("the relay's port again", PATIENCE, || {
                TcpListener::bind(("127.0.0.1", port)).ok()
            });
            plan.listens = true;
            shared.1.notify_all();
        } else if let Ok((near, peer)) = accepted {
            let owner = Arc::new(Owner { ports: (peer.port(), port), inode: OnceLock::new() });
            link(near, owner, &mut plan, shared);
        }
    }
}

/// Whose link it is. Asked only where that matters, and while nobody waits: the system lists each
/// socket of each process, and those that are closed for a minute more.
struct Owner {
    /// Lockside's port and the relay's.
    ports: (u16, u16),
    /// Of Lockside's socket, once it was looked up.
    inode: OnceLock<u64>,
}

impl Owner {
    /// True if it is this process.
    fn is(&self, pid: u32) -> bool {
        has_socket(pid, self.inode())
    }

    fn inode(&self) -> u64 {
        *self.inode.get_or_init(|| inode_of(self.ports))
    }
}

/// The inode of the socket that connects this port to that one, as the system lists it.
fn inode_of((local, remote): (u16, u16)) -> u64 {
    let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    let ends = format!(" 0100007F:{local:04X} 0100007F:{remote:04X} ");
    let line = sockets.lines().find(|line| line.contains(&ends)).unwrap_or_default();
    line.split_whitespace().nth(9).and_then(|inode| inode.parse().ok()).unwrap_or(0)
}

/// True if the process has this socket open.
fn has_socket(pid: u32, inode: u64) -> bool {
    let name = format!("socket:[{inode}]");
    let files = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    files.filter_map(|file| std::fs::read_link(file.path()).ok()).any(|to| to.as_os_str() == &*name)
}

impl Plan {
    /// Whose links alone are in trouble.
    fn singled_out(&self) -> Option<u32> {
        self.only.filter(|_| self.trouble != Trouble::None)
    }
}

/// The plan, and what it says is wrong with the link of this owner. The plan is free meanwhile.
fn look<'a>(plan: &'a Mutex<Plan>, owner: &Owner) -> (MutexGuard<'a, Plan>, Trouble) {
    loop {
        let now = plan.lock().unwrap();
        let Some(pid) = now.singled_out() else {
            let trouble = now.trouble;
            return (now, trouble);
        };
        drop(now);
        let is_meant = owner.is(pid);
        let now = plan.lock().unwrap();
        if now.singled_out() == Some(pid) {
            let trouble = if is_meant { now.trouble } else { Trouble::None };
            return (now, trouble);
        }
    }
}

/// Two threads for one link. Nobody behind it: it is closed.
fn link(near: TcpStream, owner: Arc<Owner>, plan: &mut MutexGuard<'_, Plan>, shared: &Shared) {
    let (generation, target) = (plan.generation, plan.target);
    let (Ok(handle), Ok(near_again)) = (near.try_clone(), near.try_clone()) else { return };
    // Those that have ended have no peer any more.
    plan.open.retain(|link| link.peer_addr().is_ok());
    plan.open.push(handle);
    let shared = shared.clone();
    thread::spawn(move || {
        if look(&shared.0, &owner).1 == Trouble::Hangup {
            let _ = near.shutdown(Shutdown::Both);
            return;
        }
        let Ok(far) = TcpStream::connect(("127.0.0.1", target)) else {
            let _ = near.shutdown(Shutdown::Both);
            return;
        };
        let _ = (near.set_nodelay(true), far.set_nodelay(true));
        let Ok(far_again) = far.try_clone() else { return };
        let left = Arc::new(Mutex::new(Budget { generation, bytes: 0 }));
        let down =
            Pump { shared: shared.clone(), left: left.clone(), owner: owner.clone(), down: true };
        thread::spawn(move || down.run(far_again, near_again));
        Pump { shared, left, owner, down: false }.run(near, far);
    });
}

/// What a link may still pass under `CutAfter`, counted from the moment it was set.
struct Budget {
    generation: u64,
    bytes: usize,
}

/// One direction of one link.
struct Pump {
    shared: Shared,
    left: Arc<Mutex<Budget>>,
    owner: Arc<Owner>,
    /// From Redis to Lockside.
    down: bool,
}

/// What becomes of one piece.
enum Passage {
    Whole,
    /// So many bytes, and then the end.
    Cut(usize),
    /// Redis's end is closed, Lockside's is not.
    HalfOpen,
}

impl Pump {
    fn run(self, mut from: TcpStream, mut to: TcpStream) {
        let mut piece = [0; 16 << 10];
        while let Ok(count @ 1..) = from.read(&mut piece) {
            let bytes = match self.passage(count) {
                Passage::Whole => count,
                Passage::Cut(bytes) => bytes,
                Passage::HalfOpen => {
                    self.half_open(&from, &to);
                    break;
                }
            };
            if to.write_all(&piece[..bytes]).is_err() || bytes < count {
                break;
            }
        }
        let _ = from.shutdown(Shutdown::Both);
        // Lockside is not told of a half-open link; the other direction ends with it.
        if !(self.down && self.is_half_open()) {
            let _ = to.shutdown(Shutdown::Both);
        }
    }

    /// Waits as the trouble says; then what may pass.
    fn passage(&self, count: usize) -> Passage {
        let (lock, bell) = &*self.shared;
        let came = Instant::now();
        loop {
            let (plan, trouble) = look(lock, &self.owner);
            match trouble {
                _ if plan.over => return Passage::Cut(0),
                Trouble::None | Trouble::Refuse | Trouble::Hangup => return Passage::Whole,
                Trouble::HalfOpen => return Passage::HalfOpen,
                Trouble::BlackHole => drop(bell.wait(plan).unwrap()),
                Trouble::Delay(delay) => match delay.checked_sub(came.elapsed()) {
                    None => return Passage::Whole,
                    Some(rest) => drop(bell.wait_timeout(plan, rest).unwrap()),
                },
                Trouble::CutAfter(bytes) => return self.spend(count, bytes, plan.generation),
            }
        }
    }

    fn spend(&self, count: usize, bytes: usize, generation: u64) -> Passage {
        let mut left = self.left.lock().unwrap();
        if left.generation != generation || left.bytes == 0 {
            *left = Budget { generation, bytes };
        }
        if count >= left.bytes {
            return Passage::Cut(left.bytes);
        }
        left.bytes -= count;
        Passage::Whole
    }

    /// Ends Redis's end, and swallows what Lockside sends while the trouble lasts.
    fn half_open(&self, from: &TcpStream, to: &TcpStream) {
        let (far, mut near) = if self.down { (from, to) } else { (to, from) };
        let _ = far.shutdown(Shutdown::Both);
        let mut piece = [0; 16 << 10];
        while self.is_half_open() && matches!(near.read(&mut piece), Ok(1..)) {}
    }

    fn is_half_open(&self) -> bool {
        let (plan, trouble) = look(&self.shared.0, &self.owner);
        trouble == Trouble::HalfOpen && !plan.over
    }
}
