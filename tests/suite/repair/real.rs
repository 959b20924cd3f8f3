//! Each scenario against a real redis-server, with the scripts that Lockside sends: once, twice,
//! late, and by two at once.

use std::sync::Barrier;
use std::time::Duration;

use lockside::config::{Address, Upstream};
use lockside::lock::content::{self, Content, Score, digest};
use lockside::lock::record::LockKey;
use lockside::repair::command::{Answer, Batch, Command, Order, look};
use lockside::repair::link::Link;
use lockside::repair::plan::{Found, Plan, plan};

use super::scenario::{Scenario, Thing, all, field_of, guard_of_name, more_of};
use crate::support::{Client, Redis};

/// The lock that every scenario is about.
const KEY: &str = "lock:x";

/// A server, a raw connection to it, and the one that repairs go by.
struct Rig {
    redis: Redis,
    client: Client,
    link: Link,
}

/// What repair's own link is configured with.
pub(super) fn upstream(redis: &Redis) -> Upstream {
    Upstream {
        address: Address::Tcp { host: "127.0.0.1".into(), port: redis.port() },
        command_timeout: Duration::from_secs(20),
        ..Upstream::default()
    }
}

impl Rig {
    fn start() -> Self {
        let redis = Redis::start();
        let (client, link) = (redis.client(), Link::open(&upstream(&redis)).unwrap());
        Self { redis, client, link }
    }

    /// Puts this there and nothing else. A hash's content is its name.
    fn put(&mut self, thing: &Thing) {
        self.client.ask("FLUSHALL");
        self.add(thing);
    }

    fn add(&mut self, thing: &Thing) {
        let ttl = match thing {
            Thing::Nothing => return,
            Thing::Value(name, ttl) => {
                self.client.ask(&format!("SET {KEY} {name}"));
                ttl
            }
            Thing::Hash(name, ttl) => {
                let (field, value) = field_of(name);
                let mut more =
                    more_of(name).map_or_else(String::new, |more| format!(" more {more}"));
                if name == "HUGE" {
                    // One more than are ever looked at.
                    more = (0..digest::MOST).map(|number| format!(" f{number} 1")).collect();
                }
                self.client.ask(&format!("HSET {KEY} {field} {value}{more}"));
                ttl
            }
        };
        if let Some(ms) = ttl {
            self.client.ask(&format!("PEXPIRE {KEY} {ms}"));
        }
    }

    /// What is there, by Lockside's own look.
    fn look(&mut self) -> Found {
        let command = look(0, &[LockKey::new(0, KEY.as_bytes())]);
        let Answer::Found(mut found) = self.link.ask(&command) else { panic!("no look") };
        found.pop().unwrap()
    }

    /// What is there, by Redis's own commands, with times as `like` has them if they are close.
    fn thing(&mut self, like: &Thing) -> Thing {
        let text = |frame: String| frame.lines().nth(1).unwrap_or_default().to_owned();
        let pttl: i64 = self.client.ask(&format!("PTTL {KEY}")).trim()[1..].parse().unwrap();
        let wanted = match like {
            Thing::Nothing => None,
            Thing::Value(_, ttl) | Thing::Hash(_, ttl) => *ttl,
        };
        let close = |ms: u64| wanted.filter(|wanted| (1..=*wanted).contains(&ms)).unwrap_or(ms);
        let ttl = u64::try_from(pttl).ok().map(close);
        match self.client.ask(&format!("TYPE {KEY}")).as_str() {
            "+none\r\n" => Thing::Nothing,
            "+string\r\n" => Thing::Value(text(self.client.ask(&format!("GET {KEY}"))), ttl),
            "+hash\r\n" => {
                let all = self.client.ask(&format!("HGETALL {KEY}"));
                let parts: Vec<&str> = all.lines().skip(2).step_by(2).collect();
                let name = match parts[..] {
                    // Its name is the value of one field.
                    _ if parts.len() > 2 => text(self.client.ask(&format!("HGET {KEY} field"))),
                    ["field", value] => value.to_owned(),
                    [field, value] => format!("{field}/{value}"),
                    _ => panic!("{all}"),
                };
                Thing::Hash(name, ttl)
            }
            other => panic!("{other}"),
        }
    }

    /// The guard of a hash with this content, as the acquire's script made it.
    fn guard(&mut self, name: &str) -> Vec<u8> {
        self.put(&Thing::Hash(name.into(), None));
        let Found::Other { guard, .. } = self.look() else { panic!("no hash") };
        guard
    }

    /// The scenario's state, and the command that Lockside would send; none if it sends nothing.
    fn plan(&mut self, scenario: &Scenario) -> Option<Command> {
        let held = match &scenario.holder {
            Some((Thing::Hash(name, _), _)) => self.guard(name),
            Some((Thing::Value(..) | Thing::Nothing, _)) | None => Vec::new(),
        };
        self.put(&scenario.before);
        let found = self.look();
        let planned = scenario.says(
            |_| held.clone(),
            |says| match plan(&found, says, scenario.terms) {
                Plan::Act(repair) => Order::new(LockKey::new(0, KEY.as_bytes()), None, repair),
                Plan::Nothing(_) | Plan::Wait(_) | Plan::CannotRestore => None,
            },
        );
        let mut batch = Batch::default();
        batch.push(planned?).unwrap();
        batch.command()
    }

    fn send(&mut self, command: &Command) -> i64 {
        mark(&mut self.link, command)
    }
}

fn mark(link: &mut Link, command: &Command) -> i64 {
    match link.ask(command) {
        Answer::Marks(marks) => marks[0],
        other => panic!("{command:?}: {other:?}"),
    }
}

#[test]
fn a_repair_does_what_the_file_says_and_again_changes_nothing() {
    let mut rig = Rig::start();
    let mut acted = 0;
    for scenario in all() {
        let command = rig.plan(&scenario);
        for time in ["once", "twice"] {
            if let Some(command) = &command {
                let mark = rig.send(command);
                assert!(time == "twice" || mark == 1, "{}: answers {mark}", scenario.name);
                acted += 1;
            }
            let after = rig.thing(&scenario.after);
            assert_eq!(after, scenario.after, "{}, {time}", scenario.name);
        }
    }
    assert!(acted > 20, "{acted}");
}

#[test]
fn a_repair_that_comes_late_takes_nothing_from_anybody() {
    let mut rig = Rig::start();
    for scenario in all() {
        let Some(command) = rig.plan(&scenario) else { continue };
        // Since it was planned: taken by a new holder, being taken, taken as a hash.
        for world in [
            Thing::Value("C".into(), None),
            Thing::Value("C".into(), Some(5000)),
            Thing::Hash("C".into(), None),
            Thing::Hash("C".into(), Some(5000)),
        ] {
            rig.put(&world);
            let mark = rig.send(&command);
            assert_eq!((rig.thing(&world), mark), (world.clone(), 0), "{}", scenario.name);
        }
        // Released, or run out: only a value that is missing is set.
        rig.put(&Thing::Nothing);
        let sets = scenario.before == Thing::Nothing;
        let mark = rig.send(&command);
        let expected = if sets { scenario.after.clone() } else { Thing::Nothing };
        assert_eq!(rig.thing(&expected), expected, "{}", scenario.name);
        assert_eq!(mark, if sets { 1 } else { -1 }, "{}", scenario.name);
    }
}

#[test]
fn two_that_repair_at_once_do_what_one_does() {
    let mut rig = Rig::start();
    let mut links = [0, 1].map(|_| Link::open(&upstream(&rig.redis)).unwrap());
    for scenario in all() {
        let Some(command) = rig.plan(&scenario) else { continue };
        let barrier = Barrier::new(2);
        std::thread::scope(|scope| {
            for link in &mut links {
                scope.spawn(|| {
                    barrier.wait();
                    mark(link, &command);
                });
            }
        });
        assert_eq!(rig.thing(&scenario.after), scenario.after, "{}", scenario.name);
    }
}

#[test]
fn a_look_tells_what_it_may_not_look_into() {
    let mut rig = Rig::start();
    let long = "x".repeat(8193);
    rig.put(&Thing::Value(long, None));
    assert_eq!(rig.look(), Found::Other { guard: b"0:".to_vec(), ttl_ms: None });
    for number in 0..129 {
        rig.client.ask(&format!("HSET lock:y f{number} 1"));
    }
    let command = look(0, &[LockKey::new(0, b"lock:y"), LockKey::new(0, b"lock:none")]);
    let Answer::Found(found) = rig.link.ask(&command) else { panic!("no look") };
    let Found::Other { guard, .. } = &found[0] else { panic!("{found:?}") };
    assert!(content::of_mark(guard).is_none() && content::is_told(guard), "its digest: {found:?}");
    assert_eq!(found[1], Found::Missing);
    for name in ["LARGE", "LARGER"] {
        assert_eq!(rig.guard(name), guard_of_name(name), "{name}: as Rust makes it");
    }
    rig.put(&Thing::Hash("HUGE".into(), None));
    assert_eq!(rig.look(), Found::Other { guard: b"0:".to_vec(), ttl_ms: None });
}

/// Redis serves others between large contents: the rest is asked for again.
#[test]
fn a_look_at_large_contents_stops_in_between() {
    let mut rig = Rig::start();
    let fill =
        "for k = 1, #KEYS do for i = 1, 1000 do redis.call('sadd', KEYS[k], i) end end return 1";
    let names: Vec<String> = (10..50).map(|number| format!("lock:{number}")).collect();
    let keys: Vec<LockKey> = names.iter().map(|name| LockKey::new(0, name.as_bytes())).collect();
    assert_eq!(rig.client.ask(&format!("EVAL \"{fill}\" 40 {}", names.join(" "))), ":1\r\n");
    let mut left = &keys[..];
    let mut looks = 0;
    while !left.is_empty() {
        let Answer::Found(found) = rig.link.ask(&look(0, left)) else { panic!("no look") };
        assert!((1..=6).contains(&found.len()), "{}", found.len());
        let is_told =
            |it: &Found| matches!(it, Found::Other { guard, .. } if content::is_told(guard));
        assert!(found.iter().all(is_told));
        left = &left[found.len()..];
        looks += 1;
    }
    assert_eq!(looks, 8);
}

/// Scripts name a large content as [`digest::of`] does, whatever its elements are.
#[test]
fn a_digest_is_the_same_in_scripts_and_here() {
    let mut rig = Rig::start();
    let mut call = |words: Vec<Vec<u8>>| {
        rig.client.call(&words);
    };
    let key = || KEY.as_bytes().to_vec();
    let mut contents = Vec::new();
    for (at, command) in ["HSET", "ZADD", "SADD", "RPUSH"].into_iter().enumerate() {
        let mut words: Vec<Vec<u8>> = vec![command.into(), format!("{KEY}{at}").into_bytes()];
        let mut parts = Vec::new();
        for number in 0..300u32 {
            // Bytes of all kinds, in an order that no locale has.
            let part = [&number.to_le_bytes()[..], b"\r\n\0\xff:", &[number as u8; 9]].concat();
            let score = f64::from(number) * 1.1e-7 - 1e-6;
            match command {
                "ZADD" => words.extend([format!("{score:e}").into_bytes(), part.clone()]),
                "HSET" => words.extend([part.clone(), number.to_string().into_bytes()]),
                _ => words.push(part.clone()),
            }
            parts.push((part, number, score));
        }
        call(words);
        contents.push(match command {
            "HSET" => Content::Hash(
                parts.into_iter().map(|(part, n, _)| (part, n.to_string().into_bytes())).collect(),
            ),
            "ZADD" => Content::Sorted(
                parts.into_iter().map(|(part, _, s)| (part, Score::new(s).unwrap())).collect(),
            ),
            "SADD" => Content::Set(parts.into_iter().map(|(part, ..)| part).collect()),
            _ => Content::List(parts.into_iter().map(|(part, ..)| part).collect()),
        });
    }
    let keys: Vec<LockKey> =
        (0..4).map(|at| LockKey::new(0, &[key(), vec![b'0' + at]].concat())).collect();
    let Answer::Found(found) = rig.link.ask(&look(0, &keys)) else { panic!("no look") };
    for (found, content) in found.iter().zip(&contents) {
        let guard = [b"0:", &digest::of(content)[..]].concat();
        assert_eq!(*found, Found::Other { guard, ttl_ms: None }, "{}", content.type_name());
    }
}

#[test]
fn one_batch_is_for_one_database_and_one_kind() {
    use lockside::lock::envelope::Guard;
    use lockside::repair::plan::Repair;

    let mut rig = Rig::start();
    for (db, name) in [(0, "a"), (0, "b"), (3, "a")] {
        rig.client.ask(&format!("SELECT {db}"));
        rig.client.ask(&format!("SET lock:{name} v{name}"));
    }
    let order = |db, name: &str, guard: &str| {
        let repair = Repair::Delete(Guard::Value(guard.as_bytes()));
        Order::new(LockKey::new(db, name.as_bytes()), None, repair).unwrap()
    };
    let mut batch = Batch::default();
    for (name, guard) in [("lock:a", "va"), ("lock:b", "wrong"), ("lock:c", "vc")] {
        batch.push(order(0, name, guard)).unwrap();
    }
    batch.push(order(3, "lock:a", "va")).unwrap_err();
    let marks = rig.link.ask(&batch.command().unwrap());
    assert_eq!(marks, Answer::Marks(vec![1, 0, -1]));
    let mut batch = Batch::default();
    batch.push(order(3, "lock:a", "va")).unwrap();
    assert_eq!(rig.link.ask(&batch.command().unwrap()), Answer::Marks(vec![1]));
    assert_eq!(rig.redis.ask("DBSIZE"), ":1\r\n");
}
