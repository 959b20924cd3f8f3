//! What others do in Redis past every sidecar, and what the ledger hears of it (`observe`).

use crate::model::book::Say;
use crate::model::redis::Key;
use crate::model::world::{Left, Move, World};

use super::{After, REPAIRS_LOG, Steps};

impl Steps {
    /// Somebody takes or deletes the lock in Redis; and somebody says that an observed hold has
    /// ended, whenever that is and whatever Redis has: that must harm nobody who was told OK.
    pub(super) fn others(&mut self, world: &World, out: &mut Vec<After>) {
        let Some(foreign) = self.laws.foreign() else { return };
        let change = match world.key {
            None => Some(Some(Key { value: foreign, for_good: true })),
            Some(key) if key.for_good => Some(None),
            Some(_) => None,
        };
        if let (Some(key), Some(others)) = (change, world.left.others.checked_sub(1)) {
            let mut next = World { left: Left { others, ..world.left }, ..*world };
            next.set_key(key);
            out.push((Move::Foreign(key.map(|key| key.value)), next, None));
        }
        for name in self.book.observed(world.ledger).to_vec() {
            let ledger = self.book.write(world.ledger, REPAIRS_LOG, Say::Vanish(name)).0;
            if ledger != world.ledger {
                out.push((Move::Vanish(name), World { ledger, ..*world }, None));
            }
        }
    }
}
