//! Cells that runs have left filled which are no more: Lockside's own writing is no person's word, also
//! to a run that has read nothing of the hold; what a person writes is.

use super::*;

impl Desk {
    /// Stands for what was read so far; what it stands for is read by nobody any more.
    fn compact(&mut self) {
        self.store.compact(&self.fold.snapshot()).unwrap();
    }

    /// As somebody types over a row's holder, and its time where one is given.
    fn types(&self, row: usize, texts: &[&str]) {
        let cells: Vec<_> = texts.iter().map(|text| json!(text)).collect();
        self.google.0.type_in(&format!("Bodega!B{}", row + 1), &[cells]).unwrap();
    }

    /// The next run, which begins with a checkpoint.
    fn next_run(&self, projection: Projection) -> Self {
        let next = Self::new(self.google.clone(), projection);
        assert!(next.has_begun_anew, "it starts from the checkpoint");
        next
    }
}

/// A hold was shown by a run that died; another has read its end, and both are gone.
fn left_filled(projection: &Projection, is_released_first: bool) -> Desk {
    let google = Google::new();
    a_tab(&google, &[["MK-1", FREE, "", "a"], ["MK-2", FREE, "", "b"], ["MK-3", FREE, "", "c"]]);
    let mut dead = Desk::new(google.clone(), projection.clone());
    let place = dead.grant("MK-1", "93");
    dead.project();
    assert_eq!(cell(&dead.shown(), 1, 1), "93");
    let mut other = Desk::new(google, projection.clone());
    if is_released_first {
        other.release("MK-1", place);
        other.compact();
    } else {
        other.compact();
        other.release("MK-1", place);
    }
    assert_eq!(other.truth("MK-1"), FREE);
    other
}

#[test]
fn a_hold_that_ended_before_the_checkpoint_is_no_word() {
    for mode in [Entry::Healthy("run".into()), Entry::Degraded] {
        let mut next = left_filled(&business(), true).next_run(business());
        next.write([mode.clone()]);
        for _ in 0..3 {
            assert_eq!(next.project(), [], "{mode:?}");
        }
        assert_eq!(next.rows()[0], "MK-1|DISPONIBLE||a", "{mode:?}");
    }
}

#[test]
fn a_hold_that_ended_after_the_checkpoint_is_no_word() {
    for mode in [Entry::Healthy("run".into()), Entry::Degraded] {
        let mut next = left_filled(&business(), false).next_run(business());
        next.write([mode.clone()]);
        for _ in 0..3 {
            assert_eq!(next.project(), [], "{mode:?}");
        }
        assert_eq!(next.rows()[0], "MK-1|DISPONIBLE||a", "{mode:?}");
    }
}

/// What is remembered goes from checkpoint to checkpoint.
#[test]
fn a_hold_of_many_checkpoints_ago_is_no_word() {
    let mut last = left_filled(&business(), true);
    for _ in 0..3 {
        last = last.next_run(business());
        last.write([Entry::Heartbeat]);
        last.compact();
    }
    let mut next = last.next_run(business());
    next.write([Entry::Degraded]);
    assert_eq!(next.project(), []);
    assert_eq!(next.rows()[0], "MK-1|DISPONIBLE||a");
}

/// A run's first reading may be longer than what it keeps of the last rows.
#[test]
fn a_hold_before_very_many_rows_is_no_word() {
    let google = Google::new();
    a_tab(&google, &[["MK-1", FREE, "", "a"]]);
    let mut dead = Desk::new(google.clone(), business());
    let place = dead.grant("MK-1", "93");
    dead.project();
    dead.release("MK-1", place);
    dead.write((0..HISTORY).map(|_| Entry::Heartbeat));
    let mut next = Desk::new(google, business());
    next.write([Entry::Degraded]);
    assert_eq!(next.project(), []);
    assert_eq!(next.rows()[0], "MK-1|DISPONIBLE||a");
}

/// A person who writes another name, another time or no time is obeyed, whatever stood there.
#[test]
fn a_person_is_obeyed_by_a_run_that_starts_from_a_checkpoint() {
    let later = "23-11-2026 11:12:21";
    for texts in [&["Juan"][..], &["Juan", SINCE], &["93", later], &["93", ""]] {
        let desk = left_filled(&business(), true);
        desk.types(1, texts);
        desk.types(2, &["93", SINCE]);
        let mut next = desk.next_run(business());
        next.write([Entry::Degraded]);
        let asks = next.project();
        let [Ask::Claim(one), Ask::Claim(two)] = &asks[..] else { panic!("{texts:?}: {asks:?}") };
        assert_eq!(one.key, key("spool_lock:MK-1"));
        assert!(one.stored.starts_with(texts[0].as_bytes()), "{one:?}");
        // The same words in another row are of nobody's hold.
        assert_eq!(two.key, key("spool_lock:MK-2"));
    }
}

/// Without times a person who writes the name of the last holder says what Lockside has left: the person
/// is obeyed.
#[test]
fn without_times_a_name_is_a_word() {
    let timeless = Projection { since_column: String::new(), ..business() };
    let mut next = left_filled(&timeless, true).next_run(timeless);
    next.write([Entry::Degraded]);
    let asks = next.project();
    assert!(
        matches!(&asks[..], [Ask::Claim(claim)] if claim.stored.starts_with(b"93")),
        "{asks:?}"
    );
}

/// A claim that never held was never shown: who writes its name and time is a person.
#[test]
fn a_claim_that_was_lost_has_left_nothing() {
    let mut other = left_filled(&business(), true);
    let lost = at(other.log, other.next());
    other.write([
        Entry::Claim(held("MK-3", "95")),
        Entry::Lost { key: key("spool_lock:MK-3"), claim: lost },
    ]);
    other.compact();
    other.types(3, &["95", SINCE]);
    let mut next = other.next_run(business());
    next.write([Entry::Degraded]);
    let asks = next.project();
    assert!(
        matches!(&asks[..], [Ask::Claim(claim)] if claim.stored.starts_with(b"95")),
        "{asks:?}"
    );
}
