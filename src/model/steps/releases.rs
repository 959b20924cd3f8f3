//! A client releases: by Redis first, or by the ledger alone; by what its sidecar has read.

use crate::model::book::{Came, Place, Say};
use crate::model::laws::Twin;
use crate::model::world::{Claim, End, How, Move, Stage, Whose, World};

use super::{After, Steps, late_release};

impl Steps {
    pub(super) fn releases(&mut self, world: &World, who: u8, out: &mut Vec<After>) {
        let acquire = world.acquires[usize::from(who)];
        match acquire.stage {
            Stage::Holding => self.release_moves(world, who, true, out),
            Stage::Unsure if acquire.releases <= self.laws.repeats => {
                self.release_moves(world, who, false, out);
            }
            Stage::Releasing { sidecar, how, answered: None } => {
                let had = match how {
                    How::Delete => world.key.is_some(),
                    How::Compare | How::Alone => {
                        world.key.is_some_and(|key| key.value == self.laws.value(who))
                    }
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
                    let own = holder.filter(|(value, _)| *value == self.laws.value(who));
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
        for reading in self.read_before(world, who, sidecar, how) {
            let holder = self.book.holder(reading);
            let whoever = self.laws.twin == Twin::ReleasesWhoever;
            let ask = match (how, had, holder) {
                (How::Delete, _, Some((_, name))) => Some(Whose::Claim(name)),
                (How::Compare, true, Some((value, name))) if value == self.laws.value(who) => {
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

    /// What a sidecar may have read when it tells the ledger of what Redis has let go. Before a DEL it
    /// has read the ledger, and in it the claim that its client was told of.
    fn read_before(&self, world: &World, who: u8, sidecar: u8, how: How) -> Vec<Place> {
        if how != How::Delete || self.laws.twin == Twin::DeletesUnread {
            return self.readings(world, who, sidecar);
        }
        let knows = self.book.claim_of(world.ledger, who).is_some();
        self.book.readings(world.ledger, knows.then_some(who))
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
            Whose::Own => {
                let own = holder.filter(|(value, _)| *value == self.laws.value(who));
                own.map(|(_, name)| name)
            }
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
}

impl World {
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

fn push_new(out: &mut Vec<After>, after: After) {
    if !out.iter().any(|(_, world, _)| *world == after.1) {
        out.push(after);
    }
}
