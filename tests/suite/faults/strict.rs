//! Lost requests and replies where the ledger decides: what Redis did not say is no matter, and
//! Redis is brought in line afterwards.

use super::{NIL, NO_TTL, OK, ONE, OTHER, Stage, TOKEN, ZERO, bulk, take};
use crate::support::locks::give;
use crate::support::{Fault, wait_until};

const SET: &str = "SET lock:a";
const PERSIST: &str = " 1 lock:a s";
/// The one grant of `TOKEN`: Redis has it for good before long, a stranger is refused, and it can
/// be released.
fn assert_granted_once(stage: &mut Stage) {
    assert_eq!(stage.subject.client().ask(&take("lock:a", OTHER)), NIL);
    wait_until("Redis has it for good", || stage.direct.ask("PTTL lock:a") == NO_TTL);
    assert_eq!(stage.direct.ask("GET lock:a"), bulk(TOKEN));
    assert_eq!(stage.client.ask("DEL lock:a"), ONE);
    wait_until("Redis has let it go", || stage.direct.ask("EXISTS lock:a") == ZERO);
}

#[test]
fn any_step_lost_any_number_of_times() {
    let losses: [&[(&str, Fault)]; 6] = [
        &[(SET, Fault::LoseReply)],
        &[(SET, Fault::LoseCommand)],
        &[(PERSIST, Fault::LoseReply)],
        &[(PERSIST, Fault::LoseCommand)],
        &[(SET, Fault::LoseReply), (PERSIST, Fault::LoseReply)],
        &[
            (SET, Fault::LoseReply),
            ("GET lock:a", Fault::LoseReply),
            ("GET lock:a", Fault::LoseReply),
        ],
    ];
    let Some(mut stage) = Stage::strict() else { return };
    for faults in losses {
        faults.iter().for_each(|(words, fault)| stage.proxy.next(words, *fault));
        assert_eq!(stage.client.ask(&take("lock:a", TOKEN)), OK, "{faults:?}");
        assert_granted_once(&mut stage);
        assert!(stage.proxy.is_done(), "{faults:?}");
    }
}

/// Redis has set the key, and can't be asked any more.
#[test]
fn no_new_link_after_the_set() {
    let Some(mut stage) = Stage::strict() else { return };
    stage.proxy.next(SET, Fault::HoldReply);
    stage.client.send_line(&take("lock:a", TOKEN));
    stage.proxy.wait_held(1);
    stage.proxy.refuse(true);
    stage.proxy.cut_all();
    assert_eq!(stage.client.text(), OK);
    assert_eq!(stage.subject.client().ask(&take("lock:a", OTHER)), NIL);
    stage.proxy.refuse(false);
    assert_granted_once(&mut stage);
}

/// The ledger releases, whether Redis has heard of it or not.
#[test]
fn a_release_whose_reply_is_lost() {
    let Some(mut stage) = Stage::strict() else { return };
    // Each has a lock of its own: one that is still being repaired would be released without Redis.
    let cases = [
        (Fault::LoseReply, "lock:a", "DEL lock:a"),
        (Fault::LoseReply, "lock:b", TOKEN),
        (Fault::LoseCommand, "lock:c", "DEL lock:c"),
        (Fault::LoseCommand, "lock:d", TOKEN),
    ];
    for (fault, key, words) in cases {
        let release = if words == TOKEN { give(key, TOKEN) } else { words.to_owned() };
        assert_eq!(stage.client.ask(&take(key, TOKEN)), OK);
        // The text is known from now on, so that the release is one command.
        assert_eq!(stage.client.ask(&give(key, "nobody")), ZERO);
        stage.proxy.next(words, fault);
        assert_eq!(stage.client.ask(&release), ONE, "{fault:?} {release}");
        assert!(stage.proxy.is_done());
        wait_until("Redis has let it go", || stage.direct.ask(&format!("EXISTS {key}")) == ZERO);
        assert_eq!(stage.client.ask(&release), ZERO);
        assert_eq!(stage.client.ask(&take(key, OTHER)), OK);
        assert_eq!(stage.client.ask(&format!("DEL {key}")), ONE);
    }
}
