//! Clients keep asking without Redis, so that groups of entries take each call that the quota lets through.

use super::*;
use crate::ledger::sheets::quota::Quota;

/// The quota's calls are used up; each group from now on waits for the next one.
fn busy() -> Desk {
    let google = Google::new();
    a_tab(&google, &[["MK-1", FREE, "", "a"], ["MK-2", FREE, "", "b"], ["MK-3", FREE, "", "c"]]);
    let quota = Quota { writes_a_minute: 60, reads_a_minute: 60, at_once: 5 };
    let mut desk = Desk::under(google, business(), |settings| settings.quota = quota);
    desk.project();
    desk.write([Entry::Degraded]);
    (0..8).for_each(|_| desk.write([Entry::Heartbeat]));
    desk
}

#[test]
fn the_column_follows() {
    let mut desk = busy();
    for round in 0..40 {
        let worker = format!("{}", 100 + round);
        let place = desk.grant("MK-1", &worker);
        desk.try_project(false).unwrap();
        // It rides with the group that comes next.
        desk.write([Entry::Heartbeat]);
        assert_eq!(cell(&desk.shown(), 1, 1), worker, "round {round}");
        desk.try_project(false).unwrap();
        desk.release("MK-1", place);
        desk.try_project(false).unwrap();
        desk.write([Entry::Heartbeat]);
        assert_eq!(cell(&desk.shown(), 1, 1), FREE, "round {round}");
        desk.try_project(false).unwrap();
    }
}

#[test]
fn a_cleared_cell_is_obeyed() {
    let mut desk = busy();
    let place = desk.grant("MK-2", "93");
    let rounds = |desk: &mut Desk, count: usize| {
        let mut asked = Vec::new();
        for _ in 0..count {
            let other = desk.grant("MK-1", "94");
            asked.extend(desk.try_project(false).unwrap());
            desk.release("MK-1", other);
            asked.extend(desk.try_project(false).unwrap());
        }
        asked
    };
    assert_eq!(rounds(&mut desk, 20), []);
    assert_eq!(cell(&desk.shown(), 2, 1), "93");
    desk.google.0.type_in("Bodega!B3", &[vec![json!(FREE)]]).unwrap();
    desk.google.0.clear_journal();
    let asked = rounds(&mut desk, 20);
    assert!(
        asked.contains(&Ask::Release(key("spool_lock:MK-2"), place, Cause::Sheet)),
        "{asked:?}"
    );
    // Not many calls more than those of the groups.
    let calls = desk.google.0.journal();
    let writes = calls.iter().filter(|call| call.write == Some(true)).count();
    assert!((40..=46).contains(&writes), "{writes}");
}
