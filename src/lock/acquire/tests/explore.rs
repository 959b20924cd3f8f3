//! Breadth-first search over all states of the model.

use std::collections::HashSet;

use super::laws::Laws;
use super::model::{Move, Violation, World};

/// More states than any of the worlds has: a world without end is a mistake of the model.
const MOST_STATES: usize = 5_000_000;

/// What a search has seen.
pub(super) struct Explored {
    /// Different states.
    pub(super) states: usize,
    /// States in which both clients have their answer and nothing is on its way.
    pub(super) endings: usize,
    /// The first violation met and a shortest way there.
    pub(super) violation: Option<(Violation, Vec<Move>)>,
}

/// Visits every state that can be reached, until one violates a property.
pub(super) fn explore(laws: Laws) -> Explored {
    let mut search = Search { known: HashSet::new(), worlds: Vec::new(), ways: Vec::new() };
    for world in World::beginnings(laws) {
        search.meet(world, None);
    }
    let (mut at, mut endings) = (0, 0);
    while at < search.worlds.len() {
        assert!(at < MOST_STATES, "more than {MOST_STATES} states");
        let world = search.worlds[at].clone();
        if let Some(violation) = world.violation(laws) {
            let violation = Some((violation, search.way_to(at)));
            return Explored { states: search.worlds.len(), endings, violation };
        }
        endings += usize::from(world.has_ended());
        for step in world.moves(laws) {
            search.meet(world.after(laws, step), Some((at, step)));
        }
        at += 1;
    }
    Explored { states: search.worlds.len(), endings, violation: None }
}

struct Search {
    known: HashSet<World>,
    worlds: Vec<World>,
    /// How each state was met first: from which other, by which move.
    ways: Vec<Option<(usize, Move)>>,
}

impl Search {
    fn meet(&mut self, world: World, way: Option<(usize, Move)>) {
        if self.known.insert(world.clone()) {
            self.worlds.push(world);
            self.ways.push(way);
        }
    }

    fn way_to(&self, mut at: usize) -> Vec<Move> {
        let mut trace = Vec::new();
        while let Some((from, step)) = self.ways[at] {
            trace.push(step);
            at = from;
        }
        trace.reverse();
        trace
    }
}
