//! What holds of the past have shown in cells, as rows of a checkpoint, and back. Pure.
//!
//! A run that starts from a checkpoint has read nothing of the holds before it. What these have left in cells it
//! would take for a person's word.

use std::sync::Arc;

use serde_json::{Value, json};

use super::past::Trace;
use crate::ledger::sheets::cells::{Details, bytes, shown};
use crate::lock::record::LockKey;

/// What stands in the first cell.
pub(in crate::ledger::sheets) const PAST: &str = "past";
/// Bytes of one cell; a hold that is longer than that is not carried on.
const LONGEST: usize = 20_000;

/// Rows for these holds: many in each, for there may be thousands.
pub(in crate::ledger::sheets) fn rows(holds: &[(LockKey, Trace)]) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    let (mut cell, mut size) = (Vec::new(), 0);
    for (key, Trace { who, client, at_ms }) in holds {
        let [who, client] = [who, client].map(|text| shown(text.as_bytes()));
        let hold = json!([key.db(), shown(key.key()), who, client, at_ms]);
        let length = hold.to_string().len() + 1;
        if length > LONGEST {
            continue;
        }
        if size + length > LONGEST {
            rows.push(row(std::mem::take(&mut cell)));
            size = 0;
        }
        cell.push(hold);
        size += length;
    }
    rows.extend((!cell.is_empty()).then(|| row(cell)));
    rows
}

fn row(holds: Vec<Value>) -> Vec<String> {
    let none = String::new;
    vec![PAST.into(), none(), none(), none(), json!({"holds": holds}).to_string()]
}

/// The holds of a checkpoint's rows, oldest first; none if they are nothing that this version writes.
pub(in crate::ledger::sheets) fn read(rows: &[Vec<String>]) -> Option<Vec<(LockKey, Trace)>> {
    let mut holds = Vec::new();
    for row in rows.iter().filter(|row| row.first().is_some_and(|what| what == PAST)) {
        let details = Details::read(row.get(4).map_or("", String::as_str))?;
        for hold in details.values("holds")? {
            holds.push(read_one(hold)?);
        }
    }
    Some(holds)
}

fn read_one(hold: &Value) -> Option<(LockKey, Trace)> {
    let [db, key, who, client, at_ms] = hold.as_array()?.as_slice() else { return None };
    let key = LockKey::new(u32::try_from(db.as_u64()?).ok()?, &bytes(key.as_str()?)?);
    let text = |cell: &Value| Some(Arc::from(String::from_utf8(bytes(cell.as_str()?)?).ok()?));
    Some((key, Trace { who: text(who)?, client: text(client)?, at_ms: at_ms.as_u64()? }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_come_back_and_no_cell_is_too_long() {
        let hold = |n: u64, who: &str| {
            let key = LockKey::new(3, format!("k{n}\n'").as_bytes());
            (key, Trace { who: who.into(), client: "10.0.0.1:1".into(), at_ms: n })
        };
        let mut holds: Vec<_> = (0..2_000).map(|n| hold(n, "93 \u{feff}\"")).collect();
        let all = rows(&holds);
        assert!(all.len() > 5 && all.len() < 20, "{}", all.len());
        assert!(all.iter().all(|row| row[4].len() < LONGEST + 100 && row.len() == 5));
        assert_eq!(read(&all).as_ref(), Some(&holds));
        // One that is too long is left out.
        holds.push(hold(2_000, &"x".repeat(LONGEST)));
        assert_eq!(read(&rows(&holds)).unwrap().len(), 2_000);
        assert_eq!((rows(&[]), read(&[])), (Vec::new(), Some(Vec::new())));
        assert_eq!(read(&[vec![PAST.into()]]), None);
    }
}
