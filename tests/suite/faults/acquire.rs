//! `SET NX` over a bad link.

use super::{NIL, NO_TTL, OK, ONE, OTHER, SHORT, Stage, TOKEN, ZERO, assert_unknown, bulk, take};
use crate::support::{Fault, PATIENCE, Settings, wait_until};

const SET: &str = "SET lock:a";
/// The guarded PERSIST, which gives the fence too: its keys.
const PERSIST: &str = " 2 lock:a lockside:fence:";

/// Exactly one grant, of `TOKEN`, and it can be released.
fn assert_granted_once(stage: &mut Stage) {
    stage.assert_held("lock:a", TOKEN);
    assert_eq!(stage.subject.client().ask(&take("lock:a", OTHER)), NIL);
    assert_eq!(stage.client.ask("DEL lock:a"), ONE);
    // At once, or by a repair if the link was found dead meanwhile.
    stage.wait_free("lock:a");
}

#[test]
fn reply_of_the_set_lost() {
    let Some(mut stage) = Stage::start() else { return };
    stage.proxy.next(SET, Fault::LoseReply);
    assert_eq!(stage.client.ask(&take("lock:a", TOKEN)), OK);
    assert_eq!(stage.proxy.count(SET), 1, "read back, not sent again");
    assert_granted_once(&mut stage);
}

#[test]
fn set_lost_before_redis() {
    let Some(mut stage) = Stage::start() else { return };
    stage.proxy.next(SET, Fault::LoseCommand);
    assert_eq!(stage.client.ask(&take("lock:a", TOKEN)), OK);
    assert_eq!(stage.proxy.count(SET), 2);
    assert_granted_once(&mut stage);
}

/// The SET found another's key, and that reply was lost: nil, and nothing is touched.
#[test]
fn reply_of_a_refused_set_lost() {
    let Some(mut stage) = Stage::start() else { return };
    assert_eq!(stage.direct.ask(&format!("SET lock:a {OTHER} EX 100")), OK);
    stage.proxy.next(SET, Fault::LoseReply);
    assert_eq!(stage.client.ask(&take("lock:a", TOKEN)), NIL);
    assert_eq!(stage.direct.ask("GET lock:a"), bulk(OTHER));
    assert_ne!(stage.direct.ask("TTL lock:a"), NO_TTL);
}

#[test]
fn reply_of_the_persist_lost() {
    let Some(mut stage) = Stage::start() else { return };
    stage.proxy.next(PERSIST, Fault::LoseReply);
    assert_eq!(stage.client.ask(&take("lock:a", TOKEN)), OK);
    assert_granted_once(&mut stage);
}

#[test]
fn persist_lost_before_redis() {
    let Some(mut stage) = Stage::start() else { return };
    stage.proxy.next(PERSIST, Fault::LoseCommand);
    assert_eq!(stage.client.ask(&take("lock:a", TOKEN)), OK);
    assert_granted_once(&mut stage);
}

#[test]
fn link_cut_twice() {
    let Some(mut stage) = Stage::start() else { return };
    stage.proxy.next(SET, Fault::LoseReply);
    stage.proxy.next(PERSIST, Fault::LoseReply);
    assert_eq!(stage.client.ask(&take("lock:a", TOKEN)), OK);
    assert_granted_once(&mut stage);
}

/// Three cuts are one too many: the client is told that nobody knows, and the key runs out.
#[test]
fn link_cut_three_times() {
    let Some(mut stage) = Stage::short() else { return };
    stage.proxy.next(SET, Fault::LoseReply);
    stage.proxy.next("GET lock:a", Fault::LoseReply);
    stage.proxy.next("GET lock:a", Fault::LoseReply);
    assert_unknown(&stage.client.ask(&take("lock:a", TOKEN)));
    assert!(stage.proxy.is_done());
    stage.wait_free("lock:a");
    assert_eq!(stage.client.ask(&take("lock:a", TOKEN)), OK);
}

#[test]
fn no_new_link_after_the_set() {
    let Some(mut stage) = Stage::short() else { return };
    stage.proxy.next(SET, Fault::HoldReply);
    stage.client.send_line(&take("lock:a", TOKEN));
    stage.proxy.wait_held(1);
    stage.proxy.refuse(true);
    stage.proxy.next("GET", Fault::LoseReply);
    assert_ne!(stage.direct.ask("PTTL lock:a"), NO_TTL);
    stage.proxy.cut_all();
    assert_unknown(&stage.client.text());
    stage.wait_free("lock:a");
    stage.proxy.refuse(false);
    assert_eq!(stage.subject.client().ask(&take("lock:a", OTHER)), OK);
}

/// The PERSIST was carried out, and nobody could be asked. The key stands for good, so the same
/// token must get it, and no other.
#[test]
fn no_new_link_after_the_persist() {
    let Some(mut stage) = Stage::start() else { return };
    stage.proxy.next(PERSIST, Fault::HoldReply);
    stage.client.send_line(&take("lock:a", TOKEN));
    stage.proxy.wait_held(1);
    stage.proxy.refuse(true);
    stage.proxy.cut_all();
    assert_unknown(&stage.client.text());
    stage.assert_held("lock:a", TOKEN);
    stage.proxy.refuse(false);
    assert_eq!(stage.subject.client().ask(&take("lock:a", OTHER)), NIL);
    assert_eq!(stage.client.ask(&take("lock:a", TOKEN)), OK);
    assert_granted_once(&mut stage);
}

/// The reply is held for longer than the command timeout: another link answers.
#[test]
fn command_timeout() {
    let upstream = "command_timeout = \"300ms\"";
    let Some(mut stage) = Stage::with(Settings { upstream, ..Settings::default() }) else { return };
    for words in [SET, PERSIST] {
        stage.proxy.next(words, Fault::HoldReply);
        assert_eq!(stage.client.ask(&take("lock:a", TOKEN)), OK);
        stage.proxy.release();
        assert_granted_once(&mut stage);
    }
}

/// A Redis that takes everything and answers nothing: an error, within a few timeouts.
#[test]
fn black_hole() {
    let upstream = "command_timeout = \"200ms\"";
    let Some(mut stage) = Stage::with(Settings { upstream, ..Settings::default() }) else { return };
    stage.proxy.swallow();
    assert_unknown(&stage.client.ask(&take("lock:a", TOKEN)));
    assert_eq!(stage.direct.ask("EXISTS lock:a"), ZERO);
}

/// The client closes while its SET is under way, or its PERSIST: nothing stays for good.
#[test]
fn client_gone_while_held() {
    let Some(mut stage) = Stage::start() else { return };
    for (words, fault) in [
        (SET, Fault::HoldCommand),
        (SET, Fault::HoldReply),
        (PERSIST, Fault::HoldCommand),
        (PERSIST, Fault::HoldReply),
    ] {
        stage.proxy.next(words, fault);
        let mut client = stage.subject.client();
        client.send_line(&take("lock:a", TOKEN));
        stage.proxy.wait_held(1);
        drop(client);
        stage.gone_is_seen();
        stage.proxy.release();
        // By a compare-and-delete, long before the safety TTL.
        stage.wait_free("lock:a");
    }
}

/// The key runs out while the PERSIST is under way, and another takes it: an error, never OK, and
/// the other's key stays as it is.
#[test]
fn another_takes_the_key_under_a_late_persist() {
    let Some(mut stage) = Stage::short() else { return };
    stage.proxy.next(PERSIST, Fault::HoldCommand);
    stage.client.send_line(&take("lock:a", TOKEN));
    stage.proxy.wait_held(1);
    stage.wait_free("lock:a");
    assert_eq!(stage.direct.ask(&format!("SET lock:a {OTHER} NX EX 100")), OK);
    stage.proxy.release();
    let reply = stage.client.text();
    assert!(reply.starts_with("-TRYAGAIN lockside: not acquired"), "{reply}");
    assert_eq!(stage.direct.ask("GET lock:a"), bulk(OTHER));
    let ttl = stage.direct.ask("TTL lock:a");
    assert!(ttl == ":100\r\n" || ttl.starts_with(":9"), "{ttl}");
}

/// Without scripts there is no fence, so the claim decides: a plain PERSIST that was lost before
/// Redis is made up for by a repair.
#[test]
fn plain_persist_lost() {
    let Some(mut stage) = Stage::short() else { return };
    assert_eq!(stage.direct.ask("ACL SETUSER bob on >pw ~* +@all -@scripting"), OK);
    let mut bob = stage.subject.client();
    assert_eq!(bob.ask("AUTH bob pw"), OK);
    stage.proxy.next("PERSIST lock:a", Fault::LoseReply);
    assert_eq!(bob.ask(&take("lock:a", TOKEN)), OK);
    stage.assert_held("lock:a", TOKEN);
    assert_eq!(bob.ask("DEL lock:a"), ONE);
    stage.proxy.next("PERSIST lock:a", Fault::LoseCommand);
    assert_eq!(bob.ask(&take("lock:a", TOKEN)), OK);
    wait_until("repaired", || stage.direct.ask("PTTL lock:a") == NO_TTL);
    assert_eq!(stage.direct.ask("GET lock:a"), bulk(TOKEN));
}

/// The grant's reply never reaches the caller: the same token on another connection is the same
/// grant; a different one, or one that repeats, is not.
#[test]
fn unconfirmed_grant_is_resumed() {
    let Some(mut stage) = Stage::start() else { return };
    for token in [TOKEN, "1"] {
        let mut lost = stage.subject.client();
        lost.send_line(&take("lock:a", token));
        wait_until("granted", || stage.direct.ask("PTTL lock:a") == NO_TTL);
        // The reply is on its way to a caller who does not read it any more.
        lost.stream().peek(&mut [0; 5]).unwrap();
        drop(lost);
        let mut owner = stage.subject.client();
        wait_until("unconfirmed", || owner.ask("LOCKSIDE OWNER lock:a").contains("unconfirmed"));
        assert_eq!(stage.subject.client().ask(&take("lock:a", OTHER)), NIL);
        let again = stage.subject.client().ask(&take("lock:a", token));
        assert_eq!(again, if token == TOKEN { OK } else { NIL }, "{token}");
        assert_eq!(stage.direct.ask("PTTL lock:a"), NO_TTL);
        assert_eq!(stage.client.ask("DEL lock:a"), ONE);
    }
}

/// The client takes no more bytes, and goes: a grant whose reply was never written is given back.
#[test]
fn reply_that_cannot_be_written() {
    let tables = "[limits]\nclient_output = \"64MiB\"\n";
    let Some(mut stage) = Stage::with(Settings { tables, ..Settings::default() }) else { return };
    assert_eq!(
        stage.direct.call(&[b"SET".as_slice(), b"big", &vec![b'x'; 16 << 20]]),
        OK.as_bytes()
    );
    let mut client = stage.subject.client();
    ["GET big", "GET big", &take("lock:a", TOKEN)].iter().for_each(|line| client.send_line(line));
    wait_until("granted", || stage.direct.ask("PTTL lock:a") == NO_TTL);
    drop(client);
    stage.wait_free("lock:a");
    assert_eq!(stage.client.ask("LOCKSIDE OWNER lock:a"), NIL);
}

/// As before, and the old link does not end either: Lockside gives the lock back over another one
/// after a while, and serves everybody else all the time.
#[test]
fn reply_that_cannot_be_written_and_a_link_that_hangs() {
    let tables = "[limits]\nclient_output = \"64MiB\"\n";
    let Some(mut stage) = Stage::with(Settings { tables, ..Settings::default() }) else { return };
    assert_eq!(
        stage.direct.call(&[b"SET".as_slice(), b"big", &vec![b'x'; 16 << 20]]),
        OK.as_bytes()
    );
    stage.proxy.next("GET hangs", Fault::HoldReply);
    let mut client = stage.subject.client();
    client.send(
        format!("GET big\r\nGET big\r\n{}\r\nGET hangs\r\n", take("lock:a", TOKEN)).as_bytes(),
    );
    stage.proxy.wait_held(1);
    stage.assert_held("lock:a", TOKEN);
    drop(client);
    stage.wait_free("lock:a");
    assert_eq!(stage.client.ask("LOCKSIDE OWNER lock:a"), NIL);
}

/// What the client had set up on its connection holds on the new link too.
#[test]
fn state_is_replayed() {
    let Some(mut stage) = Stage::with(Settings { tables: SHORT, ..Settings::default() }) else {
        return;
    };
    assert_eq!(stage.direct.ask("ACL SETUSER bob on >pw ~* +@all"), OK);
    let mut bob = stage.subject.client();
    stage.proxy.next(SET, Fault::LoseReply);
    stage.proxy.next(PERSIST, Fault::LoseReply);
    for line in ["AUTH bob pw", "SELECT 3", "CLIENT SETNAME worker", &take("lock:a", TOKEN)] {
        bob.send_line(line);
    }
    bob.send_line("ACL WHOAMI");
    bob.send_line("CLIENT GETNAME");
    assert!(bob.frames(4).iter().all(|reply| reply == OK.as_bytes()));
    assert_eq!((bob.text(), bob.text()), (bulk("bob"), bulk("worker")));
    assert_eq!(stage.direct.ask("EXISTS lock:a"), ZERO);
    assert_eq!(stage.direct.ask("SELECT 3"), OK);
    stage.assert_held("lock:a", TOKEN);
    assert_eq!(stage.proxy.count("AUTH bob pw"), 3);
    assert!(bob.frame_within(PATIENCE / 100).is_err(), "no reply too many");
}
