//! One client's connection in a process: the real session, with what `worker::conn` does around it.

use std::time::Duration;

use lockside::session::{Session, Wires};

use super::Process;
use crate::clock;
use crate::world::Reminder;

/// How long a link may take to stand.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a connection whose client has gone waits for what is under way in Redis.
const LINGER: Duration = Duration::from_secs(5);

/// What a session did to the world.
#[derive(Debug)]
pub(crate) enum Act {
    Open(u64),
    Send(u64, Vec<u8>),
    Close(u64),
    ToClient(Vec<u8>),
}

/// The link, seen from here.
#[derive(Debug)]
struct Link {
    id: u64,
    is_connected: bool,
    /// What waits for it to stand.
    held: Vec<u8>,
    connect_by: Duration,
}

/// The two sockets.
#[derive(Debug, Default)]
pub(crate) struct Io {
    acts: Vec<Act>,
    link: Option<Link>,
    link_error: Option<&'static str>,
    accepted: u64,
    /// The client does not read: what is for it stays here.
    pub(crate) is_stuck: bool,
    stuck: u64,
    is_dead: bool,
}

impl Io {
    fn open(&mut self) {
        let id = clock::name();
        self.link = Some(Link {
            id,
            is_connected: false,
            held: Vec::new(),
            connect_by: clock::now() + CONNECT_TIMEOUT,
        });
        self.acts.push(Act::Open(id));
    }

    fn is_on(&self, link: u64) -> bool {
        self.link.as_ref().is_some_and(|own| own.id == link)
    }

    fn close(&mut self) -> Option<Link> {
        let link = self.link.take()?;
        self.acts.push(Act::Close(link.id));
        Some(link)
    }
}

impl Wires for Io {
    fn to_upstream(&mut self, bytes: &[u8]) {
        if self.link_error.is_some() {
            return;
        }
        if self.link.is_none() {
            self.open();
        }
        let Some(link) = &mut self.link else { return };
        match link.is_connected {
            true => self.acts.push(Act::Send(link.id, bytes.to_vec())),
            false => link.held.extend_from_slice(bytes),
        }
    }

    fn to_client(&mut self, bytes: &[u8]) {
        if self.is_dead || bytes.is_empty() {
            return;
        }
        self.accepted += bytes.len() as u64;
        match self.is_stuck {
            true => self.stuck += bytes.len() as u64,
            false => self.acts.push(Act::ToClient(bytes.to_vec())),
        }
    }

    fn reopen(&mut self) {
        self.close();
        self.link_error = None;
        self.open();
    }

    fn client_accepted(&self) -> u64 {
        if self.is_dead { u64::MAX } else { self.accepted }
    }

    fn client_is_behind(&self) -> bool {
        false
    }
}

/// One connection.
pub(crate) struct Conn {
    pub(crate) session: Session,
    pub(crate) client: usize,
    pub(crate) io: Io,
    input: Vec<u8>,
    /// The client sends no more.
    is_over: bool,
    linger_until: Option<Duration>,
    /// The earliest time at which it will be looked at anyway.
    pub(crate) reminder: Reminder,
}

impl Conn {
    pub(crate) fn new(session: Session, client: usize) -> Self {
        Self {
            session,
            client,
            io: Io::default(),
            input: Vec::new(),
            is_over: false,
            linger_until: None,
            reminder: Reminder::default(),
        }
    }

    pub(crate) fn take_acts(&mut self) -> Vec<Act> {
        std::mem::take(&mut self.io.acts)
    }

    /// When it wants to be looked at again.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        let connect = self.io.link.as_ref().filter(|link| !link.is_connected);
        let linger = self.linger_until.filter(|_| !self.session.has_operation());
        let all = [connect.map(|link| link.connect_by), self.session.deadline(), linger];
        all.into_iter().flatten().min()
    }
}

/// What has happened to a connection.
#[derive(Debug)]
pub(crate) enum Happened {
    Nothing,
    FromClient(Vec<u8>),
    /// The client has gone; `true`: and takes nothing any more.
    ClientGone(bool),
    /// The link that is meant comes first: one that was given up does not matter.
    LinkUp(u64),
    FromRedis(u64, Vec<u8>),
    LinkDown(u64, &'static str),
    ViewChanged,
    Answer(lockside::ledger::Answer),
}

impl Process {
    /// One turn of one connection, as `worker::conn::Driver::run`. True when it is over.
    pub(crate) fn turn(&mut self, conn: usize, happened: Happened) -> bool {
        self.take(conn, happened);
        self.check_deadlines(conn);
        self.end_link(conn);
        self.take_input(conn);
        self.end_link(conn);
        self.finish_client(conn);
        self.is_finished(conn) && !self.last_rites(conn)
    }

    fn take(&mut self, id: usize, happened: Happened) {
        let conn = self.conns.get_mut(&id).unwrap();
        match happened {
            Happened::Nothing => {}
            Happened::FromClient(bytes) => {
                let written = conn.io.accepted - conn.io.stuck;
                conn.session.heard_of_client(written);
                conn.input.extend_from_slice(&bytes);
            }
            Happened::ClientGone(is_dead) => {
                conn.is_over = true;
                conn.io.is_dead |= is_dead;
            }
            Happened::LinkUp(link) => {
                let Some(link) = conn.io.link.as_mut().filter(|own| own.id == link) else { return };
                link.is_connected = true;
                let held = std::mem::take(&mut link.held);
                if !held.is_empty() {
                    conn.io.acts.push(Act::Send(link.id, held));
                }
            }
            Happened::FromRedis(link, bytes) if conn.io.is_on(link) => {
                let read = self.with(id, |session, cx| session.upstream_bytes(&bytes, cx));
                if read.is_err() {
                    self.conns.get_mut(&id).unwrap().io.link_error = Some("unreadable");
                }
            }
            Happened::LinkDown(link, why) if conn.io.is_on(link) => {
                conn.io.link_error = Some(why);
            }
            Happened::FromRedis(..) | Happened::LinkDown(..) => {}
            Happened::ViewChanged => {
                let (view, mut gives_up) = (self.shared.board.view(), false);
                self.with(id, |session, cx| gives_up = session.gives_up_link(view, cx));
                if gives_up {
                    self.conns.get_mut(&id).unwrap().io.link_error = Some("Redis does not answer");
                }
            }
            Happened::Answer(answer) => {
                self.with(id, |session, cx| session.ledger_answered(&answer, cx));
            }
        }
    }

    fn check_deadlines(&mut self, id: usize) {
        let conn = self.conns.get_mut(&id).unwrap();
        if conn.session.deadline().is_some_and(|at| at <= clock::now()) {
            if !conn.session.awaits_ledger() {
                conn.io.close();
            }
            self.with(id, |session, cx| session.timed_out(cx));
        }
        let conn = self.conns.get_mut(&id).unwrap();
        if let Some(link) = &conn.io.link
            && !link.is_connected
            && link.connect_by <= clock::now()
        {
            conn.io.link_error = Some("connect timed out");
        }
    }

    fn end_link(&mut self, id: usize) {
        let conn = self.conns.get_mut(&id).unwrap();
        if let Some(why) = conn.io.link_error.take() {
            let was_connected = conn.io.close().is_some_and(|link| link.is_connected);
            self.with(id, |session, cx| session.link_failed(why, was_connected, cx));
        }
    }

    fn take_input(&mut self, id: usize) {
        loop {
            let conn = self.conns.get_mut(&id).unwrap();
            if conn.input.is_empty() || !conn.session.takes_commands() {
                return;
            }
            let input = std::mem::take(&mut conn.input);
            let taken = self.with(id, |session, cx| session.client_bytes(&input, cx));
            self.conns.get_mut(&id).unwrap().input = input[taken..].to_vec();
            if taken == 0 {
                return;
            }
        }
    }

    fn finish_client(&mut self, id: usize) {
        if !self.conns[&id].is_over {
            return;
        }
        self.with(id, |session, cx| session.client_gone(cx));
        self.take_input(id);
        let conn = self.conns.get_mut(&id).unwrap();
        if !conn.session.has_operation() && conn.io.is_dead {
            conn.linger_until.get_or_insert(clock::now() + LINGER);
        }
        let is_taken = conn.input.is_empty() || !conn.session.command_waits();
        if is_taken && conn.session.is_idle() {
            conn.io.close();
        }
    }

    fn is_finished(&self, id: usize) -> bool {
        let conn = &self.conns[&id];
        if conn.session.has_operation() {
            return false;
        }
        conn.linger_until.is_some_and(|until| until <= clock::now())
            || conn.session.has_ended()
            || conn.is_over && conn.io.link.is_none()
    }

    fn last_rites(&mut self, id: usize) -> bool {
        let io = &self.conns[&id].io;
        let written = io.accepted - io.stuck;
        self.with(id, |session, cx| session.last_rites(written, cx))
    }
}
