//! The ledger's store as configured, and the times that go with it.

use std::time::Duration;

#[cfg(feature = "sheets")]
use crate::config::sheet::{Credentials, Sheet};
use crate::config::{Ledger, LedgerKind, Settings};
use crate::ledger::Guarantee;
use crate::ledger::committer::{Quota, Timing};
#[cfg(feature = "sheets")]
use crate::ledger::sheets;
use crate::ledger::sqlite::Sqlite;
use crate::ledger::store::Store;

/// The place of the ledger, for people.
pub(super) fn place(ledger: &Ledger) -> String {
    match ledger.kind {
        LedgerKind::Sqlite => ledger.path.display().to_string(),
        LedgerKind::Sheets => format!("in the spreadsheet {}", ledger.sheet.spreadsheet),
    }
}

/// Nothing is opened yet.
pub(super) fn store(settings: &Settings) -> Box<dyn Store> {
    let ledger = &settings.ledger;
    match ledger.kind {
        LedgerKind::Sqlite => Box::new(Sqlite::new(&ledger.path)),
        #[cfg(feature = "sheets")]
        LedgerKind::Sheets => {
            let store = sheets::Sheets::new(sheets(&ledger.sheet));
            Box::new(store.with_projection(projection(settings)))
        }
        // The configuration refuses it.
        #[cfg(not(feature = "sheets"))]
        LedgerKind::Sheets => Box::new(Sqlite::new(&ledger.path)),
    }
}

/// The spreadsheet as its store wants it.
#[cfg(feature = "sheets")]
pub(crate) fn sheets(sheet: &Sheet) -> sheets::Settings {
    let credentials = match &sheet.credentials {
        Credentials::Machine => {
            sheets::Credentials::Default { metadata_url: sheet.metadata_url.clone() }
        }
        Credentials::File(path) => sheets::Credentials::KeyFile(path.clone()),
        Credentials::Json(json) => sheets::Credentials::KeyJson(json.expose().to_owned()),
    };
    sheets::Settings {
        ledger: sheet.name.clone(),
        base_url: sheet.api_url.clone(),
        call_timeout: sheet.call_timeout,
        patience: PATIENCE,
        quota: sheets::Quota {
            writes_a_minute: sheet.writes_a_minute,
            reads_a_minute: sheet.reads_a_minute,
            ..sheets::Quota::default()
        },
        ..sheets::Settings::new(&*sheet.spreadsheet, credentials)
    }
}

/// What people see in the spreadsheet.
#[cfg(feature = "sheets")]
pub(crate) fn projection(settings: &Settings) -> sheets::projection::Setup {
    let rules = settings.rules.clone();
    sheets::projection::Setup {
        projection: settings.projection.clone(),
        time_zone: settings.time_zone.clone(),
        mirror_interval: settings.ledger.mirror_interval,
        // Not more often than the ledger itself.
        poll: sheets::projection::POLL.min(settings.ledger.poll * 5),
        rule: Box::new(move |key| rules.find(key).map(|rule| (*rule.name).into())),
    }
}

/// How often the ledger is written and read.
pub(super) fn timing(settings: &Settings) -> Timing {
    let ledger = &settings.ledger;
    let timing = Timing {
        heartbeat: ledger.heartbeat,
        poll: ledger.poll,
        max_clock_skew: ledger.max_clock_skew,
        mirror_interval: (settings.guarantee == Guarantee::Fast).then_some(ledger.mirror_interval),
        ..Timing::default()
    };
    match ledger.kind {
        LedgerKind::Sqlite => timing,
        LedgerKind::Sheets => Timing {
            first_retry: FIRST_RETRY,
            last_retry: LAST_RETRY,
            quota: Some(Quota {
                writes_a_minute: ledger.sheet.writes_a_minute,
                reads_a_minute: ledger.sheet.reads_a_minute,
            }),
            ..timing
        },
    }
}

/// After a failure Google is left alone for so long, twice as long after each more...
const FIRST_RETRY: Duration = Duration::from_millis(500);
/// ...up to this.
const LAST_RETRY: Duration = Duration::from_secs(8);
/// How long one exchange may wait after refusals of Google's: less than `stall_after`, so that clients are
/// told what Google says rather than that it takes long.
#[cfg(feature = "sheets")]
const PATIENCE: Duration = Duration::from_secs(4);
