//! Redis answers, and takes no writes of locks: each way of it, and back.

use super::*;

/// Sets the server up so that it takes no writes, and back: Redis stays reachable.
#[track_caller]
fn unusable(sign: Sign, wrong: &[&str], right: &[&str]) {
    let mut server = Server::start();
    let watch = Watch::healthy(settings(&server.upstream));
    wrong.iter().for_each(|command| server.ok(command));
    watch.until_lost(sign);
    right.iter().for_each(|command| server.ok(command));
    watch.until(Mode::Healthy, true);
    assert!(watch.history.events().iter().all(|event| event.change.to != Mode::Blocked));
}

#[test]
fn a_demoted_master() {
    unusable(Sign::ReadOnly, &["REPLICAOF 127.0.0.1 1"], &["REPLICAOF NO ONE"]);
}

#[test]
fn a_full_memory() {
    unusable(Sign::OutOfMemory, &["CONFIG SET maxmemory 1"], &["CONFIG SET maxmemory 0"]);
}

#[test]
fn too_few_replicas() {
    let set = |count| format!("CONFIG SET min-replicas-to-write {count}");
    unusable(Sign::NoReplicas, &[&set(1)], &[&set(0)]);
}

#[test]
fn writes_that_are_held_back() {
    unusable(Sign::WritesHang, &["CLIENT PAUSE 60000 WRITE"], &["CLIENT UNPAUSE"]);
}

#[test]
fn all_commands_held_back() {
    let mut server = Server::start();
    let watch = Watch::healthy(settings(&server.upstream));
    server.ok("CLIENT PAUSE 2000 ALL");
    watch.until_lost(Sign::Silent);
    watch.until(Mode::Healthy, true);
}

#[test]
fn a_snapshot_that_fails() {
    let mut server = Server::start();
    let watch = Watch::healthy(settings(&server.upstream));
    let gone = server.directory.path().join("gone");
    std::fs::create_dir(&gone).unwrap();
    server.ok(&format!("CONFIG SET dir {}", gone.display()));
    std::fs::remove_dir(&gone).unwrap();
    // Without a schedule of snapshots a failed one is no reason to refuse writes.
    server.send_words(&["CONFIG", "SET", "save", "3600 1"]);
    assert_eq!(server.reply(), "+OK\r\n");
    server.ask("BGSAVE");
    watch.until_lost(Sign::Misconf);
    server.ok("CONFIG SET stop-writes-on-bgsave-error no");
    watch.until(Mode::Healthy, true);
}

#[test]
fn a_script_without_end() {
    let mut server = Server::start();
    let watch = Watch::healthy(settings(&server.upstream));
    server.ok("CONFIG SET busy-reply-threshold 50");
    let other = server.connect_again();
    server.send_words(&["EVAL", "while true do end", "0"]);
    let change = watch.until_lost(Sign::Busy);
    assert!(seconds(&change) >= 0.3, "command_timeout is waited out: {change:?}");
    server.use_link(other);
    server.ok("SCRIPT KILL");
    watch.until(Mode::Healthy, true);
}
