//! Many clients that ask for one key at once.

use super::{NIL, OK, OTHER, Stage, TOKEN, take};
use crate::support::{Client, Fault};

const CLIENTS: usize = 200;

fn ready(stage: &Stage, count: usize) -> Vec<Client> {
    let mut clients: Vec<Client> = (0..count).map(|_| stage.subject.client()).collect();
    clients.iter_mut().for_each(Client::fence);
    clients
}

/// While one asks, all others wait; its "held" answers them, by Redis's own count of commands.
#[test]
fn one_question_for_all() {
    let Some(mut stage) = Stage::start() else { return };
    assert_eq!(stage.client.ask(&take("lock:a", TOKEN)), OK);
    stage.client.fence();
    let mut clients = ready(&stage, CLIENTS);
    stage.proxy.next(OTHER, Fault::HoldCommand);
    clients[0].send_line(&take("lock:a", OTHER));
    stage.proxy.wait_held(1);
    for client in &mut clients[1..] {
        client.send_line(&take("lock:a", OTHER));
    }
    stage.input_is_read();
    stage.proxy.release();
    assert!(clients.iter_mut().all(|client| client.text() == NIL));
    assert_eq!(stage.proxy.count(OTHER), 1, "SETs that Redis has seen; the probe makes others");
    stage.assert_held("lock:a", TOKEN);
}

/// The one that asks goes away: one of those who wait asks for itself, and gets the lock.
#[test]
fn the_one_that_asks_goes_away() {
    let Some(mut stage) = Stage::start() else { return };
    let mut clients = ready(&stage, 10);
    stage.proxy.next(TOKEN, Fault::HoldCommand);
    let mut first = clients.remove(0);
    first.send_line(&take("lock:a", TOKEN));
    stage.proxy.wait_held(1);
    for client in &mut clients {
        client.send_line(&take("lock:a", OTHER));
    }
    stage.input_is_read();
    drop(first);
    stage.gone_is_seen();
    stage.proxy.release();
    let replies: Vec<String> = clients.iter_mut().map(Client::text).collect();
    assert_eq!(replies.iter().filter(|reply| *reply == OK).count(), 1, "{replies:?}");
    assert_eq!(replies.iter().filter(|reply| *reply == NIL).count(), 8, "{replies:?}");
    stage.assert_held("lock:a", OTHER);
}

/// One of those who wait goes away, too: it is not waited for.
#[test]
fn one_that_waits_goes_away() {
    let Some(mut stage) = Stage::start() else { return };
    let mut clients = ready(&stage, 3);
    stage.proxy.next(TOKEN, Fault::HoldCommand);
    for (number, client) in clients.iter_mut().enumerate() {
        client.send_line(&take("lock:a", if number == 0 { TOKEN } else { OTHER }));
        stage.proxy.wait_held(1);
    }
    stage.input_is_read();
    drop(clients.drain(..2));
    stage.gone_is_seen();
    stage.proxy.release();
    assert_eq!(clients[0].text(), OK);
    stage.assert_held("lock:a", OTHER);
}
