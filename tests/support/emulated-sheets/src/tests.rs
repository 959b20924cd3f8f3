//! The emulator by HTTP, as a client meets it: a rule of the documentation in each test.

mod faults;
mod people;
mod rules;
mod tabs;
mod values;

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{Emulator, Options};

const SPREADSHEETS: &str = "https://www.googleapis.com/auth/spreadsheets";

/// A call that got no answer in this time never gets one, in a test without latency.
const PATIENCE: Duration = Duration::from_secs(20);

/// A client with a token, without any library.
#[derive(Clone)]
struct Client {
    address: String,
    id: String,
    token: String,
}

/// Status and body of an answer.
type Answer = io::Result<(u16, Value)>;

impl Client {
    fn new(emulator: &Emulator) -> Self {
        let base = emulator.base_url();
        let address = base.trim_start_matches("http://").trim_end_matches('/').to_owned();
        Self {
            address,
            id: emulator.spreadsheet_id().to_owned(),
            token: emulator.token(&[SPREADSHEETS]),
        }
    }

    /// Sends a request and gives back the connection.
    fn send(&self, verb: &str, path: &str, body: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let head = format!(
            "{verb} {path} HTTP/1.1\r\nHost: emulator\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n{body}",
            self.token,
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream
    }

    fn raw(&self, verb: &str, path: &str, body: &str) -> Answer {
        receive(self.send(verb, path, body))
    }

    /// A path below the spreadsheet, blanks and the like encoded.
    fn path(&self, rest: &str) -> String {
        let rest = rest.replace(' ', "%20").replace('\'', "%27").replace('#', "%23");
        format!("/v4/spreadsheets/{}{rest}", self.id)
    }

    fn get(&self, rest: &str) -> Value {
        let (status, value) = self.raw("GET", &self.path(rest), "").unwrap();
        assert_eq!(status, 200, "{value}");
        value
    }

    fn post(&self, rest: &str, body: &Value) -> Answer {
        self.raw("POST", &self.path(rest), &body.to_string())
    }

    fn batch(&self, requests: &Value) -> Value {
        let (status, value) = self.post(":batchUpdate", &json!({"requests": requests})).unwrap();
        assert_eq!(status, 200, "{value}");
        value
    }

    /// The text of a batch's refusal with 400.
    fn refused(&self, requests: &Value) -> String {
        let (status, value) = self.post(":batchUpdate", &json!({"requests": requests})).unwrap();
        assert_eq!(
            (status, value["error"]["status"].as_str()),
            (400, Some("INVALID_ARGUMENT")),
            "{value}"
        );
        value["error"]["message"].as_str().unwrap().to_owned()
    }

    /// A range's values; none where it is empty.
    fn values(&self, range: &str) -> Value {
        self.get(&format!("/values/{range}"))["values"].clone()
    }

    /// Writes values raw.
    fn put(&self, range: &str, rows: &Value) -> (u16, Value) {
        let path = self.path(&format!("/values/{range}?valueInputOption=RAW"));
        self.raw("PUT", &path, &json!({"values": rows}).to_string()).unwrap()
    }
}

fn receive(mut stream: TcpStream) -> Answer {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let text = String::from_utf8(bytes).map_err(io::Error::other)?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    if body.len() < length.parse().unwrap() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok((status, serde_json::from_str(body).unwrap_or_else(|_| body.into())))
}

fn start(options: Options) -> (Emulator, Client) {
    let emulator = Emulator::start(options).unwrap();
    let client = Client::new(&emulator);
    (emulator, client)
}

fn emulator() -> (Emulator, Client) {
    start(Options::default())
}

/// With a clock that only the test moves.
fn still() -> (Emulator, Client) {
    start(Options { manual_clock: true, ..Options::default() })
}

/// Waits for a condition, by looking often.
fn until(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::yield_now();
    }
}

/// `updateCells` of texts, one row.
fn write(row: usize, texts: &[&str]) -> Value {
    let cells: Vec<Value> =
        texts.iter().map(|text| json!({"userEnteredValue": {"stringValue": text}})).collect();
    json!({"updateCells": {
        "start": {"sheetId": 0, "rowIndex": row, "columnIndex": 0},
        "rows": [{"values": cells}], "fields": "userEnteredValue",
    }})
}

/// `appendCells` of one text.
fn append(text: &str) -> Value {
    json!({"appendCells": {
        "sheetId": 0, "rows": [{"values": [{"userEnteredValue": {"stringValue": text}}]}],
        "fields": "userEnteredValue",
    }})
}
