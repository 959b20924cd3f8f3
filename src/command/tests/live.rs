//! The table and the parsers against a running redis-server (Redis 7.0 or later), which is
//! started on a unix socket in a temporary directory and ended by its handle.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use crate::command::set::SetForm;
use crate::command::testing::OwnedArgs;
use crate::command::{Keys, lookup};

/// A redis-server of the test's own.
struct Server {
    process: Child,
    replies: BufReader<UnixStream>,
    _directory: tempfile::TempDir,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Reply {
    Error(String),
    Integer(i64),
    Bytes(Vec<u8>),
    Array(Vec<Reply>),
    Nil,
}

impl Drop for Server {
    fn drop(&mut self) {
        // A server that has gone already is as good.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Server {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("redis.sock");
        let mut process = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--unixsocket"])
            .arg(&socket)
            .arg("--dir")
            .arg(directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("redis-server must be installed");
        let mut log = BufReader::new(process.stdout.take().unwrap()).lines();
        let ready = log.find(|line| {
            line.as_ref().is_ok_and(|line| line.contains("ready to accept connections at"))
        });
        if ready.is_none() {
            let _ = process.wait();
            panic!("redis-server has ended before it was ready");
        }
        // Keep reading: a server whose log nobody reads would meet a closed pipe.
        std::thread::spawn(move || log.for_each(drop));
        let replies = BufReader::new(UnixStream::connect(socket).unwrap());
        Self { process, replies, _directory: directory }
    }

    fn ask_all(&mut self, commands: &[Vec<Vec<u8>>]) -> Vec<Reply> {
        let mut request = Vec::new();
        for command in commands {
            write!(request, "*{}\r\n", command.len()).unwrap();
            for argument in command {
                write!(request, "${}\r\n", argument.len()).unwrap();
                request.extend_from_slice(argument);
                request.extend_from_slice(b"\r\n");
            }
        }
        self.replies.get_mut().write_all(&request).unwrap();
        commands.iter().map(|_| self.read()).collect()
    }

    fn ask(&mut self, words: &[&str]) -> Reply {
        let command = words.iter().map(|word| word.as_bytes().to_vec()).collect();
        self.ask_all(&[command]).remove(0)
    }

    fn read(&mut self) -> Reply {
        let mut line = String::new();
        self.replies.read_line(&mut line).unwrap();
        let (kind, rest) = line.trim_end().split_at(1);
        match kind {
            "-" => Reply::Error(rest.to_owned()),
            "+" => Reply::Bytes(rest.as_bytes().to_vec()),
            ":" => Reply::Integer(rest.parse().unwrap()),
            _ if rest == "-1" => Reply::Nil,
            "$" => {
                let mut bytes = vec![0; rest.parse::<usize>().unwrap() + 2];
                self.replies.read_exact(&mut bytes).unwrap();
                bytes.truncate(bytes.len() - 2);
                Reply::Bytes(bytes)
            }
            "*" => Reply::Array((0..rest.parse().unwrap()).map(|_| self.read()).collect()),
            other => panic!("no RESP2 reply: {other}"),
        }
    }
}

impl Reply {
    fn list(&self) -> &[Reply] {
        match self {
            Reply::Array(items) => items,
            other => panic!("not an array: {other:?}"),
        }
    }

    fn text(&self) -> &str {
        match self {
            Reply::Bytes(bytes) => std::str::from_utf8(bytes).unwrap(),
            other => panic!("not a string: {other:?}"),
        }
    }

    fn number(&self) -> i64 {
        match self {
            Reply::Integer(number) => *number,
            other => panic!("not a number: {other:?}"),
        }
    }
}

/// First, last and step as COMMAND tells them.
fn as_range(keys: Keys) -> (i64, i64, i64) {
    match keys {
        Keys::Range { first, last, step } => (first.into(), last.into(), step.into()),
        _ => (0, 0, 0),
    }
}

/// Redis counts shard channels as keys, for the routing of a cluster; they hold no value.
const CHANNELS: [&str; 3] = ["spublish", "ssubscribe", "sunsubscribe"];

#[test]
fn the_table_agrees_with_command() {
    let mut server = Server::start();
    let commands = server.ask(&["COMMAND"]);
    assert!(commands.list().len() >= 200);
    for command in commands.list() {
        let command = command.list();
        let name = command[0].text();
        let spec = lookup(name.as_bytes()).unwrap_or_else(|| panic!("{name} is not in the table"));
        assert_eq!(i64::from(spec.arity), command[1].number(), "arity of {name}");
        let movable = command[2].list().iter().any(|flag| flag.text() == "movablekeys");
        let told: Vec<i64> = command[3..6].iter().map(Reply::number).collect();
        let subcommands = command.get(9).map_or(&[][..], Reply::list);
        if CHANNELS.contains(&name) {
            assert_eq!(spec.keys, Keys::None, "{name}");
        } else if movable && name != "sort_ro" {
            assert!(!matches!(spec.keys, Keys::None | Keys::Range { .. }), "{name} is movable");
        } else if subcommands.is_empty() {
            // SORT_RO is movable for its BY and GET patterns alone, which are no keys here.
            assert_eq!(as_range(spec.keys), (told[0], told[1], told[2]), "keys of {name}");
        }
        for subcommand in subcommands.iter().map(Reply::list) {
            let told: Vec<i64> = subcommand[3..6].iter().map(Reply::number).collect();
            if told != [0, 0, 0] {
                let told = (told[0], told[1], told[2]);
                assert_eq!(as_range(spec.keys), told, "keys of {}", subcommand[0].text());
            }
        }
    }
}

/// GETKEYS also finds keys in malformed forms of these, where the table finds none or others
/// (and none in `PFMERGE dest`, which is well-formed): they are compared by `SAMPLES`.
const LENIENT: [&str; 10] = [
    "mset",
    "msetnx",
    "pfmerge",
    "sort",
    "sort_ro",
    "migrate",
    "georadius",
    "georadiusbymember",
    "xread",
    "xreadgroup",
];

const SAMPLES: [&str; 27] = [
    "MSET a 1 b 2",
    "MSETNX a 1",
    "PFMERGE d a b",
    "SORT k",
    "SORT k BY w_* LIMIT 0 5 GET # GET o_* ASC ALPHA STORE d",
    "sort k get store store d",
    "SORT k STORE a STORE b",
    "SORT_RO k BY nosort GET store",
    "MIGRATE h 1 k 0 5",
    "MIGRATE h 1 k 0 5 COPY REPLACE AUTH keys",
    "MIGRATE h 1 '' 0 5 KEYS a b c",
    "MIGRATE h 1 '' 0 5 COPY AUTH2 keys keys KEYS a",
    "GEORADIUS k 1 2 3 km",
    "GEORADIUS k 1 2 3 km WITHDIST COUNT 3 ANY ASC STORE d",
    "GEORADIUS k 1 2 3 km storedist d",
    "GEORADIUSBYMEMBER k m 3 km STORE d",
    "GEORADIUSBYMEMBER k m 3 km COUNT 1 STOREDIST d",
    "GEORADIUSBYMEMBER k m 3 km",
    "XREAD STREAMS a b 0 0",
    "xread count 2 block 0 streams streams 0",
    "XREADGROUP GROUP streams c COUNT 1 NOACK STREAMS a >",
    "XREADGROUP GROUP g c STREAMS a b > >",
    "XREADGROUP GROUP g c BLOCK 10 STREAMS a >",
    "OBJECT ENCODING k",
    "MEMORY USAGE k",
    "XGROUP CREATE k g $",
    "XINFO STREAM k FULL",
];

#[test]
fn keys_of_samples_agree_with_getkeys() {
    let mut server = Server::start();
    for sample in SAMPLES {
        let words: Vec<&str> =
            sample.split(' ').map(|word| if word == "''" { "" } else { word }).collect();
        let reply = server.ask(&[&["COMMAND", "GETKEYS"], &words[..]].concat());
        let told: Vec<&str> = reply.list().iter().map(Reply::text).collect();
        let command: Vec<Vec<u8>> = words.iter().map(|word| word.as_bytes().to_vec()).collect();
        let keys = keys_by_table(&command);
        let keys: Vec<_> = keys.iter().map(|key| str::from_utf8(key).unwrap()).collect();
        assert_eq!(keys, told, "keys of: {sample}");
    }
}

/// Numbers that look random and are the same in every run (xorshift).
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

fn keys_by_table(command: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let owned = OwnedArgs::new(command);
    let spec = lookup(&command[0]).unwrap();
    spec.keys(owned.args()).map(<[u8]>::to_vec).collect()
}

/// Each command with a thousand argument lists, against COMMAND GETKEYS.
fn compare_keys(server: &mut Server, name: &str, arity: i64, draw: &mut Draw) -> usize {
    let words = [
        "a",
        "b",
        "",
        "0",
        "1",
        "2",
        "3",
        "-1",
        "x",
        "STORE",
        "storedist",
        "limit",
        "get",
        "by",
        "streams",
        "STREAMS",
        "count",
        "block",
        "group",
        "noack",
        "keys",
        "auth",
        "auth2",
        "copy",
    ];
    let least = arity.unsigned_abs() as usize - 1;
    let more = if arity < 0 { 6 } else { 1 };
    let commands: Vec<Vec<Vec<u8>>> = (0..1000)
        .map(|_| {
            let count = least + draw.below(more);
            let mut command = vec![name.as_bytes().to_vec()];
            command.extend((0..count).map(|_| words[draw.below(words.len())].into()));
            command
        })
        .collect();
    let questions: Vec<Vec<Vec<u8>>> = commands
        .iter()
        .map(|command| [&[b"COMMAND".to_vec(), b"GETKEYS".to_vec()], &command[..]].concat())
        .collect();
    let mut found = 0;
    for (command, reply) in commands.iter().zip(server.ask_all(&questions)) {
        let told: Vec<Vec<u8>> = match reply {
            Reply::Error(_) => Vec::new(),
            keys => keys.list().iter().map(|key| key.text().as_bytes().to_vec()).collect(),
        };
        found += usize::from(!told.is_empty());
        let shown = OwnedArgs::new(command);
        let line = String::from_utf8_lossy(&shown.args().iter().collect::<Vec<_>>().join(&b' '))
            .into_owned();
        assert_eq!(keys_by_table(command), told, "keys of: {line}");
    }
    found
}

#[test]
fn keys_agree_with_getkeys() {
    let mut server = Server::start();
    let mut draw = Draw(0x9E37_79B9_7F4A_7C15);
    let commands = server.ask(&["COMMAND"]);
    for command in commands.list().iter().map(Reply::list) {
        let name = command[0].text();
        let has_subcommands = !command[9].list().is_empty();
        if !CHANNELS.contains(&name) && !LENIENT.contains(&name) && !has_subcommands {
            let found = compare_keys(&mut server, name, command[1].number(), &mut draw);
            let keys = lookup(name.as_bytes()).unwrap().keys;
            assert_eq!(found > 0, keys != Keys::None, "{name} had keys {found} times");
        }
    }
}

fn every_list(words: &[&[u8]], length: usize) -> Vec<Vec<Vec<u8>>> {
    (0..words.len().pow(length as u32))
        .map(|mut number| {
            let mut list: Vec<Vec<u8>> = [&b"SET"[..], b"k", b"v"].map(<[u8]>::to_vec).into();
            for _ in 0..length {
                list.push(words[number % words.len()].to_vec());
                number /= words.len();
            }
            list
        })
        .collect()
}

#[test]
fn set_is_parsed_exactly_when_redis_takes_it() {
    let all: [&[u8]; 23] = [
        b"NX",
        b"xx",
        b"Get",
        b"EX",
        b"px",
        b"EXAT",
        b"pxAT",
        b"KeepTTL",
        b"1",
        b"0",
        b"-1",
        b"+1",
        b" 1",
        b"01",
        b"1.0",
        b"",
        b"abc",
        b"nx\0z",
        b"persist",
        b"9223372036854775807",
        b"9223372036854775",
        b"9223372036854776",
        b"9223360000000000",
    ];
    let few: [&[u8]; 9] = [b"NX", b"XX", b"GET", b"EX", b"PX", b"PXAT", b"KEEPTTL", b"9", b"x"];
    let mut forms: Vec<Vec<Vec<u8>>> = (0..=3).flat_map(|n| every_list(&all, n)).collect();
    forms.extend((4..=5).flat_map(|n| every_list(&few, n)));
    let mut server = Server::start();
    let mut taken = 0;
    for batch in forms.chunks(500) {
        for (form, reply) in batch.iter().zip(server.ask_all(batch)) {
            let owned = OwnedArgs::new(form);
            let accepted = !matches!(reply, Reply::Error(_));
            taken += usize::from(accepted);
            let shown: Vec<_> = form.iter().map(|word| String::from_utf8_lossy(word)).collect();
            assert_eq!(SetForm::parse(owned.args()).is_ok(), accepted, "{shown:?}: {reply:?}");
        }
    }
    assert!(taken > 300, "only {taken} of {} forms were valid", forms.len());
}
