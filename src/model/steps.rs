//! What can happen in a state, and what it leads to.

use std::collections::HashMap;
use std::time::Duration;

use crate::lock::acquire::{Acquire as Machine, Effect, Input, Ledger, Outcome, Request};

use super::book::{Book, Place, Say};
use super::laws::{Laws, Twin};
use super::redis::{Command, Key};
use super::world::{Back, Claim, How, Late, Left, Move, Stage, Violation, Wire, World};

mod claims;
mod others;
mod properties;
mod releases;

/// The log of whoever repairs.
const REPAIRS_LOG: u8 = 99;

/// Everything that is the same in all states: the laws, the ledgers and the machines by number.
pub(super) struct Steps {
    laws: Laws,
    pub(super) book: Book,
    machines: Vec<Machine>,
    numbers: HashMap<Machine, u16>,
    fed: HashMap<(u16, Input), (u16, Effect)>,
    in_line: HashMap<(Option<Key>, Place), bool>,
}

/// What comes of a move, and what was wrong with it.
type After = (Move, World, Option<Violation>);

impl Steps {
    pub(super) fn new(laws: Laws) -> Self {
        Self {
            laws,
            book: Book::new(laws.twin),
            machines: Vec::new(),
            numbers: HashMap::new(),
            fed: HashMap::new(),
            in_line: HashMap::new(),
        }
    }

    /// Everything that can happen now.
    pub(super) fn after(&mut self, world: &World, out: &mut Vec<After>) {
        self.moves(world, out);
        out.iter_mut().for_each(|(_, next, _)| next.tidy());
    }

    fn moves(&mut self, world: &World, out: &mut Vec<After>) {
        for acquire in 0..self.laws.acquires {
            self.requests(world, acquire, out);
            self.claims(world, acquire, out);
            self.releases(world, acquire, out);
        }
        self.repairs(world, out);
        self.redis(world, out);
        self.others(world, out);
        for sidecar in 0..2 {
            if world.left.crashes > 0 {
                out.push((Move::Crash(sidecar), crash(world, sidecar), None));
            }
        }
    }

    fn requests(&mut self, world: &World, who: u8, out: &mut Vec<After>) {
        let acquire = &world.acquires[usize::from(who)];
        match acquire.stage {
            Stage::Before => self.asks(world, who, out),
            Stage::Asking { wire, .. } => {
                self.wire_moves(world, who, wire, out);
                if !acquire.gone && world.left.goes > 0 {
                    let mut next = *world;
                    next.left.goes -= 1;
                    next.acquires[usize::from(who)].gone = true;
                    let wrong = self.feed(&mut next, who, Input::ClientGone);
                    out.push((Move::Gone(who), next, wrong));
                }
            }
            _ => {}
        }
        for late in Late::ALL.into_iter().filter(|late| acquire.late & late.bit() != 0) {
            let mut next = *world;
            next.acquires[usize::from(who)].late &= !late.bit();
            let key = match late {
                Late::Set => self.on_redis(world.key, who, Request::SetNx).0,
                Late::Persist => self.on_redis(world.key, who, Request::Persist).0,
                Late::Compare => self.on_redis(world.key, who, Request::CompareAndDelete).0,
                Late::Delete => None,
            };
            next.set_key(key);
            if key != world.key {
                out.push((Move::Late(who, late), next, None));
            }
        }
    }

    /// Acquires begin in the order of their numbers; the first is sidecar 0's, for the sidecars are
    /// alike.
    fn asks(&mut self, world: &World, who: u8, out: &mut Vec<After>) {
        let before = who.checked_sub(1).map(|before| world.acquires[usize::from(before)].stage);
        let must_wait = before.is_some_and(|before| match before {
            Stage::Before => true,
            Stage::Refused(_) | Stage::Cut => false,
            _ => self.laws.again && who == 1,
        });
        if must_wait {
            return;
        }
        for sidecar in self.sidecars(who) {
            let (now, ttl) = (Duration::ZERO, Duration::from_secs(10));
            let decides = if self.laws.ledger { Ledger::Decides } else { Ledger::Follows };
            let (machine, effect) = Machine::start(now, ttl);
            let asks = Move::Ask { acquire: who, sidecar };
            out.push(self.begin(world, asks, sidecar, who, machine.by_ledger(decides), effect));
            if self.laws.ledger {
                let (machine, effect) = Machine::by_claim(now, ttl);
                let asks = Move::AskLedger { acquire: who, sidecar };
                out.push(self.begin(world, asks, sidecar, who, machine, effect));
            }
        }
    }

    /// Without crashes it makes no difference which one it is.
    fn sidecars(&self, who: u8) -> std::ops::Range<u8> {
        match (who, self.laws.crashes) {
            (0, _) => 0..1,
            (_, 0) => 1..2,
            _ => 0..2,
        }
    }

    fn begin(
        &mut self,
        world: &World,
        step: Move,
        sidecar: u8,
        who: u8,
        machine: Machine,
        effect: Effect,
    ) -> After {
        let mut next = *world;
        let log = world.log(sidecar);
        let machine = self.number(machine);
        let acquire = &mut next.acquires[usize::from(who)];
        (acquire.sidecar, acquire.log) = (sidecar, log);
        acquire.stage = Stage::Asking { machine, wire: Wire::Nothing };
        let wrong = self.take_effect(&mut next, who, effect);
        (step, next, wrong)
    }

    fn wire_moves(&mut self, world: &World, who: u8, wire: Wire, out: &mut Vec<After>) {
        let faulty = world.faulty();
        match wire {
            Wire::Sent(request) => {
                let (key, input) = self.on_redis(world.key, who, request);
                let mut next = *world;
                next.set_key(key);
                next.set_wire(who, Wire::Answered(request, input));
                if self.laws.split {
                    out.push((Move::Execute(who, request), next, None));
                } else {
                    self.answered(&next, who, request, input, out);
                }
                let Some(faulty) = faulty else { return };
                let refusal =
                    if request == Request::SetNx { Input::Unusable } else { Input::Refused };
                out.push(self.fed(&faulty, Move::Refuse(who, refusal), who, refusal));
                let mut given_up = faulty;
                given_up.acquires[usize::from(who)].late |= late(request);
                out.push(self.fed(&given_up, Move::LoseRequest(who, request), who, Input::Lost));
                if request == Request::SetNx {
                    out.push(self.fed(&faulty, Move::FailReopen(who), who, Input::ReopenFailed));
                }
            }
            Wire::Answered(request, input) => self.answered(world, who, request, input, out),
            Wire::Reopening => {
                out.push(self.fed(world, Move::Reopen(who), who, Input::Reopened));
                out.push(self.fed(world, Move::FailReopen(who), who, Input::ReopenFailed));
            }
            Wire::Nothing => {}
        }
    }

    /// The reply arrives, or is lost.
    fn answered(
        &mut self,
        world: &World,
        who: u8,
        request: Request,
        input: Input,
        out: &mut Vec<After>,
    ) {
        out.push(self.fed(world, Move::Deliver(who, request, input), who, input));
        if let Some(faulty) = world.faulty() {
            out.push(self.fed(&faulty, Move::LoseReply(who, request), who, Input::Lost));
        }
    }

    fn fed(&mut self, world: &World, step: Move, who: u8, input: Input) -> After {
        let mut next = *world;
        let wrong = self.feed(&mut next, who, input);
        (step, next, wrong)
    }

    /// Gives the machine its input.
    fn feed(&mut self, world: &mut World, who: u8, input: Input) -> Option<Violation> {
        let Stage::Asking { machine, wire } = world.acquires[usize::from(who)].stage else {
            return None;
        };
        let (machine, effect) = self.turn(machine, input);
        let wire = if input == Input::ClientGone { wire } else { Wire::Nothing };
        world.acquires[usize::from(who)].stage = Stage::Asking { machine, wire };
        if input == Input::ClientGone {
            assert_eq!(effect, Effect::Wait);
            return None;
        }
        self.take_effect(world, who, effect)
    }

    fn take_effect(&mut self, world: &mut World, who: u8, effect: Effect) -> Option<Violation> {
        let place = world.ledger;
        match effect {
            Effect::Send(request) => world.set_wire(who, Wire::Sent(request)),
            Effect::Reopen => world.set_wire(who, Wire::Reopening),
            Effect::Wait => return Some(Violation::Stuck(who)),
            Effect::Claim if self.laws.twin == Twin::OkBeforeClaim => {
                let acquire = &mut world.acquires[usize::from(who)];
                (acquire.claim, acquire.stage) = (Claim::Forgotten, Stage::Holding);
            }
            Effect::Claim => world.acquires[usize::from(who)].claim = Claim::Asked,
            Effect::Finish(Outcome::Granted) => {
                let fence = self.book.fence(place, who);
                let falls = (0..self.laws.acquires).any(|other| {
                    self.laws.value(other) != self.laws.value(who)
                        && world.was_told_ok(other)
                        && self.book.fence(place, other) >= fence
                });
                let acquire = &mut world.acquires[usize::from(who)];
                acquire.stage = Stage::Holding;
                if acquire.gone {
                    return Some(Violation::GrantedToNobody(who));
                }
                if self.laws.ledger && falls {
                    return Some(Violation::FenceFalls(who));
                }
            }
            Effect::Finish(outcome) => {
                let acquire = &mut world.acquires[usize::from(who)];
                acquire.stage = Stage::Refused(outcome);
                if acquire.claim == Claim::Won {
                    acquire.claim = Claim::Owes(Back::Release);
                    if self.laws.twin != Twin::SaysNoTooSoon {
                        acquire.stage = Stage::Leaving(outcome);
                    }
                }
            }
        }
        None
    }

    /// What Redis does with a request of this acquire, and answers.
    fn on_redis(&self, key: Option<Key>, who: u8, request: Request) -> (Option<Key>, Input) {
        let own = self.laws.value(who);
        let there = match key {
            None => Input::Gone,
            Some(key) if key.value == own => Input::Ours,
            Some(_) => Input::Anothers,
        };
        let key_for_good = key.map(|key| Key { for_good: true, ..key });
        match request {
            Request::SetNx if key.is_none() => {
                (Some(Key { value: own, for_good: false }), Input::Taken)
            }
            Request::SetNx => (key, Input::Occupied),
            Request::Persist if self.laws.twin == Twin::UnguardedPersist && key.is_some() => {
                (key_for_good, Input::Ours)
            }
            Request::Persist if there == Input::Ours => (key_for_good, there),
            Request::CompareAndDelete => (key.filter(|key| key.value != own), Input::Undone),
            Request::ReadBack | Request::Persist => (key, there),
            Request::PlainPersist | Request::Confirm => panic!("scripts are allowed in this world"),
            Request::Replicas => panic!("no replicas are asked for in this world"),
        }
    }

    fn repairs(&mut self, world: &World, out: &mut Vec<After>) {
        if !self.laws.ledger {
            return;
        }
        for at in 0..self.book.repairs(world.ledger).len() {
            let (seen, command) = self.book.repairs(world.ledger)[at];
            if seen != world.key && !Key::was_seen(seen, world.seen) {
                continue;
            }
            let mut next = *world;
            if let Command::Tell(value) = command {
                if world.left.tells == 0 {
                    continue;
                }
                next.left.tells -= 1;
                next.ledger = self.book.write(world.ledger, REPAIRS_LOG, Say::Observe(value)).0;
            } else {
                next.set_key(command.on(world.key, self.laws.twin));
            }
            if next.key == world.key && next.ledger == world.ledger {
                continue;
            }
            // A value that has lost and is asked for again, or stood in a holder's place past every
            // sidecar, may be taken by a repair from before; the next repair puts it back.
            let took = world.key.filter(|key| {
                let holds = world.acquires[usize::from(key.value)].stage == Stage::Holding;
                let lost_before = self.laws.again || self.laws.foreign() == Some(key.value);
                holds && !lost_before && next.key.is_none_or(|new| new.value != key.value)
            });
            let wrong = took.map(|key| Violation::RepairTook(key.value));
            out.push((Move::Repair { seen, command }, next, wrong));
        }
    }

    fn redis(&mut self, world: &World, out: &mut Vec<After>) {
        if world.key.is_some_and(|key| !key.for_good) {
            out.push((Move::RunOut, World { key: None, ..*world }, None));
        }
        if world.left.losses == 0 {
            return;
        }
        for key in Key::all().filter(|key| Key::was_seen(*key, world.seen) && *key != world.key) {
            let mut next = *world;
            next.left.losses -= 1;
            next.key = key;
            out.push((Move::Turn(key), next, None));
        }
    }

    fn number(&mut self, machine: Machine) -> u16 {
        if let Some(number) = self.numbers.get(&machine) {
            return *number;
        }
        let number = u16::try_from(self.machines.len()).expect("few machines");
        self.machines.push(machine.clone());
        self.numbers.insert(machine, number);
        number
    }

    fn turn(&mut self, number: u16, input: Input) -> (u16, Effect) {
        if let Some(known) = self.fed.get(&(number, input)) {
            return *known;
        }
        let mut machine = self.machines[usize::from(number)].clone();
        let effect = machine.on(input, Duration::ZERO);
        let turned = (self.number(machine), effect);
        self.fed.insert((number, input), turned);
        turned
    }
}

impl World {
    /// The same with one fault less to come.
    fn faulty(&self) -> Option<Self> {
        let faults = self.left.faults.checked_sub(1)?;
        Some(Self { left: Left { faults, ..self.left }, ..*self })
    }

    fn set_wire(&mut self, who: u8, new: Wire) {
        if let Stage::Asking { wire, .. } = &mut self.acquires[usize::from(who)].stage {
            *wire = new;
        }
    }

    fn was_told_ok(&self, who: u8) -> bool {
        !matches!(
            self.acquires[usize::from(who)].stage,
            Stage::Before
                | Stage::Asking { .. }
                | Stage::Leaving(_)
                | Stage::Refused(_)
                | Stage::Cut
        )
    }
}

/// What the sidecar knew is lost; what it has sent may still arrive.
fn crash(world: &World, sidecar: u8) -> World {
    let mut next = *world;
    next.left.crashes -= 1;
    next.runs[usize::from(sidecar)] += 1;
    for acquire in &mut next.acquires {
        match acquire.stage {
            Stage::Asking { wire, .. } if acquire.sidecar == sidecar => {
                if let Wire::Sent(request) = wire {
                    acquire.late |= late(request);
                }
                acquire.stage = Stage::Cut;
            }
            Stage::Leaving(_) if acquire.sidecar == sidecar => acquire.stage = Stage::Cut,
            Stage::Releasing { sidecar: by, how, answered } if by == sidecar => {
                if answered.is_none() {
                    acquire.late |= late_release(how);
                }
                acquire.stage = Stage::Unsure;
            }
            _ => {}
        }
        let ends_here = acquire.end.is_some_and(|end| end.log == world.log(sidecar));
        if ends_here && matches!(acquire.stage, Stage::Ending { .. }) {
            acquire.stage = Stage::Unsure;
        }
        if acquire.log == world.log(sidecar) && !acquire.claim.is_settled() {
            acquire.orphan = true;
            acquire.claim = match acquire.claim {
                Claim::Asked | Claim::GivenUp => Claim::Forgotten,
                Claim::Landed(_) => Claim::Settled,
                other => other,
            };
        }
    }
    next
}

fn late(request: Request) -> u8 {
    match request {
        Request::SetNx => Late::Set.bit(),
        Request::Persist => Late::Persist.bit(),
        Request::CompareAndDelete => Late::Compare.bit(),
        Request::Replicas | Request::ReadBack | Request::PlainPersist | Request::Confirm => 0,
    }
}

fn late_release(how: How) -> u8 {
    match how {
        How::Delete => Late::Delete.bit(),
        How::Compare => Late::Compare.bit(),
        How::Alone => 0,
    }
}
