//! What a probe reads from replies; the rest is tested against a running Redis.

use super::*;

#[test]
fn fields_of_info() {
    let info = b"$42\r\n# Server\r\nredis_version:7\r\nrun_id:abc123\r\n\r\n\r\n";
    let text = b"# Server\r\nredis_version:7\r\nrun_id:abc123\r\n";
    let mut bytes = Vec::new();
    encode::bulk(&mut bytes, text);
    assert_eq!(field(&bytes, b"run_id"), Some("abc123"));
    assert_eq!(field(&bytes, b"role"), None);
    assert_eq!(field(b"-NOPERM no\r\n", b"run_id"), None);
    assert_eq!(field(&info[..20], b"run_id"), None);
}

#[test]
fn databases_of_config() {
    assert_eq!(databases(b"*2\r\n$9\r\ndatabases\r\n$2\r\n32\r\n"), Some(32));
    for other in [&b"-NOPERM no\r\n"[..], b"*0\r\n", b"*2\r\n$9\r\ndatabases\r\n$1\r\nx\r\n"] {
        assert_eq!(databases(other), None);
    }
}

#[test]
fn only_errors_of_redis_state_are_refusals() {
    assert_eq!(refusal(b"+OK\r\n"), None);
    assert_eq!(refusal(b"$-1\r\n"), None);
    assert_eq!(refusal(b"-NOPERM this user has no permissions\r\n"), None);
    assert_eq!(refusal(b"-NOAUTH Authentication required.\r\n"), None);
    let expected = Finding::Bad { sign: Sign::OutOfMemory, detail: "OOM command".into() };
    assert_eq!(refusal(b"-OOM command\r\n"), Some(expected));
    let Some(Finding::Bad { detail, .. }) = refusal(&[b"-BUSY ", &[7; 500][..], b"\r\n"].concat())
    else {
        panic!("a refusal")
    };
    assert!(!detail.contains('\u{7}') && detail.len() < 6 * MAX_WORDS);
}
