//! Seeded randomness, the same on every machine, and the latency model that draws from it.

use std::time::Duration;

/// SplitMix64: small, good enough, and its whole state is one number.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// The sequence of this seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^ (bits >> 31)
    }

    /// From zero to below one.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// From zero to below `end`; zero for an `end` of zero.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        // The remainder is below `end`.
        usize::try_from(self.bits() % (end.max(1) as u64)).unwrap_or(0)
    }

    /// Normally distributed, by Box and Muller.
    fn normal(&mut self) -> f64 {
        let (a, b) = (1.0 - self.unit(), self.unit());
        (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()
    }
}

/// How long calls take: log-normal, so that a few take several times the median.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Latency {
    /// Half of the reads are faster.
    pub read: Duration,
    /// Half of the writes are faster.
    pub write: Duration,
    /// Spread: the standard deviation of the logarithm. At 0.4 one call in a hundred takes 2.5 medians.
    pub spread: f64,
}

impl Default for Latency {
    /// As people measured it: 0.25 s for reads, 0.8 s for writes.
    fn default() -> Self {
        Self { read: Duration::from_millis(250), write: Duration::from_millis(800), spread: 0.4 }
    }
}

impl Latency {
    /// The time of one call, cut at Google's own limit of 180 s.
    pub(crate) fn draw(&self, write: bool, random: &mut Random) -> Duration {
        let median = if write { self.write } else { self.read };
        let seconds = median.as_secs_f64() * (self.spread * random.normal()).exp();
        Duration::from_secs_f64(seconds.clamp(0.0, 180.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_median_and_the_tail_is_long() {
        let (latency, mut random) = (Latency::default(), Random::new(7));
        let mut drawn: Vec<_> = (0..10_001).map(|_| latency.draw(true, &mut random)).collect();
        drawn.sort();
        let seconds = |at: usize| drawn[at].as_secs_f64();
        assert!((0.78..0.82).contains(&seconds(5_000)), "{}", seconds(5_000));
        assert!((1.8..2.3).contains(&seconds(9_900)), "{}", seconds(9_900));
    }

    #[test]
    fn a_seed_is_a_sequence() {
        let draw = |seed| {
            let mut random = Random::new(seed);
            (0..5).map(|_| random.below(100)).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }
}
