//! Bytes that are not quite RESP: Redis's replies and Redis's close, at every cut.

use crate::support::scenario::Pair;

#[test]
fn inline_and_empty_commands() {
    Pair::start().compare_all(
        r#"
a! "PING\r\n"
a! "PING\n"
a! "SET k 'single quoted' \r\n"
a! "  GET   k  \r\n"
a! "SET k \"a\\x41\\n\\\"\"\r\n"
a! "GET k\n"
a!0 "\r\n"
a!0 "\n\n\r\n"
a!0 "*0\r\n"
a!0 "*-1\r\n"
a!0 "   \r\n"
a! "ECHO ''\r\n"

a!2 "*1\r\n$4\r\nPING\r\nPING\r\n"
a!3 "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n*0\r\nPING\r\n\r\n*1\r\n$4\r\nPING\r\n"
a! "*2\r\n$4\r\nECHO\r\n$0\r\n\r\n"
a! "*2\r\n$4\r\nECHO\r\n$+3\r\nabc\r\n"
a#

a! "*2\r\n$4\r\nECHO\r\n$03\r\nabc\r\n"
a#

a! "*02\r\n$4\r\nECHO\r\n$3\r\nabc\r\n"
a#
"#,
    );
}

#[test]
fn protocol_errors() {
    Pair::start().compare_all(
        r#"
a! "*1\r\n$-2\r\n"
a#

a! "*1\r\n$-1\r\n"
a#

a! "*1\r\n$1099511627776\r\n"
a#

a! "*1\r\n$x\r\n"
a#

a! "*1\r\n$\r\n"
a#

a! "*1\r\n:4\r\nPING\r\n"
a#

a! "*2\r\n$4\r\nECHO\r\n*1\r\n$1\r\na\r\n"
a#

a! "*x\r\n"
a#

a! "*99999999999999999999\r\n"
a#

a! "*2147483648\r\n"
a#

a!0 "*-2\r\n"
a> PING

a> SET k v
a! "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$bad\r\n"
a#

a! "ECHO \"unbalanced\r\n"
a#

a! "ECHO 'unbalanced\r\n"
a#

a! "ECHO \"a\"b\r\n"
a#

a! "\x16\x03\x01\x02\xff\x01\r\n"

a! "$4\r\n"
a! "+OK\r\n"
a! ":1\r\n"

a!0 "POST / HTTP/1.1\r\n"
a#
"#,
    );
}

/// A browser, or a page that makes one post to Redis: closed without a word. (How much of the
/// replies before it still goes out depends in Redis on the cut.)
#[test]
fn http() {
    Pair::start().compare_lines(
        r#"
a! "GET / HTTP/1.1\r\n"
a!0 "Host: x\r\n\r\n"
a#

a!0 "POST / HTTP/1.1\r\nHost: x\r\n\r\nSET k v\r\n"
a#
b> GET k
"#,
    );
}

/// The bytes behind a bulk string are not looked at by Redis, whatever they are.
#[test]
fn wrong_ends_of_lines() {
    Pair::start().compare_all(
        r#"
a! "*1\r\n$4\r\nPINGxx"
a> PING

a! "*2\r\n$4\r\nECHO\r\n$3\r\nabcde*1\r\n$4\r\nPING\r\n"
a<

a! "*1\rx$4\rxPING\r\n"
a> PING
"#,
    );
}

/// A protocol error comes after the replies of what stood before it.
#[test]
fn error_behind_a_pipeline() {
    Pair::start().compare_all(
        r#"
a!3 "SET k v\r\nGET k\r\n*1\r\n$-5\r\nGET k\r\n"
a#

a!4 "MULTI\r\nSET k v\r\nEXEC\r\n*1\r\nxxxxx\r\n"
a#
"#,
    );
}
