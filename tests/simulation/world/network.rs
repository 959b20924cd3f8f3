//! Links between sidecars and Redis: bytes in order, with delay; holes that keep them back; ends.

use std::time::Duration;

use super::{Event, Side, World};
use crate::process::conn::{Act, Happened};
use crate::process::health::Pulse;

/// Whose link it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    Conn(usize),
    Health,
    Repair,
}

/// One connection to Redis.
pub(super) struct Link {
    pub(super) side: Side,
    owner: Owner,
    /// The sidecar has it still.
    pub(super) is_open: bool,
    /// What is on its way to Redis is lost.
    pub(super) is_lost: bool,
    /// The last arrivals: later bytes do not overtake.
    at_redis: Duration,
    at_sidecar: Duration,
}

impl World {
    /// Carries out what a process did with its links.
    pub(super) fn act(&mut self, side: Side, owner: Owner, act: Act) {
        match act {
            Act::Open(id) => {
                let link = Link {
                    side,
                    owner,
                    is_open: true,
                    is_lost: false,
                    at_redis: self.now(),
                    at_sidecar: self.now(),
                };
                self.links.insert(id, link);
                self.send_to_redis(id, Event::OpenAtRedis(id));
            }
            Act::Send(id, bytes) => self.send_to_redis(id, Event::AtRedis(id, Some(bytes))),
            Act::Close(id) => {
                if let Some(link) = self.links.get_mut(&id) {
                    link.is_open = false;
                }
                self.send_to_redis(id, Event::AtRedis(id, None));
            }
            Act::ToClient(_) => unreachable!("no client is on a link"),
        }
    }

    fn delay(&mut self) -> Duration {
        match self.rng.below(100) {
            0 => self.rng.millis(1, 60),
            _ => self.rng.micros(50, 400),
        }
    }

    fn send_to_redis(&mut self, id: u64, event: Event) {
        let delay = self.delay();
        let at = self.now() + delay;
        let Some(link) = self.links.get_mut(&id) else { return };
        link.at_redis = link.at_redis.max(at);
        let at = link.at_redis;
        self.at(at, event);
    }

    fn send_to_sidecar(&mut self, id: u64, event: Event) {
        let delay = self.delay();
        let at = self.now() + delay;
        let Some(link) = self.links.get_mut(&id) else { return };
        link.at_sidecar = link.at_sidecar.max(at);
        let at = link.at_sidecar;
        self.at(at, event);
    }

    /// Something of a link has arrived at one of its ends.
    pub(super) fn pass_on(&mut self, event: Event) {
        let (Event::OpenAtRedis(id)
        | Event::AtRedis(id, _)
        | Event::LinkUp(id)
        | Event::FromRedis(id, _)
        | Event::LinkDown(id, _)) = &event
        else {
            return;
        };
        let id = *id;
        let Some(link) = self.links.get(&id) else { return };
        let slot = &mut self.slots[link.side.0];
        let is_local = matches!(event, Event::LinkDown(_, "connection reset"));
        if let Some(held) = &mut slot.hole
            && !is_local
        {
            held.push(event);
            return;
        }
        match event {
            Event::OpenAtRedis(_) => self.open_at_redis(id),
            Event::AtRedis(_, bytes) => self.at_redis(id, bytes),
            _ => self.at_sidecar(id, event),
        }
    }

    fn open_at_redis(&mut self, id: u64) {
        let link = &self.links[&id];
        let is_cut = self.slots[link.side.0].is_cut;
        if is_cut || !self.redis.is_up || self.redis.refuses {
            return self.send_to_sidecar(id, Event::LinkDown(id, "connection refused"));
        }
        let is_own = !matches!(link.owner, Owner::Conn(_));
        self.redis.connect(id, is_own);
        self.send_to_sidecar(id, Event::LinkUp(id));
    }

    fn at_redis(&mut self, id: u64, bytes: Option<Vec<u8>>) {
        let link = &self.links[&id];
        if link.is_lost || !self.redis.knows(id) {
            if bytes.is_none() {
                self.links.remove(&id);
            } else if link.is_open {
                self.send_to_sidecar(id, Event::LinkDown(id, "connection reset"));
            }
            return;
        }
        if self.redis.is_paused {
            self.redis.backlog.push_back((id, bytes));
            return;
        }
        self.redis_reads(id, bytes);
    }

    pub(super) fn redis_reads(&mut self, id: u64, bytes: Option<Vec<u8>>) {
        let Some(bytes) = bytes else {
            self.redis.disconnect(id);
            self.links.remove(&id);
            return;
        };
        let replies = self.redis.receive(id, &bytes);
        self.note(|| format!("redis  {id}: {} -> {}", words(&bytes), words(&replies)));
        if !replies.is_empty() {
            self.send_to_sidecar(id, Event::FromRedis(id, replies));
        }
    }

    fn at_sidecar(&mut self, id: u64, event: Event) {
        let Some(link) = self.links.get(&id) else { return };
        if !link.is_open {
            return;
        }
        let (side, owner) = (link.side, link.owner);
        if let Event::LinkDown(..) = event {
            self.redis.disconnect(id);
            self.links.remove(&id);
        }
        match owner {
            Owner::Conn(conn) => {
                let happened = match event {
                    Event::LinkUp(_) => Happened::LinkUp(id),
                    Event::FromRedis(_, bytes) => Happened::FromRedis(id, bytes),
                    Event::LinkDown(_, why) => Happened::LinkDown(id, why),
                    _ => return,
                };
                self.in_process(side, Event::Conn(side, conn, happened));
            }
            Owner::Health => {
                let pulse = match event {
                    Event::LinkUp(_) => Pulse::LinkUp(id),
                    Event::FromRedis(_, bytes) => Pulse::FromRedis(id, bytes),
                    Event::LinkDown(_, why) => Pulse::LinkDown(id, why),
                    _ => return,
                };
                self.in_process(side, Event::Pulse(side, pulse));
            }
            Owner::Repair => {
                let pulse = match event {
                    Event::LinkUp(_) => Pulse::LinkUp(id),
                    Event::FromRedis(_, bytes) => Pulse::FromRedis(id, bytes),
                    Event::LinkDown(_, why) => Pulse::LinkDown(id, why),
                    _ => return,
                };
                self.in_process(side, Event::Repair(side, pulse));
            }
        }
    }

    /// Ends links of a sidecar as a reset does; `all`: also what is on its way to Redis is lost.
    pub(super) fn reset_links(&mut self, sidecar: usize) {
        let of_it: Vec<u64> = self
            .links
            .iter()
            .filter(|(_, link)| link.side.0 == sidecar && link.is_open)
            .map(|(id, _)| *id)
            .collect();
        for id in of_it {
            let is_lost = self.rng.percent(50);
            if let Some(link) = self.links.get_mut(&id) {
                link.is_lost = is_lost;
            }
            self.send_to_sidecar(id, Event::LinkDown(id, "connection reset"));
        }
    }
}

/// Bytes for people, on one line.
pub(crate) fn words(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines = text.split("\r\n").filter(|line| {
        let is_length = line.starts_with('$') && line.len() < 4 && *line != "$-1";
        !is_length && !line.is_empty()
    });
    lines
        .map(|line| if line.len() > 90 { &line[..line.floor_char_boundary(20)] } else { line })
        .collect::<Vec<_>>()
        .join(" ")
}
