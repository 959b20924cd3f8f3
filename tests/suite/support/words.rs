//! Words of a line into the arguments of a command, and a command into bytes.

/// Splits a line at spaces. `"..."` keeps spaces and takes `\r \n \t \0 \\ \" \xHH`; everything
/// outside quotes stands for itself.
pub(crate) fn words(line: &str) -> Vec<Vec<u8>> {
    let (mut words, mut rest) = (Vec::new(), line.trim_start());
    while !rest.is_empty() {
        if let Some(quoted) = rest.strip_prefix('"') {
            let (word, behind) = unquote(quoted);
            words.push(word);
            rest = behind.trim_start();
        } else {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            words.push(rest.as_bytes()[..end].to_vec());
            rest = rest[end..].trim_start();
        }
    }
    words
}

/// The bytes up to the closing quote, and what stands behind it.
fn unquote(text: &str) -> (Vec<u8>, &str) {
    let (mut word, bytes, mut at) = (Vec::new(), text.as_bytes(), 0);
    while bytes[at] != b'"' {
        if bytes[at] != b'\\' {
            word.push(bytes[at]);
            at += 1;
            continue;
        }
        at += 2;
        word.push(match bytes[at - 1] {
            b'r' => b'\r',
            b'n' => b'\n',
            b't' => b'\t',
            b'0' => 0,
            b'x' => {
                at += 2;
                u8::from_str_radix(&text[at - 2..at], 16).unwrap()
            }
            other => other,
        });
    }
    (word, &text[at + 1..])
}

/// A command as the array of bulk strings that clients send.
pub(crate) fn encode<A: AsRef<[u8]>>(arguments: &[A]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", arguments.len()).into_bytes();
    for argument in arguments.iter().map(AsRef::as_ref) {
        bytes.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
        bytes.extend_from_slice(argument);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// A line as a command's bytes.
pub(crate) fn encode_line(line: &str) -> Vec<u8> {
    encode(&words(line))
}
