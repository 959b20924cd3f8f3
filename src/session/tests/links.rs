//! A link that Redis has closed in good order: was it an outage, or was this client meant (CLIENT KILL)?

use super::*;
use crate::mode::Mode;
use crate::session::CLOSED_BY_REDIS;

const GET: &str = "GET plain";
const REPLY: &str = "$1\r\n1\r\n";

fn closed_by_redis() -> Rig {
    let mut rig = Rig::new();
    rig.shared.board.show(Mode::Healthy, true);
    rig.shared.reports.expect(Some("run".into()));
    assert_eq!(rig.ask(GET, REPLY), REPLY);
    rig.with(|session, cx| session.link_failed(CLOSED_BY_REDIS, true, cx));
    rig
}

/// Two probes are good, and the session looks.
fn look(rig: &mut Rig) {
    (0..2).for_each(|_| rig.shared.reports.count_good());
    if rig.session.deadline().is_some() {
        assert!(rig.session.awaits_ledger());
        rig.with(Session::timed_out);
    }
}

#[test]
fn an_idle_client_was_meant() {
    let mut rig = closed_by_redis();
    look(&mut rig);
    assert!(rig.session.has_ended());
}

#[test]
fn who_goes_on_over_a_new_link_stays() {
    let mut rig = closed_by_redis();
    assert_eq!(rig.ask(GET, REPLY), REPLY);
    look(&mut rig);
    assert!(!rig.session.has_ended());
    assert_eq!(rig.ask(GET, REPLY), REPLY);
}

/// The new link has been asked and has not answered yet.
#[test]
fn who_has_asked_again_is_answered_first() {
    let mut rig = closed_by_redis();
    rig.client(&[GET]);
    look(&mut rig);
    assert!(!rig.session.has_ended());
    rig.redis(REPLY);
    assert_eq!(rig.told(), REPLY);
    look(&mut rig);
    assert!(!rig.session.has_ended());
}

/// Redis has gone after all: what was sent on a new link waits no longer than elsewhere.
#[test]
fn what_was_asked_again_does_not_wait_for_ever() {
    let mut rig = closed_by_redis();
    rig.client(&[GET]);
    rig.shared.board.show(Mode::Degraded, false);
    look(&mut rig);
    assert_eq!(rig.session.deadline(), Some(rig.now + rig.shared.command_timeout));
    rig.with(Session::timed_out);
    assert!(rig.told().starts_with('-') && !rig.session.has_ended());
}

/// A link that died with an outage, and nobody noticed before Redis was there again, nor knows yet
/// which run of Redis it is: what it was asked is answered all the same.
#[test]
fn a_dead_link_is_found_while_redis_is_brought_in_line() {
    let mut rig = Rig::new();
    rig.shared.board.show(Mode::Recovering, true);
    rig.client(&["HELLO 3"]);
    for probes in [1, 2] {
        assert!(rig.session.awaits_ledger(), "watched after {probes} looks");
        (0..probes).for_each(|_| rig.shared.reports.count_good());
        rig.with(Session::timed_out);
    }
    assert!(rig.told().starts_with("-TRYAGAIN lockside: unknown outcome"));
    assert_eq!((rig.wires.links, rig.session.deadline()), (1, None));
}

/// So is one that was opened after Redis had closed another, while nobody knew whom that meant.
#[test]
fn a_dead_link_after_one_that_was_closed_is_found() {
    let mut rig = closed_by_redis();
    rig.client(&["SCRIPT LOAD \"return 1\""]);
    for _ in 0..2 {
        look(&mut rig);
    }
    assert!(rig.told().starts_with("-TRYAGAIN lockside: unknown outcome"));
    assert!(!rig.session.has_ended());
}
