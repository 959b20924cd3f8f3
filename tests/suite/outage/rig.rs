//! The relay does the harm that it says it does, shown before a plain Redis.

use std::io::ErrorKind;
use std::time::Duration;

use super::{OK, bulk};
use crate::support::{Client, PATIENCE, Redis, Relay, Trouble, wait_until};

/// Long enough to say that nothing came, which is all that a test can say.
const NOTHING: Duration = Duration::from_millis(150);

fn stage() -> (Redis, Relay, Client) {
    let redis = Redis::start();
    let relay = Relay::before(redis.port());
    let mut client = Client::connect(relay.port());
    assert_eq!(client.ask("SET k v"), OK);
    (redis, relay, client)
}

/// Nothing comes, and the connection stays open.
fn assert_silent(client: &mut Client) {
    assert_eq!(client.frame_within(NOTHING).unwrap_err().kind(), ErrorKind::TimedOut);
}

/// How the connection ends.
fn end_of(client: &mut Client) -> ErrorKind {
    let kind = client.frame_within(PATIENCE).unwrap_err().kind();
    assert_ne!(kind, ErrorKind::TimedOut);
    kind
}

#[test]
fn a_relay_refuses_and_hangs_up() {
    let (_redis, relay, mut client) = stage();
    relay.set(Trouble::Refuse);
    let refused = Client::attempt(relay.port()).map(drop).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    assert_eq!(client.ask("GET k"), bulk("v"), "what stands goes on");
    relay.set(Trouble::Hangup);
    let mut closed = Client::connect(relay.port());
    end_of(&mut closed);
    relay.reset();
    end_of(&mut client);
    relay.set(Trouble::None);
    assert_eq!(Client::connect(relay.port()).ask("GET k"), bulk("v"));
}

#[test]
fn a_black_hole_gives_back_what_it_took() {
    let (redis, relay, mut client) = stage();
    relay.set(Trouble::BlackHole);
    client.send_line("SET k late");
    assert_silent(&mut client);
    assert_eq!(redis.ask("GET k"), bulk("v"));
    relay.set(Trouble::None);
    assert_eq!(client.text(), OK);
    assert_eq!(redis.ask("GET k"), bulk("late"));
}

#[test]
fn a_half_open_link_is_not_seen_from_this_end() {
    let (redis, relay, mut client) = stage();
    relay.set(Trouble::HalfOpen);
    client.send_line("SET k lost");
    // Redis has nobody but the one who asks.
    wait_until("Redis has lost it", || redis.ask("INFO clients").contains("connected_clients:1\r"));
    assert_silent(&mut client);
    relay.set(Trouble::None);
    assert_eq!(redis.ask("GET k"), bulk("v"));
    client.send_line("GET k");
    end_of(&mut client);
}

#[test]
fn a_link_is_cut_after_so_many_bytes() {
    let (_redis, relay, mut client) = stage();
    // The command has 20 bytes, of its reply 3 arrive.
    relay.set(Trouble::CutAfter(23));
    client.send_line("GET k");
    assert_eq!(end_of(&mut client), ErrorKind::UnexpectedEof);
    assert_eq!(client.pending(), b"$1\r");
}

#[test]
fn trouble_of_one_process_alone() {
    let (_redis, relay, mut client) = stage();
    relay.set_for(std::process::id(), Trouble::BlackHole);
    client.send_line("GET k");
    assert_silent(&mut client);
    // Process 1 is not this one.
    relay.set_for(1, Trouble::BlackHole);
    assert_eq!(client.text(), bulk("v"));
}

#[test]
fn a_relay_leads_elsewhere() {
    let (_redis, relay, mut client) = stage();
    let other = Redis::start();
    relay.lead_to(other.port());
    end_of(&mut client);
    assert_eq!(Client::connect(relay.port()).ask("GET k"), super::NIL);
}
