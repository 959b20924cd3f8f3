//! `/_emulator/…`: faults, quotas, the person and the journal by HTTP, for those who run the emulator as a
//! process of its own. Without credentials, which is why the emulator listens on the own machine alone.

use std::time::Duration;

use serde_json::{Value, json};

use crate::a1::Area;
use crate::fault::Fault;
use crate::person::{Act, Person};
use crate::service::{Incoming, Reply, Shared};
use crate::values::{self, Reading};

/// What can be asked here.
pub const HELP: &str = "\
GET    /_emulator/                    this text
GET    /_emulator/journal             the calls so far (?last=N)
GET    /_emulator/minutes             calls by the minute: reads, writes, tokens, refused
DELETE /_emulator/journal             forget them
GET    /_emulator/table?range=A1:D9   a range as text, one line for each row (&spreadsheet=ID)
PUT    /_emulator/table?range=B2      type the body's lines (cells behind tabs) as a person would
GET    /_emulator/tabs                titles, ids and sizes of the tabs
POST   /_emulator/faults              {\"on\": \"writes\", \"kind\": \"status\", \"code\": 503, \"times\": 2}
                                      on: any reads writes tokens, or a method's name
                                      times: how many of the next calls; or chance: for each call
                                      kind: status page (code, applied) cut_before cut_after
                                        cut_body (bytes) hang (applied) late (after_ms)
                                        slow (by_ms) stale (by_ms)
DELETE /_emulator/faults              no more faults
POST   /_emulator/person              {\"every_ms\": 5000, \"seed\": 1, \"acts\": [\"type\", \"sort\"]}
                                      acts: type clear sort insert delete move cut
                                        shift_up rename reorder
POST   /_emulator/person/act          one act now
DELETE /_emulator/person              the person goes home
POST   /_emulator/quota               {\"reads_per_user\": 60, \"writes_per_user\": 60,
                                       \"reads_per_project\": 300, \"writes_per_project\": 300}
POST   /_emulator/latency             {\"read_ms\": 250, \"write_ms\": 800, \"spread\": 0.4}; {} for none
POST   /_emulator/api                 {\"enabled\": false}: the project has not enabled the API
POST   /_emulator/tokens              {\"revoke\": true} takes back all; {\"lifetime_s\": 60} for new ones
POST   /_emulator/share               {\"email\": \"a@b\", \"role\": \"editor\" | \"reader\" | \"none\"}
POST   /_emulator/advance             {\"ms\": 1000}: moves a clock that stands still
";

/// Answers a request below `/_emulator`.
pub(crate) fn answer(shared: &Shared, path: &str, request: &Incoming) -> Reply {
    let body: Value = if request.body.is_empty() {
        json!({})
    } else {
        serde_json::from_slice(&request.body).unwrap_or(Value::Null)
    };
    if body.is_null() && path != "/table" {
        return Reply::text(400, "the body is no JSON\n");
    }
    let done = match (request.verb.as_str(), path) {
        ("GET", "" | "/") => return Reply::text(200, HELP),
        ("GET", "/journal") => return journal(shared, request),
        ("GET", "/minutes") => return minutes(shared),
        ("GET", "/tabs") => return tabs(shared, request),
        ("GET", "/table") => table(shared, request),
        ("PUT", "/table") => typed(shared, request),
        ("DELETE", "/journal") => {
            shared.world().journal.clear();
            Ok(String::new())
        }
        ("POST", "/faults") => Fault::read(&body).map(|fault| {
            let mut world = shared.world();
            world.faults.add(fault);
            format!("{} waiting", world.faults.len())
        }),
        ("DELETE", "/faults") => {
            shared.world().faults.clear();
            Ok(String::new())
        }
        ("POST", "/person") => person(shared, request, &body),
        ("POST", "/person/act") => act(shared, request),
        ("DELETE", "/person") => {
            shared.world().person = None;
            Ok(String::new())
        }
        ("POST", "/advance") => {
            shared.clock.advance(milliseconds(&body["ms"]));
            drop(shared.settled());
            Ok(String::new())
        }
        ("POST", what) => set(shared, what, request, &body),
        _ => Err("there is no such thing here: GET /_emulator/ says what there is".to_owned()),
    };
    match done {
        Ok(text) => Reply::text(200, text + "\n"),
        Err(text) => Reply::text(400, text + "\n"),
    }
}

fn milliseconds(value: &Value) -> Duration {
    Duration::from_millis(value.as_u64().unwrap_or(0))
}

fn parameter<'a>(request: &'a Incoming, name: &str) -> Option<&'a str> {
    request.query.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
}

/// The spreadsheet that is meant: the named one, or the first.
fn spreadsheet(shared: &Shared, request: &Incoming) -> String {
    let first = || shared.world().shelves.keys().next().cloned().unwrap_or_default();
    parameter(request, "spreadsheet").map_or_else(first, str::to_owned)
}

fn journal(shared: &Shared, request: &Incoming) -> Reply {
    let world = shared.world();
    let all: Vec<Value> = world.journal.entries().map(crate::Entry::describe).collect();
    let last = parameter(request, "last").and_then(|text| text.parse().ok()).unwrap_or(all.len());
    Reply::json(200, &json!(all[all.len().saturating_sub(last)..]))
}

fn minutes(shared: &Shared) -> Reply {
    let world = shared.world();
    let list = world.journal.minutes().iter().map(|(minute, calls)| {
        json!({
            "minute": minute, "reads": calls.reads, "writes": calls.writes,
            "tokens": calls.tokens, "refused": calls.refused,
        })
    });
    Reply::json(200, &list.collect())
}

fn tabs(shared: &Shared, request: &Incoming) -> Reply {
    let id = spreadsheet(shared, request);
    let world = shared.settled();
    let sheets = world.shelves.get(&id).map(|shelf| shelf.book.sheets.clone()).unwrap_or_default();
    let list = sheets.iter().enumerate().map(|(place, sheet)| sheet.describe(place));
    Reply::json(200, &list.collect())
}

fn table(shared: &Shared, request: &Incoming) -> Result<String, String> {
    let id = spreadsheet(shared, request);
    let world = shared.settled();
    let shelf = world.shelves.get(&id).ok_or("there is no such spreadsheet")?;
    let book = &shelf.book;
    let (place, area) = match parameter(request, "range") {
        Some(range) => book.range_within(range).map_err(|error| error.message)?,
        None => (book.sheets.iter().position(|sheet| !sheet.hidden).unwrap_or(0), Area::default()),
    };
    let shown = values::read(book, place, &area, Reading::of(None, None, None));
    let rows = shown["values"].as_array().into_iter().flatten();
    let line = |row: &Value| {
        let cells = row.as_array().into_iter().flatten().filter_map(Value::as_str);
        cells.collect::<Vec<_>>().join("\t")
    };
    Ok(rows.map(line).collect::<Vec<_>>().join("\n"))
}

/// Types into cells: from the range's corner on, as a person does.
fn typed(shared: &Shared, request: &Incoming) -> Result<String, String> {
    let id = spreadsheet(shared, request);
    let text = String::from_utf8_lossy(&request.body).into_owned();
    let cells = |line: &str| line.split('\t').map(Value::from).collect::<Vec<_>>();
    let rows: Vec<Vec<Value>> = text.trim_end_matches('\n').split('\n').map(cells).collect();
    let range = parameter(request, "range").ok_or("?range= is missing")?;
    crate::type_values(shared, &id, range, &rows).map_err(|error| error.message)?;
    Ok(String::new())
}

fn person(shared: &Shared, request: &Incoming, body: &Value) -> Result<String, String> {
    let id = spreadsheet(shared, request);
    let names = body["acts"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let act = |name: &str| Act::named(name).ok_or(format!("there is no act {name}"));
    let acts: Vec<Act> = names.map(act).collect::<Result<_, _>>()?;
    let seed = body["seed"].as_u64().unwrap_or(1);
    let every = milliseconds(&body["every_ms"]);
    let person = Person::new(&id, &acts, every, seed, shared.clock.now());
    shared.settled().person = Some(person);
    Ok(String::new())
}

fn act(shared: &Shared, request: &Incoming) -> Result<String, String> {
    let id = spreadsheet(shared, request);
    let now = shared.clock.now();
    let mut world = shared.settled();
    let mut person =
        world.person.take().unwrap_or_else(|| Person::new(&id, &[], Duration::ZERO, 1, now));
    world.act(&mut person, now);
    world.person = Some(person);
    Ok(String::new())
}

fn set(shared: &Shared, what: &str, request: &Incoming, body: &Value) -> Result<String, String> {
    let id = spreadsheet(shared, request);
    let number = |name: &str, old: u32| {
        body[name].as_u64().map_or(old, |new| u32::try_from(new).unwrap_or(u32::MAX))
    };
    let mut world = shared.world();
    match what {
        "/quota" => {
            let old = world.quota;
            world.quota = crate::Quota {
                reads_per_user: number("reads_per_user", old.reads_per_user),
                writes_per_user: number("writes_per_user", old.writes_per_user),
                reads_per_project: number("reads_per_project", old.reads_per_project),
                writes_per_project: number("writes_per_project", old.writes_per_project),
            };
        }
        "/latency" => {
            let given = body.as_object().is_some_and(|object| !object.is_empty());
            world.latency = given.then(|| crate::Latency {
                read: milliseconds(&body["read_ms"]),
                write: milliseconds(&body["write_ms"]),
                spread: body["spread"].as_f64().unwrap_or(0.4),
            });
        }
        "/api" => world.disabled = body["enabled"].as_bool() == Some(false),
        "/tokens" => {
            if body["revoke"].as_bool() == Some(true) {
                world.tokens.revoke();
            }
            if let Some(seconds) = body["lifetime_s"].as_u64() {
                world.tokens.lifetime = Duration::from_secs(seconds);
            }
        }
        "/share" => {
            let email = body["email"].as_str().ok_or("\"email\" is missing")?.to_owned();
            let role = body["role"].as_str().unwrap_or("editor").to_owned();
            let now = shared.clock.now();
            let changed = world.change(&id, now, |book, _| {
                crate::share(book, &email, &role);
                Ok(())
            });
            changed.map_err(|error| error.message)?;
        }
        other => {
            return Err(format!("there is no {other} here: GET /_emulator/ says what there is"));
        }
    }
    Ok(String::new())
}
