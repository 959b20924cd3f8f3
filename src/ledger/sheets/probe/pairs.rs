//! Whether of every two exchanges at least one saw the other (SPEC 8). Pure.

use std::time::Duration;

/// An exchange that was acknowledged.
#[derive(Debug, Clone)]
pub(super) struct Exchange {
    /// Who made it, counted from 0.
    pub(super) writer: usize,
    /// The number of the entry that it wrote.
    pub(super) seq: u64,
    /// When it was begun and acknowledged.
    pub(super) began: Duration,
    pub(super) acked: Duration,
    /// Of each writer the last entry that this one was shown, by then.
    pub(super) saw: Vec<u64>,
}

impl Exchange {
    fn has_seen(&self, other: &Self) -> bool {
        self.saw.get(other.writer).is_some_and(|last| *last >= other.seq)
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.began < other.acked && other.began < self.acked
    }
}

/// All pairs of exchanges of different writers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pairs {
    /// How many there are.
    pub all: usize,
    /// Of those, how many were under way at the same time.
    pub overlapping: usize,
    /// Where each saw the other, which is possible where one was made again.
    pub mutual: usize,
    /// Where neither saw the other: the property does not hold.
    pub blind: usize,
}

impl Pairs {
    pub(super) fn of(exchanges: &[Exchange]) -> Self {
        let mut pairs = Self::default();
        for (at, one) in exchanges.iter().enumerate() {
            for other in exchanges[..at].iter().filter(|other| other.writer != one.writer) {
                let seen = (one.has_seen(other), other.has_seen(one));
                pairs.all += 1;
                pairs.overlapping += usize::from(one.overlaps(other));
                pairs.mutual += usize::from(seen == (true, true));
                pairs.blind += usize::from(seen == (false, false));
            }
        }
        pairs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange(writer: usize, seq: u64, ms: (u64, u64), saw: [u64; 2]) -> Exchange {
        let (began, acked) = (Duration::from_millis(ms.0), Duration::from_millis(ms.1));
        Exchange { writer, seq, began, acked, saw: saw.into() }
    }

    #[test]
    fn each_pair_is_judged_once_and_none_of_one_writer() {
        let first = [exchange(0, 2, (0, 10), [2, 0]), exchange(1, 2, (5, 15), [2, 2])];
        let expected = Pairs { all: 1, overlapping: 1, mutual: 0, blind: 0 };
        assert_eq!(Pairs::of(&first), expected);
        let more = [&first[..], &[exchange(0, 3, (20, 30), [3, 2])]].concat();
        assert_eq!(Pairs::of(&more), Pairs { all: 2, overlapping: 1, mutual: 0, blind: 0 });
    }

    #[test]
    fn who_sees_only_himself_is_blind_whether_at_once_or_later() {
        let at_once = [exchange(0, 2, (0, 10), [2, 1]), exchange(1, 2, (0, 10), [1, 2])];
        assert_eq!(Pairs::of(&at_once), Pairs { all: 1, overlapping: 1, mutual: 0, blind: 1 });
        let later = [exchange(0, 2, (0, 10), [2, 1]), exchange(1, 2, (20, 30), [1, 2])];
        assert_eq!(Pairs::of(&later), Pairs { all: 1, overlapping: 0, mutual: 0, blind: 1 });
        let both = [exchange(0, 2, (0, 10), [2, 2]), exchange(1, 2, (0, 10), [2, 2])];
        assert_eq!(Pairs::of(&both).mutual, 1);
    }
}
