//! What becomes of a claim: it is written, read back, given up, taken back.

use crate::lock::acquire::Input;
use crate::lock::acquire::Outcome;
use crate::model::book::{Came, Say};
use crate::model::laws::Twin;
use crate::model::world::{Back, Claim, Move, Stage, World};

use super::{After, Steps};

impl Steps {
    pub(super) fn claims(&mut self, world: &World, who: u8, out: &mut Vec<After>) {
        let acquire = world.acquires[usize::from(who)];
        match acquire.claim {
            // A log is written in order, and what takes a claim back goes first.
            Claim::Asked | Claim::GivenUp | Claim::Forgotten if world.waits_behind(who) => {}
            Claim::Asked | Claim::GivenUp | Claim::Forgotten => self.land(world, who, out),
            Claim::Landed(won) => out.push(self.read_back(world, Move::Answer(who), who, won)),
            Claim::Owes(back) => out.push(self.take_back(world, who, back)),
            Claim::Unasked | Claim::Won | Claim::Settled => {}
        }
        match (acquire.stage, acquire.claim) {
            (Stage::Asking { .. }, Claim::Asked | Claim::Landed(_)) => {
                self.give_up(world, who, out);
            }
            (Stage::Asking { .. }, Claim::GivenUp | Claim::Owes(_)) if self.waits(world, who) => {
                out.push(self.fed(world, Move::Despair(who), who, Input::Undecided));
            }
            (Stage::Leaving(_), _) => {
                let mut next = *world;
                next.acquires[usize::from(who)].stage = Stage::Refused(Outcome::Undecided);
                out.push((Move::Despair(who), next, None));
            }
            _ => {}
        }
    }

    /// The claim is written.
    fn land(&mut self, world: &World, who: u8, out: &mut Vec<After>) {
        let acquire = world.acquires[usize::from(who)];
        let mut next = *world;
        let say = Say::Claim { acquire: who, value: self.laws.value(who) };
        let (place, came) = self.book.write(world.ledger, acquire.log, say);
        next.ledger = place;
        let won = came == Came::Won;
        next.acquires[usize::from(who)].claim = match acquire.claim {
            Claim::Asked => Claim::Landed(won),
            Claim::GivenUp if won => Claim::Owes(Back::Withdraw),
            _ => Claim::Settled,
        };
        if acquire.claim == Claim::Asked && !self.laws.split {
            out.push(self.read_back(&next, Move::Land(who), who, won));
        } else if acquire.claim == Claim::GivenUp && !won && self.waits(world, who) {
            out.push(self.fed(&next, Move::Land(who), who, Input::Beaten));
            if !self.laws.split {
                // The answer was under way already when it was given up.
                out.push(self.fed(&next, Move::Land(who), who, Input::Unheard));
            }
        } else {
            out.push((Move::Land(who), next, None));
        }
    }

    /// The row that takes the claim back is written: now the client may be told.
    fn take_back(&mut self, world: &World, who: u8, back: Back) -> After {
        let place = world.ledger;
        let (name, say): (_, fn(_) -> _) = match back {
            Back::Withdraw => (self.book.claim_of(place, who), Say::Withdraw),
            Back::Release => (self.book.won_by(place, who), Say::Undelivered),
        };
        let name = name.expect("a claim that has won stands there");
        let mut next = *world;
        let acquire = &mut next.acquires[usize::from(who)];
        acquire.claim = Claim::Settled;
        if let Stage::Leaving(outcome) = acquire.stage {
            acquire.stage = Stage::Refused(outcome);
        }
        next.ledger = self.book.write(place, acquire.log, say(name)).0;
        if self.waits(world, who) {
            return self.fed(&next, Move::TakeBack(who), who, Input::Unheard);
        }
        (Move::TakeBack(who), next, None)
    }

    /// `acquire_timeout` has passed: what is not written yet never will be, or is taken back.
    fn give_up(&mut self, world: &World, who: u8, out: &mut Vec<After>) {
        let claim = world.acquires[usize::from(who)].claim;
        let mut next = *world;
        next.acquires[usize::from(who)].claim = match claim {
            Claim::Asked if self.laws.twin == Twin::KeepsUnknownClaims => Claim::Forgotten,
            Claim::Landed(_) if self.laws.twin == Twin::KeepsUnknownClaims => Claim::Settled,
            Claim::Landed(true) => Claim::Owes(Back::Withdraw),
            Claim::Landed(false) => Claim::Settled,
            _ => Claim::GivenUp,
        };
        let says_so = claim == Claim::Landed(false)
            || matches!(self.laws.twin, Twin::KeepsUnknownClaims | Twin::SaysNoTooSoon);
        let gives_up = Move::GiveUp(who);
        out.push(match says_so {
            true => self.fed(&next, gives_up, who, Input::Unheard),
            false => (gives_up, next, None),
        });
        if claim == Claim::Asked {
            next.acquires[usize::from(who)].claim = Claim::Settled;
            out.push(self.fed(&next, Move::Unqueue(who), who, Input::Unheard));
        }
    }

    /// True while the machine has heard nothing of its claim.
    fn waits(&self, world: &World, who: u8) -> bool {
        match world.acquires[usize::from(who)].stage {
            Stage::Asking { machine, .. } => self.machines[usize::from(machine)].is_claiming(),
            _ => false,
        }
    }

    fn read_back(&mut self, world: &World, step: Move, who: u8, won: bool) -> After {
        let mut next = *world;
        next.acquires[usize::from(who)].claim = if won { Claim::Won } else { Claim::Settled };
        self.fed(&next, step, who, if won { Input::Won } else { Input::Beaten })
    }
}

impl World {
    /// True if the sidecar has still to take back, or to write, an earlier claim.
    fn waits_behind(&self, who: u8) -> bool {
        let own = &self.acquires[usize::from(who)];
        self.acquires[..usize::from(who)].iter().any(|earlier| {
            let is_before = matches!(earlier.claim, Claim::GivenUp | Claim::Owes(_));
            is_before && earlier.log == own.log && !earlier.orphan
        })
    }
}
