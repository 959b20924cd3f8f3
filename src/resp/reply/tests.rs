//! The reply scanner and the view: tables, every split, and redis-protocol as the oracle.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;
use redis_protocol::resp2::{self, types::Resp2Frame as _};

use redis_protocol::resp3;
use redis_protocol::resp3::types::{OwnedFrame, Resp3Frame as _, VerbatimStringFormat};

use super::*;

/// Frames that Redis sends, each complete, with the type that counts.
const FRAMES: &[(&[u8], u8)] = &[
    (b"+OK\r\n", b'+'),
    (b"+\r\n", b'+'),
    (b"+a\rb\nc\r\r\n", b'+'),
    (b"-ERR no\r\n", b'-'),
    (b":0\r\n", b':'),
    (b":-9223372036854775808\r\n", b':'),
    (b"$-1\r\n", b'$'),
    (b"$0\r\n\r\n", b'$'),
    (b"$3\r\n\r\nx\r\n", b'$'),
    (b"*-1\r\n", b'*'),
    (b"*0\r\n", b'*'),
    (b"*2\r\n*1\r\n*0\r\n$-1\r\n", b'*'),
    (b"*3\r\n:1\r\n*-1\r\n$1\r\na\r\n", b'*'),
    (b"_\r\n", b'_'),
    (b",1.5\r\n", b','),
    (b",-inf\r\n", b','),
    (b"#t\r\n", b'#'),
    (b"!5\r\nERR x\r\n", b'!'),
    (b"=8\r\ntxt:a\r\nb\r\n", b'='),
    (b"(123456789012345678901234567890\r\n", b'('),
    (b"%0\r\n", b'%'),
    (b"%2\r\n+a\r\n:1\r\n+b\r\n*1\r\n+c\r\n", b'%'),
    (b"~2\r\n+a\r\n+b\r\n", b'~'),
    (b">3\r\n+message\r\n+c\r\n$1\r\nm\r\n", b'>'),
    (b"|1\r\n+ttl\r\n:1\r\n:7\r\n", b':'),
    (b"|0\r\n|1\r\n+a\r\n*0\r\n*1\r\n+x\r\n", b'*'),
    (b"|1\r\n|1\r\n+a\r\n+b\r\n+c\r\n*1\r\n+d\r\n_\r\n", b'_'),
    (b"*2\r\n|1\r\n+ttl\r\n:1\r\n:7\r\n|0\r\n:8\r\n", b'*'),
    (b"|1\r\n+a\r\n+b\r\n>1\r\n+c\r\n", b'>'),
];

/// Bytes that are no reply.
const BROKEN: &[(&[u8], ReplyError)] = &[
    (b"OK\r\n", ReplyError::Kind(b'O')),
    (b"\r\n", ReplyError::Kind(b'\r')),
    (b"*1\r\nx", ReplyError::Kind(b'x')),
    (b".\r\n", ReplyError::Kind(b'.')),
    (b";4\r\n", ReplyError::Kind(b';')),
    (b"$?\r\n", ReplyError::Length(b'$')),
    (b"*?\r\n", ReplyError::Length(b'*')),
    (b"$\r\n", ReplyError::Length(b'$')),
    (b"$-2\r\n", ReplyError::Length(b'$')),
    (b"$--1\r\n", ReplyError::Length(b'$')),
    (b"$1-\r\n", ReplyError::Length(b'$')),
    (b"$-\r\n", ReplyError::Length(b'$')),
    (b"*-2\r\n", ReplyError::Length(b'*')),
    (b"%-1\r\n", ReplyError::Length(b'%')),
    (b">-1\r\n", ReplyError::Length(b'>')),
    (b"$1\rx", ReplyError::Length(b'$')),
    (b"$1000000000000000000\r\n", ReplyError::Length(b'$')),
];

/// Scans a stream in pieces that end at `splits`; gives the ends and types of its frames.
fn boundaries(stream: &[u8], splits: &[usize]) -> Result<Vec<(usize, u8)>, ReplyError> {
    let mut scanner = ReplyScanner::default();
    let mut ends = Vec::new();
    let mut start = 0;
    for end in splits.iter().copied().chain([stream.len()]) {
        while start < end {
            let progress = scanner.scan(&stream[start..end])?;
            start += progress.consumed;
            assert_eq!(progress.done, scanner.at_boundary());
            if progress.done {
                ends.push((start, scanner.kind()));
            } else {
                assert_eq!(start, end, "an unfinished frame takes all bytes");
            }
        }
    }
    Ok(ends)
}

#[test]
fn frames_end_where_they_end_at_every_split() {
    for (frame, kind) in FRAMES {
        let stream = [*frame, b"+x\r\n"].concat();
        let expected = vec![(frame.len(), *kind), (stream.len(), b'+')];
        for first in 0..=stream.len() {
            for second in first..=stream.len() {
                let ends = boundaries(&stream, &[first, second]).unwrap();
                assert_eq!(ends, expected, "{:?}", String::from_utf8_lossy(frame));
            }
        }
    }
}

#[test]
fn what_is_no_reply_is_refused_at_every_split() {
    for (bytes, error) in BROKEN {
        for split in 0..bytes.len() {
            assert_eq!(boundaries(bytes, &[split]), Err(*error), "{bytes:?}");
        }
        let mut out = ReplyScanner::default();
        assert_eq!(out.run(bytes, u64::MAX), Err(*error));
        assert!(Reply::parse(bytes).is_none());
    }
}

#[test]
fn more_values_than_can_be_counted_are_refused() {
    let mut scanner = ReplyScanner::default();
    let level = b"*999999999999999999\r\n";
    let mut levels = 0;
    let error = loop {
        match scanner.scan(level) {
            Ok(progress) => assert!(!progress.done && levels < 100),
            Err(error) => break error,
        }
        levels += 1;
    };
    assert_eq!((error, levels), (ReplyError::Count, 18));
}

#[test]
fn any_depth_costs_the_same() {
    let mut stream = b"*1\r\n".repeat(200_000);
    stream.extend_from_slice(b":1\r\n");
    assert_eq!(boundaries(&stream, &[]), Ok(vec![(stream.len(), b'*')]));
    let (reply, len) = Reply::parse(&stream).unwrap();
    assert_eq!(len, stream.len());
    assert_eq!(reply.elements().count(), 1);
}

#[test]
fn a_run_counts_replies_and_not_pushes() {
    let stream =
        b"+OK\r\n>1\r\n+p\r\n$1\r\na\r\n|1\r\n+a\r\n+b\r\n>1\r\n+q\r\n:1\r\n>1\r\n+r\r\n$5\r\nab";
    let run = |max: u64| {
        let run = ReplyScanner::default().run(stream, max).unwrap();
        (run.replies, run.consumed)
    };
    assert_eq!(run(0), (0, 0));
    assert_eq!(run(1), (1, 5));
    assert_eq!(run(2), (2, 20));
    assert_eq!(run(3), (3, 44));
    assert_eq!(run(4), (3, stream.len()));
    let mut scanner = ReplyScanner::default();
    let mut replies = 0;
    for byte in stream {
        let run = scanner.run(std::slice::from_ref(byte), 100).unwrap();
        assert_eq!(run.consumed, 1);
        replies += run.replies;
    }
    assert_eq!((replies, scanner.at_boundary(), scanner.kind()), (3, false, b'$'));
    assert_eq!(scanner.run(b"cde\r\n+OK\r\n", 1), Ok(Run { consumed: 5, replies: 1 }));
}

#[test]
fn a_view_shows_one_level() {
    let parse = |bytes: &'static [u8]| {
        let (reply, len) = Reply::parse(bytes).unwrap();
        assert_eq!(len, bytes.len());
        reply
    };
    assert_eq!(parse(b"+OK\r\n"), Reply::Simple(b"OK"));
    assert_eq!(parse(b"-ERR x\r\n"), Reply::Error(b"ERR x"));
    assert_eq!(parse(b"!5\r\nERR x\r\n"), Reply::Error(b"ERR x"));
    assert_eq!(parse(b":-12\r\n"), Reply::Integer(-12));
    assert_eq!(parse(b"$3\r\n\r\nx\r\n"), Reply::Bulk(b"\r\nx"));
    assert_eq!(parse(b"$0\r\n\r\n"), Reply::Bulk(b""));
    for null in [b"$-1\r\n".as_slice(), b"*-1\r\n", b"_\r\n"] {
        assert_eq!(parse(null), Reply::Null);
    }
    let text = Reply::Verbatim { format: b"txt", text: b"a" };
    assert_eq!(parse(b"=5\r\ntxt:a\r\n"), text);
    assert_eq!(text.text(), Some(b"a".as_slice()));
    assert_eq!(parse(b",1.5\r\n"), Reply::Double(b"1.5"));
    assert_eq!(parse(b"#f\r\n"), Reply::Boolean(false));
    assert_eq!(parse(b"(12\r\n"), Reply::BigNumber(b"12"));
    let map = parse(b"|1\r\n+a\r\n%1\r\n+b\r\n_\r\n%1\r\n+k\r\n|1\r\n+x\r\n+y\r\n*1\r\n:1\r\n");
    let Reply::Aggregate { kind: Kind::Map, count: 1, .. } = map else { panic!("{map:?}") };
    let elements: Vec<&[u8]> = map.elements().collect();
    assert_eq!(elements, [b"+k\r\n".as_slice(), b"|1\r\n+x\r\n+y\r\n*1\r\n:1\r\n"]);
    assert!(matches!(
        Reply::parse(elements[1]),
        Some((Reply::Aggregate { kind: Kind::Array, count: 1, body: b":1\r\n" }, _))
    ));
    assert_eq!(parse(b"*0\r\n").elements().count(), 0);
    for bad in [b":x\r\n".as_slice(), b"#x\r\n", b"_x\r\n", b"=3\r\nabc\r\n", b"=2\r\nab\r\n", b""]
    {
        assert_eq!(Reply::parse(bad), None, "{bad:?}");
    }
}

/// Text that can stand in a line.
fn line_text() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec((32_u8..127).prop_filter("no line end", |b| *b != b'\r'), 0..12)
}

/// Any reply tree of RESP3 that redis-protocol can encode.
fn resp3_tree() -> impl Strategy<Value = OwnedFrame> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..30);
    let leaf = prop_oneof![
        line_text().prop_map(|data| OwnedFrame::SimpleString { data, attributes: None }),
        "[A-Z]{1,8} [a-z ]{0,10}"
            .prop_map(|data| OwnedFrame::SimpleError { data, attributes: None }),
        any::<i64>().prop_map(|data| OwnedFrame::Number { data, attributes: None }),
        bytes().prop_map(|data| OwnedFrame::BlobString { data, attributes: None }),
        bytes().prop_map(|data| OwnedFrame::BlobError { data, attributes: None }),
        Just(OwnedFrame::Null),
        any::<i32>()
            .prop_map(|n| OwnedFrame::Double { data: f64::from(n) / 8.0, attributes: None }),
        any::<bool>().prop_map(|data| OwnedFrame::Boolean { data, attributes: None }),
        "-?[1-9][0-9]{0,30}"
            .prop_map(|n| OwnedFrame::BigNumber { data: n.into_bytes(), attributes: None }),
        bytes().prop_map(|data| OwnedFrame::VerbatimString {
            data,
            format: VerbatimStringFormat::Text,
            attributes: None
        }),
    ];
    leaf.prop_recursive(5, 60, 6, |inner| {
        let key =
            || line_text().prop_map(|data| OwnedFrame::SimpleString { data, attributes: None });
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6)
                .prop_map(|data| OwnedFrame::Array { data, attributes: None }),
            prop::collection::vec((key(), inner.clone()), 0..4).prop_map(|pairs| {
                OwnedFrame::Map { data: pairs.into_iter().collect(), attributes: None }
            }),
            prop::collection::vec(key(), 0..4).prop_map(|data| OwnedFrame::Set {
                data: data.into_iter().collect::<HashSet<_>>(),
                attributes: None
            }),
            (prop::collection::vec(inner, 1..4), key(), any::<i64>()).prop_map(
                |(data, name, value)| {
                    let value = OwnedFrame::Number { data: value, attributes: None };
                    let attributes = Some(HashMap::from([(name, value)]));
                    OwnedFrame::Array { data, attributes }
                }
            ),
        ]
    })
}

/// Any reply tree of RESP2.
fn resp2_tree() -> impl Strategy<Value = resp2::types::OwnedFrame> {
    use resp2::types::OwnedFrame as Frame;
    let leaf = prop_oneof![
        line_text().prop_map(Frame::SimpleString),
        "[A-Z]{1,8} [a-z ]{0,10}".prop_map(Frame::Error),
        any::<i64>().prop_map(Frame::Integer),
        prop::collection::vec(any::<u8>(), 0..30).prop_map(Frame::BulkString),
        Just(Frame::Null),
    ];
    leaf.prop_recursive(5, 60, 6, |inner| prop::collection::vec(inner, 0..6).prop_map(Frame::Array))
}

/// The bytes of a tree, by redis-protocol.
fn encode3(frame: &OwnedFrame) -> Vec<u8> {
    let mut out = vec![0; frame.encode_len(false)];
    let len = resp3::encode::complete::encode(&mut out, frame, false).unwrap();
    out.truncate(len);
    out
}

/// The bytes of a tree, by redis-protocol.
fn encode2(frame: &resp2::types::OwnedFrame) -> Vec<u8> {
    let mut out = vec![0; frame.encode_len(false)];
    let len = resp2::encode::encode(&mut out, frame, false).unwrap();
    out.truncate(len);
    out
}

/// Frames one behind the other, and their ends.
fn concatenate(frames: &[Vec<u8>]) -> (Vec<u8>, Vec<usize>) {
    let mut stream = Vec::new();
    let ends = frames.iter().map(|frame| {
        stream.extend_from_slice(frame);
        stream.len()
    });
    let ends = ends.collect();
    (stream, ends)
}

/// Asserts that frames end where they were put together, at these cuts and byte by byte, and
/// that views of them and of their parts are whole.
fn assert_boundaries(
    frames: &[Vec<u8>],
    cuts: &[prop::sample::Index],
) -> Result<(), TestCaseError> {
    let (stream, ends) = concatenate(frames);
    let mut splits: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len())).collect();
    splits.sort_unstable();
    let each: Vec<usize> = (0..stream.len()).collect();
    for splits in [splits, each] {
        let found = boundaries(&stream, &splits).unwrap();
        let found: Vec<usize> = found.into_iter().map(|(end, _)| end).collect();
        prop_assert_eq!(&found, &ends);
    }
    let run = ReplyScanner::default().run(&stream, u64::MAX).unwrap();
    prop_assert_eq!(run, Run { consumed: stream.len(), replies: frames.len() as u64 });
    for frame in frames {
        prop_assert_eq!(view_whole(frame), Some(frame.len()));
    }
    Ok(())
}

/// Views a frame and everything in it; the length, if all of it is whole.
fn view_whole(frame: &[u8]) -> Option<usize> {
    let (reply, len) = Reply::parse(frame)?;
    if let Reply::Aggregate { kind, count, body } = reply {
        let elements = if kind == Kind::Map { count * 2 } else { count };
        let parts: Vec<&[u8]> = Elements::new(body).collect();
        assert_eq!(parts.len() as u64, elements);
        assert_eq!(parts.concat(), body);
        for part in parts {
            assert_eq!(view_whole(part)?, part.len());
        }
    }
    Some(len)
}

/// What a decoder says of some bytes.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Complete(usize),
    Incomplete,
    Invalid,
}

/// What the scanner says of the frame at the start of `bytes`.
fn verdict(bytes: &[u8]) -> Verdict {
    if bytes.is_empty() {
        return Verdict::Incomplete;
    }
    match ReplyScanner::default().scan(bytes) {
        Ok(Progress { consumed, done: true }) => Verdict::Complete(consumed),
        Ok(_) => Verdict::Incomplete,
        Err(_) => Verdict::Invalid,
    }
}

/// Pieces of replies that both the scanner and redis-protocol's RESP2 define in the same way;
/// values of lines are always good, as the scanner does not look at them.
fn resp2_pieces() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop::sample::select(vec![
        b"*0\r\n".as_slice(),
        b"*1\r\n",
        b"*2\r\n",
        b"*3\r\n",
        b"*-1\r\n",
        b"*-2\r\n",
        b"$-1\r\n",
        b"$-3\r\n",
        b"$0\r\n\r\n",
        b"$2\r\nab\r\n",
        b"$3\r\n\r\n\r\r\n",
        b"$x\r\n",
        b"+a\r\r\n",
        b"+OK\r\n",
        b"-E\n\r\n",
        b":1\r\n",
        b":-7\r\n",
        b"x",
        b"_\r\n",
    ]);
    prop::collection::vec(piece, 1..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn resp3_trees_end_where_redis_protocol_ends_them(
        trees in prop::collection::vec(resp3_tree(), 1..5),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let frames: Vec<Vec<u8>> = trees.iter().map(encode3).collect();
        assert_boundaries(&frames, &cuts)?;
    }

    #[test]
    fn resp2_trees_end_where_redis_protocol_ends_them(
        trees in prop::collection::vec(resp2_tree(), 1..5),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let frames: Vec<Vec<u8>> = trees.iter().map(encode2).collect();
        assert_boundaries(&frames, &cuts)?;
    }

    #[test]
    fn verdicts_agree_with_redis_protocol_resp2(
        bytes in resp2_pieces(),
        cut in any::<prop::sample::Index>(),
    ) {
        for bytes in [&bytes[..], &bytes[..cut.index(bytes.len())]] {
            let oracle = match resp2::decode::decode(bytes) {
                Ok(Some((_, len))) => Verdict::Complete(len),
                Ok(None) => Verdict::Incomplete,
                Err(_) => Verdict::Invalid,
            };
            let ours = verdict(bytes);
            // `_` is a type of RESP3, and a bad number is seen before its line has ended.
            let differs = bytes.contains(&b'_')
                || (ours == Verdict::Invalid && oracle == Verdict::Incomplete);
            prop_assert!(ours == oracle || differs, "{ours:?} {oracle:?}");
        }
    }

    #[test]
    fn a_frame_cut_anywhere_is_incomplete(
        tree in resp3_tree(),
        cut in any::<prop::sample::Index>(),
    ) {
        let frame = encode3(&tree);
        let cut = &frame[..cut.index(frame.len())];
        prop_assert_eq!(verdict(cut), Verdict::Incomplete);
        prop_assert!(matches!(resp3::decode::complete::decode(cut), Ok(None)));
        prop_assert_eq!(Reply::parse(cut), None);
    }

    #[test]
    fn garbage_never_panics(
        bytes in prop::collection::vec(any::<u8>(), 0..100),
        alike in prop::collection::vec(
            prop::sample::select(b"+-:$*_,#!=(%~>|\r\n0123456789-?".to_vec()), 0..60),
    ) {
        for bytes in [bytes, alike] {
            let each: Vec<usize> = (0..bytes.len()).collect();
            prop_assert_eq!(boundaries(&bytes, &each), boundaries(&bytes, &[]));
            if let Some((reply, len)) = Reply::parse(&bytes) {
                prop_assert_eq!(verdict(&bytes), Verdict::Complete(len));
                prop_assert!(reply.elements().map(<[u8]>::len).sum::<usize>() <= len);
            }
            Elements::new(&bytes).for_each(drop);
        }
    }
}
