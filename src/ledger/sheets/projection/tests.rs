//! What cells should say, and what people say in them.

use std::collections::{BTreeMap, BTreeSet};

use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::grid::{Cell, Columns, Grid, columns};
use super::terms::Terms;
use super::watch::{Look, Pass, Want, Watch};
use super::*;
use crate::config::Projection;
use crate::config::projection::MissingRow;

const HOUR: u64 = 3_600_000;
/// 23 November 2026, 14:12:20 in UTC.
const NOW: u64 = 1_795_443_140_000;

fn business() -> Projection {
    Projection {
        tab: "Bodega".into(),
        key_column: "TAG_SPOOL".into(),
        holder_column: "Ocupado_Por".into(),
        since_column: "Fecha_Ocupacion".into(),
        key: "spool_lock:{key}".into(),
        free: "DISPONIBLE".into(),
        time_zone: Some(TimeZone::get("America/Santiago").unwrap()),
        ..Projection::default()
    }
}

fn terms() -> Terms {
    Terms::new(business(), TimeZone::UTC)
}

fn lock(key: &str) -> LockKey {
    LockKey::new(0, key.as_bytes())
}

fn claim(key: &str, stored: &str, client: &str) -> Claim {
    Claim {
        key: lock(key),
        stored: stored.as_bytes().into(),
        other: None,
        rule: "r".into(),
        client: client.into(),
        at_ms: NOW,
        asked_ttl_ms: None,
        expires_at_ms: None,
        marker: None,
    }
}

fn text(text: &str) -> Cell {
    if text.is_empty() { Cell::Empty } else { Cell::Text(text.into()) }
}

const HEADER: [&str; 3] = ["TAG_SPOOL", "Ocupado_Por", "Fecha_Ocupacion"];

fn grid(rows: &[(&str, &str, &str)]) -> Grid {
    let header = HEADER.map(text);
    let columns = columns(&header, &terms(), "Bodega").unwrap();
    let column = |at: usize| rows.iter().map(|row| text([row.0, row.1, row.2][at])).collect();
    Grid::new(columns, &header, (0..3).map(|at| (at, column(at))).collect())
}

fn want(key: &str, holder: &str, seq: u64) -> (String, Want) {
    let want = Want {
        key: lock(&format!("spool_lock:{key}")),
        claim: Position { log: 1, seq },
        holder: holder.into(),
        since: "23-11-2026 11:12:20".into(),
        origin: "redis",
        at_ms: NOW,
    };
    (key.to_owned(), want)
}

struct Desk {
    watch: Watch,
    wants: BTreeMap<String, Want>,
    over: BTreeSet<(String, String, String)>,
    mode: Mode,
    is_compared: bool,
    now_ms: u64,
    terms: Terms,
    acquires: usize,
}

impl Desk {
    fn new(wants: impl IntoIterator<Item = (String, Want)>) -> Self {
        Self {
            watch: Watch::default(),
            wants: wants.into_iter().collect(),
            over: BTreeSet::new(),
            mode: Mode::Healthy,
            is_compared: true,
            now_ms: NOW,
            terms: terms(),
            acquires: 0,
        }
    }

    fn look(&mut self, rows: &[(&str, &str, &str)]) -> Pass {
        let over = self.over.clone();
        self.watch.look(&Look {
            terms: &self.terms,
            grid: &grid(rows),
            is_new: true,
            wants: &self.wants,
            is_past: &|_, _| false,
            is_over: &|key, holder, since| {
                over.contains(&(key.to_owned(), holder.to_owned(), since.to_owned()))
            },
            mode: self.mode,
            is_compared: self.mode == Mode::Healthy || self.is_compared,
            now_ms: self.now_ms,
            acquires: std::mem::take(&mut self.acquires),
        })
    }
}

fn written(pass: &Pass) -> Vec<(usize, &str, &str)> {
    pass.writes.iter().map(|w| (w.line.row, w.holder.as_str(), w.since.as_str())).collect()
}

const SINCE: &str = "23-11-2026 11:12:20";
const FREE: &str = "DISPONIBLE";

#[test]
fn times_are_those_of_the_zone_and_come_back() {
    let terms = terms();
    assert_eq!(terms.time(NOW), SINCE);
    assert_eq!(terms.read_time(&text(SINCE)), Some(NOW));
    assert_eq!(terms.read_time(&text(" 23-11-2026 11:12:20 ")), Some(NOW));
    for wrong in ["", "23-11-2026", "23/11/2026 11:12:20", "+3-11-2026 11:12:20", "ayer"] {
        assert_eq!(terms.read_time(&text(wrong)), None, "{wrong}");
    }
    // A person's date is a number of days.
    let days = 46_349.0 + (11.0 * 3600.0 + 12.0 * 60.0 + 20.0) / 86_400.0;
    let read = terms.read_time(&Cell::Number(days)).unwrap();
    assert!(read.abs_diff(NOW) < 1_000, "{read}");
}

#[test]
fn keys_are_found_by_the_template() {
    let terms = terms();
    assert_eq!(terms.cell_of(&lock("spool_lock:MK-1342")).as_deref(), Some("MK-1342"));
    for other in ["lock:MK-1342", "spool_lock:", "spool_lock: a", "spool_lock:a\nb"] {
        assert_eq!(terms.cell_of(&lock(other)), None, "{other}");
    }
    assert_eq!(terms.cell_of(&LockKey::new(1, b"spool_lock:MK-1342")), None);
    assert_eq!(terms.key_of("1342"), Some(lock("spool_lock:1342")));
}

#[test]
fn holders_are_shown_by_their_names() {
    let token = "93:550e8400-e29b-41d4-a716-446655440000:23-11-2026 11:12:20";
    let names = BTreeMap::from([("93".to_owned(), "MR(93)".to_owned())]);
    let holder = |stored: &str, client: &str| terms().holder(&claim("k", stored, client), &names);
    assert_eq!(holder(token, "app"), "MR(93)");
    assert_eq!(holder(&token.replace("93:", "94:"), "app"), "94");
    assert_eq!(holder("opaque", "app@10.0.0.7:5000"), "app@10.0.0.7:5000");
    assert_eq!(holder("opaque", "disponible"), "(disponible)");
}

#[test]
fn a_missing_header_is_named_with_those_that_are_there() {
    let terms = terms();
    let error = columns(&["TAG", "Ocupado_Por"].map(text), &terms, "Bodega").unwrap_err();
    assert!(error.contains("\"Fecha_Ocupacion\"") && error.contains("\"TAG\""), "{error}");
    let twice = ["TAG_SPOOL", "ocupado_por ", "Ocupado_Por", "Fecha_Ocupacion"];
    assert!(columns(&twice.map(text), &terms, "Bodega").unwrap_err().contains("2 columns"));
    let moved = ["", "Fecha_Ocupacion", "x", "Ocupado_Por", "TAG_SPOOL"];
    let found = columns(&moved.map(text), &terms, "Bodega");
    assert_eq!(found, Ok(Columns { key: 4, holder: 3, since: Some(1), origin: None }));
}

#[test]
fn cells_are_written_where_they_differ() {
    let mut desk =
        Desk::new([want("A", "MR(93)", 1), want("B", "JP(94)", 2), want("C", "MR(93)", 3)]);
    desk.watch.look(&Look {
        terms: &desk.terms,
        grid: &grid(&[]),
        is_new: true,
        wants: &BTreeMap::new(),
        is_over: &|_, _, _| false,
        is_past: &|_, _| false,
        mode: Mode::Healthy,
        is_compared: true,
        now_ms: NOW,
        acquires: 0,
    });
    let rows = [
        ("A", "MR(93)", SINCE),
        ("B", "disponible ", ""),
        ("", "a note", ""),
        ("D", " disponible", ""),
        ("E", "", ""),
        ("C", "other", SINCE),
        ("F", "XX(1)", "1"),
        ("B", "JP(94)", ""),
    ];
    let pass = desk.look(&rows);
    let expected =
        [(2, "JP(94)", SINCE), (8, "JP(94)", SINCE), (6, "MR(93)", SINCE), (7, FREE, "")];
    assert_eq!(written(&pass), expected);
    assert!(pass.adds.is_empty() && pass.doubts.is_empty());
}

#[test]
fn a_missing_row_is_added_only_where_that_is_wished() {
    let mut desk = Desk::new([want("A", "MR(93)", 1)]);
    assert!(desk.look(&[("B", FREE, "")]).adds.is_empty());
    desk.terms =
        Terms::new(Projection { missing_row: MissingRow::Add, ..business() }, TimeZone::UTC);
    let adds = desk.look(&[("B", FREE, "")]).adds;
    assert_eq!((adds.len(), adds[0].key.as_str(), adds[0].holder.as_str()), (1, "A", "MR(93)"));
    assert!(desk.look(&[("A", FREE, "")]).adds.is_empty());
}

#[test]
fn a_cleared_cell_releases_as_a_change_seen_twice() {
    let mut desk = Desk::new([want("A", "MR(93)", 1)]);
    desk.look(&[("A", "MR(93)", SINCE)]);
    let once = desk.look(&[("A", "disponible ", "")]);
    assert_eq!(once, Pass::default());
    let twice = desk.look(&[("A", "disponible ", "")]);
    let released = Edit::Cleared { key: lock("spool_lock:A"), claim: Position { log: 1, seq: 1 } };
    assert_eq!(twice.doubts.len(), 1);
    assert_eq!((&twice.doubts[0].edit, twice.writes.len()), (&released, 0));
    let ask = released.ask("r".into(), "");
    assert!(matches!(ask, Ask::Release(_, _, Cause::Sheet)));
    // What the ledger does not follow is written over in the end.
    let last = (0..20).map(|_| desk.look(&[("A", "", "")])).last().unwrap();
    assert_eq!((last.doubts.len(), written(&last)), (0, vec![(1, "MR(93)", SINCE)]));
}

#[test]
fn nothing_but_a_clear_releases() {
    let before = [("A", "MR(93)", SINCE), ("B", FREE, ""), ("C", FREE, "")];
    let after: [&[(&str, &str, &str)]; 7] = [
        // Never seen with this holder.
        &[("X", "", ""), ("A", FREE, ""), ("C", FREE, "")],
        // Moved down, then free: not the row that was seen.
        &[("B", FREE, ""), ("A", FREE, ""), ("C", FREE, "")],
        // The key's column alone was sorted.
        &[("C", "MR(93)", SINCE), ("B", FREE, ""), ("A", FREE, "")],
        // The holder's column alone was sorted, or the cell cut and pasted.
        &[("A", FREE, ""), ("B", "MR(93)", SINCE), ("C", FREE, "")],
        // The key stands twice.
        &[("A", FREE, ""), ("A", FREE, ""), ("C", FREE, "")],
        // The key is gone.
        &[("", FREE, ""), ("B", FREE, ""), ("C", FREE, "")],
        // Somebody else's name.
        &[("A", "JP", ""), ("B", FREE, ""), ("C", FREE, "")],
    ];
    for (number, rows) in after.into_iter().enumerate() {
        let mut desk = Desk::new([want("A", "MR(93)", 1)]);
        desk.mode = Mode::Degraded;
        desk.look(&before);
        for _ in 0..5 {
            let pass = desk.look(rows);
            let released = |doubt: &super::watch::Doubt| matches!(doubt.edit, Edit::Cleared { .. });
            assert!(!pass.doubts.iter().any(released), "{number}: {pass:?}");
        }
    }
    // Taken away, and added again.
    let mut desk = Desk::new([want("A", "MR(93)", 1)]);
    desk.look(&before);
    desk.look(&before[1..]);
    for _ in 0..3 {
        assert!(desk.look(&[("A", FREE, ""), before[1]]).doubts.is_empty());
    }
    // Held by another claim since.
    let mut desk = Desk::new([want("A", "MR(93)", 1)]);
    desk.look(&before);
    desk.wants = [want("A", "MR(93)", 2)].into();
    for _ in 0..3 {
        assert!(desk.look(&[("A", FREE, "")]).doubts.is_empty());
    }
}

#[test]
fn a_filled_cell_means_held_while_redis_is_away() {
    let mut desk = Desk::new([]);
    desk.look(&[("A", FREE, ""), ("B", FREE, "")]);
    desk.mode = Mode::Degraded;
    let pass = desk.look(&[("A", "Juan", ""), ("B", FREE, "")]);
    // Asked for once, and again only if nothing comes of it.
    assert_eq!(desk.look(&[("A", "Juan", ""), ("B", FREE, "")]), Pass::default());
    let filled = Edit::Filled { key: lock("spool_lock:A"), holder: "Juan".into(), at_ms: NOW };
    assert_eq!(pass.doubts.iter().map(|doubt| &doubt.edit).collect::<Vec<_>>(), [&filled]);
    let Ask::Claim(claim) = filled.ask("r".into(), SINCE) else { panic!("no claim") };
    assert_eq!(terms().holder(&claim, &BTreeMap::new()), "Juan");
    assert_eq!(filled.ask("r".into(), SINCE), Ask::Claim(claim));
}

#[test]
fn a_filled_cell_is_written_over_while_redis_decides() {
    let mut desk = Desk::new([]);
    desk.look(&[("A", FREE, "")]);
    let pass = desk.look(&[("A", "Juan", "")]);
    assert_eq!((written(&pass), pass.doubts.len()), (vec![(1, FREE, "")], 0));
}

#[test]
fn what_is_left_of_a_hold_that_has_ended_is_no_word() {
    let mut desk = Desk::new([]);
    desk.mode = Mode::Degraded;
    desk.over.insert(("A".into(), "MR(93)".into(), SINCE.into()));
    desk.mode = Mode::Healthy;
    desk.look(&[]);
    desk.mode = Mode::Degraded;
    let pass = desk.look(&[("A", "MR(93)", SINCE), ("B", "MR(93)", "")]);
    assert_eq!((written(&pass), pass.doubts.len()), (vec![(1, FREE, "")], 1));
    // The same name without that time is.
    let pass = desk.look(&[("A", "MR(93)", ""), ("B", "MR(93)", "")]);
    assert_eq!((pass.writes.len(), pass.doubts.len()), (0, 1));
}

#[test]
fn at_the_start_a_named_holder_is_taken_in_unless_it_is_old() {
    let mut desk = Desk::new([]);
    let old = desk.terms.time(NOW - 25 * HOUR);
    let young = desk.terms.time(NOW - 23 * HOUR);
    let rows = [("A", "MR(93)", &*old), ("B", "JP(94)", &*young), ("C", FREE, "")];
    // Before Redis was compared nobody knows what it has.
    (desk.mode, desk.is_compared) = (Mode::Degraded, false);
    assert_eq!(desk.look(&rows).doubts.len(), 0);
    (desk.mode, desk.is_compared) = (Mode::Healthy, true);
    let pass = desk.look(&rows);
    assert_eq!(written(&pass), [(1, FREE, "")]);
    let filled =
        Edit::Filled { key: lock("spool_lock:B"), holder: "JP(94)".into(), at_ms: NOW - 23 * HOUR };
    assert_eq!(pass.doubts.iter().map(|doubt| &doubt.edit).collect::<Vec<_>>(), [&filled]);
}

#[test]
fn an_old_lock_whose_cell_is_free_ends_at_most_one_for_each_acquire() {
    let mut desk = Desk::new([want("A", "MR(93)", 1), want("B", "JP(94)", 2)]);
    desk.now_ms = NOW + 25 * HOUR;
    let rows = [("A", FREE, ""), ("B", "", "")];
    for _ in 0..3 {
        assert_eq!(desk.look(&rows), Pass::default());
    }
    desk.acquires = 1;
    let pass = desk.look(&rows);
    assert_eq!(pass.doubts.len(), 1, "{pass:?}");
    let ask = pass.doubts[0].edit.ask("r".into(), "");
    assert!(matches!(ask, Ask::Release(_, _, Cause::Abandoned)));
    assert_eq!(desk.look(&rows).doubts.len(), 0);
    // A young one is written.
    desk.now_ms = NOW + 23 * HOUR;
    assert_eq!(desk.look(&rows).writes.len(), 2);
}

#[test]
fn more_than_goes_at_once_goes_in_turns() {
    let keys: Vec<String> = (0..250).map(|n| format!("K{n:03}")).collect();
    let mut desk = Desk::new(keys.iter().map(|key| want(key, "MR", 1)));
    let rows: Vec<_> = keys.iter().map(|key| (key.as_str(), FREE, "")).collect();
    let mut seen = BTreeSet::new();
    for _ in 0..3 {
        let pass = desk.look(&rows);
        assert!(pass.writes.len() <= super::watch::MOST_WRITES);
        seen.extend(pass.writes.iter().map(|write| write.line.row));
    }
    assert_eq!(seen.len(), 250);
}

#[test]
fn numbers_are_keys_too_and_other_cells_are_left_alone() {
    let header = HEADER.map(text);
    let columns = columns(&header, &terms(), "Bodega").unwrap();
    let keys = vec![Cell::Number(1342.0), Cell::Other, text("B")];
    let holders = vec![text(FREE), text(FREE), Cell::Other];
    let grid = Grid::new(columns, &header, vec![(0, keys), (1, holders)]);
    let wants = BTreeMap::from([want("1342", "MR", 1), want("B", "MR", 2)]);
    let pass = Watch::default().look(&Look {
        terms: &terms(),
        grid: &grid,
        is_new: true,
        wants: &wants,
        is_over: &|_, _, _| false,
        is_past: &|_, _| false,
        mode: Mode::Healthy,
        is_compared: true,
        now_ms: NOW,
        acquires: 0,
    });
    assert_eq!((written(&pass), pass.unfit), (vec![(1, "MR", SINCE)], 1));
}

fn cell() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["", FREE, "disponible ", "MR(93)", "JP(94)", "Juan"])
}

proptest! {
    /// Whatever people do: what is released was seen held and then free in one row, twice; and what is
    /// written is what the ledger says of the row's own key.
    #[test]
    fn writes_say_what_the_ledger_says_and_releases_were_seen(
        readings in prop::collection::vec(
            prop::collection::vec((prop::sample::select(vec!["A", "B", "C", ""]), cell()), 0..5), 1..8),
        is_degraded: bool,
    ) {
        let mut desk = Desk::new([want("A", "MR(93)", 1), want("B", "JP(94)", 2)]);
        desk.mode = if is_degraded { Mode::Degraded } else { Mode::Healthy };
        let mut past: Vec<Vec<(&str, &str, &str)>> = Vec::new();
        for reading in readings {
            let rows: Vec<_> = reading.into_iter()
                .map(|(key, holder)| (key, holder, if holder.contains('(') { SINCE } else { "" }))
                .collect();
            let pass = desk.look(&rows);
            past.push(rows);
            for write in &pass.writes {
                let row = past.last().unwrap()[write.line.row - 1];
                let wanted = desk.wants.get(row.0).map_or(FREE, |want| &want.holder);
                prop_assert_eq!(wanted, &write.holder);
                prop_assert!(row.1 != write.holder);
            }
            for doubt in &pass.doubts {
                let at = doubt.line.row - 1;
                let same = |back: usize| past[past.len() - back][at];
                match &doubt.edit {
                    Edit::Cleared { .. } => {
                        let frees = past.iter().rev()
                            .take_while(|rows| rows.get(at).is_some_and(|row| terms().is_free(row.1)))
                            .count();
                        prop_assert!(frees >= 2);
                        let before = past[past.len() - frees - 1][at];
                        prop_assert_eq!((before.0, before.1), (same(1).0, &*desk.wants[before.0].holder));
                    }
                    Edit::Filled { holder, .. } => {
                        prop_assert_eq!(same(1).1, holder);
                        prop_assert!(!desk.wants.contains_key(same(1).0));
                    }
                    Edit::Abandoned { .. } => prop_assert!(false, "nothing is old"),
                }
            }
        }
    }
}
