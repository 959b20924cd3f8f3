//! Inline commands: a line of words, quoted as in `redis-cli`, split as Redis's `sdssplitargs`.
//!
//! The words are encoded again as an array of bulks, so that behind the scanner an inline command
//! looks like any other and can be sent on to Redis as it is.

use super::Span;
use crate::resp::encode;

/// The longest line whose array surely fits into the 4 GiB that spans can describe: a word and
/// its blank are at least two bytes of the line, and a word's frame adds at most 15.
pub(super) const MAX_LINE: u64 = u32::MAX as u64 / 16;

/// Splits `line` and appends it to `out` as an array of bulks, the words' places in `out` to
/// `spans`. None if the quotes are not balanced. A line without words appends nothing.
pub(super) fn encode_again(line: &[u8], out: &mut Vec<u8>, spans: &mut Vec<Span>) -> Option<()> {
    let mut text = Vec::with_capacity(line.len());
    let mut ends = Vec::new();
    let mut rest = line;
    loop {
        rest = skip_blanks(rest);
        if rest.is_empty() {
            break;
        }
        rest = take_word(rest, &mut text)?;
        ends.push(text.len());
    }
    if !ends.is_empty() {
        encode::array(out, ends.len());
    }
    let mut start = 0;
    for end in ends {
        let word = &text[start..end];
        encode::bulk(out, word);
        // Fits: the line is at most MAX_LINE long.
        let stop = out.len() - 2;
        spans.push(Span { start: (stop - word.len()) as u32, end: stop as u32 });
        start = end;
    }
    Some(())
}

/// What `isspace` takes for a blank in the C locale.
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r')
}

/// What is behind the blanks at the start of `line`.
fn skip_blanks(line: &[u8]) -> &[u8] {
    let blanks = line.iter().take_while(|byte| is_blank(**byte)).count();
    &line[blanks..]
}

/// Appends the word at the start of `rest` to `text` and gives what is behind it.
fn take_word<'a>(mut rest: &'a [u8], text: &mut Vec<u8>) -> Option<&'a [u8]> {
    // The vertical tab and the form feed separate nothing inside a word.
    while let Some((&byte, behind)) = rest.split_first() {
        match byte {
            b' ' | b'\n' | b'\r' | b'\t' => return Some(behind),
            b'"' => return take_double_quoted(behind, text),
            b'\'' => return take_single_quoted(behind, text),
            _ => text.push(byte),
        }
        rest = behind;
    }
    Some(rest)
}

/// Appends up to the closing `"`, with escapes.
fn take_double_quoted<'a>(mut rest: &'a [u8], text: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        match rest {
            [] => return None,
            [b'\\', b'x', high, low, behind @ ..]
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                text.push(hex_value(*high) * 16 + hex_value(*low));
                rest = behind;
            }
            [b'\\', escaped, behind @ ..] => {
                text.push(unescape(*escaped));
                rest = behind;
            }
            [b'"', behind @ ..] => return closed(behind),
            [byte, behind @ ..] => {
                text.push(*byte);
                rest = behind;
            }
        }
    }
}

/// Appends up to the closing `'`; only `\'` is an escape.
fn take_single_quoted<'a>(mut rest: &'a [u8], text: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        match rest {
            [] => return None,
            [b'\\', b'\'', behind @ ..] => {
                text.push(b'\'');
                rest = behind;
            }
            [b'\'', behind @ ..] => return closed(behind),
            [byte, behind @ ..] => {
                text.push(*byte);
                rest = behind;
            }
        }
    }
}

/// A closing quote ends its word, so only a blank or nothing may be behind it.
fn closed(behind: &[u8]) -> Option<&[u8]> {
    behind.first().is_none_or(|byte| is_blank(*byte)).then_some(behind)
}

/// The byte that `\` and `letter` stand for.
fn unescape(letter: u8) -> u8 {
    match letter {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 0x08,
        b'a' => 0x07,
        other => other,
    }
}

/// The value of a hexadecimal digit.
fn hex_value(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit - b'A' + 10,
    }
}
