//! A script's text: its shebang line and what Lua gets of it. Pure.

use crate::lock::envelope::sha1_hex;

/// A text, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Text<'a> {
    /// What Lua compiles: all behind the shebang, from its line feed on, so that lines count.
    pub(super) body: &'a [u8],
    /// The text as it came.
    pub(super) whole: &'a [u8],
    /// What errors name.
    pub(super) sha: [u8; 40],
    /// There is a shebang, so its flags count.
    pub(super) has_flags: bool,
    /// `no-writes`: it may only read.
    pub(super) no_writes: bool,
}

const FLAGS: [&str; 5] =
    ["no-writes", "allow-oom", "allow-stale", "no-cluster", "allow-cross-slot-keys"];

impl<'a> Text<'a> {
    /// Takes a text apart, or gives Redis's error for its shebang line.
    pub(super) fn parse(text: &'a [u8]) -> Result<Self, String> {
        let sha = sha1_hex(text);
        if !text.starts_with(b"#!") {
            return Ok(Self { body: text, whole: text, sha, has_flags: false, no_writes: false });
        }
        let end = memchr::memchr(b'\n', text).ok_or("ERR Invalid script shebang")?;
        let (line, body) = text.split_at(end);
        let line = String::from_utf8_lossy(line);
        let mut words = line.split_ascii_whitespace();
        let engine = words.next().unwrap_or_default();
        if engine != "#!lua" {
            return Err(format!("ERR Unexpected engine in script shebang: {engine}"));
        }
        let mut no_writes = false;
        for word in words {
            let Some(flags) = word.strip_prefix("flags=") else {
                return Err(format!("ERR Unknown lua shebang option: {word}"));
            };
            for flag in flags.split(',').filter(|_| !flags.is_empty()) {
                if !FLAGS.contains(&flag) {
                    return Err(format!("ERR Unexpected flag in script shebang: {flag}"));
                }
                no_writes |= flag == "no-writes";
            }
        }
        Ok(Self { body, whole: text, sha, has_flags: true, no_writes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shebang_line_is_taken_off_and_its_flags_are_known() {
        let text = Text::parse(b"#!lua flags=no-writes,allow-oom\nreturn 1").unwrap();
        assert_eq!((text.body, text.no_writes), (&b"\nreturn 1"[..], true));
        assert!(!Text::parse(b"#!lua\nreturn 1").unwrap().no_writes);
        assert!(!Text::parse(b"return 1").unwrap().has_flags);
        for (line, error) in [
            ("#!lua", "ERR Invalid script shebang"),
            ("#!sh\n", "ERR Unexpected engine in script shebang: #!sh"),
            ("#!lua flags=x\n", "ERR Unexpected flag in script shebang: x"),
            ("#!lua name=x\n", "ERR Unknown lua shebang option: name=x"),
        ] {
            assert_eq!(Text::parse(line.as_bytes()), Err(error.to_owned()));
        }
    }
}
