//! What must hold in every state.

use crate::lock::acquire::Outcome;
use crate::model::book::Place;
use crate::model::laws::Twin;
use crate::model::redis::{Command, Key};
use crate::model::world::{Back, Claim, Stage, Violation, Wire, World};

use super::Steps;

impl Steps {
    /// The first property that does not hold here.
    pub(in crate::model) fn violation(&mut self, world: &World) -> Option<Violation> {
        let holds = |who: &u8| world.acquires[usize::from(*who)].stage == Stage::Holding;
        let mut holders = (0..self.laws.acquires).filter(holds).map(|who| self.laws.value(who));
        let first = holders.next();
        if holders.any(|other| Some(other) != first) {
            return Some(Violation::TwoHold);
        }
        if !self.laws.ledger {
            return None;
        }
        let holder = self.book.holder(world.ledger).map(|(value, _)| value);
        for who in 0..self.laws.acquires {
            let acquire = &world.acquires[usize::from(who)];
            let is_holder = holder == Some(self.laws.value(who));
            let is_open = self.is_open(world, who);
            let wrong = match acquire.stage {
                Stage::Holding if !is_holder && self.laws.twin != Twin::OkBeforeClaim => {
                    Some(Violation::HoldsWithoutLedger(who))
                }
                // The lock that it has taken past every sidecar.
                Stage::Refused(_) if Some(self.laws.value(who)) == self.laws.foreign() => None,
                Stage::Refused(outcome) if is_holder && !is_open => {
                    Some(Violation::HeldByRefused(who, outcome))
                }
                // Whoever was told for certain is not it for a moment.
                Stage::Refused(outcome) if is_holder && is_certain(outcome) && !self.laws.again => {
                    Some(Violation::HeldByRefused(who, outcome))
                }
                Stage::Released if is_holder && !(self.laws.again && is_open) => {
                    Some(Violation::ReleasedHolds(who))
                }
                Stage::Asking { wire: Wire::Nothing, .. } => {
                    let waits = matches!(
                        acquire.claim,
                        Claim::Asked
                            | Claim::Landed(_)
                            | Claim::GivenUp
                            | Claim::Owes(Back::Withdraw)
                    );
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

    /// True if something is still to happen to a claim of this value, or its client asks again or
    /// holds it; or nobody can tell, because its sidecar died.
    fn is_open(&self, world: &World, who: u8) -> bool {
        let same = |other: &u8| self.laws.value(*other) == self.laws.value(who);
        (0..self.laws.acquires).filter(same).any(|other| {
            let acquire = &world.acquires[usize::from(other)];
            let ends = !acquire.claim.is_settled() && acquire.claim != Claim::Forgotten;
            let is_told_no =
                matches!(acquire.stage, Stage::Before | Stage::Refused(_) | Stage::Released);
            acquire.orphan || ends || !is_told_no
        })
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
                // The adopting twin is to be caught by what it does to clients. What was taken past
                // every sidecar is in line once the ledger is told of it.
                (Some(Command::Tell(value)), _) => {
                    let adopts = self.laws.twin == Twin::AdoptsProvisional;
                    comes = adopts || self.laws.foreign() == Some(value);
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
}

/// True for an answer that says that the client does not have the lock.
fn is_certain(outcome: Outcome) -> bool {
    match outcome {
        Outcome::Held
        | Outcome::Refused
        | Outcome::RanOut
        | Outcome::Abandoned
        | Outcome::TooFewReplicas
        | Outcome::Blocked => true,
        Outcome::Granted | Outcome::Unknown | Outcome::Unconfirmed | Outcome::Undecided => false,
    }
}
