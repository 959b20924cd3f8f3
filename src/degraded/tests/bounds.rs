//! How much one command may name, and what a lock without TTL shows.

use super::{Rig, pair};

/// What would keep a worker busy is refused as a whole, with the limit in the error.
#[test]
fn a_command_names_so_many_keys_and_no_more() {
    let rig = Rig::persistent();
    rig.ask("SET lock:0 1 NX");
    let keys = |count: usize| (0..count).map(|at| format!("lock:{at}")).collect::<Vec<_>>();
    let del = |count| format!("DEL {}", keys(count).join(" "));
    let mget = |count| format!("MGET {}", keys(count).join(" "));
    let refused = "-ERR lockside: while upstream is unavailable a command or transaction on locks names at \
                   most 10000 keys and has at most 20000 arguments; nothing was done: send several";
    let eval = |count: usize| {
        let keys = keys(count);
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        rig.script("return redis.call('del', KEYS[1])", &keys, &[]).0
    };
    for reply in [rig.ask(&del(10_001)).0, rig.ask(&mget(10_001)).0, eval(10_001)] {
        assert_eq!(reply, refused);
    }
    let fields = vec!["f"; 20_000].join(" ");
    assert_eq!(rig.ask(&format!("HMGET lock:h {fields}")).0, refused);
    let (half, word) = (mget(5_000), "GET lock:0");
    assert_eq!(rig.transaction(&[&half, &half, word]).0, refused);
    assert!(rig.transaction(&[&half, word]).0.starts_with("*2 *5000 $1 1"));
    assert!(rig.ask(&mget(10_000)).0.starts_with("*10000 $1 1 $-1"));
    assert_eq!(eval(10_000), ":1");
    rig.ask("SET lock:0 1 NX");
    assert_eq!(rig.ask(&del(10_000)), pair(":1", "-lock:0"));
}

#[test]
fn a_script_is_shown_the_default_ttl_where_a_command_sees_none() {
    let rig = Rig::persistent();
    rig.ask("SET lock:a 1 NX");
    assert_eq!(rig.ask("PERSIST lock:a"), pair(":0", ""));
    assert_eq!(rig.ask("PEXPIRE lock:a 5000 XX"), pair(":0", ""));
    assert_eq!(rig.ask("PEXPIRE lock:a 5000"), pair(":1", ""));
    let script = "return {redis.call('pttl', KEYS[1]), redis.call('pexpire', KEYS[1], 9000, 'XX')}";
    assert_eq!(rig.script(script, &["lock:a"], &[]), pair("*2 :3600000 :1", ""));
    rig.ask("SET lock:b 1 NX PX 30000");
    assert_eq!(rig.ask("PEXPIRE lock:b 5000 XX"), pair(":1", ""));
    assert_eq!(rig.ask("PERSIST lock:b"), pair(":1", ""));
}
