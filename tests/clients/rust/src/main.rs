//! rslock, a Rust client of Redlock: tokens are 20 random bytes, an extend writes the value again.
//!
//! The twin of `python/case.py`, which says why; the lines that it prints are read by `run.py`.

use rslock::{Lock, LockManager};
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

impl Stage {
    fn new() -> Self {
        let variable = |name: &str| std::env::var(name).expect("run.py sets it");
        let url = format!("redis://127.0.0.1:{}/", variable("CLIENTS_PORT"));
        let manager = || {
            let mut manager = LockManager::new(vec![url.as_str()]);
            manager.set_retry(1, Duration::from_millis(10));
            manager
        };
        let direct = format!("127.0.0.1:{}", variable("CLIENTS_REDIS_PORT"));
        let real = BufReader::new(TcpStream::connect(direct).expect("Redis runs"));
        let through = variable("CLIENTS_MODE") == "lockside";
        Self { here: manager(), there: manager(), real, through, keys: 0 }
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
    ];
    if passed.iter().all(|each| *each) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
