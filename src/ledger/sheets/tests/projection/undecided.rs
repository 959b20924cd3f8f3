//! A claim whose run has died before WON or LOST: it blocks the lock, so its cell says so, and who clears the
//! cell releases it (SPEC 8).

use super::*;

/// A sidecar died with a claim that nobody will decide; another goes on.
fn left(mode: Entry) -> (Desk, Position) {
    let google = Google::new();
    a_tab(&google, &[["MK-1", FREE, "", "a"], ["MK-2", FREE, "", "b"]]);
    let mut dead = Desk::new(google.clone(), business());
    dead.write([Entry::Degraded]);
    let place = at(dead.log, dead.next());
    dead.write([Entry::Claim(held("MK-1", "93"))]);
    let mut desk = Desk::new(google, business());
    desk.write([mode]);
    assert!(desk.fold.is_undecided(place));
    (desk, place)
}

#[test]
fn it_is_shown_and_who_clears_it_releases_it() {
    for mode in [Entry::Healthy("run".into()), Entry::Degraded] {
        let (mut desk, place) = left(mode.clone());
        (0..2).for_each(|_| assert_eq!(desk.project(), [], "{mode:?}"));
        assert_eq!(desk.rows()[0], format!("MK-1|93|{SINCE}|a"), "{mode:?}");
        desk.google.0.type_in("Bodega!B2", &[vec![json!(FREE)]]).unwrap();
        assert_eq!(desk.project(), [], "{mode:?}");
        let released = Ask::Release(key("spool_lock:MK-1"), place, Cause::Sheet);
        assert_eq!(desk.project(), [released], "{mode:?}");
        desk.release("MK-1", place);
        assert!(!desk.fold.is_undecided(place));
        (0..3).for_each(|_| assert_eq!(desk.project(), [], "{mode:?}"));
        assert_eq!(desk.rows()[0], "MK-1|DISPONIBLE||a", "{mode:?}");
    }
}

/// Released by its token, or by an operator: what the cell still says is no person's word.
#[test]
fn its_cell_is_free_when_it_has_ended() {
    for mode in [Entry::Healthy("run".into()), Entry::Degraded] {
        let (mut desk, place) = left(mode.clone());
        (0..2).for_each(|_| drop(desk.project()));
        desk.release("MK-1", place);
        (0..3).for_each(|_| assert_eq!(desk.project(), [], "{mode:?}"));
        assert_eq!(desk.rows()[0], "MK-1|DISPONIBLE||a", "{mode:?}");
    }
}

/// Its own run lives, and decides it in a moment.
#[test]
fn it_is_not_shown_while_its_run_lives() {
    let mut desk = three();
    desk.write([Entry::Claim(held("MK-1", "93"))]);
    (0..2).for_each(|_| drop(desk.project()));
    assert_eq!(desk.rows()[0], "MK-1|DISPONIBLE||a");
}
