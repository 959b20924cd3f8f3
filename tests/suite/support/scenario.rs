//! Conversations as text, held with Redis and with Lockside, and compared byte for byte.
//!
//! One step a line; a letter names the connection, `%` an old connection straight to the Redis of
//! that side:
//!
//! ```text
//! a> SET k v        send a command, read one frame      a>3 SUBSCRIBE x y z   read three frames
//! a! "PING\r\n"     send raw bytes, read one frame      a!0 "*1\r\n$4"        read none
//! a>~ CLIENT ID     compare with every number masked    a<2                   read two frames
//! a>3^ UNSUBSCRIBE  compare the lines in any order
//! a#                read to the end of the connection   a.                    close it
//! %? "blocked_clients:1" INFO clients                   ask until the reply contains the word
//! ```

use std::collections::BTreeMap;

use super::client::{Client, ask_until};
use super::lockside::{Settings, Subject};
use super::redis::Redis;
use super::wait::PATIENCE;
use super::words::{encode, words};

/// Inputs longer than this are not split at every byte but at about this many places.
const MOST_SPLITS: usize = 160;

/// What one line asks for.
#[derive(Debug, Clone, PartialEq)]
enum Action {
    Send(Vec<u8>),
    Read,
    Closed,
    Drop,
    Until(Vec<u8>, Vec<u8>),
}

/// One line of a conversation.
#[derive(Debug, Clone)]
struct Step {
    line: String,
    connection: char,
    action: Action,
    frames: usize,
    masked: bool,
    any_order: bool,
}

/// How a conversation's bytes are cut into writes.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Cut {
    /// Each line in one write, its frames read before the next line.
    Lines,
    /// Each line in two writes, its frames read before the next line.
    Halves,
    /// Each line byte by byte, its frames read before the next line.
    Bytes,
    /// All lines in two writes, cut here; the frames of all lines are read at the end.
    PipelineAt(usize),
    /// All lines byte by byte; the frames of all lines are read at the end.
    PipelineBytes,
}

/// What came back, line by line.
type Transcript = Vec<(String, Vec<u8>)>;

/// The same Redis twice: once by itself, once behind Lockside.
pub(crate) struct Pair {
    reference: Redis,
    upstream: Redis,
    subject: Subject,
}

impl Pair {
    /// Two servers and a Lockside with default settings.
    pub(crate) fn start() -> Self {
        Self::with(&[], Settings::default())
    }

    /// Both servers with these arguments, Lockside with these settings.
    pub(crate) fn with(redis: &[&str], settings: Settings<'_>) -> Self {
        let (reference, upstream) = (Redis::with(redis), Redis::with(redis));
        // What one conversation left is cleared behind Lockside's back, so nothing of it may be
        // remembered.
        let top = if settings.top.is_empty() { "held_cache = \"0ms\"" } else { settings.top };
        let subject = Subject::with(&upstream, Settings { top, ..settings });
        Self { reference, upstream, subject }
    }

    /// The Redis that is asked directly.
    pub(crate) fn reference(&self) -> &Redis {
        &self.reference
    }

    /// The Redis behind Lockside.
    pub(crate) fn upstream(&self) -> &Redis {
        &self.upstream
    }

    pub(crate) fn subject(&self) -> &Subject {
        &self.subject
    }

    /// Holds each conversation of `table` (separated by empty lines) at every cut.
    pub(crate) fn compare_all(&self, table: &str) {
        let mut sides = self.sides();
        for text in conversations(table) {
            let steps = parse(text);
            sides.compare(&steps, Cut::Lines);
            if is_one_connection(&steps) {
                for cut in cuts(&steps) {
                    sides.compare(&steps, cut);
                }
            } else {
                sides.compare(&steps, Cut::Halves);
                sides.compare(&steps, Cut::Bytes);
            }
        }
    }

    /// Holds each conversation of `table` line by line only, with nothing else on the servers.
    pub(crate) fn compare_lines(&self, table: &str) {
        let mut sides = self.sides();
        conversations(table).for_each(|text| sides.compare(&parse(text), Cut::Lines));
    }

    fn sides(&self) -> Sides {
        Sides {
            reference: Side::new(&self.reference, self.reference.port()),
            subject: Side::new(&self.upstream, self.subject.port()),
            known: None,
        }
    }
}

/// Both sides of a comparison, and the last answer of the reference, which stays the same for all
/// cuts of a pipeline.
struct Sides {
    reference: Side,
    subject: Side,
    known: Option<Transcript>,
}

impl Sides {
    fn compare(&mut self, steps: &[Step], cut: Cut) {
        let expected = match (cut, self.known.take()) {
            (Cut::PipelineAt(at), Some(known)) if at > 0 => known,
            (Cut::PipelineBytes, Some(known)) => known,
            _ => self.reference.hold(steps, cut),
        };
        let actual = self.subject.hold(steps, cut);
        for (want, have) in expected.iter().zip(&actual) {
            assert!(
                want == have,
                "{cut:?} at `{}` of\n{}\n redis: {:?}\n here:  {:?}",
                want.0,
                steps.iter().map(|step| step.line.as_str()).collect::<Vec<_>>().join("\n"),
                String::from_utf8_lossy(&want.1),
                String::from_utf8_lossy(&have.1),
            );
        }
        assert_eq!(expected.len(), actual.len(), "as many replies");
        if matches!(cut, Cut::PipelineAt(_) | Cut::PipelineBytes) {
            self.known = Some(expected);
        }
    }
}

/// One server as seen by the clients of a conversation.
struct Side {
    port: u16,
    admin: Client,
    fence: Client,
}

impl Side {
    fn new(redis: &Redis, port: u16) -> Self {
        let mut fence = Client::connect(port);
        fence.fence();
        Self { port, admin: redis.client(), fence }
    }

    /// Holds one conversation on an empty server.
    fn hold(&mut self, steps: &[Step], cut: Cut) -> Transcript {
        self.reset();
        let mut clients = BTreeMap::new();
        let mut transcript = match cut {
            Cut::PipelineAt(_) | Cut::PipelineBytes => self.hold_pipeline(steps, cut, &mut clients),
            _ => steps.iter().map(|step| self.take(step, cut, &mut clients)).collect(),
        };
        let closed = |name: char| {
            let last = steps.iter().rev().find(|step| step.connection == name);
            last.is_some_and(|step| step.action == Action::Closed)
        };
        for (name, client) in clients.iter_mut().filter(|(name, _)| !closed(**name)) {
            // One frame too many before would show up here.
            client.send_line("PING the-end");
            transcript.push((format!("end of {name}"), client.frame()));
        }
        transcript
    }

    fn hold_pipeline(
        &mut self,
        steps: &[Step],
        cut: Cut,
        clients: &mut BTreeMap<char, Client>,
    ) -> Transcript {
        let is_setup = |step: &&Step| step.connection == '%';
        for step in steps.iter().take_while(is_setup) {
            self.take(step, cut, clients);
        }
        let client = clients.entry('a').or_insert_with(|| Client::connect(self.port));
        let bytes = pipeline_bytes(steps);
        match cut {
            Cut::PipelineAt(at) => self.write(client, &[&bytes[..at], &bytes[at..]]),
            _ => self.write(client, &bytes.chunks(1).collect::<Vec<_>>()),
        }
        steps
            .iter()
            .skip_while(is_setup)
            .map(|step| (step.line.clone(), read(step, client)))
            .collect()
    }

    fn take(
        &mut self,
        step: &Step,
        cut: Cut,
        clients: &mut BTreeMap<char, Client>,
    ) -> (String, Vec<u8>) {
        if step.connection == '%' {
            return (step.line.clone(), self.take_admin(step));
        }
        if step.action == Action::Drop {
            clients.remove(&step.connection);
            return (step.line.clone(), Vec::new());
        }
        let client = clients.entry(step.connection).or_insert_with(|| Client::connect(self.port));
        if let Action::Send(bytes) = &step.action {
            match cut {
                Cut::Lines => client.send(bytes),
                Cut::Bytes => self.write(client, &bytes.chunks(1).collect::<Vec<_>>()),
                _ => self.write(client, &bytes.chunks(bytes.len() / 2 + 1).collect::<Vec<_>>()),
            }
        }
        (step.line.clone(), read(step, client))
    }

    fn take_admin(&mut self, step: &Step) -> Vec<u8> {
        match &step.action {
            Action::Send(bytes) => {
                self.admin.send(bytes);
                self.admin.frame()
            }
            Action::Until(needle, command) => {
                let (needle, line) = (text(needle), text(command));
                ask_until(&mut self.admin, &line, |reply| reply.contains(&needle));
                Vec::new()
            }
            other => panic!("not for the connection to Redis: {other:?}"),
        }
    }

    /// Writes the parts one by one; each is read by the server before the next is written. A server
    /// that closes in between ends the writing.
    fn write(&mut self, client: &mut Client, parts: &[&[u8]]) {
        for (index, part) in parts.iter().filter(|part| !part.is_empty()).enumerate() {
            if index > 0 {
                self.fence.fence();
            }
            if client.try_send(part).is_err() {
                return;
            }
        }
    }

    /// An empty server whose other clients are gone or idle.
    fn reset(&mut self) {
        ask_until(&mut self.admin, "CLIENT LIST", |list| list.lines().all(is_idle));
        // Through Lockside, so that it knows of no lock any more.
        for line in ["FLUSHALL", "SCRIPT FLUSH", "FUNCTION FLUSH"] {
            assert_eq!(self.fence.ask(line), "+OK\r\n", "{line}");
        }
    }
}

/// True for a line of CLIENT LIST without subscription, transaction or blocking.
fn is_idle(line: &str) -> bool {
    let field = |name: &str| {
        let mut fields = line.split(' ');
        fields.find_map(|field| field.strip_prefix(name)).unwrap_or_default().to_owned()
    };
    line.len() < 20
        || (field("flags=") == "N"
            && field("sub=") == "0"
            && field("psub=") == "0"
            && field("ssub=") == "0")
}

fn read(step: &Step, client: &mut Client) -> Vec<u8> {
    let bytes = match step.action {
        Action::Closed => client.rest(),
        _ => {
            let frame = |number| {
                client.frame_within(PATIENCE).unwrap_or_else(|error| {
                    let pending = text(client.pending());
                    panic!("`{}`, frame {number}: {error}; read so far: {pending:?}", step.line)
                })
            };
            (1..=step.frames).map(frame).collect::<Vec<_>>().concat()
        }
    };
    match (step.masked, step.any_order) {
        (true, _) => mask(&bytes),
        (_, true) => sorted_lines(&bytes),
        _ => bytes,
    }
}

/// For replies whose order is that of a hash table with a seed of its own.
fn sorted_lines(bytes: &[u8]) -> Vec<u8> {
    let mut lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    lines.sort_unstable();
    lines.join(&b'\n')
}

/// Every number as one `#`.
fn mask(bytes: &[u8]) -> Vec<u8> {
    let mut masked: Vec<u8> = Vec::with_capacity(bytes.len());
    for &byte in bytes {
        match (byte.is_ascii_digit(), masked.last()) {
            (true, Some(b'#')) => {}
            (true, _) => masked.push(b'#'),
            (false, _) => masked.push(byte),
        }
    }
    masked
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn conversations(table: &str) -> impl Iterator<Item = &str> {
    table.split("\n\n").map(str::trim).filter(|text| !text.is_empty())
}

fn is_one_connection(steps: &[Step]) -> bool {
    steps.iter().skip_while(|step| step.connection == '%').all(|step| {
        step.connection == 'a' && !matches!(step.action, Action::Drop | Action::Until(..))
    })
}

fn pipeline_bytes(steps: &[Step]) -> Vec<u8> {
    let steps = steps.iter().skip_while(|step| step.connection == '%');
    let bytes = steps.map(|step| match &step.action {
        Action::Send(bytes) => bytes.as_slice(),
        _ => &[],
    });
    bytes.collect::<Vec<_>>().concat()
}

/// Every place of a short pipeline, evenly spread places of a long one, and every byte by itself.
fn cuts(steps: &[Step]) -> Vec<Cut> {
    let length = pipeline_bytes(steps).len();
    let stride = length.div_ceil(MOST_SPLITS).max(1);
    let places = (0..length).step_by(stride).map(Cut::PipelineAt);
    places.chain([Cut::PipelineBytes]).collect()
}

fn parse(text: &str) -> Vec<Step> {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).map(parse_line).collect()
}

fn parse_line(line: &str) -> Step {
    let (head, rest) = line.split_once(' ').unwrap_or((line, ""));
    let mut letters = head.chars();
    let (connection, kind) = (letters.next().unwrap(), letters.next().unwrap_or(' '));
    let digits: String = letters.as_str().chars().filter(char::is_ascii_digit).collect();
    let mut arguments = words(rest);
    let action = match kind {
        '>' => Action::Send(encode(&arguments)),
        '!' => Action::Send(arguments.concat()),
        '<' => Action::Read,
        '#' => Action::Closed,
        '.' => Action::Drop,
        '?' => {
            let needle = arguments.remove(0);
            Action::Until(needle, arguments.join(&b' '))
        }
        _ => panic!("not a step: {line}"),
    };
    let frames = digits.parse().unwrap_or(usize::from(matches!(kind, '>' | '!' | '<')));
    let (masked, any_order) = (head.ends_with('~'), head.ends_with('^'));
    Step { line: line.to_owned(), connection, action, frames, masked, any_order }
}
