//! rslock, a Rust client of Redlock: tokens are 20 random bytes, an extend writes the value again.
//!
//! The twin of `python/case.py` and `python/outage.py`, which say why; the lines that it prints are
//! read by `run.py`.

use rslock::{Lock, LockManager};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// What went otherwise than it should.
type Outcome = Result<(), String>;

/// How long a condition may take.
const DEADLINE: Duration = Duration::from_secs(15);
const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_secs(1);
const OUTAGE: &str = "Redis is killed and comes back empty";

/// A reply of real Redis, as far as it is asked for here.
#[derive(Debug, PartialEq)]
enum Reply {
    Nil,
    Integer(i64),
    Bytes(Vec<u8>),
}

/// Two clients of the library, and a direct look into Redis.
struct Stage {
    here: LockManager,
    there: LockManager,
    real: BufReader<TcpStream>,
    through: bool,
    keys: u32,
}

/// A client of the library; `tries` is how often it asks before it gives up.
fn manager(tries: u32) -> LockManager {
    let mut manager = LockManager::new(vec![format!("redis://127.0.0.1:{}/", port("PORT"))]);
    manager.set_retry(tries, Duration::from_millis(10));
    manager
}

fn variable(name: &str) -> String {
    std::env::var(format!("CLIENTS_{name}")).expect("run.py sets it")
}

fn port(name: &str) -> u16 {
    variable(name).parse().expect("run.py sets a port")
}

fn redis() -> BufReader<TcpStream> {
    BufReader::new(TcpStream::connect(("127.0.0.1", port("REDIS_PORT"))).expect("Redis runs"))
}

impl Stage {
    fn new() -> Self {
        let through = variable("MODE") == "lockside";
        Self { here: manager(1), there: manager(1), real: redis(), through, keys: 0 }
    }

    fn fresh(&mut self) -> String {
        self.keys += 1;
        format!("lock:rslock:{}", self.keys)
    }

    /// Ask real Redis.
    fn ask(&mut self, words: &[&str]) -> Reply {
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            request += &format!("${}\r\n{word}\r\n", word.len());
        }
        self.real.get_mut().write_all(request.as_bytes()).expect("Redis runs");
        let mut line = String::new();
        self.real.read_line(&mut line).expect("Redis answers");
        let rest = line[1..].trim_end();
        match line.as_bytes()[0] {
            b':' => Reply::Integer(rest.parse().expect("an integer")),
            b'+' => Reply::Bytes(rest.into()),
            b'$' if rest == "-1" => Reply::Nil,
            b'$' => {
                let mut bytes = vec![0; rest.parse::<usize>().expect("a length") + 2];
                self.real.read_exact(&mut bytes).expect("Redis answers");
                bytes.truncate(bytes.len() - 2);
                Reply::Bytes(bytes)
            }
            _ => panic!("Redis says {line}"),
        }
    }

    /// As `held`, within two seconds: a lock that was taken while a repair still looked at its key is in
    /// the ledger at once and in Redis a moment later.
    fn held_soon(&mut self, key: &str, lock: &Lock, what: &str) -> Outcome {
        let end = std::time::Instant::now() + std::time::Duration::from_secs(2);
        loop {
            let held = self.held(key, lock, what);
            if held.is_ok() || std::time::Instant::now() > end {
                return held;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    /// Real Redis has the token, which is unique by itself and stored as it is; no TTL.
    fn held(&mut self, key: &str, lock: &Lock, what: &str) -> Outcome {
        let (stored, pttl) = (self.ask(&["GET", key]), self.ask(&["PTTL", key]));
        same(stored, Reply::Bytes(lock.val.clone()), &format!("{what}: the value in Redis"))?;
        let Reply::Integer(pttl) = pttl else { return Err(format!("{what}: {pttl:?}")) };
        let right = if self.through { pttl == -1 } else { pttl > 0 };
        same(right, true, &format!("{what}: PTTL in Redis ({pttl})"))
    }

    fn free(&mut self, key: &str) -> Outcome {
        let reply = self.ask(&["GET", key]);
        same(reply, Reply::Nil, &format!("{key} in Redis"))
    }

    /// Have the runner do something to the servers, and wait until it is done.
    fn have(&mut self, directive: &str) -> Outcome {
        println!("{directive}");
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer).map_err(said)?;
        same(answer.trim(), "done", "the runner's answer")
    }

    /// Return when Redis has not the key any more.
    async fn soon_free(&mut self, key: &str) -> Outcome {
        let start = Instant::now();
        while self.ask(&["GET", key]) != Reply::Nil {
            if start.elapsed() > DEADLINE {
                return Err(format!("{key}, which was released, does not go from Redis"));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// Return when Redis itself has expired a key that was given this TTL just now.
    async fn past(&mut self, ttl: Duration) -> Outcome {
        let clock = format!("test-clock:{}", self.fresh());
        self.ask(&["SET", &clock, "x", "PX", &ttl.as_millis().to_string()]);
        let start = Instant::now();
        while self.ask(&["EXISTS", &clock]) == Reply::Integer(1) {
            if start.elapsed() > DEADLINE {
                return Err(format!("Redis has not expired {clock}"));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }
}

fn same<T: PartialEq + std::fmt::Debug>(actual: T, wanted: T, what: &str) -> Outcome {
    if actual == wanted {
        Ok(())
    } else {
        Err(format!("{what}: expected {wanted:?}, was {actual:?}"))
    }
}

fn said(problem: impl std::fmt::Display) -> String {
    format!("refused: {problem}")
}

async fn the_life_of_a_lock(stage: &mut Stage) -> Outcome {
    let key = stage.fresh();
    let lock = stage.here.lock(key.as_str(), LONG).await.map_err(said)?;
    stage.held(&key, &lock, "acquire")?;
    same(stage.here.is_freed(&lock).await.ok(), Some(false), "is_freed, which compares the value")?;
    same(stage.there.lock(key.as_str(), LONG).await.is_err(), true, "second acquire is refused")?;
    stage.held(&key, &lock, "after the refused acquire")?;
    let lock = stage.here.extend(&lock, LONG * 2).await.map_err(said)?;
    stage.held(&key, &lock, "extend")?;
    stage.here.unlock(&lock).await;
    stage.free(&key)?;
    let again = stage.there.lock(key.as_str(), LONG).await.map_err(said)?;
    stage.held(&key, &again, "re-acquire")
}

async fn a_stranger_is_refused(stage: &mut Stage) -> Outcome {
    let (key, other) = (stage.fresh(), stage.fresh());
    let lock = stage.here.lock(key.as_str(), LONG).await.map_err(said)?;
    let mut stranger = stage.there.lock(other.as_str(), LONG).await.map_err(said)?;
    stranger.resource = key.clone().into_bytes();
    same(stage.there.extend(&stranger, LONG).await.is_err(), true, "extend is refused")?;
    stage.there.unlock(&stranger).await;
    stage.held(&key, &lock, "after the stranger")
}

async fn using_extends_by_itself(stage: &mut Stage) -> Outcome {
    let key = stage.fresh();
    let here = stage.here.clone();
    let name = key.clone();
    let work = async || {
        stage.past(SHORT * 2).await?;
        same(stage.ask(&["EXISTS", &name]), Reply::Integer(1), "held after two TTLs")?;
        same(stage.there.lock(name.as_str(), SHORT).await.is_err(), true, "second acquire")
    };
    here.using(key.as_bytes(), SHORT, work).await.map_err(said)??;
    stage.free(&key)
}

async fn work_past_the_ttl(stage: &mut Stage) -> Outcome {
    let key = stage.fresh();
    let lock = stage.here.lock(key.as_str(), SHORT).await.map_err(said)?;
    stage.past(SHORT).await?;
    if !stage.through {
        return stage.free(&key);
    }
    stage.held(&key, &lock, "past its TTL")?;
    same(stage.there.lock(key.as_str(), SHORT).await.is_err(), true, "second acquire")?;
    stage.here.unlock(&lock).await;
    stage.free(&key)
}

/// The local ports of the open connections to Lockside, by the kernel's table.
fn open_connections() -> Result<BTreeSet<u16>, String> {
    let table = std::fs::read_to_string("/proc/self/net/tcp").map_err(said)?;
    let port_of = |address: &str| u16::from_str_radix(address.split(':').nth(1)?, 16).ok();
    let open = table.lines().skip(1).filter_map(|row| {
        let row: Vec<&str> = row.split_whitespace().collect();
        let is_open = row[3] == "01" && port_of(row[2]) == Some(port("PORT"));
        is_open.then(|| port_of(row[1])).flatten()
    });
    Ok(open.collect())
}

/// One outage: hold, extend, contend, release and acquire, by clients that were there before it and
/// by one that connects in it.
async fn an_outage(stage: &mut Stage) -> Outcome {
    let [kept, given, awaited, new, passing] = std::array::from_fn(|_| stage.fresh());
    let (here, there) = (stage.here.clone(), stage.there.clone());
    let [one, two, three] = [kept.as_str(), given.as_str(), awaited.as_str()];
    let kept_lock = here.lock(one, LONG).await.map_err(said)?;
    let given_lock = here.lock(two, LONG).await.map_err(said)?;
    let awaited_lock = here.lock(three, LONG).await.map_err(said)?;
    same(there.lock(one, LONG).await.is_err(), true, "second acquire before")?;
    let (name, patient) = (awaited.clone(), manager(700));
    // It comes back, so that its connection does not end by itself.
    let waiter = tokio::spawn(async move { (patient.lock(name.as_str(), LONG).await, patient) });
    tokio::task::yield_now().await;
    let open = open_connections()?;

    stage.have("@redis-down")?;
    let owned = here.is_freed(&kept_lock).await.ok();
    same(owned, Some(false), "is_freed, which compares the value")?;
    let kept_lock = here.extend(&kept_lock, LONG).await.map_err(said)?;
    let newcomer = manager(1);
    for client in [&there, &newcomer] {
        same(client.lock(one, LONG).await.is_err(), true, "second acquire")?;
    }
    here.unlock(&awaited_lock).await;
    let (waited, _patient) = waiter.await.map_err(said)?;
    let waited = waited.map_err(said)?;
    same(here.lock(three, LONG).await.is_err(), true, "acquire of what the waiter has got")?;
    here.unlock(&given_lock).await;
    let given_lock = there.lock(two, LONG).await.map_err(said)?;
    let new_lock = newcomer.lock(new.as_str(), LONG).await.map_err(said)?;
    let passing_lock = here.lock(passing.as_str(), LONG).await.map_err(said)?;
    here.unlock(&passing_lock).await;
    stage.have("@redis-up")?;
    stage.real = redis();

    let now = open_connections()?;
    let lost: Vec<_> = open.difference(&now).collect();
    same(lost, vec![], "connections that did not outlive the outage")?;
    stage.free(&passing)?;
    let held = [(kept, kept_lock), (given, given_lock), (awaited, waited), (new, new_lock)];
    for (key, lock) in &held {
        stage.held(key, lock, "after the outage")?;
    }
    for (key, lock) in held {
        let lock = newcomer.extend(&lock, LONG).await.map_err(said)?;
        same(manager(1).lock(key.as_str(), LONG).await.is_err(), true, "second acquire after")?;
        newcomer.unlock(&lock).await;
        stage.soon_free(&key).await?;
        let again = there.lock(key.as_str(), LONG).await.map_err(said)?;
        stage.held_soon(&key, &again, "re-acquire")?;
        there.unlock(&again).await;
    }
    Ok(())
}

/// Print the line of a case, and whether it passed.
fn report(name: &str, outcome: Outcome) -> bool {
    match &outcome {
        Ok(()) => println!("ok {name}"),
        Err(problem) => println!("FAIL {name}: {}", problem.replace('\n', " ")),
    }
    outcome.is_ok()
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let mut stage = Stage::new();
    let passed = [
        report("the life of a lock", the_life_of_a_lock(&mut stage).await),
        report("a stranger is refused", a_stranger_is_refused(&mut stage).await),
        report("using() extends by itself", using_extends_by_itself(&mut stage).await),
        report("work past the TTL", work_past_the_ttl(&mut stage).await),
        if stage.through {
            report(OUTAGE, an_outage(&mut stage).await)
        } else {
            println!("skip {OUTAGE}: plain Redis has nobody who answers while it is away");
            true
        },
    ];
    if passed.iter().all(|each| *each) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
