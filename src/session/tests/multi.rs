//! A MULTI whose link is lost before its reply: nothing that stands behind it may run alone.

use super::*;

#[test]
fn a_multi_that_is_lost_goes_on_without_redis() {
    let mut rig = Rig::new();
    rig.client(&["MULTI"]);
    rig.cut();
    assert_eq!(rig.told(), OK);
    rig.client(&[TAKE]);
    assert_eq!(rig.told(), "+QUEUED\r\n");
    rig.client(&["DISCARD"]);
    assert_eq!(rig.told(), OK);
}

#[test]
fn a_multi_that_is_lost_with_commands_of_it_is_aborted() {
    let mut rig = Rig::new();
    rig.client(&["PING", "MULTI", "SET plain 1"]);
    rig.cut();
    let told = rig.told();
    let replies: Vec<&str> = told.split_terminator("\r\n").collect();
    assert!(
        matches!(replies[..], [ping, "+OK", set] if ping.starts_with('-') && set.starts_with('-')),
        "{told}"
    );
    rig.client(&[TAKE]);
    rig.told();
    rig.client(&["EXEC"]);
    assert!(rig.told().starts_with("-EXECABORT"), "nothing of it runs");
}

#[test]
fn a_transaction_whose_end_was_sent_is_over() {
    let mut rig = Rig::new();
    rig.client(&["MULTI", "SET plain 1", "EXEC"]);
    rig.cut();
    assert!(rig.told().split_terminator("\r\n").all(|reply| reply.starts_with('-')));
    assert!(rig.session.state.held_back.is_none());
}
