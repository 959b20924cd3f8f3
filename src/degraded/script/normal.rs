//! A Lua text in one form for all its ways of writing: tokens with one space between, no comments,
//! strings in single quotes and lower case (the names of commands have no case). Pure.

/// The tokens of a text. A text that is cut off in a string or a comment comes out as something
/// that no known text is like.
pub(super) fn normalise(text: &[u8]) -> String {
    let (mut out, mut rest) = (String::new(), text);
    while let Some(first) = rest.first() {
        let length = match first {
            byte if byte.is_ascii_whitespace() => 1,
            b'-' if rest.starts_with(b"--") => comment(rest),
            b'\'' | b'"' => string(rest, &mut out),
            _ => token(rest, &mut out),
        };
        rest = rest.get(length..).unwrap_or_default();
    }
    out
}

fn comment(text: &[u8]) -> usize {
    if text.starts_with(b"--[[") {
        return memchr::memmem::find(text, b"]]").map_or(text.len(), |end| end + 2);
    }
    memchr::memchr(b'\n', text).unwrap_or(text.len())
}

fn string(text: &[u8], out: &mut String) -> usize {
    let quote = text[0];
    let Some(end) = memchr::memchr(quote, &text[1..]) else {
        out.push_str(" ?");
        return text.len();
    };
    let inner = String::from_utf8_lossy(&text[1..=end]).to_ascii_lowercase();
    // An escape could mean anything.
    let inner = if inner.contains('\\') { "?" } else { &inner };
    space(out);
    out.push('\'');
    out.push_str(inner);
    out.push('\'');
    end + 2
}

fn token(text: &[u8], out: &mut String) -> usize {
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let word = text.iter().take_while(|byte| is_word(byte)).count();
    let double: [&[u8]; 5] = [b"==", b"~=", b"<=", b">=", b".."];
    let length = match word {
        0 if double.iter().any(|operator| text.starts_with(operator)) => 2,
        0 => 1,
        word => word,
    };
    if text[0] == b';' {
        return 1;
    }
    space(out);
    out.push_str(&String::from_utf8_lossy(&text[..length]));
    length
}

fn space(out: &mut String) {
    if !out.is_empty() {
        out.push(' ');
    }
}
