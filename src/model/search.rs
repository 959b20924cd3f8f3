//! Breadth-first search over all states of a world.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::laws::Laws;
use super::steps::Steps;
use super::world::{Move, Violation, World};

/// More states than any world has that is looked at: one without end is a mistake of the model.
const MOST_STATES: usize = 20_000_000;

/// What a search has seen.
pub(super) struct Searched {
    /// Different states.
    pub(super) states: usize,
    /// Most moves on a shortest way to a state.
    pub(super) depth: usize,
    /// Different ledgers.
    pub(super) ledgers: usize,
    /// States in which everybody has an answer and nothing is on its way.
    pub(super) endings: usize,
    /// The first violation met, and a shortest way there.
    pub(super) violation: Option<(Violation, Vec<Move>)>,
}

/// Visits every state that can be reached, until one violates a property.
pub(super) fn search(laws: Laws) -> Searched {
    let mut steps = Steps::new(laws);
    let mut search = Search::default();
    search.meet(World::beginning(laws), None);
    let (mut at, mut endings, mut violation) = (0, 0, None);
    let mut after = Vec::new();
    while violation.is_none() && at < search.worlds.len() {
        assert!(at < MOST_STATES, "more than {MOST_STATES} states");
        let world = search.worlds[at];
        if let Some(wrong) = steps.violation(&world) {
            violation = Some((wrong, search.way_to(at)));
            break;
        }
        endings += usize::from(world.has_ended(laws));
        steps.after(&world, &mut after);
        for (step, next, wrong) in after.drain(..) {
            if let (Some(wrong), None) = (wrong, &violation) {
                let mut way = search.way_to(at);
                way.push(step);
                violation = Some((wrong, way));
            }
            search.meet(next, Some((at, step)));
        }
        at += 1;
    }
    Searched {
        states: search.worlds.len(),
        depth: search.depth(),
        ledgers: steps.book.len(),
        endings,
        violation,
    }
}

#[derive(Default)]
struct Search {
    known: HashMap<World, (), BuildHasherDefault<Quick>>,
    worlds: Vec<World>,
    /// How each state was met first: from which other, by which move.
    ways: Vec<Option<(u32, Move)>>,
}

impl Search {
    fn meet(&mut self, world: World, way: Option<(usize, Move)>) {
        if self.known.insert(world, ()).is_none() {
            self.worlds.push(world);
            let short = |at| u32::try_from(at).expect("as MOST_STATES says");
            self.ways.push(way.map(|(at, step)| (short(at), step)));
        }
    }

    fn way_to(&self, mut at: usize) -> Vec<Move> {
        let mut way = Vec::new();
        while let Some((from, step)) = self.ways[at] {
            way.push(step);
            at = from as usize;
        }
        way.reverse();
        way
    }

    /// The last state met is one of the farthest.
    fn depth(&self) -> usize {
        self.way_to(self.worlds.len() - 1).len()
    }
}

/// A hash that is quick without optimization; nobody attacks this map.
#[derive(Default)]
struct Quick(u64);

impl Quick {
    fn mix(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
}

impl Hasher for Quick {
    fn finish(&self) -> u64 {
        self.0 ^ self.0 >> 32
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.mix(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, number: u8) {
        self.mix(number.into());
    }

    fn write_u16(&mut self, number: u16) {
        self.mix(number.into());
    }

    fn write_u64(&mut self, number: u64) {
        self.mix(number);
    }

    fn write_usize(&mut self, number: usize) {
        self.mix(number as u64);
    }

    fn write_isize(&mut self, number: isize) {
        self.mix(number as u64);
    }
}
