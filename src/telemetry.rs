//! Logs: where they go, in which form, and what must not stand in them.
//!
//! Logs go to standard error, so that standard output stays for what a person asked for. Whoever
//! logs a token passes it through [`redact`]; passwords never reach a log line.

use std::fmt::{self, Write};

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt as log};

use crate::config::{Log, LogFormat};

/// How many characters of a token may be shown (SPEC 9).
pub const SHOWN_OF_A_TOKEN: usize = 8;

/// Starts logging. A second call changes nothing.
pub fn init(settings: &Log) {
    // The configuration has checked the level; what does not parse falls back to the default.
    let fallback = |_| Targets::new().with_default(LevelFilter::INFO);
    let filter = settings.level.parse().unwrap_or_else(fallback);
    let lines = log::layer().with_writer(std::io::stderr);
    let lines = match settings.format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    // An error says that a subscriber is set already, by a test for example: it stays.
    let _ = tracing_subscriber::registry().with(lines.with_filter(filter)).try_init();
}

/// A token as it may be shown: its first [`SHOWN_OF_A_TOKEN`] characters at most, escaped.
pub fn redact(token: &[u8]) -> impl fmt::Display + '_ {
    // A character has four bytes at most.
    Escaped { bytes: &token[..token.len().min(4 * SHOWN_OF_A_TOKEN)], most: SHOWN_OF_A_TOKEN }
}

/// Bytes as printable text: what is not printable UTF-8 is escaped, so that no key or name can
/// move a terminal's cursor or forge a log line.
pub fn escape(bytes: &[u8]) -> impl fmt::Display + '_ {
    Escaped { bytes, most: usize::MAX }
}

struct Escaped<'a> {
    bytes: &'a [u8],
    /// How many characters to show; a byte that is no UTF-8 counts as one.
    most: usize,
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = self.most;
        for chunk in self.bytes.utf8_chunks() {
            for char in chunk.valid().chars().take(left) {
                left -= 1;
                match char {
                    '"' | '\'' => f.write_char(char)?,
                    _ => write!(f, "{}", char.escape_debug())?,
                }
            }
            for byte in chunk.invalid().iter().take(left) {
                left -= 1;
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn at_most_eight_characters_show() {
        assert_eq!(redact(b"550e8400-e29b").to_string(), "550e8400");
        assert_eq!(redact(b"short").to_string(), "short");
        assert_eq!(redact(b"").to_string(), "");
        assert_eq!(redact("🔒🔒🔒🔒🔒🔒🔒🔒🔒".as_bytes()).to_string(), "🔒".repeat(8));
        assert_eq!(redact(b"\xff\xfe\x00\n9999999").to_string(), "\\xff\\xfe\\0\\n9999");
    }

    #[test]
    fn escapes_what_a_terminal_would_obey() {
        assert_eq!(escape(b"a\x1b[2J\"b'\\").to_string(), "a\\u{1b}[2J\"b'\\\\");
        assert_eq!(escape("clé:ü".as_bytes()).to_string(), "clé:ü");
    }

    proptest! {
        #[test]
        fn shown_text_is_printable_and_bounded(token in any::<Vec<u8>>()) {
            let shown = redact(&token).to_string();
            prop_assert!(!shown.chars().any(char::is_control));
            // The longest escape of one character is \u{10ffff}.
            prop_assert!(shown.chars().count() <= 10 * SHOWN_OF_A_TOKEN);
            prop_assert!(escape(&token).to_string().starts_with(&shown));
        }
    }
}
