//! The envelope: a script of Lockside's own around a client's script (SPEC section 5).
//!
//! Pure: bytes in, bytes out. It makes the text that Redis runs, the command that runs it and the
//! meaning of its reply; it sends nothing and remembers nothing.
//!
//! # Shape of the text
//!
//! ```text
//! local redis=redis local client=function() <the client's text>
//! end local LINES,TAIL,RO,G,STRICT=<what is known of the text>
//! <start.lua, values.lua, commands.lua (content.lua in it), run.lua, settle.lua>
//! ```
//!
//! The client's text begins on the first line, so that line numbers in errors are its own; a
//! shebang line is taken off and put in front of the whole, because Redis reads its flags there.
//! The text depends on the client's text alone: Redis keeps one envelope for each. `redis` is a
//! local of the envelope, so the client's function, and all functions in it, meet a table of
//! Lockside's own under that name; all its other fields are Redis's. What differs in a call
//! comes as additional *last* arguments, which the envelope takes off `ARGV` before the client's
//! function runs: `KEYS` and `ARGV`, also as fields of `_G`, are what the client sent.
//!
//! # What a text must be
//!
//! [`Envelope::wrap`] does not parse Lua. A text that is not a chunk by itself
//! (`return 1 end evil() do`) could close the inner function. So the caller has Redis compile the
//! client's text first (`SCRIPT LOAD`), which also gives compile errors in Redis's own words; a
//! text that is a chunk by itself is a function body as well, and cannot close it.
//!
//! # What remains different from a script without envelope
//!
//! - Redis's own `redis` can still be reached by `loadstring` and `getfenv`; calls through it are
//!   not translated. Assigning to the global `redis` works instead of being an error.
//! - In a text with `...` there is a local `arg` (Lua's own rule); a function may have two fewer
//!   upvalues; calls nest two levels less deep.
//! - An error in `return redis.call(...)` has no line number, if the text has several such lines.
//! - A reply nested some 8,000 levels deep loses one level if the script took or released a lock.
//! - A script that Redis kills (`SCRIPT KILL`) names the envelope's SHA in its error.
//! - GETBIT, BITCOUNT, BITPOS, BITFIELD_RO, LCS, DUMP and OBJECT meet the stored value; RENAME and
//!   COPY take it along, with the real TTL.
//! - Without permission for TYPE, GET, PTTL and PEXPIRE the state of a lock can't be settled; the
//!   client's own commands still get their own errors. Without permission to read a hash (HGETALL and
//!   its kin) its content is not known, so that it can't be put back.

mod call;
mod reply;
pub mod scripts;

use std::fmt::Write as _;
use std::sync::LazyLock;

use sha1::{Digest, Sha1};

pub use call::{Call, KeyTerms, Run};
pub use reply::{Changed, Guard, Malformed, Outcome, Released, Taken, unwrap};

/// A script that Redis runs in place of a client's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The script that Redis runs.
    pub text: Vec<u8>,
    /// SHA-1 of `text` in lower-case hex: what EVALSHA names.
    pub sha: [u8; 40],
    /// SHA-1 of the client's text: what errors name.
    pub client_sha: [u8; 40],
}

impl Envelope {
    /// The envelope of a text that Redis has compiled by itself before.
    pub fn wrap(client_text: &[u8]) -> Self {
        let (shebang, body) = split_shebang(client_text);
        let first_line = 1 + usize::from(!shebang.is_empty());
        let contains = |part: &[u8]| memchr::memmem::find(body, part).is_some();
        let globals = contains(b"_G");
        let dots = if contains(b"...") { "..." } else { "" };
        let shadows = if globals { "redis,_G=redis,_G" } else { "redis=redis" };
        let mut text = Vec::with_capacity(client_text.len() + BEHIND.len() + 160);
        text.extend_from_slice(shebang);
        text.extend_from_slice(
            format!("local {shadows} local client=function({dots}) ").as_bytes(),
        );
        text.extend_from_slice(body);
        let joint = format!(
            "\nend local LINES,TAIL,RO,G,STRICT={},{},{},{},{}\n",
            first_line + line_ends(body),
            lua_number(tail_call_line(body).map(|line| line + first_line)),
            memchr::memmem::find(shebang, b"no-writes").is_some(),
            if globals { "_G" } else { "nil" },
            assigns_to_redis(body),
        );
        text.extend_from_slice(joint.as_bytes());
        text.extend_from_slice(BEHIND.as_bytes());
        Self { sha: sha1_hex(&text), client_sha: sha1_hex(client_text), text }
    }

    /// The envelope that answers one command: the command is the call's arguments, and the reply
    /// is the command's own, errors included. `resp3` is the protocol of the client.
    ///
    /// The command has at most 7,000 arguments (Lua's stack). Integers above 2^53 lose their last
    /// digits. A user without permission for EVALSHA gets an error for that.
    pub fn for_command(resp3: bool) -> &'static Self {
        static RESP2: LazyLock<Envelope> = LazyLock::new(|| Envelope::wrap(COMMAND.as_bytes()));
        static RESP3: LazyLock<Envelope> =
            LazyLock::new(|| Envelope::wrap([SPEAK_RESP3, COMMAND].concat().as_bytes()));
        if resp3 { &RESP3 } else { &RESP2 }
    }
}

/// What stands behind the client's text.
static BEHIND: LazyLock<String> = LazyLock::new(|| {
    let parts = [
        include_str!("envelope/start.lua"),
        include_str!("envelope/values.lua"),
        include_str!("envelope/commands.lua"),
        include_str!("envelope/run.lua"),
        include_str!("envelope/settle.lua"),
    ];
    squeeze(&parts.concat().replace("CONTENT", include_str!("envelope/content.lua")))
});

/// The text that runs its arguments as a command. Redis says an arity error in other words to
/// scripts than to clients; the words for clients are put back.
const COMMAND: &str = "local r=redis.pcall(unpack(ARGV)) \
    if type(r)=='table' and r.err=='ERR Wrong number of args calling Redis command from script' \
    then r.err=\"ERR wrong number of arguments for '\"..string.lower(ARGV[1])..\"' command\" end \
    return r";

/// In RESP3 a null inside an array would end the array, because it is nil in Lua; so the commands
/// that answer such arrays stay with RESP2, where it is false. A null is a null for the client.
const SPEAK_RESP3: &str = "if not string.find(' mget hmget ',' '..string.lower(ARGV[1])..' ',1,true) \
    then redis.setresp(3) end ";

/// A shebang line with its line feed, and the rest.
fn split_shebang(text: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr(b'\n', text) {
        Some(end) if text.starts_with(b"#!") => text.split_at(end + 1),
        _ => (&[], text),
    }
}

/// Line ends of a text as Lua counts them: `\n`, `\r`, `\r\n` and `\n\r` are one each.
fn line_ends(text: &[u8]) -> usize {
    let mut lines = 0;
    let mut bytes = text.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        if matches!(byte, b'\n' | b'\r') {
            lines += 1;
            bytes.next_if(|next| matches!(next, b'\n' | b'\r') && *next != byte);
        }
    }
    lines
}

/// The line (from 0) of the only `return redis.call(` of a text, if calls are written in no other
/// way than `redis.call(`. Lua forgets the line of such a call; a text of one line has only one.
fn tail_call_line(text: &[u8]) -> Option<usize> {
    const CALL: &[u8] = b"redis.call";
    if line_ends(text) == 0 {
        return Some(0);
    }
    let mut found = None;
    for at in memchr::memmem::find_iter(text, CALL) {
        let (before, after) = (&text[..at], &text[at + CALL.len()..]);
        if !after.starts_with(b"(") {
            return None;
        }
        if before.trim_ascii_end().ends_with(b"return") {
            let line = line_ends(before);
            if found.is_some_and(|other| other != line) {
                return None;
            }
            found = Some(line);
        }
    }
    found
}

/// Whether a text may assign to a field of `redis`, which is an error of Redis's own: anything but
/// `redis.name` without `=` behind it. A wrong yes costs one more table for each call.
fn assigns_to_redis(text: &[u8]) -> bool {
    const REDIS: &[u8] = b"redis";
    memchr::memmem::find_iter(text, REDIS).any(|at| {
        let Some(field) = text[at + REDIS.len()..].strip_prefix(b".") else { return true };
        let behind = field.iter().position(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_');
        let behind = behind.map_or(&b""[..], |end| field[end..].trim_ascii_start());
        (behind.starts_with(b"=") && !behind.starts_with(b"==")) || behind.starts_with(b",")
    })
}

fn lua_number(number: Option<usize>) -> String {
    number.map_or_else(|| "nil".to_owned(), |number| number.to_string())
}

/// A Lua text without the comments and indents that people need: every envelope carries it.
fn squeeze(text: &str) -> String {
    let lines = text.lines().map(str::trim_start);
    lines.filter(|line| !line.is_empty() && !line.starts_with("--")).fold(
        String::new(),
        |mut all, line| {
            all.push_str(line);
            all.push('\n');
            all
        },
    )
}

/// SHA-1 as Redis names scripts: 40 lower-case hex digits.
pub fn sha1_hex(text: &[u8]) -> [u8; 40] {
    let digest = Sha1::digest(text);
    let mut hex = String::with_capacity(40);
    for byte in digest {
        // Writing to a String never fails.
        let _ = write!(hex, "{byte:02x}");
    }
    let mut sha = [0; 40];
    sha.copy_from_slice(hex.as_bytes());
    sha
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(client_text: &str) -> String {
        String::from_utf8(Envelope::wrap(client_text.as_bytes()).text).unwrap()
    }

    #[test]
    fn the_text_depends_on_the_clients_text_alone_and_begins_on_its_first_line() {
        let envelope = Envelope::wrap(b"return 1");
        assert_eq!(envelope, Envelope::wrap(b"return 1"));
        assert_eq!(&envelope.client_sha, b"e0e1f9fabfc9d4800c877a703b823ac0578ff8db");
        let start = "local redis=redis local client=function() return 1\n\
                     end local LINES,TAIL,RO,G,STRICT=1,1,false,nil,false\n";
        assert!(text_of("return 1").starts_with(start));
        assert!(text_of("return ...").contains("function(...) return"));
        assert!(text_of("return _G.x").starts_with("local redis,_G=redis,_G local client"));
    }

    #[test]
    fn a_shebang_line_moves_to_the_front() {
        let start = "#!lua flags=no-writes\nlocal redis=redis local client=function() return 1\n\
                     end local LINES,TAIL,RO,G,STRICT=2,2,true,nil,false\n";
        assert!(text_of("#!lua flags=no-writes\nreturn 1").starts_with(start));
    }

    #[test]
    fn lines_are_counted_as_lua_counts_them() {
        for (text, ends) in [("", 0), ("a\n", 1), ("a\r\nb", 1), ("\r\r", 2), ("\n\n\r", 2)] {
            assert_eq!(line_ends(text.as_bytes()), ends, "{text:?}");
        }
    }

    #[test]
    fn the_line_of_a_tail_call_is_known_only_if_there_is_one() {
        for (text, line) in [
            ("return redis.call('get')", Some(0)),
            ("local x\nreturn redis.call('get')", Some(1)),
            ("return redis.call('a')\nreturn redis.call('b')", None),
            ("local call = redis.call\nreturn redis.call('b')", None),
            ("redis.call('a')\nreturn 1", None),
        ] {
            assert_eq!(tail_call_line(text.as_bytes()), line, "{text:?}");
        }
    }

    #[test]
    fn an_assignment_to_redis_is_seen() {
        for (text, seen) in [
            ("return redis.call('get')", false),
            ("local call = redis.call if redis.call == 1 then end", false),
            ("redis.call = 1", true),
            ("redis['x'] = 1", true),
            ("redis.a, redis.b = 1", true),
            ("local r = redis r.x = 1", true),
        ] {
            assert_eq!(assigns_to_redis(text.as_bytes()), seen, "{text}");
        }
    }

    #[test]
    fn no_comment_and_no_indent_is_sent() {
        assert!(BEHIND.lines().all(|line| !line.starts_with("--") && !line.starts_with(' ')));
    }
}
