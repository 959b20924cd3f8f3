//! How long a blocking command is willing to wait, and the same command with less of that. Pure.

use std::time::Duration;

/// In which unit a time-out stands, and at which argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Seconds, with a fraction if need be (BLPOP and its kin, since Redis 6.0).
    Seconds(usize),
    /// Whole milliseconds (XREAD).
    Milliseconds(usize),
}

/// How long the command waits at most; none for one that waits for ever, or whose words do not tell.
pub(super) fn of(words: &[Vec<u8>]) -> Option<Duration> {
    let place = place(words)?;
    let (Place::Seconds(at) | Place::Milliseconds(at)) = place;
    let text = std::str::from_utf8(words.get(at)?).ok()?;
    let seconds = match place {
        Place::Seconds(_) => text.parse::<f64>().ok()?,
        Place::Milliseconds(_) => text.parse::<u64>().ok()? as f64 / 1000.0,
    };
    Duration::try_from_secs_f64(seconds).ok().filter(|patience| !patience.is_zero())
}

/// The command with this time-out instead; never zero, which would be for ever.
pub(super) fn shortened(words: &[Vec<u8>], left: Duration) -> Vec<Vec<u8>> {
    let mut words = words.to_vec();
    let ms = left.as_millis().max(1);
    let (at, text) = match place(&words) {
        Some(Place::Seconds(at)) => (at, format!("{}.{:03}", ms / 1000, ms % 1000)),
        Some(Place::Milliseconds(at)) => (at, ms.to_string()),
        None => return words,
    };
    if let Some(word) = words.get_mut(at) {
        *word = text.into_bytes();
    }
    words
}

fn place(words: &[Vec<u8>]) -> Option<Place> {
    let name = words.first()?.to_ascii_lowercase();
    match name.as_slice() {
        b"blpop" | b"brpop" | b"blmove" | b"brpoplpush" | b"bzpopmin" | b"bzpopmax" => {
            Some(Place::Seconds(words.len() - 1))
        }
        b"blmpop" | b"bzmpop" => Some(Place::Seconds(1)),
        b"xread" | b"xreadgroup" => {
            let is_block = |word: &Vec<u8>| word.eq_ignore_ascii_case(b"block");
            Some(Place::Milliseconds(words.iter().position(is_block)? + 1))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<Vec<u8>> {
        line.split(' ').map(|word| word.as_bytes().to_vec()).collect()
    }

    #[test]
    fn a_time_out_is_found_and_replaced() {
        let rows = [
            ("BLPOP a b 10", Some(10_000), "BLPOP a b 2.500"),
            ("brpop a 0.25", Some(250), "brpop a 2.500"),
            ("BLMOVE a b LEFT RIGHT 3", Some(3000), "BLMOVE a b LEFT RIGHT 2.500"),
            ("BRPOPLPUSH a b 1", Some(1000), "BRPOPLPUSH a b 2.500"),
            ("BLMPOP 4 1 a LEFT", Some(4000), "BLMPOP 2.500 1 a LEFT"),
            (
                "XREAD COUNT 1 BLOCK 70 STREAMS a $",
                Some(70),
                "XREAD COUNT 1 BLOCK 2500 STREAMS a $",
            ),
            ("XREAD STREAMS a 0", None, "XREAD STREAMS a 0"),
            ("GET a", None, "GET a"),
        ];
        for (line, ms, shorter) in rows {
            assert_eq!(of(&words(line)), ms.map(Duration::from_millis), "{line}");
            let left = Duration::from_millis(2500);
            assert_eq!(shortened(&words(line), left), words(shorter), "{line}");
        }
    }

    #[test]
    fn for_ever_stays_for_ever_and_nothing_left_is_not_for_ever() {
        for line in ["BLPOP a 0", "BLPOP a 0.0", "BLPOP a soon", "BLPOP a -1", "BLPOP a inf"] {
            assert_eq!(of(&words(line)), None, "{line}");
        }
        assert_eq!(shortened(&words("BLPOP a 9"), Duration::ZERO), words("BLPOP a 0.001"));
    }
}
