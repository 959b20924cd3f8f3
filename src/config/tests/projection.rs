//! The column that people look at: what the file may say of it.

use std::time::Duration;

use jiff::tz::TimeZone;

use super::*;
use crate::config::Projection;
use crate::config::projection::MissingRow;

#[test]
fn every_value_of_the_projection_arrives() {
    let settings = settings(
        r#"
        [projection]
        tab = "Bodega"
        key_column = "TAG_SPOOL"
        holder_column = "Ocupado_Por"
        since_column = "Fecha_Ocupacion"
        key = "spool_lock:{key}"
        holder = "{name} / {client}"
        lookup_tab = "Trabajadores"
        lookup_worker = "Id"
        lookup_name = "Nombre"
        free = "DISPONIBLE"
        date_format = "YYYY/MM/DD HH:MM SS"
        time_zone = "America/Santiago"
        missing_row = "add"
        abandoned_after = "2h"
        "#,
        &[],
    );
    let expected = Projection {
        tab: "Bodega".into(),
        key_column: "TAG_SPOOL".into(),
        holder_column: "Ocupado_Por".into(),
        since_column: "Fecha_Ocupacion".into(),
        key: "spool_lock:{key}".into(),
        holder: "{name} / {client}".into(),
        lookup_tab: "Trabajadores".into(),
        lookup_worker: "Id".into(),
        lookup_name: "Nombre".into(),
        free: "DISPONIBLE".into(),
        date_format: "YYYY/MM/DD HH:MM SS".into(),
        time_zone: Some(TimeZone::get("America/Santiago").unwrap()),
        missing_row: MissingRow::Add,
        abandoned_after: Duration::from_secs(7200),
    };
    assert_eq!(settings.projection, expected);
}

#[test]
fn each_mistake_says_what_was_expected() {
    let refused = |line: &str| {
        let text = format!("[projection]\n{line}\n");
        Settings::load(&sources(&text, &[])).unwrap_err().to_string()
    };
    for (line, key, expected) in [
        (r#"key = "spool_lock""#, "key", r#"one {key} in it, as in "spool_lock:{key}""#),
        (r#"key = "{key}{key}""#, "key", r#"one {key} in it, as in "spool_lock:{key}""#),
        (r#"holder = "{worker}""#, "holder", "at least one of {name}, {worker_id} and {client}"),
        (r#"free = " x""#, "free", "without blanks at the ends"),
        (r#"free = """#, "free", "1 to 200 bytes"),
        (r#"date_format = "DD-MM-YYYY""#, "date_format", "HH:MM and SS, each once"),
        (r#"missing_row = "drop""#, "missing_row", r#""add" or "ignore""#),
        (r#"abandoned_after = "1m""#, "abandoned_after", "1h"),
        (r#"time_zone = "Nowhere/Town""#, "time_zone", "IANA"),
        (r#"since_column = "holder""#, "since_column", "headers that differ"),
    ] {
        let message = refused(line);
        let is_one = message.lines().count() == 1;
        let start = format!("l.toml:2: projection.{key}: ");
        assert!(is_one && message.starts_with(&start) && message.contains(expected), "{message}");
    }
    let both = refused("tab = \"a\"\nlookup_tab = \"a\"");
    assert!(both.starts_with("l.toml:3: projection.lookup_tab: "), "{both}");
}
