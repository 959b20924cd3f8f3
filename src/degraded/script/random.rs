//! The generator behind `math.random`: Redis's own drand48, which gives the same numbers on every
//! machine. Pure.

const MULTIPLIER: u64 = 0x5_DEEC_E66D;
const INCREMENT: u64 = 0xB;
const MASK: u64 = (1 << 48) - 1;

/// The state of one script's generator.
pub(super) struct Random(u64);

impl Random {
    /// The numbers that follow `math.randomseed(seed)`.
    pub(super) fn seeded(seed: i32) -> Self {
        Self(u64::from(seed.cast_unsigned()) << 16 | 0x330E)
    }

    /// The next number: at least 0, below 1.
    pub(super) fn fraction(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(MULTIPLIER).wrapping_add(INCREMENT) & MASK;
        let number = i32::try_from(self.0 >> 17).unwrap_or(i32::MAX);
        f64::from(number % i32::MAX) / f64::from(i32::MAX)
    }
}
