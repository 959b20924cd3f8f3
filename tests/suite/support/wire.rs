//! A wire between Lockside and Redis that a test can hold, cut, or make lose a reply.
//!
//! It forwards bytes as they come. What it looks for is looked for in each piece that was read at
//! once, in any case: good enough for a lock command, which is small and sent by itself.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use super::redis::Redis;
use super::wait::PATIENCE;

/// What the wire waits for.
#[derive(Default)]
struct Plan {
    /// Pieces with this word wait before Redis.
    hold: Option<&'static str>,
    /// How many pieces have been held.
    held: usize,
    /// The reply to the first piece with this word is lost, and the connection with it.
    lose: Option<&'static str>,
    /// How many replies have been lost.
    lost: usize,
}

/// The wire. It ends with the test's process.
pub(crate) struct Wire {
    port: u16,
    plan: Arc<(Mutex<Plan>, Condvar)>,
}

impl Wire {
    /// A port whose connections lead to `redis`.
    pub(crate) fn before(redis: &Redis) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (port, target) = (listener.local_addr().unwrap().port(), redis.port());
        let plan = Arc::new((Mutex::new(Plan::default()), Condvar::new()));
        let shared = plan.clone();
        std::thread::spawn(move || {
            for near in listener.incoming().flatten() {
                if let Ok(far) = TcpStream::connect(("127.0.0.1", target)) {
                    connect(near, far, &shared);
                }
            }
        });
        Self { port, plan }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// From now on pieces with this word wait before Redis.
    pub(crate) fn hold(&self, word: &'static str) {
        self.plan.0.lock().unwrap().hold = Some(word);
    }

    /// Waits until a piece is held.
    pub(crate) fn wait_held(&self) {
        self.wait("a piece is held", |plan| plan.held > 0);
    }

    /// What is held goes on, and nothing is held any more.
    pub(crate) fn release(&self) {
        self.plan.0.lock().unwrap().hold = None;
        self.plan.1.notify_all();
    }

    /// Loses the reply to the next piece with this word: Redis has done it, nobody hears of it.
    pub(crate) fn lose_reply(&self, word: &'static str) {
        self.plan.0.lock().unwrap().lose = Some(word);
    }

    /// Waits until the reply is lost.
    pub(crate) fn wait_lost(&self) {
        self.wait("a reply is lost", |plan| plan.lost > 0);
    }

    fn wait(&self, what: &str, done: impl Fn(&Plan) -> bool) {
        let plan = self.plan.0.lock().unwrap();
        let (plan, _) = self.plan.1.wait_timeout_while(plan, PATIENCE, |plan| !done(plan)).unwrap();
        assert!(done(&plan), "waited in vain: {what}");
    }
}

/// Forwards both directions of one connection, each by a thread.
fn connect(near: TcpStream, far: TcpStream, plan: &Arc<(Mutex<Plan>, Condvar)>) {
    let losing = Arc::new(AtomicBool::new(false));
    let (near_again, far_again) = (near.try_clone().unwrap(), far.try_clone().unwrap());
    let (up_plan, down_plan) = (plan.clone(), plan.clone());
    let lose = losing.clone();
    for stream in [&near, &far] {
        stream.set_nodelay(true).unwrap();
    }
    std::thread::spawn(move || {
        forward(near, far, |piece| {
            let (plan, changed) = &*up_plan;
            let mut plan = plan.lock().unwrap();
            if plan.hold.is_some_and(|word| contains(piece, word)) {
                plan.held += 1;
                changed.notify_all();
                plan = changed.wait_while(plan, |plan| plan.hold.is_some()).unwrap();
            }
            if plan.lose.is_some_and(|word| contains(piece, word)) {
                plan.lose = None;
                lose.store(true, Ordering::SeqCst);
            }
            true
        });
    });
    std::thread::spawn(move || {
        forward(far_again, near_again, |_| {
            let lost = losing.load(Ordering::SeqCst);
            if lost {
                down_plan.0.lock().unwrap().lost += 1;
                down_plan.1.notify_all();
            }
            !lost
        });
    });
}

/// Forwards pieces while `pass` says so; then both ends are closed.
fn forward(mut from: TcpStream, mut to: TcpStream, pass: impl Fn(&[u8]) -> bool) {
    let mut piece = [0; 16 << 10];
    while let Ok(count) = from.read(&mut piece) {
        if count == 0 || !pass(&piece[..count]) || to.write_all(&piece[..count]).is_err() {
            break;
        }
    }
    for stream in [from, to] {
        let _ = stream.shutdown(Shutdown::Both);
    }
}

fn contains(piece: &[u8], word: &str) -> bool {
    piece.windows(word.len()).any(|window| window.eq_ignore_ascii_case(word.as_bytes()))
}
