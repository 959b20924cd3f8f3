//! Calls to Google, one at a time: each in time, under the quota, with a token, and with an outcome
//! that is classed. It knows of tabs and cells, nothing of logs.
//!
//! The trait of stores blocks, so a runtime of one thread drives each call and rests between calls.
//! Connections are HTTP/1.1 and short-lived in the pool for that reason: nobody answers a ping while
//! nothing is asked. The library has no time limit of its own and asks for all of Drive by default;
//! both are set at every call.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use google_sheets4::api as google;
use google_sheets4::{Sheets as Hub, common};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tokio::runtime::Runtime;

use super::auth::{Auth, Connector, SCOPE};
use super::cells::Cell;
use super::errors::{Context, Failure};
use super::meter::{Meter, Watch};
use super::quota::{Gate, Kind, Pace, backoff};
use super::settings::{Settings, checked_url};
use crate::ledger::store::Applied;

mod values;

/// What is read of tabs.
const SHOWN: &str = "sheets(properties(sheetId,title,gridProperties(rowCount)),data(startRow,\
                     rowData(values(userEnteredValue))))";
/// What is read of tabs as people see them.
const VALUES: &str = "sheets(properties(sheetId,title),data(startRow,startColumn,\
                      rowData(values(effectiveValue))))";
/// What is read of tabs without their cells.
const TABS: &str = "sheets(properties(sheetId,title,gridProperties(rowCount)))";
/// A connection that was idle for longer is not used again.
const IDLE: Duration = Duration::from_secs(20);

/// A tab, as far as it was asked for.
#[derive(Debug, Clone, Default)]
pub(super) struct Tab {
    pub(super) title: String,
    /// Rows of its grid.
    pub(super) rows: u64,
    /// The first row that is shown, from 0, and rows from there on. Empty ones at the end are left out.
    pub(super) shown: Option<(u64, Vec<Vec<Cell>>)>,
    /// The same of further ranges of the tab.
    pub(super) also: Vec<(u64, Vec<Vec<Cell>>)>,
    /// What [`Ask::Values`] and [`Ask::Look`] have asked for.
    pub(super) areas: Vec<Area>,
}

/// Values as people see them, unformatted, by rows; empty ones at the ends are left out.
#[derive(Debug, Clone, Default)]
pub(super) struct Area {
    /// Its first row and column, from 0.
    pub(super) from: (usize, usize),
    pub(super) rows: Vec<Vec<Value>>,
}

/// A part of a tab: rows and columns from 0, the ends not included; no end: all there are.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Part {
    pub(super) tab: i32,
    pub(super) rows: (usize, Option<usize>),
    pub(super) columns: (usize, Option<usize>),
}

/// Tabs by their ids.
pub(super) type View = BTreeMap<i32, Tab>;

/// A call.
#[derive(Debug, Clone)]
pub(super) enum Ask {
    /// Requests that are applied together; then the ranges are shown.
    Write(Vec<google::Request>, Vec<String>),
    /// From a row on, of each tab.
    Read(Vec<(i32, u64)>),
    /// All tabs without their cells.
    Tabs,
    /// Values of these parts. Far less memory than [`Ask::Read`], and no word of what is a formula.
    Values(Vec<Part>),
    /// Requests that are applied together; then values of the ranges are shown.
    Look(Vec<google::Request>, Vec<String>),
}

impl Ask {
    fn kind(&self) -> Kind {
        match self {
            Self::Write(..) | Self::Look(..) => Kind::Write,
            Self::Read(_) | Self::Tabs | Self::Values(_) => Kind::Read,
        }
    }
}

/// Google, as this store sees it.
pub(super) struct Api {
    runtime: Runtime,
    hub: Hub<Connector>,
    auth: Auth,
    context: Context,
    spreadsheet: String,
    call_timeout: Duration,
    gate: Gate,
    /// Where calls are measured.
    meter: Option<Meter>,
    pace: Box<dyn Pace>,
    random: RandomState,
    calls: u64,
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Api").field("spreadsheet", &self.spreadsheet).finish_non_exhaustive()
    }
}

impl Api {
    pub(super) fn new(settings: &Settings, pace: Box<dyn Pace>) -> Result<Self, Failure> {
        let base = checked_url(&settings.base_url).map_err(Failure::no)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::no(format!("no runtime for calls: {error}")))?;
        let connector = connector(settings.connect_timeout)?;
        let (auth, account) =
            runtime.block_on(Auth::new(&settings.credentials, connector.clone()))?;
        let client = Client::builder(TokioExecutor::new()).pool_idle_timeout(IDLE).build(connector);
        let mut hub = Hub::new(client, auth.current());
        hub.base_url(base);
        let spreadsheet = settings.spreadsheet.clone();
        Ok(Self {
            runtime,
            hub,
            auth,
            context: Context { spreadsheet: spreadsheet.clone(), account },
            spreadsheet,
            call_timeout: settings.call_timeout,
            gate: Gate::new(settings.quota),
            meter: None,
            pace,
            random: RandomState::new(),
            calls: 0,
        })
    }

    /// The clock that calls are paced by.
    pub(super) fn now(&self) -> Duration {
        self.pace.now()
    }

    /// True if the own quota has a read and a write, so that neither would have to wait.
    pub(super) fn has_calls(&mut self) -> bool {
        let now = self.pace.now();
        let is_there = |kind| self.gate.limiter().missing(kind, now) == Duration::ZERO;
        is_there(Kind::Read) && is_there(Kind::Write)
    }

    /// How long the own share of the quota takes to have one more write.
    pub(super) fn pace_of_writes(&self) -> Duration {
        self.gate.limiter().pace(Kind::Write)
    }

    /// The account's address, where the credentials have it.
    pub(super) fn account(&self) -> Option<String> {
        self.context.account.clone()
    }

    /// So many sidecars share the quota now.
    pub(super) fn share(&mut self, sidecars: usize) {
        self.gate.limiter().share(sidecars, self.pace.now());
    }

    /// How long until the quota has a call of this kind.
    pub(super) fn missing(&mut self, kind: Kind) -> Duration {
        self.gate.limiter().missing(kind, self.pace.now())
    }

    /// From now on these calls and those of others go through one gate, and each is measured.
    pub(super) fn join(&mut self, gate: &Gate) {
        self.gate = gate.clone();
        self.meter = Some(Meter::default());
    }

    /// What was measured, if it is.
    pub(super) fn meter(&mut self) -> Option<&mut Meter> {
        self.meter.as_mut()
    }

    /// A number that nobody else has drawn.
    pub(super) fn random(&mut self) -> u64 {
        self.calls += 1;
        self.random.hash_one(self.calls)
    }

    /// Makes the call, again after refusals for as long as `patience` lasts. With `repeats` it is one
    /// that changes nothing when it is applied twice: then it is made again after a 503 as well.
    pub(super) fn call(
        &mut self,
        ask: &Ask,
        repeats: bool,
        patience: &mut Duration,
    ) -> Result<View, Failure> {
        let kind = ask.kind();
        let (mut refusals, mut is_renewed, mut is_doubtful) = (0, false, false);
        loop {
            let failure = match self.once(ask, kind, is_renewed, patience) {
                Ok(view) => return Ok(view),
                Err(failure) => failure,
            };
            is_doubtful |= failure.applied == Applied::Unknown;
            if failure.is(401) && !is_renewed {
                is_renewed = true;
                continue;
            }
            let now = self.pace.now();
            if failure.is(429) {
                self.gate.limiter().refused(kind, now);
            }
            let is_again = failure.is(429) || (failure.is(503) && (repeats || kind == Kind::Read));
            let wait = backoff(refusals, self.random());
            if is_again && wait <= *patience {
                *patience -= wait;
                refusals += 1;
                self.pace.wait(wait);
                continue;
            }
            let applied = match (kind, is_doubtful) {
                (Kind::Write, true) => Applied::Unknown,
                _ => Applied::No,
            };
            return Err(Failure { applied, ..failure });
        }
    }

    fn once(
        &mut self,
        ask: &Ask,
        kind: Kind,
        renew: bool,
        patience: &mut Duration,
    ) -> Result<View, Failure> {
        let over = || Failure::no("no more calls are made: the time for them is over");
        if self.pace.is_over() {
            return Err(over());
        }
        let (wait, longest) = {
            let mut limiter = self.gate.limiter();
            (limiter.missing(kind, self.pace.now()), limiter.longest(kind))
        };
        if wait > (*patience).max(longest) {
            return Err(Failure::no(format!(
                "the own quota of calls to Google Sheets is used up for {:.1} s more",
                wait.as_secs_f64()
            )));
        }
        if wait > Duration::ZERO {
            *patience = patience.saturating_sub(wait);
            self.pace.wait(wait);
            if self.pace.is_over() {
                return Err(over());
            }
        }
        let time = self.call_timeout;
        let token = async {
            // The runtime was at rest: closed connections are noticed before one is used.
            tokio::time::sleep(Duration::from_millis(1)).await;
            tokio::time::timeout(time, self.auth.refresh(renew, &self.context)).await
        };
        self.runtime.block_on(token).map_err(|_| {
            let seconds = time.as_secs_f64();
            Failure::no(format!("Google has given no access token within {seconds} s"))
        })??;
        let at = self.pace.now();
        self.gate.limiter().take(kind, at);
        let mut watch = Watch::default();
        let call = perform(&self.hub, &self.spreadsheet, ask, &mut watch);
        let done = match self.runtime.block_on(async { tokio::time::timeout(time, call).await }) {
            Ok(Ok(view)) => Ok(view),
            Ok(Err(error)) => Err(self.context.explain(&error)),
            Err(_) => {
                let seconds = time.as_secs_f64();
                Err(Failure::unknown(format!("Google Sheets has not answered within {seconds} s")))
            }
        };
        if let Some(meter) = &mut self.meter {
            meter.note(kind, at, self.pace.now(), done.as_ref().err(), watch);
        }
        done
    }
}

/// The machine's certificates where it has some, else those that Mozilla trusts: an image may have none.
fn connector(timeout: Duration) -> Result<Connector, Failure> {
    let provider = || {
        let provider = rustls::crypto::ring::default_provider();
        HttpsConnectorBuilder::new().with_provider_and_native_roots(provider)
    };
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_connect_timeout(Some(timeout));
    http.set_nodelay(true);
    let builder = match provider() {
        Ok(builder) => builder,
        Err(_) => HttpsConnectorBuilder::new()
            .with_provider_and_webpki_roots(rustls::crypto::ring::default_provider())
            .map_err(|error| Failure::no(format!("TLS can't be used: {error}")))?,
    };
    Ok(builder.https_or_http().enable_http1().wrap_connector(http))
}

async fn perform(
    hub: &Hub<Connector>,
    spreadsheet: &str,
    ask: &Ask,
    watch: &mut Watch,
) -> common::Result<View> {
    let calls = hub.spreadsheets();
    match ask {
        Ask::Write(requests, ranges) | Ask::Look(requests, ranges) => {
            let is_shown = !ranges.is_empty();
            let is_look = matches!(ask, Ask::Look(..));
            let fields = match is_shown {
                true if is_look => format!("updatedSpreadsheet({VALUES})"),
                true => format!("updatedSpreadsheet({SHOWN})"),
                false => "spreadsheetId".into(),
            };
            let request = google::BatchUpdateSpreadsheetRequest {
                requests: Some(requests.clone()),
                include_spreadsheet_in_response: Some(is_shown),
                response_ranges: Some(ranges.clone()),
                response_include_grid_data: Some(is_shown),
            };
            let call = calls.batch_update(request, spreadsheet).param("fields", &fields);
            let call = call.delegate(watch);
            let (_, answer) = call.param("prettyPrint", "false").add_scope(SCOPE).doit().await?;
            let shown = answer.updated_spreadsheet.unwrap_or_default();
            Ok(if is_look { values::looked(shown) } else { view(shown) })
        }
        Ask::Values(parts) => {
            let request = values::request(parts);
            let call = calls.values_batch_get_by_data_filter(request, spreadsheet);
            let call = call.delegate(watch).param("prettyPrint", "false").add_scope(SCOPE);
            Ok(values::view(call.doit().await?.1))
        }
        Ask::Read(ranges) => {
            let filter = |(tab, row): &(i32, u64)| google::DataFilter {
                grid_range: Some(google::GridRange {
                    sheet_id: Some(*tab),
                    start_row_index: i32::try_from(*row).ok(),
                    ..Default::default()
                }),
                ..Default::default()
            };
            let request = google::GetSpreadsheetByDataFilterRequest {
                data_filters: Some(ranges.iter().map(filter).collect()),
                include_grid_data: Some(true),
                ..Default::default()
            };
            let call = calls.get_by_data_filter(request, spreadsheet).param("fields", SHOWN);
            let call = call.delegate(watch).param("prettyPrint", "false").add_scope(SCOPE);
            Ok(view(call.doit().await?.1))
        }
        Ask::Tabs => {
            let call = calls.get(spreadsheet).param("fields", TABS).delegate(watch);
            Ok(view(call.param("prettyPrint", "false").add_scope(SCOPE).doit().await?.1))
        }
    }
}

fn view(spreadsheet: google::Spreadsheet) -> View {
    let mut view = View::new();
    for sheet in spreadsheet.sheets.unwrap_or_default() {
        let properties = sheet.properties.unwrap_or_default();
        let rows = properties.grid_properties.and_then(|grid| grid.row_count);
        let part = |data: google::GridData| {
            let start = u64::try_from(data.start_row.unwrap_or_default()).unwrap_or_default();
            (start, data.row_data.unwrap_or_default().into_iter().map(cells).collect())
        };
        let mut data = sheet.data.unwrap_or_default().into_iter().map(part);
        let shown = data.next();
        let tab = Tab {
            title: properties.title.unwrap_or_default(),
            rows: rows.and_then(|rows| u64::try_from(rows).ok()).unwrap_or_default(),
            shown,
            also: data.collect(),
            areas: Vec::new(),
        };
        // An id of 0 is left out by some versions of the API.
        view.insert(properties.sheet_id.unwrap_or_default(), tab);
    }
    view
}

fn cells(row: google::RowData) -> Vec<Cell> {
    let cell = |cell: google::CellData| match cell.user_entered_value {
        None => Cell::Empty,
        Some(google::ExtendedValue { string_value: Some(text), .. }) if text.is_empty() => {
            Cell::Empty
        }
        Some(google::ExtendedValue { string_value: Some(text), .. }) => Cell::Text(text),
        Some(google::ExtendedValue {
            bool_value: None,
            error_value: None,
            formula_value: None,
            number_value: None,
            ..
        }) => Cell::Empty,
        Some(_) => Cell::Other,
    };
    row.values.unwrap_or_default().into_iter().map(cell).collect()
}
