//! The state at one place of the order, as a store keeps it. Pure.

use std::sync::Arc;

use super::held::{Confirmations, Held};
use super::{Conflict, Dead, Fold, Holder, Log, Position, Token, Undecided};

/// The state at one place of the order, for readers that start there. All lists are in an order
/// that the state alone gives: equal states have equal snapshots.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// All holders, oldest first.
    pub holders: Vec<Arc<Holder>>,
    /// Claims that were won because the holder had their value: the holder's place, and theirs.
    pub confirmations: Vec<(Position, Position)>,
    /// Of the holders those whose fences Redis has given.
    pub granted: Vec<Position>,
    /// Dead values, with the highest fences by which they held: the young generation and the old one.
    pub dead: [Vec<(Token, u64)>; 2],
    /// The highest fence given.
    pub fence_high: u64,
    /// The logs, with their numbers.
    pub logs: Vec<(u64, Log)>,
    /// Grants that overlapped (fast).
    pub conflicts: Vec<Conflict>,
    /// A store without order: what is not decided. `fence_high` is that of grants alone then.
    pub undecided: Option<Box<Undecided>>,
}

impl Fold {
    /// All that is needed to go on from here.
    pub fn snapshot(&self) -> Snapshot {
        let mut confirmations: Vec<_> = Vec::new();
        for held in self.holders.values() {
            let others = held.confirmed_by.iter().flat_map(|others| &others.names);
            confirmations.extend(others.map(|other| (held.holder.at, *other)));
        }
        // Stable by the holder alone: the order of one holder's confirmations is theirs.
        confirmations.sort_by_key(|(holder, _)| *holder);
        let granted = self.holders.values().filter(|held| held.is_granted);
        let mut granted: Vec<_> = granted.map(|held| held.holder.at).collect();
        granted.sort_unstable();
        Snapshot {
            holders: self.holders(),
            granted,
            confirmations,
            dead: self.dead.generations(),
            fence_high: self.fence_high,
            undecided: self.undecided.clone(),
            logs: self.logs.iter().map(|(number, log)| (*number, log.clone())).collect(),
            conflicts: self.conflicts.values().cloned().collect(),
        }
    }
}

impl From<Snapshot> for Fold {
    fn from(snapshot: Snapshot) -> Self {
        let mut fold = Self {
            dead: Dead::from_generations(snapshot.dead),
            fence_high: snapshot.fence_high,
            undecided: snapshot.undecided,
            logs: snapshot.logs.into_iter().collect(),
            conflicts: snapshot.conflicts.into_iter().map(|c| (c.lost, c)).collect(),
            ..Self::default()
        };
        // Both lists are in the order of the holders' places.
        let mut others = snapshot.confirmations.into_iter().peekable();
        for holder in snapshot.holders {
            let mut confirmed_by = None;
            while let Some((_, other)) = others.next_if(|(place, _)| *place == holder.at) {
                confirmed_by.get_or_insert_with(Box::<Confirmations>::default).names.push(other);
            }
            let is_granted = snapshot.granted.binary_search(&holder.at).is_ok();
            fold.holders
                .insert(holder.claim.key.clone(), Held { holder, is_granted, confirmed_by });
        }
        fold
    }
}
