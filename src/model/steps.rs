//! What can happen in a state, and what it leads to.

use std::collections::HashMap;
use std::time::Duration;

use crate::lock::acquire::{Acquire as Machine, Effect, Input, Ledger, Outcome, Request};

use super::book::{Book, Came, Place, Say};
use super::laws::{Laws, Twin};
use super::redis::{Command, Key};
use super::world::{Back, Claim, End, How, Late, Left, Move, Stage, Violation, Whose, Wire, World};

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
        if who > 0 && world.acquires[usize::from(who) - 1].stage == Stage::Before {
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
                    other != who
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
                }
            }
        }
        None
    }

    /// What Redis does with a request of this acquire, and answers.
    fn on_redis(&self, key: Option<Key>, who: u8, request: Request) -> (Option<Key>, Input) {
        let there = match key {
            None => Input::Gone,
            Some(key) if key.value == who => Input::Ours,
            Some(_) => Input::Anothers,
        };
        let key_for_good = key.map(|key| Key { for_good: true, ..key });
        match request {
            Request::SetNx if key.is_none() => {
                (Some(Key { value: who, for_good: false }), Input::Taken)
            }
            Request::SetNx => (key, Input::Occupied),
            Request::Persist if self.laws.twin == Twin::UnguardedPersist && key.is_some() => {
                (key_for_good, Input::Ours)
            }
            Request::Persist if there == Input::Ours => (key_for_good, there),
            Request::CompareAndDelete => (key.filter(|key| key.value != who), Input::Undone),
            Request::ReadBack | Request::Persist => (key, there),
            Request::PlainPersist | Request::Confirm => panic!("scripts are allowed in this world"),
        }
    }

    fn claims(&mut self, world: &World, who: u8, out: &mut Vec<After>) {
        let acquire = world.acquires[usize::from(who)];
        let place = world.ledger;
        match acquire.claim {
            Claim::Asked | Claim::GivenUp | Claim::Forgotten => {
                let mut next = *world;
                let (place, came) = self.book.write(place, acquire.log, Say::Claim(who));
                next.ledger = place;
                let won = came == Came::Won;
                next.acquires[usize::from(who)].claim = match acquire.claim {
                    Claim::Asked => Claim::Landed(won),
                    Claim::GivenUp if won => Claim::Owes(Back::Withdraw),
                    _ => Claim::Settled,
                };
                if acquire.claim == Claim::Asked && !self.laws.split {
                    out.push(self.read_back(&next, Move::Land(who), who, won));
                } else {
                    out.push((Move::Land(who), next, None));
                }
            }
            Claim::Landed(won) => out.push(self.read_back(world, Move::Answer(who), who, won)),
            Claim::Owes(back) => {
                let name = match back {
                    Back::Withdraw => self.book.claim_of(place, who),
                    Back::Release => self.book.won_by(place, who),
                };
                let name = name.expect("a claim that has won stands there");
                let say = match back {
                    Back::Withdraw => Say::Withdraw(name),
                    Back::Release => Say::Release(name),
                };
                let mut next = *world;
                next.ledger = self.book.write(place, acquire.log, say).0;
                next.acquires[usize::from(who)].claim = Claim::Settled;
                out.push((Move::TakeBack(who), next, None));
            }
            Claim::Unasked | Claim::Won | Claim::Settled => {}
        }
        if let (Stage::Asking { .. }, Claim::Asked | Claim::Landed(_)) =
            (acquire.stage, acquire.claim)
        {
            let mut next = *world;
            next.acquires[usize::from(who)].claim = match acquire.claim {
                Claim::Asked if self.laws.twin == Twin::KeepsUnknownClaims => Claim::Forgotten,
                Claim::Landed(_) if self.laws.twin == Twin::KeepsUnknownClaims => Claim::Settled,
                Claim::Landed(true) => Claim::Owes(Back::Withdraw),
                Claim::Landed(false) => Claim::Settled,
                _ => Claim::GivenUp,
            };
            out.push(self.fed(&next, Move::GiveUp(who), who, Input::Unheard));
            if acquire.claim == Claim::Asked {
                next.acquires[usize::from(who)].claim = Claim::Settled;
                out.push(self.fed(&next, Move::Unqueue(who), who, Input::Unheard));
            }
        }
    }

    fn read_back(&mut self, world: &World, step: Move, who: u8, won: bool) -> After {
        let mut next = *world;
        next.acquires[usize::from(who)].claim = if won { Claim::Won } else { Claim::Settled };
        self.fed(&next, step, who, if won { Input::Won } else { Input::Beaten })
    }

    fn releases(&mut self, world: &World, who: u8, out: &mut Vec<After>) {
        let acquire = world.acquires[usize::from(who)];
        match acquire.stage {
            Stage::Holding => self.release_moves(world, who, true, out),
            Stage::Unsure if acquire.releases <= self.laws.repeats => {
                self.release_moves(world, who, false, out);
            }
            Stage::Releasing { sidecar, how, answered: None } => {
                let had = match how {
                    How::Delete => world.key.is_some(),
                    How::Compare | How::Alone => world.key.is_some_and(|key| key.value == who),
                };
                let mut next = *world;
                next.set_key(if had { None } else { world.key });
                next.acquires[usize::from(who)].stage =
                    Stage::Releasing { sidecar, how, answered: Some(had) };
                if self.laws.split {
                    out.push((Move::ExecuteRelease(who), next, None));
                } else {
                    self.release_answered(&next, who, sidecar, how, had, out);
                }
                if let Some(mut lost) = world.faulty() {
                    let acquire = &mut lost.acquires[usize::from(who)];
                    acquire.late |= late_release(how);
                    acquire.stage = Stage::Unsure;
                    out.push((Move::LoseRelease(who), lost, None));
                }
            }
            Stage::Releasing { sidecar, how, answered: Some(had) } => {
                self.release_answered(world, who, sidecar, how, had, out);
            }
            Stage::Ending { .. } => {
                let mut left = *world;
                left.acquires[usize::from(who)].stage = Stage::Unsure;
                out.push((Move::LeaveRelease(who), left, None));
            }
            _ => {}
        }
        if let Some(end) = acquire.end {
            out.push((Move::LandRelease(who), self.land_release(world, who, end), None));
        }
    }

    /// Ways to release. `first`: by DEL too, which is not repeated: who does not know whether its
    /// lock is gone would delete another's.
    fn release_moves(&mut self, world: &World, who: u8, first: bool, out: &mut Vec<After>) {
        let home = world.acquires[usize::from(who)].sidecar;
        for sidecar in 0..2 {
            if sidecar != home && !self.laws.roams {
                continue;
            }
            for how in [How::Delete, How::Compare, How::Alone] {
                if how == How::Delete && !(first && self.laws.deletes)
                    || how == How::Alone && !self.laws.ledger
                {
                    continue;
                }
                let mut next = *world;
                let acquire = &mut next.acquires[usize::from(who)];
                acquire.releases += 1;
                let step = Move::Release { acquire: who, sidecar, how };
                if how != How::Alone {
                    acquire.stage = Stage::Releasing { sidecar, how, answered: None };
                    out.push((step, next, None));
                    continue;
                }
                // By the table: a holder of this value, or nothing is to be released.
                for reading in self.readings(world, who, sidecar) {
                    let holder = self.book.holder(reading);
                    let own = holder.filter(|(value, _)| *value == who);
                    let own = own.map(|(_, name)| Whose::Claim(name));
                    let mut next = next;
                    next.end_with(who, sidecar, own, own.is_some(), true);
                    if own.is_none() {
                        next.acquires[usize::from(who)].stage = Stage::Unsure;
                    }
                    push_new(out, (step, next, None));
                }
            }
        }
    }

    /// Redis has answered the release: what the session tells the ledger, by what it has read.
    fn release_answered(
        &mut self,
        world: &World,
        who: u8,
        sidecar: u8,
        how: How,
        had: bool,
        out: &mut Vec<After>,
    ) {
        if let Some(mut lost) = world.faulty() {
            lost.acquires[usize::from(who)].stage = Stage::Unsure;
            out.push((Move::LoseRelease(who), lost, None));
        }
        if !self.laws.ledger {
            let mut next = *world;
            next.acquires[usize::from(who)].stage =
                if had { Stage::Released } else { Stage::Unsure };
            out.push((Move::DeliverRelease(who, world.ledger), next, None));
            return;
        }
        for reading in self.readings(world, who, sidecar) {
            let holder = self.book.holder(reading);
            let whoever = self.laws.twin == Twin::ReleasesWhoever;
            let ask = match (how, had, holder) {
                (How::Delete, _, Some((_, name))) => Some(Whose::Claim(name)),
                (How::Compare, true, Some((value, name))) if value == who => {
                    Some(Whose::Claim(name))
                }
                (How::Compare, true, None) if whoever => Some(Whose::Anybody),
                (How::Compare, true, _) => Some(Whose::Own),
                (How::Delete, true, None) => Some(Whose::Anybody),
                _ => None,
            };
            let mut next = *world;
            next.end_with(who, sidecar, ask, had, false);
            push_new(out, (Move::DeliverRelease(who, reading), next, None));
        }
    }

    /// What a sidecar may have read when it deals with this acquire's release: in the run that made
    /// the grant, its claim.
    fn readings(&self, world: &World, who: u8, sidecar: u8) -> Vec<Place> {
        let acquire = &world.acquires[usize::from(who)];
        let home = acquire.sidecar == sidecar;
        let knows = home && self.book.claim_of(world.ledger, who).is_some();
        self.book.readings(world.ledger, knows.then_some(who))
    }

    fn land_release(&mut self, world: &World, who: u8, end: End) -> World {
        let mut next = *world;
        let holder = self.book.holder(world.ledger);
        let claim = match end.whose {
            Whose::Claim(name) => Some(name),
            Whose::Own => holder.filter(|(value, _)| *value == who).map(|(_, name)| name),
            Whose::Anybody => holder.map(|(_, name)| name),
        };
        let came = match claim {
            Some(name) => {
                let (place, came) = self.book.write(world.ledger, end.log, Say::Release(name));
                next.ledger = place;
                came
            }
            None => Came::NotHeld,
        };
        let acquire = &mut next.acquires[usize::from(who)];
        acquire.end = None;
        acquire.claim = Claim::Settled;
        if let Stage::Ending { again } = acquire.stage {
            // Without Redis a release that has missed is evaluated again.
            acquire.stage =
                if again && came == Came::NotHeld { Stage::Unsure } else { Stage::Released };
        }
        next
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
            let took = world.key.filter(|key| {
                let holds = world.acquires[usize::from(key.value)].stage == Stage::Holding;
                holds && next.key.is_none_or(|new| new.value != key.value)
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

    /// The first property that does not hold here.
    pub(super) fn violation(&mut self, world: &World) -> Option<Violation> {
        let holds = |who: u8| world.acquires[usize::from(who)].stage == Stage::Holding;
        if (0..self.laws.acquires).filter(|who| holds(*who)).count() > 1 {
            return Some(Violation::TwoHold);
        }
        if !self.laws.ledger {
            return None;
        }
        let holder = self.book.holder(world.ledger).map(|(value, _)| value);
        for who in 0..self.laws.acquires {
            let acquire = &world.acquires[usize::from(who)];
            let is_holder = holder == Some(who);
            let wrong = match acquire.stage {
                Stage::Holding if !is_holder && self.laws.twin != Twin::OkBeforeClaim => {
                    Some(Violation::HoldsWithoutLedger(who))
                }
                Stage::Refused(outcome) if is_holder && !acquire.orphan => {
                    let ends = !acquire.claim.is_settled() && acquire.claim != Claim::Forgotten;
                    let final_no = outcome == Outcome::Held;
                    (final_no || !ends).then_some(Violation::HeldByRefused(who, Some(outcome)))
                }
                Stage::Released if is_holder => Some(Violation::ReleasedHolds(who)),
                Stage::Asking { wire: Wire::Nothing, .. } => {
                    let waits = matches!(acquire.claim, Claim::Asked | Claim::Landed(_));
                    (!waits).then_some(Violation::Stuck(who))
                }
                _ => None,
            };
            if wrong.is_some() {
                return wrong;
            }
        }
        (!self.comes_in_line(world.key, world.ledger)).then_some(Violation::NotInLine)
    }

    /// At rest: who looks at Redis and has read everything brings it in line with the ledger.
    fn comes_in_line(&mut self, key: Option<Key>, place: Place) -> bool {
        if let Some(known) = self.in_line.get(&(key, place)) {
            return *known;
        }
        let mut now = key;
        let mut comes = false;
        for _ in 0..6 {
            match self.book.repair(place, now) {
                // The adopting twin is to be caught by what it does to clients.
                (Some(Command::Tell(_)), _) => {
                    comes = self.laws.twin == Twin::AdoptsProvisional;
                    break;
                }
                (Some(command), _) => now = command.on(now, self.laws.twin),
                (None, true) => {
                    let holder = self.book.holder(place).map(|(value, _)| value);
                    comes = now.map(|key| (key.value, key.for_good)) == holder.map(|v| (v, true));
                    break;
                }
                // A provisional key, which runs out.
                (None, false) => now = None,
            }
        }
        self.in_line.insert((key, place), comes);
        comes
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
            Stage::Before | Stage::Asking { .. } | Stage::Refused(_) | Stage::Cut
        )
    }

    /// Hands a release to the ledger; without one the client is told what Redis has said.
    fn end_with(&mut self, who: u8, by: u8, ask: Option<Whose>, had: bool, again: bool) {
        let log = self.log(by);
        let acquire = &mut self.acquires[usize::from(who)];
        acquire.stage = match ask {
            Some(whose) => {
                acquire.end = Some(End { log, whose });
                Stage::Ending { again }
            }
            None if had => Stage::Released,
            None => Stage::Unsure,
        };
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
        Request::ReadBack | Request::PlainPersist | Request::Confirm => 0,
    }
}

fn late_release(how: How) -> u8 {
    match how {
        How::Delete => Late::Delete.bit(),
        How::Compare => Late::Compare.bit(),
        How::Alone => 0,
    }
}

fn push_new(out: &mut Vec<After>, after: After) {
    if !out.iter().any(|(_, world, _)| *world == after.1) {
        out.push(after);
    }
}
