//! The request scanner and the skimmer: tables, every split, random commands, garbage.
//!
//! Every row of `TABLE` was sent to a redis-server 7.0.15, and the replies were compared with
//! those to the same commands in plain form; so were the texts of the errors.

use proptest::prelude::*;

use super::*;

/// What becomes of some bytes: commands, and then an end.
type Row = (&'static [u8], &'static [&'static [&'static [u8]]], End);

/// What is behind the last command of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Nothing.
    Clean,
    /// The start of a frame.
    Open,
    /// An error with this text.
    Error(&'static str),
}

use End::{Clean, Error, Open};

const TABLE: &[Row] = &[
    // Arrays.
    (b"*1\r\n$4\r\nPING\r\n", &[&[b"PING"]], Clean),
    (b"*2\r\n$4\r\nECHO\r\n$0\r\n\r\n", &[&[b"ECHO", b""]], Clean),
    (b"*2\r\n$4\r\nECHO\r\n$4\r\n\r\n\0x\r\n", &[&[b"ECHO", b"\r\n\0x"]], Clean),
    (
        b"*1\r\n$4\r\nPING\r\n*2\r\n$4\r\nECHO\r\n$1\r\na\r\nPING\r\n",
        &[&[b"PING"], &[b"ECHO", b"a"], &[b"PING"]],
        Clean,
    ),
    // The bytes behind a number's \r and behind an argument are not looked at.
    (b"*1\rx$4\rxPINGxx", &[&[b"PING"]], Clean),
    (b"*2\r\r$4\r\rECHO\r\r$1\r$a$$", &[&[b"ECHO", b"a"]], Clean),
    (b"*2\r\n$4\r\nECHO*1$1\r\naPI*1\r\n$4\r\nPING\r\n", &[&[b"ECHO", b"a"], &[b"PING"]], Clean),
    // Nothing to do.
    (b"*0\r\n", &[&[]], Clean),
    (b"*-1\r\n", &[&[]], Clean),
    (b"*-2147483649\r\n", &[&[]], Clean),
    (b"*-9223372036854775808\r\nPING\r\n", &[&[], &[b"PING"]], Clean),
    (b"*0\r\n*1\r\n$4\r\nPING\r\n", &[&[], &[b"PING"]], Clean),
    (b"\r\n", &[&[]], Clean),
    (b"\n", &[&[]], Clean),
    (b"   \r\n", &[&[]], Clean),
    (b"\x0b\x0c\t \n", &[&[]], Clean),
    (b"\r\r\r\n", &[&[]], Clean),
    (b"\n\n\r\nPING\n", &[&[], &[], &[], &[b"PING"]], Clean),
    // Bad numbers of arguments.
    (b"*\r\n", &[], Error("Protocol error: invalid multibulk length")),
    (b"*-\r\n", &[], Error("Protocol error: invalid multibulk length")),
    (b"*-0\r\n", &[], Error("Protocol error: invalid multibulk length")),
    (b"*00\r\n", &[], Error("Protocol error: invalid multibulk length")),
    (b"*01\r\n$4\r\nPING\r\n", &[], Error("Protocol error: invalid multibulk length")),
    (b"*+1\r\n$4\r\nPING\r\n", &[], Error("Protocol error: invalid multibulk length")),
    (b"* 1\r\n$4\r\nPING\r\n", &[], Error("Protocol error: invalid multibulk length")),
    (b"*1 \r\n$4\r\nPING\r\n", &[], Error("Protocol error: invalid multibulk length")),
    (b"*x\r\n", &[], Error("Protocol error: invalid multibulk length")),
    (b"**1\r\n", &[], Error("Protocol error: invalid multibulk length")),
    (b"*1\n$4\nPING\n\r\n", &[], Error("Protocol error: invalid multibulk length")),
    (b"*2147483648\r\n", &[], Error("Protocol error: invalid multibulk length")),
    (b"*9223372036854775808\r\n", &[], Error("Protocol error: invalid multibulk length")),
    (b"*99999999999999999999\r\n", &[], Error("Protocol error: invalid multibulk length")),
    (
        b"*0000000000000000000000000000001\r\n",
        &[],
        Error("Protocol error: invalid multibulk length"),
    ),
    // Bad lengths.
    (b"*1\r\n$\r\n", &[], Error("Protocol error: invalid bulk length")),
    (b"*1\r\n$-1\r\n", &[], Error("Protocol error: invalid bulk length")),
    (b"*1\r\n$-2\r\n", &[], Error("Protocol error: invalid bulk length")),
    (b"*1\r\n$04\r\nPING\r\n", &[], Error("Protocol error: invalid bulk length")),
    (b"*1\r\n$x\r\n", &[], Error("Protocol error: invalid bulk length")),
    (b"*1\r\n$ 4\r\nPING\r\n", &[], Error("Protocol error: invalid bulk length")),
    (b"*1\r\n$4\nPING\r\n", &[], Error("Protocol error: invalid bulk length")),
    (b"*1\r\n$536870913\r\n", &[], Error("Protocol error: invalid bulk length")),
    (b"*1\r\n$1099511627776\r\n", &[], Error("Protocol error: invalid bulk length")),
    (
        b"*1\r\n$4444444444444444444444444444444\r\n",
        &[],
        Error("Protocol error: invalid bulk length"),
    ),
    (
        b"*1\r\n$4\r\nPING\r\n*1\r\n$-7\r\n",
        &[&[b"PING"]],
        Error("Protocol error: invalid bulk length"),
    ),
    // Not a bulk.
    (b"*1\r\nPING\r\n", &[], Error("Protocol error: expected '$', got 'P'")),
    (b"*1\r\n*1\r\n$4\r\nPING\r\n", &[], Error("Protocol error: expected '$', got '*'")),
    (b"*1\r\n:1\r\n", &[], Error("Protocol error: expected '$', got ':'")),
    (b"*1\r\n\r\n", &[], Error("Protocol error: expected '$', got ' '")),
    (b"*1\r\n\n\r\n", &[], Error("Protocol error: expected '$', got ' '")),
    (b"*2\r\n$4\r\nECHO\r\nx$1\r\n", &[], Error("Protocol error: expected '$', got 'x'")),
    (b"*2\r\n$3\r\nECHO\r\n$1\r\na\r\n", &[], Error("Protocol error: expected '$', got ' '")),
    // Not complete, or never: a NUL hides the line end.
    (b"*", &[], Open),
    (b"*1", &[], Open),
    (b"*1\r", &[], Open),
    (b"*1\r\n", &[], Open),
    (b"*1\r\n$4", &[], Open),
    (b"*1\r\n$4\r", &[], Open),
    (b"*1\r\n$4\r\nPING", &[], Open),
    (b"*1\r\n$4\r\nPING\r", &[], Open),
    (b"*1\r\n$0\r\n\r", &[], Open),
    (b"*1\r\n$536870912\r\nabc", &[], Open),
    (b"*1\r\nx", &[], Open),
    (b"*1\r\n$x\r", &[], Open),
    (b"*x", &[], Open),
    (b"*2147483648\r", &[], Open),
    (b"*1\r\n\0$4\r\nPING\r\n", &[], Open),
    (b"*1\0\r\n$4\r\nPING\r\n", &[], Open),
    (b"*1\r\n$4\0\r\nPING\r\nPING\r\n", &[], Open),
    (b"PI\0NG\r\nPING\r\n", &[], Open),
    (b"PING", &[], Open),
    (b"PING\r", &[], Open),
    (b" ", &[], Open),
    (b"\0", &[], Open),
    // Inline.
    (b"PING\r\n", &[&[b"PING"]], Clean),
    (b"PING\n", &[&[b"PING"]], Clean),
    (b"PING\r\r\n", &[&[b"PING"]], Clean),
    (b"ECHO a\rb\n", &[&[b"ECHO", b"a", b"b"]], Clean),
    (b"  ECHO \t a\t\r\n", &[&[b"ECHO", b"a"]], Clean),
    (b"ECHO *1\r\n", &[&[b"ECHO", b"*1"]], Clean),
    (b"$4\r\nPING\r\n", &[&[b"$4"], &[b"PING"]], Clean),
    (b" *1\r\nPING\n", &[&[b"*1"], &[b"PING"]], Clean),
    (b"ECHO a\x0bb\n", &[&[b"ECHO", b"a\x0bb"]], Clean),
    (b"ECHO \x0b\x0cb\x0c\n", &[&[b"ECHO", b"b\x0c"]], Clean),
    (b"ECHO \"a\"\x0b\n", &[&[b"ECHO", b"a"]], Clean),
    (b"ECHO \xff\xa0\x85\n", &[&[b"ECHO", b"\xff\xa0\x85"]], Clean),
    // Quotes.
    (b"ECHO \"\"\n", &[&[b"ECHO", b""]], Clean),
    (b"ECHO ''\r\n", &[&[b"ECHO", b""]], Clean),
    (b"\"\" ''\r\n", &[&[b"", b""]], Clean),
    (b"ECHO \"a b\"\n", &[&[b"ECHO", b"a b"]], Clean),
    (b"ECHO a\"b c\"\n", &[&[b"ECHO", b"ab c"]], Clean),
    (b"ECHO a'b c'\n", &[&[b"ECHO", b"ab c"]], Clean),
    (b"ECHO \"a'b\"\n", &[&[b"ECHO", b"a'b"]], Clean),
    (b"ECHO 'a\"b'\n", &[&[b"ECHO", b"a\"b"]], Clean),
    (b"ECHO \"a\\\"b\\\\\"\n", &[&[b"ECHO", b"a\"b\\"]], Clean),
    (b"ECHO 'a\\'b\\n\\\\ '\n", &[&[b"ECHO", b"a'b\\n\\\\ "]], Clean),
    (b"ECHO \"\\n\\r\\t\\b\\a\\v\\0\"\n", &[&[b"ECHO", b"\n\r\t\x08\x07v0"]], Clean),
    (b"ECHO \"\\x00\\xfF\\x4a\"\n", &[&[b"ECHO", b"\0\xff\x4a"]], Clean),
    (b"ECHO \"\\x4\\xg0\\x\"\n", &[&[b"ECHO", b"x4xg0x"]], Clean),
    (b"ECHO a\\nb\n", &[&[b"ECHO", b"a\\nb"]], Clean),
    (b"ECHO \"a\rb\"\n", &[&[b"ECHO", b"a\rb"]], Clean),
    (b"ECHO \"a\"\r\r\n", &[&[b"ECHO", b"a"]], Clean),
    (b"ECHO \"a\n", &[], Error("Protocol error: unbalanced quotes in request")),
    (b"ECHO 'a\n", &[], Error("Protocol error: unbalanced quotes in request")),
    (b"ECHO \"a\\\n", &[], Error("Protocol error: unbalanced quotes in request")),
    (b"ECHO \"a\\\"\n", &[], Error("Protocol error: unbalanced quotes in request")),
    (b"ECHO 'a\\\\'\n", &[], Error("Protocol error: unbalanced quotes in request")),
    (b"ECHO 'a\\'\n", &[], Error("Protocol error: unbalanced quotes in request")),
    (b"ECHO \"a\"b\n", &[], Error("Protocol error: unbalanced quotes in request")),
    (b"ECHO 'a'b\n", &[], Error("Protocol error: unbalanced quotes in request")),
    (b"ECHO 'a''b'\n", &[], Error("Protocol error: unbalanced quotes in request")),
    (b"PING\n\"\n", &[&[b"PING"]], Error("Protocol error: unbalanced quotes in request")),
];

/// All commands of a stream and what is behind them.
type Outcome = (Vec<Vec<Vec<u8>>>, Result<usize, ProtocolError>);

/// Scans a stream that arrives in pieces which end at `splits`.
fn scan_pieces(stream: &[u8], splits: &[usize], limits: &Limits) -> Outcome {
    let mut scanner = RequestScanner::default();
    let mut commands = Vec::new();
    let mut start = 0;
    for end in splits.iter().copied().chain([stream.len()]) {
        loop {
            let buf = &stream[start..end];
            match scanner.scan(buf, limits) {
                Scanned::NeedMore => break,
                Scanned::Invalid(error) => return (commands, Err(error)),
                Scanned::Command { len } => {
                    commands.push(scanner.args(buf).iter().map(<[u8]>::to_vec).collect());
                    start += len;
                }
            }
        }
    }
    (commands, Ok(stream.len() - start))
}

/// What a row of the table says, in the form of `scan_pieces`; the error as text.
fn assert_outcome(row: &Row, outcome: &Outcome, splits: &[usize]) {
    let (stream, commands, end) = row;
    let text = String::from_utf8_lossy(stream);
    assert_eq!(&outcome.0, commands, "{text:?} split at {splits:?}");
    let seen = match &outcome.1 {
        Ok(0) => "clean".to_owned(),
        Ok(_) => "open".to_owned(),
        Err(error) => error.to_string(),
    };
    let expected = match end {
        Clean => "clean",
        Open => "open",
        Error(text) => text,
    };
    assert_eq!(seen, expected, "{text:?} split at {splits:?}");
}

#[test]
fn the_table_holds_at_every_split() {
    let limits = Limits::default();
    for row in TABLE {
        assert_outcome(row, &scan_pieces(row.0, &[], &limits), &[]);
        for split in 0..row.0.len() {
            assert_outcome(row, &scan_pieces(row.0, &[split], &limits), &[split]);
        }
        let each: Vec<usize> = (0..row.0.len()).collect();
        assert_outcome(row, &scan_pieces(row.0, &each, &limits), &each);
    }
}

#[test]
fn a_frame_to_send_on_is_the_same_command_as_an_array() {
    for (stream, commands, _) in TABLE {
        let mut scanner = RequestScanner::default();
        let mut rest = *stream;
        for command in *commands {
            let Scanned::Command { len } = scanner.scan(rest, &Limits::default()) else {
                panic!("{stream:?}");
            };
            assert_eq!(scanner.is_inline(), rest[0] != b'*');
            let frame = scanner.frame(rest);
            assert_eq!(scanner.args(rest).frame(), frame);
            if scanner.is_inline() && !command.is_empty() {
                let mut array = Vec::new();
                crate::resp::encode::command(&mut array, command);
                assert_eq!(frame, array);
            } else if !scanner.is_inline() {
                assert_eq!(frame, &rest[..len]);
            }
            rest = &rest[len..];
        }
    }
}

#[test]
fn errors_are_encoded_byte_for_byte() {
    let mut out = Vec::new();
    ProtocolError::ExpectedBulk(0xe9).encode(&mut out);
    ProtocolError::BulkLength.encode(&mut out);
    let expected = b"-ERR Protocol error: expected '$', got '\xe9'\r\n\
        -ERR Protocol error: invalid bulk length\r\n";
    assert_eq!(out, expected);
}

#[test]
fn endless_lines_are_refused_behind_the_limit() {
    let limits = Limits { max_inline: 100, ..Limits::default() };
    let rows: &[(&[u8], u8, &str)] = &[
        (b"", b'a', "Protocol error: too big inline request"),
        (b"", 0, "Protocol error: too big inline request"),
        (b"*", b'1', "Protocol error: too big mbulk count string"),
        (b"*1\0\r\n", b'\r', "Protocol error: too big mbulk count string"),
        (b"*1\r\n", b'$', "Protocol error: too big bulk count string"),
        (b"*1\r\n", b'a', "Protocol error: too big bulk count string"),
        (b"*2\r\n$1\r\na\r\n$", 0, "Protocol error: too big bulk count string"),
    ];
    for (start, filler, text) in rows {
        let mut stream = start.to_vec();
        let mut scanner = RequestScanner::default();
        let error = loop {
            match scanner.scan(&stream, &limits) {
                Scanned::NeedMore => stream.push(*filler),
                Scanned::Invalid(error) => break error,
                Scanned::Command { .. } => panic!("a command in {start:?}"),
            }
        };
        assert_eq!(error.to_string(), *text);
        let line = if text.contains(" bulk") {
            stream.len() - start.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1)
        } else {
            stream.len()
        };
        assert_eq!(line, 101, "{start:?}");
    }
}

#[test]
fn configured_limits_hold() {
    let limits = Limits { max_bulk: 3, max_args: 2, max_inline: 10 };
    let outcome = |stream: &[u8]| scan_pieces(stream, &[], &limits).1;
    assert_eq!(outcome(b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"), Ok(0));
    assert_eq!(outcome(b"*3\r\n"), Err(ProtocolError::MultibulkLength));
    assert_eq!(outcome(b"*1\r\n$4\r\n"), Err(ProtocolError::BulkLength));
    assert_eq!(outcome(b"*1\r\n$12345678\r\n"), Err(ProtocolError::BulkLength));
}

#[test]
fn an_argument_beyond_spans_can_only_be_skimmed() {
    let wide = Limits { max_bulk: u64::MAX, ..Limits::default() };
    for (stream, len) in [
        (b"*2\r\n$4294967296\r\n".as_slice(), 1_u64 << 32),
        (b"*2\r\n$9223372036854775807\r\n", i64::MAX as u64),
    ] {
        let mut scanner = RequestScanner::default();
        assert_eq!(scanner.scan(stream, &wide), Scanned::NeedMore);
        assert_eq!(scanner.partial(stream).unwrap().pending, Some(len));
        let mut skimmer = scanner.into_skim(stream.len());
        assert_eq!(skimmer.skim(b"abc"), Ok(Skimmed { consumed: 3, done: false }));
    }
}

#[test]
fn room_for_a_huge_command_is_given_back() {
    let mut scanner = RequestScanner::default();
    let args = vec![b"x".as_slice(); 10_000];
    let mut stream = Vec::new();
    crate::resp::encode::command(&mut stream, &args);
    assert_eq!(scanner.scan(&stream, &Limits::default()), Scanned::Command { len: stream.len() });
    assert_eq!(scanner.args(&stream).len(), 10_000);
    assert_eq!(scanner.scan(b"", &Limits::default()), Scanned::NeedMore);
    assert!(scanner.spans.capacity() <= KEPT_SPANS);
    assert!(size_of::<RequestScanner>() <= 256, "{}", size_of::<RequestScanner>());
}

#[test]
fn a_partial_frame_shows_what_is_complete() {
    let stream = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1000000\r\nabc";
    let mut scanner = RequestScanner::default();
    assert_eq!(scanner.scan(&stream[..3], &Limits::default()), Scanned::NeedMore);
    assert!(scanner.partial(&stream[..3]).is_none());
    assert_eq!(scanner.scan(stream, &Limits::default()), Scanned::NeedMore);
    let partial = scanner.partial(stream).unwrap();
    assert_eq!((partial.declared, partial.pending), (3, Some(1_000_000)));
    let args: Vec<&[u8]> = partial.args.iter().collect();
    assert_eq!(args, [b"SET".as_slice(), b"k"]);
    let mut inline = RequestScanner::default();
    assert_eq!(inline.scan(b"PING", &Limits::default()), Scanned::NeedMore);
    assert!(inline.partial(b"PING").is_none());
    let mut skimmer = inline.into_skim(4);
    assert_eq!(skimmer.skim(b"PING\r\n"), Ok(Skimmed { consumed: 0, done: true }));
}

/// Scans the first `seen` bytes of a stream, takes out `have`, skims the rest in pieces of
/// `piece` bytes. Gives the length of the frame, or the error, or none without an end.
fn skim_rest(
    stream: &[u8],
    seen: usize,
    have: usize,
    piece: usize,
    limits: &Limits,
) -> Result<Option<usize>, ProtocolError> {
    let mut scanner = RequestScanner::default();
    assert_eq!(scanner.scan(&stream[..seen], limits), Scanned::NeedMore);
    assert!(scanner.partial(&stream[..seen]).is_some());
    let mut skimmer = scanner.into_skim(have);
    assert_eq!(scanner.scan(b"PING\r\n", limits), Scanned::Command { len: 6 }, "fresh");
    let mut at = have;
    for chunk in stream[have..].chunks(piece) {
        let skimmed = skimmer.skim(chunk)?;
        assert!(skimmed.done || skimmed.consumed == chunk.len());
        at += skimmed.consumed;
        if skimmed.done {
            return Ok(Some(at));
        }
    }
    Ok(None)
}

/// Skims a stream from every place from which it can be skimmed, in pieces of every length, and
/// compares with the plain scan.
fn assert_skims_like_scan(stream: &[u8], limits: &Limits) {
    let whole = match RequestScanner::default().scan(stream, limits) {
        Scanned::Command { len } => Ok(Some(len)),
        Scanned::NeedMore => Ok(None),
        Scanned::Invalid(error) => Err(error),
    };
    for seen in 1..=stream.len() {
        let mut scanner = RequestScanner::default();
        if scanner.scan(&stream[..seen], limits) != Scanned::NeedMore {
            break;
        }
        if scanner.partial(&stream[..seen]).is_none() {
            continue;
        }
        for have in 0..=seen {
            // Bytes that are taken from the front are not validated again.
            for piece in [1, 2, 3, 7, stream.len()] {
                let skimmed = skim_rest(stream, seen, have, piece, limits);
                let text = String::from_utf8_lossy(stream);
                assert_eq!(skimmed, whole, "{text:?} seen {seen} have {have} piece {piece}");
            }
        }
    }
}

#[test]
fn a_skim_ends_where_the_scan_ends() {
    let limits = Limits::default();
    for (stream, ..) in TABLE.iter().filter(|row| row.0[0] == b'*') {
        assert_skims_like_scan(stream, &limits);
    }
    assert_skims_like_scan(
        b"*3\r\n$3\r\nSET\r\n$0\r\n\r\n$12\r\n*1\r\n$4\r\nPING\r\nPING\r\n",
        &limits,
    );
    let long = b"*1\r\n$1111111111111111111111111111111111111111\r\n";
    assert_skims_like_scan(long, &limits);
    assert_skims_like_scan(b"*1\r\nxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n", &limits);
    let short = Limits { max_inline: 20, ..limits };
    assert_skims_like_scan(b"*2\r\n$1\r\na\r\n$1\x00234567890\r\n1234567890\r\n", &short);
}

/// A command of up to 8 arguments of any bytes.
fn any_command() -> impl Strategy<Value = Vec<Vec<u8>>> {
    prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..8)
}

/// Bytes that look enough like requests to reach every branch.
fn almost_requests() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop::sample::select(vec![
        b"*".as_slice(),
        b"$",
        b"\r\n",
        b"\r",
        b"\n",
        b"0",
        b"1",
        b"2",
        b"-",
        b"\"",
        b"'",
        b"\\",
        b"x41",
        b"\0",
        b" ",
        b"a",
        b"\xff",
        b"*2\r\n$1\r\n",
        b"$2\r\n",
    ]);
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn random_commands_come_back(
        commands in prop::collection::vec(any_command(), 1..5),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let mut stream = Vec::new();
        for command in &commands {
            let args: Vec<&[u8]> = command.iter().map(Vec::as_slice).collect();
            crate::resp::encode::command(&mut stream, &args);
        }
        let mut splits: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len())).collect();
        splits.sort_unstable();
        let outcome = scan_pieces(&stream, &splits, &Limits::default());
        prop_assert_eq!(outcome, (commands, Ok(0)));
    }

    #[test]
    fn quoted_words_come_back(words in prop::collection::vec(any::<Vec<u8>>(), 1..5)) {
        let mut line = Vec::new();
        for word in &words {
            line.extend_from_slice(b" \"");
            word.iter().for_each(|byte| line.extend(format!("\\x{byte:02x}").bytes()));
            line.extend_from_slice(b"\"");
        }
        line.extend_from_slice(b"\r\n");
        let outcome = scan_pieces(&line, &[line.len() / 2], &Limits::default());
        prop_assert_eq!(outcome, (vec![words], Ok(0)));
    }

    #[test]
    fn splits_change_nothing(stream in almost_requests()) {
        // Lines are not cut by max_inline here, where the size of a read does matter.
        let whole = scan_pieces(&stream, &[], &Limits::default());
        let each: Vec<usize> = (0..stream.len()).collect();
        prop_assert_eq!(scan_pieces(&stream, &each, &Limits::default()), whole);
        if stream.first() == Some(&b'*') {
            assert_skims_like_scan(&stream, &Limits::default());
        }
    }

    #[test]
    fn garbage_never_panics(
        stream in prop::collection::vec(any::<u8>(), 0..200),
        max_inline in 0_usize..50,
    ) {
        let limits = Limits { max_bulk: 30, max_args: 10, max_inline };
        let each: Vec<usize> = (0..stream.len()).collect();
        let (_, end) = scan_pieces(&stream, &each, &limits);
        prop_assert!(end.is_err() || end.is_ok_and(|open| open <= stream.len()));
        let mut starred = b"*3\r\n".to_vec();
        starred.extend_from_slice(&stream);
        let (_, end) = scan_pieces(&starred, &each, &limits);
        prop_assert!(end.is_err() || end.is_ok_and(|open| open <= starred.len()));
    }
}
