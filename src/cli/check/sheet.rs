//! Can the ledger be kept in the spreadsheet that is configured, and how long does an acquire take there.

use std::time::Duration;

use super::findings::Finding;
use crate::cli::ledger::{fold_of, start};
use crate::config::text::show_duration;
use crate::config::{Ledger, Projection, Settings};
use crate::ledger::Guarantee;
use crate::ledger::sheets::Sheets;
use crate::ledger::sheets::projection::TabSurvey;

/// How long clients wait for a reply unless they are told otherwise, by their own documentation.
const CLIENTS: [(&str, Duration); 4] = [
    ("Jedis", Duration::from_secs(2)),
    ("go-redis and Redisson", Duration::from_secs(3)),
    ("StackExchange.Redis", Duration::from_secs(5)),
    ("Lettuce", Duration::from_secs(60)),
];

/// Looks at the spreadsheet. With the number of logs that have not ended, if nothing failed.
pub(super) fn judge(settings: &Settings) -> (Vec<Finding>, Option<usize>) {
    let sheet = &settings.ledger.sheet;
    let id = &sheet.spreadsheet;
    let store = Sheets::new(crate::app::store::sheets(sheet));
    let mut store = store.with_projection(crate::app::store::projection(settings));
    let survey = match store.survey(&start(settings)) {
        Ok(survey) => survey,
        Err(error) => return (vec![Finding::fail(format!("ledger: {error}"))], None),
    };
    let account = survey.account.as_deref().unwrap_or("the account of this machine");
    let (read, tabs) = (survey.read.as_millis(), survey.tabs);
    let mut found =
        vec![Finding::ok(format!("{account} reads the spreadsheet {id} ({tabs} tabs, {read} ms)"))];
    found.push(Finding::ok(match survey.seen {
        Some(seen) => {
            let held = fold_of(seen, false).len();
            format!("the ledger {} in it has {held} held locks", sheet.name)
        }
        None => format!("the ledger {} will be made in it, in hidden tabs", sheet.name),
    }));
    match store.try_to_write() {
        Ok(took) => {
            found.push(Finding::ok(format!("{account} may write it ({} ms)", took.as_millis())));
            found.extend(latency(took, &settings.ledger));
        }
        Err(error) => found.push(Finding::fail(format!("ledger: {error}"))),
    }
    found.extend(tab(&mut store));
    found.push(guarantee(settings));
    let logs = (!found.iter().any(Finding::is_failure)).then_some(survey.logs);
    (found, logs)
}

/// The tab that people look at.
fn tab(store: &mut Sheets) -> Option<Finding> {
    Some(match store.survey_projection() {
        Ok(found) => Finding::ok(match found? {
            TabSurvey::ToBeMade => {
                format!("the tab {:?} for people will be made", Projection::OWN_TAB)
            }
            TabSurvey::There { title, rows, workers: None } => {
                format!("the tab {title:?} for people has its columns, and {rows} rows with a key")
            }
            TabSurvey::There { title, rows, workers: Some(workers) } => format!(
                "the tab {title:?} for people has its columns, and {rows} rows with a key; {workers} \
                 workers have a name"
            ),
        }),
        Err(error) => Finding::fail(format!("projection: {error}")),
    })
}

/// What a loss of Redis may cost.
fn guarantee(settings: &Settings) -> Finding {
    match settings.guarantee {
        Guarantee::Fast => Finding::ok(format!(
            "guarantee fast: Redis decides while all is calm; a loss of it may overturn grants of the \
             last {}",
            show_duration(settings.ledger.mirror_interval)
        )),
        Guarantee::Strict => Finding::warn(
            "guarantee strict: each OK waits for the sheet, also while Redis is well; it rests on a \
             property of Google's batchUpdate that is not documented: `lockside check --probe` measures it",
        ),
    }
}

/// How long an acquire takes that the sheet decides, and who waits so long.
fn latency(write: Duration, ledger: &Ledger) -> Vec<Finding> {
    let (alone, ten) = (longest(write, ledger, 1), longest(write, ledger, 10));
    let clients =
        CLIENTS.map(|(name, waits)| format!("{name} {}", show_duration(waits))).join(", ");
    let mut found = vec![Finding::ok(format!(
        "an acquire that the sheet decides takes {} to {} s with one sidecar, up to {} s with ten that \
         are all busy; clients wait by default: {clients}; redis-py and node-redis without end",
        seconds(write),
        seconds(alone),
        seconds(ten)
    ))];
    if let Some(patience) = ledger.acquire_timeout.filter(|patience| *patience < alone) {
        found.push(Finding::warn(format!(
            "ledger.acquire_timeout ({}) is shorter than that: such an acquire gets -TRYAGAIN, and \
             nothing is granted; where clients wait longer, raise it",
            show_duration(patience)
        )));
    }
    found
}

/// The next write may just have begun, and the one behind it has to wait for the quota.
fn longest(write: Duration, ledger: &Ledger, sidecars: u32) -> Duration {
    let a_call = Duration::from_secs(60) / ledger.sheet.writes_a_minute.max(1) * sidecars;
    a_call.max(write) + write
}

fn seconds(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(write_ms: u64, change: impl FnOnce(&mut Ledger)) -> Vec<String> {
        let mut ledger = Ledger {
            acquire_timeout: Some(Duration::from_millis(1_500)),
            ..Settings::default().ledger
        };
        change(&mut ledger);
        let found = latency(Duration::from_millis(write_ms), &ledger);
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn latency_stands_beside_the_patience_of_clients() {
        let quick = lines(100, |_| {});
        assert_eq!(quick.len(), 1, "{quick:?}");
        assert!(quick[0].contains("takes 0.1 to 1.2 s with one sidecar, up to 11.0 s with ten"));
        assert!(quick[0].contains("Jedis 2s, go-redis and Redisson 3s"), "{quick:?}");
        let usual = lines(800, |_| {});
        assert!(usual[1].starts_with("warn  ledger.acquire_timeout (1500ms) is shorter"));
        assert_eq!(lines(800, |ledger| ledger.acquire_timeout = None).len(), 1);
    }
}
