//! The world around the machine: a Redis with one key, two clients, a network.

use std::time::Duration;

use crate::lock::acquire::{Acquire, Effect, Input, Outcome, Request};

use super::laws::{Laws, Twin};

/// The two clients, and whoever uses the key without Lockside.
pub(super) const A: usize = 0;
pub(super) const B: usize = 1;
const STRANGER: usize = 2;

/// The safety TTL in ticks of the model's clock.
const TTL: u8 = 2;
/// The clock stops here: long enough for a key to run out, be set again and run out.
const LAST_TICK: u8 = 4;

/// One thing that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Move {
    Start(usize),
    /// Redis carries out the request of this client; the reply is under way.
    Execute(usize, Request),
    /// Redis answers with an error instead.
    Refuse(usize, Request),
    /// The reply arrives.
    Deliver(usize, Input),
    /// The reply is lost, or too late.
    LoseReply(usize),
    /// The request is lost before it reaches Redis.
    LoseRequest(usize),
    /// The request is given up, and will be carried out later.
    Delay(usize),
    /// A request that was given up is carried out.
    Late(usize, Request),
    Reopen(usize),
    FailReopen(usize),
    Gone(usize),
    Release(usize),
    /// The key's TTL ends.
    RunOut,
    /// Somebody sets the key without Lockside; `true`: with a TTL.
    StrangerTakes(bool),
    StrangerLeaves,
    Tick,
}

impl Move {
    fn is_fault(self) -> bool {
        matches!(
            self,
            Self::Refuse(..)
                | Self::LoseReply(_)
                | Self::LoseRequest(_)
                | Self::Delay(_)
                | Self::FailReopen(_)
                | Self::Gone(_)
        )
    }
}

/// A property that does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Violation {
    /// Both were told OK, and neither has released.
    TwoHold,
    /// This one was told OK, and the key is not its own for good.
    GrantedWithoutKey(usize),
    /// This one was told OK, and Redis has not said on the link of its SET that replicas have it.
    GrantedWithoutReplicas(usize),
    /// Its client had gone, and the machine says "granted" all the same.
    GrantedToNobody(usize),
    /// Nothing says that this one may hold the lock, and its value stands for good.
    Orphan(usize, Option<Outcome>),
    /// It waits, and nothing can happen that it waits for.
    Stuck(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    value: usize,
    /// None: for good.
    expires: Option<u8>,
}

/// What is between a machine and Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Wire {
    Sent(Request),
    Answered(Request, Input),
    Reopening,
    /// The machine waits, and nothing is on its way.
    Nothing,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Phase {
    Before,
    Running {
        machine: Acquire,
        wire: Wire,
        /// Nothing was answered on this link yet: it may turn out that it never stood.
        fresh: bool,
        gone: bool,
        /// Its SET was carried out on this link.
        wrote: bool,
        /// Redis has said so of its SET.
        replicated: bool,
    },
    Told {
        outcome: Outcome,
        gone: bool,
        replicated: bool,
    },
    Released,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Party {
    phase: Phase,
    /// Requests that were given up and may still be carried out, sorted.
    late: Vec<Request>,
}

/// One state of everything.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct World {
    key: Option<Key>,
    clock: u8,
    faults_left: u8,
    late_left: u8,
    parties: [Party; 2],
}

impl World {
    /// The states in which everything begins.
    pub(super) fn beginnings(laws: Laws) -> Vec<Self> {
        let party = Party { phase: Phase::Before, late: Vec::new() };
        let with = |key| Self {
            key,
            clock: 0,
            faults_left: laws.faults,
            late_left: laws.late,
            parties: [party.clone(), party.clone()],
        };
        let permanent = |value| Some(Key { value, expires: None });
        if laws.resumes {
            vec![with(permanent(A)), with(None), with(permanent(STRANGER))]
        } else {
            vec![with(None)]
        }
    }

    /// Both have their answer, and nothing is on its way.
    pub(super) fn has_ended(&self) -> bool {
        self.parties.iter().all(|party| {
            matches!(party.phase, Phase::Told { .. } | Phase::Released) && party.late.is_empty()
        })
    }

    /// Everything that can happen now.
    pub(super) fn moves(&self, laws: Laws) -> Vec<Move> {
        let mut moves: Vec<Move> = [A, B].into_iter().flat_map(|who| self.moves_of(who)).collect();
        if self.faults_left == 0 {
            moves.retain(|step| !step.is_fault());
        }
        match self.key {
            None => moves.push(Move::StrangerTakes(!laws.scripts)),
            Some(Key { value: STRANGER, .. }) => moves.push(Move::StrangerLeaves),
            Some(_) => {}
        }
        let provisional = self.key.is_some_and(|key| key.expires.is_some());
        if laws.scripts && provisional {
            moves.push(Move::RunOut);
        }
        if !laws.scripts && self.clock < LAST_TICK {
            moves.push(Move::Tick);
        }
        moves
    }

    fn moves_of(&self, who: usize) -> Vec<Move> {
        let party = &self.parties[who];
        let mut moves: Vec<Move> =
            party.late.iter().map(|request| Move::Late(who, *request)).collect();
        match &party.phase {
            Phase::Before => moves.push(Move::Start(who)),
            Phase::Running { wire, fresh, gone, .. } => {
                moves.extend(wire_moves(who, *wire, *fresh, self.late_left > 0));
                if !gone {
                    moves.push(Move::Gone(who));
                }
            }
            Phase::Told { outcome: Outcome::Granted, .. } => moves.push(Move::Release(who)),
            Phase::Told { .. } | Phase::Released => {}
        }
        moves
    }

    /// The state after one of [`World::moves`].
    pub(super) fn after(&self, laws: Laws, step: Move) -> Self {
        let mut next = self.clone();
        next.faults_left -= u8::from(step.is_fault());
        match step {
            Move::Start(who) => next.start(who, laws),
            Move::Execute(who, request) => {
                let input = next.carry_out(who, request, laws);
                next.set_wire(who, Wire::Answered(request, input));
            }
            Move::Refuse(who, request) => {
                next.set_wire(who, Wire::Answered(request, Input::Refused));
            }
            Move::Deliver(who, input) => next.feed(who, input, false, laws),
            Move::LoseReply(who) | Move::LoseRequest(who) => {
                next.feed(who, Input::Lost, true, laws);
            }
            Move::Delay(who) => {
                next.delay(who);
                next.feed(who, Input::Lost, true, laws);
            }
            Move::Late(who, request) => {
                // On a link that was given up.
                let laws = Laws { replicas: false, ..laws };
                next.carry_out(who, request, laws);
                let late = &mut next.parties[who].late;
                late.remove(late.iter().position(|known| *known == request).unwrap());
            }
            Move::Reopen(who) => next.feed(who, Input::Reopened, true, laws),
            Move::FailReopen(who) => next.feed(who, Input::ReopenFailed, true, laws),
            Move::Gone(who) => next.client_gone(who),
            Move::Release(who) => {
                next.key = next.key.filter(|key| key.value != who);
                next.parties[who].phase = Phase::Released;
            }
            Move::RunOut | Move::StrangerLeaves => next.key = None,
            Move::StrangerTakes(provisional) => {
                let expires = provisional.then(|| next.clock_after_ttl());
                next.key = Some(Key { value: STRANGER, expires });
            }
            Move::Tick => next.tick(),
        }
        next
    }

    fn tick(&mut self) {
        self.clock += 1;
        let clock = self.clock;
        self.key = self.key.filter(|key| key.expires.is_none_or(|at| at > clock));
    }

    fn now(&self) -> Duration {
        Duration::from_secs(u64::from(self.clock))
    }

    /// When a key that is set now runs out; without a clock that is any time.
    fn clock_after_ttl(&self) -> u8 {
        self.clock + TTL
    }

    fn start(&mut self, who: usize, laws: Laws) {
        let ttl = Duration::from_secs(u64::from(TTL));
        let (machine, effect) = if laws.resumes && who == A {
            Acquire::resume(self.now(), ttl)
        } else {
            Acquire::start(self.now(), ttl)
        };
        self.parties[who].phase = Phase::Running {
            machine: machine.on_replicas(laws.replicas),
            wire: Wire::Nothing,
            fresh: true,
            gone: false,
            wrote: false,
            replicated: false,
        };
        self.take_effect(who, effect);
    }

    fn client_gone(&mut self, who: usize) {
        let now = self.now();
        let Phase::Running { machine, gone, .. } = &mut self.parties[who].phase else { return };
        *gone = true;
        assert_eq!(machine.on(Input::ClientGone, now), Effect::Wait);
    }

    /// Gives the machine its input. `new_link`: what it sends next goes over another link.
    fn feed(&mut self, who: usize, input: Input, new_link: bool, laws: Laws) {
        let now = self.now();
        let Phase::Running { machine, wire, fresh, wrote, .. } = &mut self.parties[who].phase
        else {
            return;
        };
        let asked = *wire;
        *fresh = new_link;
        *wrote &= !new_link;
        let effect = machine.on(input, now);
        self.take_effect(who, laws.twin.pervert(asked, input, effect));
    }

    fn take_effect(&mut self, who: usize, effect: Effect) {
        let phase = &mut self.parties[who].phase;
        let Phase::Running { wire, gone, replicated, .. } = phase else { return };
        match effect {
            Effect::Send(request) => *wire = Wire::Sent(request),
            Effect::Reopen => *wire = Wire::Reopening,
            Effect::Wait => *wire = Wire::Nothing,
            Effect::Claim => unreachable!("the ledger only follows in this world"),
            Effect::Finish(outcome) => {
                let gone = *gone && outcome == Outcome::Granted;
                let replicated = *replicated;
                *phase = Phase::Told { outcome, gone, replicated };
            }
        }
    }

    fn set_wire(&mut self, who: usize, new: Wire) {
        if let Phase::Running { wire, .. } = &mut self.parties[who].phase {
            *wire = new;
        }
    }

    /// The request under way becomes a late one.
    fn delay(&mut self, who: usize) {
        let party = &mut self.parties[who];
        let Phase::Running { wire: Wire::Sent(request), .. } = &party.phase else { return };
        party.late.push(*request);
        party.late.sort_by_key(|request| *request as u8);
        self.late_left -= 1;
    }

    /// What Redis does with a request, and answers.
    fn carry_out(&mut self, who: usize, request: Request, laws: Laws) -> Input {
        let there = match self.key {
            None => Input::Gone,
            Some(key) if key.value == who => Input::Ours,
            Some(_) => Input::Anothers,
        };
        let had_ttl = self.key.is_some_and(|key| key.expires.is_some());
        match request {
            Request::SetNx if self.key.is_none() => {
                self.key = Some(Key { value: who, expires: Some(self.clock_after_ttl()) });
                self.note(who, |wrote, _| *wrote |= laws.replicas);
                Input::Taken
            }
            Request::SetNx => Input::Occupied,
            // Of what was written on other links it says nothing, and that at once.
            Request::Replicas => {
                self.note(who, |wrote, replicated| *replicated |= *wrote);
                Input::Replicated
            }
            Request::ReadBack => there,
            Request::Confirm if there == Input::Ours && had_ttl => Input::Provisional,
            Request::Confirm => there,
            Request::Persist | Request::CompareAndDelete if !laws.scripts => Input::Forbidden,
            Request::Persist if laws.twin == Twin::Unguarded => {
                self.take_ttl_off();
                if self.key.is_some() { Input::Ours } else { Input::Gone }
            }
            Request::Persist => {
                if there == Input::Ours {
                    self.take_ttl_off();
                }
                there
            }
            Request::PlainPersist => {
                self.take_ttl_off();
                if had_ttl { Input::TtlRemoved } else { Input::TtlAbsent }
            }
            Request::CompareAndDelete => {
                self.key = self.key.filter(|key| key.value != who);
                Input::Undone
            }
        }
    }

    fn note(&mut self, who: usize, note: impl FnOnce(&mut bool, &mut bool)) {
        if let Phase::Running { wrote, replicated, .. } = &mut self.parties[who].phase {
            note(wrote, replicated);
        }
    }

    fn take_ttl_off(&mut self) {
        self.key = self.key.map(|key| Key { expires: None, ..key });
    }

    /// The first property that does not hold here.
    pub(super) fn violation(&self, laws: Laws) -> Option<Violation> {
        let holds = |who: usize| {
            matches!(self.parties[who].phase, Phase::Told { outcome: Outcome::Granted, .. })
        };
        if holds(A) && holds(B) {
            return Some(Violation::TwoHold);
        }
        [A, B].into_iter().find_map(|who| self.violation_of(who, laws))
    }

    fn violation_of(&self, who: usize, laws: Laws) -> Option<Violation> {
        let for_good = self.key == Some(Key { value: who, expires: None });
        let orphan =
            |outcome| (laws.orphans && for_good).then_some(Violation::Orphan(who, outcome));
        match &self.parties[who].phase {
            Phase::Told { outcome: Outcome::Granted, gone: true, .. } => {
                Some(Violation::GrantedToNobody(who))
            }
            Phase::Told { outcome: Outcome::Granted, replicated: false, .. } if laws.replicas => {
                Some(Violation::GrantedWithoutReplicas(who))
            }
            // The unguarded twin is to be caught by what it does to the clients.
            Phase::Told { outcome: Outcome::Granted, .. } => (!for_good
                && laws.twin != Twin::Unguarded)
                .then_some(Violation::GrantedWithoutKey(who)),
            Phase::Told { outcome, .. } if self.may_stand(who, *outcome, laws) => None,
            Phase::Told { outcome, .. } => orphan(Some(*outcome)),
            Phase::Released => orphan(None),
            Phase::Running { wire: Wire::Nothing, .. } => Some(Violation::Stuck(who)),
            Phase::Running { .. } | Phase::Before => None,
        }
    }

    /// True for an outcome after which the value may stand for good, because the table says so.
    fn may_stand(&self, who: usize, outcome: Outcome, laws: Laws) -> bool {
        let older_grant = laws.resumes && who == A;
        outcome == Outcome::Unconfirmed || older_grant && outcome == Outcome::Abandoned
    }
}

fn wire_moves(who: usize, wire: Wire, fresh: bool, may_be_late: bool) -> Vec<Move> {
    match wire {
        Wire::Sent(request) => {
            let mut moves = vec![
                Move::Execute(who, request),
                Move::Refuse(who, request),
                Move::LoseRequest(who),
            ];
            let may_change =
                !matches!(request, Request::ReadBack | Request::Confirm | Request::Replicas);
            if may_be_late && may_change {
                moves.push(Move::Delay(who));
            }
            if fresh {
                moves.push(Move::FailReopen(who));
            }
            moves
        }
        Wire::Answered(_, input) => vec![Move::Deliver(who, input), Move::LoseReply(who)],
        Wire::Reopening => vec![Move::Reopen(who), Move::FailReopen(who)],
        Wire::Nothing => Vec::new(),
    }
}
