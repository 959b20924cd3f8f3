//! Publish and subscribe, in RESP2 and RESP3, with messages between the replies.

use crate::support::scenario::Pair;

#[test]
fn resp2() {
    Pair::start().compare_all(
        r#"
a>3 SUBSCRIBE x y z
a> PING
a> PING hello
a> GET k
a>3^ UNSUBSCRIBE
a> GET k

a> UNSUBSCRIBE
a> PUNSUBSCRIBE
a> SUNSUBSCRIBE
a> GET k

a> SUBSCRIBE x
a> UNSUBSCRIBE
a> UNSUBSCRIBE
a> UNSUBSCRIBE nothing
a>2 UNSUBSCRIBE n m
a> GET k

a> SUBSCRIBE x
a> SUBSCRIBE x
a>2 PSUBSCRIBE p* q*
a>2^ PUNSUBSCRIBE
a> UNSUBSCRIBE x
a> SET k v

a> SUBSCRIBE x
a> GET lock:a
a> SET lock:a 1 NX
a> STRLEN lock:a
a> DEL lock:a
a> EXPIRE lock:a 10
a> LOLWUT
a> UNSUBSCRIBE x
a> EXISTS lock:a

a>2 SSUBSCRIBE s1 s2
a> SUNSUBSCRIBE s1
a> SUNSUBSCRIBE
a> GET k

a> SUBSCRIBE
a> PSUBSCRIBE
a> SUBSCRIBE x
a> MULTI
a> RESET
a> GET k

a> SUBSCRIBE x
a> QUIT
a#

a>2 SUBSCRIBE x y
b> PUBLISH x one
a<
b> PUBLISH y two
b> PUBLISH z three
a<
b>^ PUBSUB CHANNELS
b> PUBSUB NUMSUB x y z
b> PUBSUB NUMPAT
a> UNSUBSCRIBE x
b> PUBLISH x four
a> PING

a>2 PSUBSCRIBE n* *s
a> SUBSCRIBE news
b> PUBLISH news hot
a<3^
b> PUBLISH nothing much
a<
a>2^ PUNSUBSCRIBE
a> UNSUBSCRIBE
a> GET k

a> SSUBSCRIBE shard
b> SPUBLISH shard hi
a<
b> PUBSUB SHARDCHANNELS
b> PUBSUB SHARDNUMSUB shard

a> SUBSCRIBE x
b> MULTI
b> PUBLISH x in-multi
b> GET k
b> EXEC
a<

a> SUBSCRIBE x
a.
b> GET k
"#,
    );
}

#[test]
fn resp3() {
    Pair::start().compare_all(
        r#"
a>~ HELLO 3
a>3 SUBSCRIBE x y z
a> GET k
a> SET k v
a> PING
a> PING hello
a>3^ UNSUBSCRIBE
a> UNSUBSCRIBE

a>~ HELLO 3
a> SUBSCRIBE self
a>2 PUBLISH self hello
a> GET k
a>2 PUBLISH self again
a> UNSUBSCRIBE self
a> PUBLISH self nobody

a>~ HELLO 3
a> SUBSCRIBE self
a> MULTI
a> PUBLISH self inside
a> GET k
a>2 EXEC

a>~ HELLO 3
a>2 PSUBSCRIBE a* b*
a> SSUBSCRIBE shard
a> INCR n
b> PUBLISH abc x
a<
a> INCR n
b> SPUBLISH shard y
a<
a>2^ PUNSUBSCRIBE
a> SUNSUBSCRIBE
a> RESET
a> GET k

a>~ HELLO 3
a> SUBSCRIBE x
a> MULTI
a> SUBSCRIBE y
a> UNSUBSCRIBE x
a> EXEC
a> GET k

a>~ HELLO 3
a> SUBSCRIBE x
a>~ HELLO 2
a> PING
"#,
    );
}

/// Keyspace events are messages like others.
#[test]
fn keyspace_events() {
    let pair = Pair::with(&["--notify-keyspace-events", "KEA"], Default::default());
    pair.compare_all(
        r#"
a> PSUBSCRIBE __key*__:*
b> SET k v
a<2
b> DEL k
a<2
a> PUNSUBSCRIBE
"#,
    );
}

/// Thousands of messages to one subscriber while it goes on asking (RESP3): each arrives once, in
/// order, and the replies stay in order.
#[test]
fn messages_between_replies() {
    const COUNT: usize = 2000;
    let pair = Pair::start();
    for port in [pair.reference().port(), pair.subject().port()] {
        let connect = || crate::support::Client::connect(port);
        let (mut reader, mut writer) = (connect(), connect());
        assert!(reader.ask("HELLO 3").starts_with('%'));
        assert!(reader.ask("SUBSCRIBE flood").starts_with(">3\r\n$9\r\nsubscribe"));
        for round in 0..COUNT / 100 {
            for number in round * 100..(round + 1) * 100 {
                writer.send_line(&format!("PUBLISH flood m{number}"));
                reader.send_line(&format!("ECHO r{number}"));
            }
            assert!(writer.frames(100).iter().all(|reply| reply == b":1\r\n"));
        }
        let (mut messages, mut replies) = (Vec::new(), Vec::new());
        for _ in 0..2 * COUNT {
            let frame = reader.text();
            let word = frame.trim_end().rsplit("\r\n").next().unwrap().to_owned();
            if frame.starts_with('>') { messages.push(word) } else { replies.push(word) }
        }
        assert!(messages.iter().eq((0..COUNT).map(|n| format!("m{n}")).collect::<Vec<_>>().iter()));
        assert!(replies.iter().eq((0..COUNT).map(|n| format!("r{n}")).collect::<Vec<_>>().iter()));
    }
}
