//! HSCAN, SSCAN and ZSCAN: all at once, as Redis does with what is as small as a lock.

use super::number::int;
use super::reply::Reply;
use super::script::all_digits;
use super::turn::{Outcome, SYNTAX, Stop, Turn, WRONG_TYPE, arg};
use crate::lock::content::Content;
use crate::lock::rule::Glob;
use crate::resp::Args;

/// Runs `name` if it is one of these.
pub(super) fn run(turn: &mut Turn<'_>, name: &str, args: Args<'_>) -> Option<Outcome> {
    matches!(name, "hscan" | "sscan" | "zscan").then(|| turn.scan(name, args))
}

impl Turn<'_> {
    fn scan(&self, name: &str, args: Args<'_>) -> Outcome {
        if !is_cursor(arg(args, 2)) {
            return Err(Stop::error("ERR invalid cursor"));
        }
        let key = self.key(arg(args, 1));
        let Some(content) = self.content(&key)? else { return Ok(scanned(Vec::new())) };
        let mut elements: Vec<(Vec<u8>, Option<Vec<u8>>)> = match (content, name) {
            (Content::Hash(fields), "hscan") => {
                fields.iter().map(|(name, value)| (name.clone(), Some(value.clone()))).collect()
            }
            (Content::Set(members), "sscan") => {
                members.iter().map(|member| (member.clone(), None)).collect()
            }
            (Content::Sorted(members), "zscan") => {
                let score = |score: f64| all_digits(score).into_bytes();
                let ordered = super::sorted::in_order(Some(members), false).into_iter();
                ordered.map(|(name, place)| (name, Some(score(place.number())))).collect()
            }
            _ => return Err(Stop::error(WRONG_TYPE)),
        };
        if let Some(pattern) = pattern(args)? {
            elements.retain(|(name, _)| pattern.matches(name));
        }
        let flat = elements.into_iter().flat_map(|(name, value)| [Some(name), value]);
        Ok(scanned(flat.flatten().map(Reply::Bulk).collect()))
    }
}

fn scanned(elements: Vec<Reply>) -> Reply {
    Reply::Array(vec![Reply::Bulk(b"0".to_vec()), Reply::Array(elements)])
}

/// True for what C reads as a number without a rest.
fn is_cursor(text: &[u8]) -> bool {
    let digits = text.strip_prefix(b"-").or(text.strip_prefix(b"+")).unwrap_or(text);
    let number = std::str::from_utf8(digits).ok().and_then(|text| text.parse::<u64>().ok());
    number.is_some() && digits.first().is_some_and(u8::is_ascii_digit)
}

/// `[MATCH pattern] [COUNT count]`: all elements come whatever the count is.
fn pattern(args: Args<'_>) -> Result<Option<Glob>, Stop> {
    let mut pattern = None;
    for at in (3..args.len()).step_by(2) {
        let value = args.get(at + 1).ok_or_else(|| Stop::error(SYNTAX))?;
        match arg(args, at).to_ascii_lowercase().as_slice() {
            b"count" if int(value)? < 1 => return Err(Stop::error(SYNTAX)),
            b"count" => {}
            b"match" => pattern = Some(Glob::new(value)),
            _ => return Err(Stop::error(SYNTAX)),
        }
    }
    Ok(pattern)
}
