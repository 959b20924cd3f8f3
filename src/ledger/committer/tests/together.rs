//! Requests that are durable together or not at all.

use super::*;

fn release(name: &str, claim: Position) -> Ask {
    Ask::Release(key(name), claim, Cause::Client)
}

/// They are one group, also where it is full; and each has its own answer.
#[test]
fn what_is_handed_in_together_is_written_together() {
    let mut rig = Rig::new(&medium());
    let held = rig.ask(take("held", "v"));
    rig.run();
    let held = won(rig.outcome(held));
    for n in 0..GROUP_ROWS - 1 {
        rig.ask(take(&format!("k{n}"), "v"));
    }
    let requests = vec![vec![release("held", held)], vec![take("new", "v")]];
    let asker = Asker::Session(0, (1, 1));
    let tickets = rig.committer.submit_together(asker, requests).unwrap();
    let Step::Exchange(rows) = rig.committer.next(&rig.fold, rig.now) else { panic!() };
    assert_eq!(rows.len(), GROUP_ROWS + 1);
    assert!(matches!(rows[GROUP_ROWS - 1].entry, Entry::Release { .. }));
    assert!(matches!(rows[GROUP_ROWS].entry, Entry::Claim(_)));
    rig.finish(&rows);
    assert_eq!(rig.outcome(tickets[0]), Some(&Outcome::Released));
    won(rig.outcome(tickets[1]));
}

/// The one can be given up, and the other stays.
#[test]
fn each_has_its_own_fate() {
    let mut rig = Rig::new(&medium());
    let held = rig.ask(take("held", "v"));
    rig.run();
    let held = won(rig.outcome(held));
    let requests = vec![vec![release("held", held)], vec![take("new", "v")]];
    let asker = Asker::Session(0, (1, 1));
    let tickets = rig.committer.submit_together(asker, requests).unwrap();
    assert_eq!(rig.committer.withdraw(tickets[1]), Withdrawal::Done);
    rig.run();
    assert_eq!(rig.outcome(tickets[0]), Some(&Outcome::Released));
    assert!(rig.fold.holder(&key("new")).is_none());
}

/// Where there is no room for all, there is none for any.
#[test]
fn none_is_taken_where_not_all_fit() {
    let mut rig = Rig::new(&medium());
    let many = || (0..QUEUE_ROWS / 2 + 1).map(|n| take(&format!("k{n}"), "v")).collect::<Vec<_>>();
    let both = rig.committer.submit_together(Asker::Nobody, vec![many(), many()]);
    assert_eq!(both, Err(Unavailable::Full));
    assert_eq!(rig.committer.waiting(), 0);
}
