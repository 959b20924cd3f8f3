//! `cjson.decode`: takes what lua-cjson takes, which is more than JSON (any bytes in strings, `nan`,
//! hexadecimal numbers), and says what it says.

use mlua::{MultiValue, Table, Value};

use super::{Codec, DEEPEST, ELEMENT_STEPS, Fault, raise};

/// A token, in the order of cjson's own names for those that errors name.
#[derive(Debug, Clone, PartialEq)]
enum Token {
    ObjectBegin,
    ObjectEnd,
    ArrayBegin,
    ArrayEnd,
    Text(Vec<u8>),
    Number(f64),
    Boolean(bool),
    Null,
    Colon,
    Comma,
    End,
    Error(&'static str),
}

impl Token {
    fn name(&self) -> &'static str {
        match self {
            Self::ObjectBegin => "T_OBJ_BEGIN",
            Self::ObjectEnd => "T_OBJ_END",
            Self::ArrayBegin => "T_ARR_BEGIN",
            Self::ArrayEnd => "T_ARR_END",
            Self::Text(_) => "T_STRING",
            Self::Number(_) => "T_NUMBER",
            Self::Boolean(_) => "T_BOOLEAN",
            Self::Null => "T_NULL",
            Self::Colon => "T_COLON",
            Self::Comma => "T_COMMA",
            Self::End => "T_END",
            Self::Error(words) => words,
        }
    }
}

/// A text that is being read.
struct Reader<'t> {
    text: &'t [u8],
    at: usize,
    /// Where the last token began, or went wrong.
    begun: usize,
}

/// A table that is being filled.
struct Level {
    table: Table,
    /// The name of the member whose value comes; none in an array.
    name: Option<Value>,
    count: i64,
}

/// `cjson.decode` of these arguments.
pub(in crate::degraded::script) fn decode(
    codec: &Codec<'_>,
    args: &MultiValue,
) -> Result<Value, Fault> {
    if args.len() != 1 {
        return raise("bad argument #1 to 'decode' (expected 1 argument)");
    }
    let given = args.front().cloned().unwrap_or(Value::Nil);
    let kind = match &given {
        Value::LightUserData(_) => "userdata",
        Value::Integer(_) => "number",
        other => other.type_name(),
    };
    let text = match &given {
        Value::String(_) | Value::Integer(_) | Value::Number(_) => {
            codec.lua.coerce_string(given)?
        }
        _ => None,
    };
    let Some(text) = text else {
        return raise(format!("bad argument #1 to 'decode' (string expected, got {kind})"));
    };
    let text = text.as_bytes().to_vec();
    codec.budget.charge(text.len() as u64)?;
    if text.len() >= 2 && (text[0] == 0 || text[1] == 0) {
        return raise("JSON parser does not support UTF-16 or UTF-32");
    }
    Reader { text: &text, at: 0, begun: 0 }.whole(codec)
}

impl Reader<'_> {
    fn whole(&mut self, codec: &Codec<'_>) -> Result<Value, Fault> {
        let mut levels: Vec<Level> = Vec::new();
        let mut token = self.next();
        loop {
            codec.budget.charge(ELEMENT_STEPS)?;
            let mut done = match token {
                Token::Text(text) => Value::String(codec.lua.create_string(text)?),
                Token::Number(number) => Value::Number(number),
                Token::Boolean(value) => Value::Boolean(value),
                Token::Null => Value::NULL,
                Token::ObjectBegin | Token::ArrayBegin => {
                    let is_object = token == Token::ObjectBegin;
                    match self.open(is_object, &mut levels, codec)? {
                        Opened::Empty(table) => Value::Table(table),
                        Opened::Value(first) => {
                            token = first;
                            continue;
                        }
                    }
                }
                other => return self.expected("value", &other),
            };
            // The value is complete, and with it perhaps what it stands in.
            loop {
                let Some(level) = levels.last_mut() else { return self.end(done) };
                let is_object = level.name.is_some();
                match level.name.take() {
                    Some(name) => level.table.raw_set(name, done)?,
                    None => {
                        level.count += 1;
                        level.table.raw_set(level.count, done)?;
                    }
                }
                match (self.next(), is_object) {
                    (Token::ObjectEnd, true) | (Token::ArrayEnd, false) => {
                        done = Value::Table(level.table.clone());
                        levels.pop();
                    }
                    (Token::Comma, false) => {
                        token = self.next();
                        break;
                    }
                    (Token::Comma, true) => {
                        let key = self.next();
                        level.name = Some(self.name(key, codec)?);
                        token = self.next();
                        break;
                    }
                    (other, true) => return self.expected("comma or object end", &other),
                    (other, false) => return self.expected("comma or array end", &other),
                }
            }
        }
    }

    fn end(&mut self, value: Value) -> Result<Value, Fault> {
        match self.next() {
            Token::End => Ok(value),
            other => self.expected("the end", &other),
        }
    }

    fn open(
        &mut self,
        is_object: bool,
        levels: &mut Vec<Level>,
        codec: &Codec<'_>,
    ) -> Result<Opened, Fault> {
        let depth = levels.len() + 1;
        if depth > DEEPEST {
            let at = self.at;
            return raise(format!(
                "Found too many nested data structures ({depth}) at character {at}"
            ));
        }
        let table = codec.lua.create_table()?;
        let first = self.next();
        if first == if is_object { Token::ObjectEnd } else { Token::ArrayEnd } {
            return Ok(Opened::Empty(table));
        }
        if !is_object {
            levels.push(Level { table, name: None, count: 0 });
            return Ok(Opened::Value(first));
        }
        let name = Some(self.name(first, codec)?);
        levels.push(Level { table, name, count: 0 });
        Ok(Opened::Value(self.next()))
    }

    /// A member's name, and the colon behind it.
    fn name(&mut self, token: Token, codec: &Codec<'_>) -> Result<Value, Fault> {
        let Token::Text(name) = token else { return self.expected("object key string", &token) };
        let name = codec.lua.create_string(name)?;
        match self.next() {
            Token::Colon => Ok(Value::String(name)),
            other => self.expected("colon", &other),
        }
    }

    fn expected<T>(&self, what: &str, found: &Token) -> Result<T, Fault> {
        let (found, at) = (found.name(), self.begun + 1);
        raise(format!("Expected {what} but found {found} at character {at}"))
    }

    /// The byte so far ahead; 0 behind the end, as C has it.
    fn peek(&self, ahead: usize) -> u8 {
        self.text.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn next(&mut self) -> Token {
        while matches!(self.peek(0), b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
        self.begun = self.at;
        let rest = &self.text[self.at.min(self.text.len())..];
        let (token, length) = match self.peek(0) {
            0 => return Token::End,
            b'{' => (Token::ObjectBegin, 1),
            b'}' => (Token::ObjectEnd, 1),
            b'[' => (Token::ArrayBegin, 1),
            b']' => (Token::ArrayEnd, 1),
            b',' => (Token::Comma, 1),
            b':' => (Token::Colon, 1),
            b'"' => return self.string(),
            b'-' | b'0'..=b'9' => return self.number(),
            _ if rest.starts_with(b"true") => (Token::Boolean(true), 4),
            _ if rest.starts_with(b"false") => (Token::Boolean(false), 5),
            _ if rest.starts_with(b"null") => (Token::Null, 4),
            b'+' => return self.number(),
            _ if begins_with(rest, b"inf") || begins_with(rest, b"nan") => return self.number(),
            _ => return Token::Error("invalid token"),
        };
        self.at += length;
        token
    }

    fn number(&mut self) -> Token {
        match strtod(&self.text[self.at..]) {
            (_, 0) => Token::Error("invalid number"),
            (number, length) => {
                self.at += length;
                Token::Number(number)
            }
        }
    }

    fn string(&mut self) -> Token {
        let mut text = Vec::new();
        self.at += 1;
        loop {
            match self.peek(0) {
                b'"' => break,
                0 => return self.error("unexpected end of string"),
                b'\\' => {
                    let byte = match self.peek(1) {
                        b'u' => match self.unicode(&mut text) {
                            Some(length) => {
                                self.at += length;
                                continue;
                            }
                            None => return self.error("invalid unicode escape code"),
                        },
                        byte @ (b'"' | b'\\' | b'/') => byte,
                        b'b' => 8,
                        b't' => 9,
                        b'n' => 10,
                        b'f' => 12,
                        b'r' => 13,
                        _ => return self.error("invalid escape code"),
                    };
                    text.push(byte);
                    self.at += 2;
                }
                byte => {
                    text.push(byte);
                    self.at += 1;
                }
            }
        }
        self.at += 1;
        Token::Text(text)
    }

    fn error(&mut self, words: &'static str) -> Token {
        self.begun = self.at;
        Token::Error(words)
    }

    /// Appends the character of `\uXXXX`, or of two of them; gives how many bytes they take.
    fn unicode(&self, text: &mut Vec<u8>) -> Option<usize> {
        let first = self.hex4(2)?;
        let (code, length) = match first & 0xF800 {
            0xD800 => {
                let is_pair = first & 0x400 == 0 && self.peek(6) == b'\\' && self.peek(7) == b'u';
                let second = self.hex4(8).filter(|_| is_pair)?;
                if second & 0xFC00 != 0xDC00 {
                    return None;
                }
                (((first & 0x3FF) << 10 | second & 0x3FF) + 0x10000, 12)
            }
            _ => (first, 6),
        };
        // What is no character has returned above.
        let character = char::from_u32(code)?;
        text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        Some(length)
    }

    fn hex4(&self, ahead: usize) -> Option<u32> {
        let digit = |at| char::from(self.peek(ahead + at)).to_digit(16);
        (0..4).try_fold(0, |number, at| Some(number << 4 | digit(at)?))
    }
}

/// What a table begins with.
enum Opened {
    Empty(Table),
    Value(Token),
}

fn begins_with(text: &[u8], word: &[u8]) -> bool {
    text.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word))
}

/// C's `strtod`: the number, and how many bytes it takes; 0 where there is none.
fn strtod(text: &[u8]) -> (f64, usize) {
    let sign = usize::from(matches!(text.first(), Some(b'-' | b'+')));
    let factor = if text.first() == Some(&b'-') { -1.0 } else { 1.0 };
    let rest = &text[sign..];
    let (number, length) = if begins_with(rest, b"infinity") {
        (f64::INFINITY, 8)
    } else if begins_with(rest, b"inf") {
        (f64::INFINITY, 3)
    } else if begins_with(rest, b"nan") {
        (f64::NAN, 3)
    } else if begins_with(rest, b"0x") && digits(&rest[2..], true).1 > 0 {
        let (number, length) = hexadecimal(&rest[2..]);
        (number, length + 2)
    } else {
        decimal(rest)
    };
    (factor * number, if length == 0 { 0 } else { sign + length })
}

/// How many bytes are digits with a point at most, and how many of these are digits.
fn digits(text: &[u8], hex: bool) -> (usize, usize) {
    let (mut length, mut count, mut point) = (0, 0, false);
    for byte in text {
        match byte {
            b'.' if !point => point = true,
            byte if byte.is_ascii_digit() || hex && byte.is_ascii_hexdigit() => count += 1,
            _ => break,
        }
        length += 1;
    }
    (length, count)
}

/// Bytes of an exponent behind its letter; 0 without digits.
fn exponent(text: &[u8]) -> usize {
    let sign = usize::from(matches!(text.first(), Some(b'-' | b'+')));
    let digits = text[sign..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 { 0 } else { sign + digits }
}

fn decimal(text: &[u8]) -> (f64, usize) {
    let (mut length, count) = digits(text, false);
    if count == 0 {
        return (0.0, 0);
    }
    if matches!(text.get(length), Some(b'e' | b'E')) {
        let power = exponent(&text[length + 1..]);
        length += if power == 0 { 0 } else { 1 + power };
    }
    let number = std::str::from_utf8(&text[..length]).ok().and_then(|text| text.parse().ok());
    (number.unwrap_or(f64::NAN), length)
}

fn hexadecimal(text: &[u8]) -> (f64, usize) {
    let (mut length, _) = digits(text, true);
    let (mut number, mut power, mut behind) = (0.0_f64, 0_i32, false);
    for byte in &text[..length] {
        match char::from(*byte).to_digit(16) {
            Some(digit) => {
                number = number * 16.0 + f64::from(digit);
                power -= if behind { 4 } else { 0 };
            }
            None => behind = true,
        }
    }
    if matches!(text.get(length), Some(b'p' | b'P')) {
        let bytes = exponent(&text[length + 1..]);
        let shown = std::str::from_utf8(&text[length + 1..length + 1 + bytes]).unwrap_or("");
        power = power.saturating_add(shown.parse().unwrap_or(0));
        length += if bytes == 0 { 0 } else { 1 + bytes };
    }
    (number * 2.0_f64.powi(power), length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_c_reads_them() {
        for (text, number, length) in [
            ("12", 12.0, 2),
            ("-1.5e2,", -150.0, 6),
            ("1e", 1.0, 1),
            (".5", 0.5, 2),
            ("0x1F]", 31.0, 4),
            ("0x1.8p1", 3.0, 7),
            ("0x", 0.0, 1),
            ("+3", 3.0, 2),
            ("-Infinity", f64::NEG_INFINITY, 9),
            ("1e999", f64::INFINITY, 5),
        ] {
            assert_eq!(strtod(text.as_bytes()), (number, length), "{text}");
        }
        assert_eq!(strtod(b"-").1, 0);
        assert!(strtod(b"nan").0.is_nan());
    }
}
