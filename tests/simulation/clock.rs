//! Simulated time and chance: what `Shared.clock` and all parts read, and where random bits come
//! from. Per thread, because `Shared.clock` has plain functions; a simulation lives on one thread.

use std::cell::Cell;
use std::time::Duration;

/// The wall clock at the start of a simulation, in milliseconds since the Unix epoch.
const START_MS: u64 = 1_795_000_000_000;

thread_local! {
    static NOW: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    static BITS: Cell<u64> = const { Cell::new(0) };
    static NAMES: Cell<u64> = const { Cell::new(0) };
}

/// Begins anew, with the stream of random bits of this seed.
pub(crate) fn reset(seed: u64) {
    NOW.set(Duration::ZERO);
    BITS.set(seed ^ 0x5851_f42d_4c95_7f2d);
    NAMES.set(0);
}

/// Moves the time forward.
pub(crate) fn set(now: Duration) {
    NOW.set(now);
}

/// Since the start of the simulation.
pub(crate) fn now() -> Duration {
    NOW.get()
}

/// Milliseconds since the Unix epoch.
pub(crate) fn unix_ms() -> u64 {
    START_MS + u64::try_from(NOW.get().as_millis()).unwrap()
}

/// 64 random bits for stamps and markers, apart from the stream that drives the simulation.
pub(crate) fn random() -> u64 {
    let mut rng = Rng(BITS.get());
    let bits = rng.bits();
    BITS.set(rng.0);
    bits
}

/// A number that was not given out before in this simulation.
pub(crate) fn name() -> u64 {
    NAMES.set(NAMES.get() + 1);
    NAMES.get()
}

/// SplitMix64: all that a simulation draws comes from one of these and its seed.
#[derive(Debug, Clone)]
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`, which is not zero.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.bits() % end
    }

    /// True in so many of a hundred cases.
    pub(crate) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// A time between two, in microseconds.
    pub(crate) fn micros(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_micros(from + self.below(to - from + 1))
    }

    /// A time between two, in milliseconds, with all microseconds between them.
    pub(crate) fn millis(&mut self, from: u64, to: u64) -> Duration {
        self.micros(from * 1000, to * 1000)
    }

    /// One of these.
    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[usize::try_from(self.below(from.len() as u64)).unwrap()]
    }
}
