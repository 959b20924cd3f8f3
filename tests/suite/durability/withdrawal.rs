//! An acquire that the ledger has not answered in time, and whose Lockside dies while it is taken back:
//! who was told "not acquired" has nothing, and who was told nothing can ask again (SPEC 3).

use super::rig::{A, B, NIL, OK, STRANGER, Stage, Told, take, wait_gone};
use crate::support::{Client, PATIENCE};

const NOT_ACQUIRED: &str =
    "-TRYAGAIN lockside: the ledger has not answered in time; not acquired\r\n";

/// The acquire is given up while another process has the ledger, which lets go of it then; Lockside
/// ends at `place`. What the client was told.
fn given_up(stage: &mut Stage, place: &str) -> Told {
    let other = rusqlite::Connection::open(stage.ledger()).unwrap();
    let mut client = stage.client();
    assert_eq!(client.ask("GET lock:never"), NIL);
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    if place == "withdrawal-asked" {
        stage.arm(place);
        client.send_line(&take("lock:a", A));
    } else {
        stage.wait_passed("withdrawal-asked", || client.send_line(&take("lock:a", A)));
        stage.arm(place);
        other.execute_batch("ROLLBACK").unwrap();
    }
    let told = last_words(&mut client);
    stage.wait_crash();
    drop(other);
    told
}

fn last_words(client: &mut Client) -> Told {
    match client.frame_within(PATIENCE) {
        Ok(frame) => Told::Reply(String::from_utf8_lossy(&frame).into_owned()),
        Err(error) => {
            assert_ne!(error.kind(), std::io::ErrorKind::TimedOut, "neither answer nor end");
            Told::Nothing
        }
    }
}

/// Nobody has the lock, with Redis or without it.
fn assert_free(stage: &mut Stage, redis_dies: bool) {
    stage.start_again(redis_dies);
    let listed = stage.client().ask("LOCKSIDE LOCKS lock:a");
    assert!(!listed.contains("\r\nlock:a\r\n"), "{listed}");
    if redis_dies {
        stage.redis.start_again();
        stage.wait_mode("healthy");
    }
    wait_gone(&stage.redis, "lock:a");
    assert_eq!(stage.client().ask(&take("lock:a", B)), OK);
    stage.assert_locks(&[("lock:a", B)]);
}

#[test]
fn once_it_is_asked_for() {
    let Some(mut stage) = Stage::start() else { return };
    assert_eq!(given_up(&mut stage, "withdrawal-asked"), Told::Nothing);
    assert_free(&mut stage, true);
}

/// The claim is durable and what takes it back is not: nobody was told no.
#[test]
fn before_it_is_committed() {
    let Some(mut stage) = Stage::start() else { return };
    assert_eq!(given_up(&mut stage, "withdrawal-begun"), Told::Nothing);
    stage.start_again(true);
    let owner = stage.client().ask("LOCKSIDE OWNER lock:a");
    assert!(owner.contains("undecided"), "{owner}");
    assert_eq!(stage.client().ask(&take("lock:a", STRANGER)), NIL);
    assert_eq!(stage.client().ask(&take("lock:a", A)), OK);
    stage.redis.start_again();
    stage.assert_locks(&[("lock:a", A)]);
}

#[test]
fn after_it_is_committed() {
    let Some(mut stage) = Stage::start() else { return };
    assert_eq!(given_up(&mut stage, "withdrawal-committed"), Told::Nothing);
    assert_free(&mut stage, true);
}

#[test]
fn once_the_client_is_told() {
    for redis_dies in [false, true] {
        let Some(mut stage) = Stage::start() else { return };
        let told = given_up(&mut stage, "refusal-told");
        assert!(told.is(NOT_ACQUIRED), "{told:?}");
        assert_free(&mut stage, redis_dies);
    }
}
