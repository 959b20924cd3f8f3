//! One worker: an OS thread with a loop of its own that owns its listeners, connections, links
//! and deadlines.
//!
//! Each socket is registered once, edge-triggered. A connection and its link live on one worker
//! for their whole life, so nothing on the path of a command is shared between threads: no task,
//! no channel, no wake-up.

mod conn;
mod listener;
pub mod mail;
mod timers;
mod wires;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::{Events, Poll, Token, Waker};
use slab::Slab;

use crate::mode::View;
use crate::session::flights::Flights;
use crate::session::{Session, Shared};
use crate::upstream::Upstream;
use crate::upstream::stream::Stream;

use conn::{After, Conn, Driver};
pub use listener::Listener;
pub use mail::{Letter, Mailbox, Mailboxes};
use timers::Timers;
use wires::Turn;

/// Limits of a worker's loop (SPEC 9).
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections in all; one more is refused with Redis's own words.
    pub max_clients: usize,
    /// Bytes of unfinished commands of one client.
    pub client_buffer: usize,
    /// Replies that wait for one client; above it Redis is not read for it.
    pub client_output: usize,
    /// Commands that wait for one link; above it the client is not read.
    pub upstream_output: usize,
    /// Bytes that all connections together may hold.
    pub total_buffer: usize,
    /// How long a connect may take.
    pub connect_timeout: Duration,
    /// How long a connection whose client has gone waits for Redis to close its end.
    pub linger: Duration,
    /// How long in-flight commands may take once the process is to end.
    pub drain_timeout: Duration,
}

/// What all workers share.
pub struct Common {
    /// What their sessions share.
    pub shared: Shared,
    /// Where Redis is.
    pub upstream: Arc<Upstream>,
    /// Their limits.
    pub limits: Limits,
    /// Connections in all workers.
    pub clients: AtomicUsize,
    /// Set when the process is to end.
    pub draining: AtomicBool,
    /// Where other threads leave what they have to say, one for each worker.
    pub mail: Mailboxes,
}

/// How much is read from a socket at once; also how much one worker needs for reading.
const SCRATCH: usize = 64 * 1024;
/// Events taken from the kernel at once.
const EVENTS: usize = 1024;
const WAKE: Token = Token(usize::MAX);
/// A listener's token has this bit; a connection's has not.
const LISTENER: usize = 1 << 62;
/// The link's token of a connection has this bit, the client's has not.
const LINK: usize = 1;
/// How soon to accept again after the process ran out of descriptors.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// One worker's state.
pub struct Worker {
    /// From 0.
    number: usize,
    poll: Poll,
    common: Arc<Common>,
    listeners: Vec<Listener>,
    conns: Slab<Slot>,
    flights: Flights,
    timers: Timers,
    scratch: Vec<u8>,
    /// Connections that have more to do at once.
    busy: Vec<usize>,
    origin: Instant,
    /// From `origin` to this turn of the loop: worked out once, used by every connection.
    elapsed: Duration,
    generation: u32,
    accept_again: Option<Instant>,
    drain_until: Option<Instant>,
    buffered: usize,
    /// The mode that the sessions know of.
    view: View,
}

struct Slot {
    conn: Box<Conn>,
    generation: u32,
    buffered: usize,
}

impl Worker {
    /// A worker for these listeners. `held_cache` is how long a "held" answers for others.
    pub fn new(
        number: usize,
        common: Arc<Common>,
        mut listeners: Vec<Listener>,
        held_cache: Duration,
        origin: Instant,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        for (index, listener) in listeners.iter_mut().enumerate() {
            listener.register(poll.registry(), Token(LISTENER | index))?;
        }
        if let Some(mailbox) = common.mail.get(number) {
            mailbox.belongs_to(Waker::new(poll.registry(), WAKE)?);
        }
        Ok(Self {
            view: common.shared.board.view(),
            number,
            poll,
            common,
            listeners,
            conns: Slab::new(),
            flights: Flights::new(held_cache),
            timers: Timers::default(),
            scratch: vec![0; SCRATCH],
            busy: Vec::new(),
            origin,
            elapsed: Duration::ZERO,
            generation: 0,
            accept_again: None,
            drain_until: None,
            buffered: 0,
        })
    }

    /// Runs until the process is to end and what was in flight has finished. Gives how many
    /// connections had to be cut off.
    pub fn run(mut self) -> io::Result<usize> {
        let mut events = Events::with_capacity(EVENTS);
        loop {
            match self.poll.poll(&mut events, self.patience()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result?,
            }
            let now = Instant::now();
            self.elapsed = now.saturating_duration_since(self.origin);
            // Whoever has gone by now is known before anybody is answered.
            for event in &events {
                self.note_closed(event, now);
            }
            for event in &events {
                self.event(event, now);
            }
            self.due(now);
            if let Some(cut_off) = self.drained(now) {
                return Ok(cut_off);
            }
        }
    }

    /// How long the loop may sleep.
    fn patience(&self) -> Option<Duration> {
        if !self.busy.is_empty() {
            return Some(Duration::ZERO);
        }
        let next = [self.timers.next(), self.accept_again, self.drain_until];
        let next = next.into_iter().flatten().min()?;
        Some(next.saturating_duration_since(Instant::now()))
    }

    fn event(&mut self, event: &Event, now: Instant) {
        let Token(token) = event.token();
        if event.token() == WAKE {
            self.open_mail(now);
            return;
        }
        if token & LISTENER != 0 {
            self.accept(token & !LISTENER, now);
            return;
        }
        let Some(index) = self.index_of(event) else { return };
        let Some(Slot { conn, .. }) = self.conns.get_mut(index) else { return };
        match token & LINK != 0 {
            true => conn.link_ready(event.is_readable(), is_closed(event)),
            false => conn.client_ready(event.is_readable(), is_closed(event)),
        }
        self.turn(index, now);
    }

    /// The client's side of a connection has ended.
    fn note_closed(&mut self, event: &Event, now: Instant) {
        let Token(token) = event.token();
        let is_client = event.token() != WAKE && token & (LISTENER | LINK) == 0;
        if is_client
            && is_closed(event)
            && let Some(index) = self.index_of(event)
        {
            self.drive(index, now, |driver| driver.client_closed());
        }
    }

    /// The connection that is meant, if it is still there.
    fn index_of(&self, event: &Event) -> Option<usize> {
        let Token(token) = event.token();
        let index = (token & 0xffff_ffff) >> 1;
        let generation = (token >> 32) as u32;
        self.conns.get(index).filter(|slot| slot.generation == generation)?;
        Some(index)
    }

    /// Answers of the ledger, and a mode that has changed.
    fn open_mail(&mut self, now: Instant) {
        let common = self.common.clone();
        let letters = common.mail.get(self.number).map(Mailbox::take).unwrap_or_default();
        for ((index, generation), letter) in letters {
            if self.conns.get(index).is_some_and(|slot| slot.generation == generation) {
                self.drive(index, now, |driver| {
                    driver.with(|session, cx| match &letter {
                        Letter::Answer(answer) => session.ledger_answered(answer, cx),
                        Letter::Told(told) => session.ledger_told(told, cx),
                        Letter::Bell => session.rung(cx),
                    });
                });
                self.turn(index, now);
            }
        }
        let view = common.shared.board.view();
        if view != std::mem::replace(&mut self.view, view) {
            let all: Vec<usize> = self.conns.iter().map(|(index, _)| index).collect();
            for index in all {
                self.drive(index, now, |driver| driver.view_changed());
                self.turn(index, now);
            }
        }
    }

    /// What is due beside events: busy connections, deadlines, verdicts, accepting.
    fn due(&mut self, now: Instant) {
        for index in std::mem::take(&mut self.busy) {
            if self.conns.contains(index) {
                self.turn(index, now);
            }
        }
        while let Some((index, generation)) = self.timers.pop_due(now) {
            if let Some(slot) = self.conns.get_mut(index)
                && slot.generation == generation
            {
                slot.conn.reminder = None;
                self.turn(index, now);
            }
        }
        while let Some(((index, generation), verdict, question)) = self.flights.next_verdict() {
            let mut delivered = false;
            if self.conns.get(index).is_some_and(|slot| slot.generation == generation) {
                self.drive(index, now, |driver| {
                    delivered = driver.with(|session, cx| session.verdict(verdict, cx));
                });
                self.turn(index, now);
            }
            if !delivered {
                self.flights.undelivered(verdict, &question, self.elapsed);
            }
        }
        if self.accept_again.is_some_and(|at| at <= now) {
            self.accept_again = None;
            (0..self.listeners.len()).for_each(|index| self.accept(index, now));
        }
    }

    /// One turn of one connection.
    fn turn(&mut self, index: usize, now: Instant) {
        let mut after = After::Keep;
        self.drive(index, now, |driver| after = driver.run());
        match after {
            After::Close => return self.close(index),
            After::Again => self.busy.push(index),
            After::Keep => {}
        }
        let Some(slot) = self.conns.get_mut(index) else { return };
        let buffered = slot.conn.buffered();
        self.buffered = self.buffered + buffered - slot.buffered;
        slot.buffered = buffered;
        if let Some(at) = slot.conn.deadline(self.origin)
            && slot.conn.reminder.is_none_or(|reminder| reminder > at)
        {
            slot.conn.reminder = Some(at);
            self.timers.arm(at, (index, slot.generation));
        }
    }

    fn drive(&mut self, index: usize, now: Instant, step: impl FnOnce(&mut Driver<'_, '_>)) {
        let Some(slot) = self.conns.get_mut(index) else { return };
        let turn = Turn {
            registry: self.poll.registry(),
            upstream: &self.common.upstream,
            limits: &self.common.limits,
            now,
            crowded: self.buffered > self.common.limits.total_buffer,
        };
        step(&mut Driver {
            conn: &mut slot.conn,
            turn: &turn,
            scratch: &mut self.scratch,
            shared: &self.common.shared,
            flights: &mut self.flights,
            now: self.elapsed,
            worker: self.number,
        });
    }

    fn accept(&mut self, listener: usize, now: Instant) {
        loop {
            let Some(accepted) = self.listeners.get(listener).map(Listener::accept) else { return };
            match accepted {
                Ok((client, peer)) => self.welcome(client, peer),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if listener::is_passing(&error) => {}
                Err(error) => {
                    // Out of descriptors or memory: what is open goes on, the rest waits.
                    tracing::warn!(%error, "can't accept a connection; trying again");
                    self.accept_again = Some(now + ACCEPT_AGAIN);
                    return;
                }
            }
        }
    }

    fn welcome(&mut self, mut client: Stream, peer: Arc<str>) {
        if self.common.clients.fetch_add(1, Ordering::Relaxed) >= self.common.limits.max_clients {
            self.common.clients.fetch_sub(1, Ordering::Relaxed);
            listener::turn_away(&mut client);
            return;
        }
        self.generation = self.generation.wrapping_add(1) & 0x1fff_ffff;
        let generation = self.generation;
        let entry = self.conns.vacant_entry();
        let index = entry.key();
        let token = (generation as usize) << 32 | index << 1;
        if let Err(error) = client.register(self.poll.registry(), Token(token)) {
            tracing::warn!(%error, "can't watch a connection; it is dropped");
            self.common.clients.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        let session = Session::new((index, generation), peer);
        let conn = Conn::new(session, client, Token(token | LINK));
        entry.insert(Slot { conn: Box::new(conn), generation, buffered: 0 });
    }

    fn close(&mut self, index: usize) {
        let slot = self.conns.remove(index);
        self.buffered -= slot.buffered;
        self.common.clients.fetch_sub(1, Ordering::Relaxed);
    }

    /// Once the process is to end: stops to accept, closes what has nothing in flight. Gives how
    /// many connections were cut off when all is done.
    fn drained(&mut self, now: Instant) -> Option<usize> {
        if !self.common.draining.load(Ordering::Acquire) {
            return None;
        }
        let until = *self.drain_until.get_or_insert(now + self.common.limits.drain_timeout);
        self.listeners.clear();
        let over = |slot: &Slot| slot.conn.is_idle() || slot.conn.session.only_listens();
        let done: Vec<usize> =
            self.conns.iter().filter(|(_, slot)| over(slot)).map(|(index, _)| index).collect();
        done.into_iter().for_each(|index| self.close(index));
        (self.conns.is_empty() || until <= now).then_some(self.conns.len())
    }
}

/// The other end of the socket sends no more.
fn is_closed(event: &Event) -> bool {
    event.is_read_closed() || event.is_error() || event.is_write_closed()
}
