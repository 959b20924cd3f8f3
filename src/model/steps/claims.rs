//! What becomes of a claim: it is written, read back, given up, taken back.

use crate::lock::acquire::Input;
use crate::model::book::{Came, Say};
use crate::model::laws::Twin;
use crate::model::world::{Back, Claim, Move, Stage, World};

use super::{After, Steps};

impl Steps {
    pub(super) fn claims(&mut self, world: &World, who: u8, out: &mut Vec<After>) {
        let acquire = world.acquires[usize::from(who)];
        let place = world.ledger;
        match acquire.claim {
            // A log is written in order, and what takes a claim back goes first.
            Claim::Asked | Claim::GivenUp | Claim::Forgotten if world.waits_behind(who) => {}
            Claim::Asked | Claim::GivenUp | Claim::Forgotten => {
                let mut next = *world;
                let say = Say::Claim { acquire: who, value: self.laws.value(who) };
                let (place, came) = self.book.write(place, acquire.log, say);
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
                    Back::Release => Say::Undelivered(name),
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
