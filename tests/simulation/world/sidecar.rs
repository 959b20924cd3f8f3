//! What the world does for a process and to it: events in, acts out, start, crash, pause.

use std::time::Duration;

use lockside::ledger::memory;
use lockside::ledger::store::Store;
use lockside::ledger::{Claim, Entry, Row};
use lockside::lock::record::LockKey;

use super::network::Owner;
use super::{Event, Mood, Point, Side, World};
use crate::clock;
use crate::process::books::{self, Asked, Bug};
use crate::process::conn::{Act, Happened};
use crate::process::health::Pulse;
use crate::process::{Fleet, Process};

/// Between two looks for what has run out.
const SWEEP: Duration = Duration::from_secs(1);

impl World {
    /// Starts a sidecar anew, unless it runs.
    pub(crate) fn start(&mut self, sidecar: usize) {
        if self.slots[sidecar].process.is_some() {
            return;
        }
        let process = Process::new(sidecar, self.medium.clone(), self.fleet, self.bug);
        let side = (sidecar, process.pid);
        self.note(|| format!("side {sidecar}: starts"));
        self.slots[sidecar].process = Some(Box::new(process));
        self.at(self.now(), Event::OpenLog(side));
        self.at(self.now(), Event::Health(side));
        self.at(self.now(), Event::Mend(side));
        if self.fleet == Fleet::Ttl {
            self.after(SWEEP, Event::Sweep(side));
        }
    }

    /// Ends a process at once: nothing of its memory is left.
    pub(crate) fn crash(&mut self, sidecar: usize) {
        let Some(process) = self.slots[sidecar].process.take() else { return };
        self.note(|| format!("side {sidecar}: crashes"));
        self.slots[sidecar].frozen.clear();
        self.slots[sidecar].crash_at = None;
        self.checks.died(process.pid);
        let side = (sidecar, process.pid);
        for (conn, state) in process.conns {
            let delay = self.rng.micros(50, 500);
            if self.rng.percent(50) {
                self.clients[state.client].loses(conn);
            }
            self.after(delay, Event::ConnLost(state.client, conn));
        }
        let of_it: Vec<u64> = self
            .links
            .iter()
            .filter(|(_, l)| l.side == side && l.is_open)
            .map(|(id, _)| *id)
            .collect();
        for id in of_it {
            let is_lost = self.rng.percent(50);
            if let Some(link) = self.links.get_mut(&id) {
                (link.is_lost, link.is_open) = (is_lost, false);
            }
            self.after(Duration::from_millis(100), Event::AtRedis(id, None));
        }
    }

    /// SIGCONT: what came meanwhile is there at once.
    pub(super) fn resume(&mut self, sidecar: usize) {
        let Some(process) = &mut self.slots[sidecar].process else { return };
        process.is_paused = false;
        let frozen = std::mem::take(&mut self.slots[sidecar].frozen);
        for event in frozen {
            self.happen(event);
        }
    }

    /// Has a sidecar make the ledger smaller, if nothing is under way there.
    pub(super) fn compact(&mut self, sidecar: usize) {
        let Some(process) = &mut self.slots[sidecar].process else { return };
        if process.is_exchanging || !process.has_read {
            return;
        }
        self.checks.read();
        let snapshot = process.desk.books().fold.snapshot();
        process.store.compact(&snapshot).unwrap();
    }

    /// Something happens in a process, if it is still the one that is meant.
    pub(super) fn in_process(&mut self, side: Side, event: Event) {
        let slot = &mut self.slots[side.0];
        let Some(process) = &slot.process else { return };
        if process.pid != side.1 {
            return;
        }
        if process.is_paused {
            slot.frozen.push(event);
            return;
        }
        let Some(mut process) = slot.process.take() else { return };
        let touched = self.handle(side, &mut process, event);
        self.settle(side, &mut process, touched);
        self.slots[side.0].process = Some(process);
        if std::mem::take(&mut self.slots[side.0].is_doomed) {
            self.crash(side.0);
        }
    }

    /// Gives the connections that have moved.
    fn handle(&mut self, side: Side, process: &mut Process, event: Event) -> Vec<usize> {
        match event {
            Event::Conn(_, conn, happened) if process.conns.contains_key(&conn) => {
                return self.turn(side, process, conn, happened);
            }
            Event::Health(_) => process.look_after(),
            Event::Pulse(_, pulse) => process.pulse(pulse),
            Event::Repair(_, pulse) => {
                match pulse {
                    Pulse::LinkUp(link) => process.mender_link_up(link),
                    Pulse::FromRedis(link, bytes) => process.mender_reply(link, &bytes),
                    Pulse::LinkDown(link, why) => process.mender_link_down(link, why),
                }
                process.mend();
            }
            Event::Mend(_) => process.mend(),
            Event::Sweep(_) => {
                process.sweep();
                self.after(SWEEP, Event::Sweep(side));
            }
            Event::OpenLog(_) => self.open_log(side, process),
            Event::Exchange(_, rows) => self.exchange(side, process, &rows),
            Event::Exchanged(_, result) => return self.exchanged(side, process, result),
            _ => {}
        }
        Vec::new()
    }

    fn turn(
        &mut self,
        side: Side,
        process: &mut Process,
        conn: usize,
        happened: Happened,
    ) -> Vec<usize> {
        let is_over = process.turn(conn, happened);
        self.carry_out(side, process, conn);
        if is_over && let Some(state) = process.conns.remove(&conn) {
            self.after(Duration::from_micros(100), Event::ConnLost(state.client, conn));
        }
        vec![conn]
    }

    fn carry_out(&mut self, side: Side, process: &mut Process, conn: usize) {
        let Some(state) = process.conns.get_mut(&conn) else { return };
        let client = state.client;
        for act in state.take_acts() {
            match act {
                Act::ToClient(bytes) => self.send_to_client(side, client, conn, bytes),
                act => self.act(side, Owner::Conn(conn), act),
            }
        }
    }

    /// What follows from an event: other connections that may go on, the threads that are woken.
    fn settle(&mut self, side: Side, process: &mut Process, mut touched: Vec<usize>) {
        loop {
            let mut moved = process.verdicts();
            for conn in &moved {
                self.turn(side, process, *conn, Happened::Nothing);
            }
            if std::mem::take(&mut process.nurse.has_new_view) {
                let all: Vec<usize> = process.conns.keys().copied().collect();
                for conn in all {
                    moved.extend(self.turn(side, process, conn, Happened::ViewChanged));
                }
                process.mender.at = process.mender.at.min(self.now() + Duration::from_millis(1));
            }
            if moved.is_empty() {
                break;
            }
            touched.extend(moved);
        }
        let health = std::mem::take(&mut process.nurse.acts);
        health.into_iter().for_each(|act| self.act(side, Owner::Health, act));
        let repair = std::mem::take(&mut process.mender.acts);
        repair.into_iter().for_each(|act| self.act(side, Owner::Repair, act));
        self.look_at_asks(side, process);
        if self.slots[side.0].is_doomed {
            return;
        }
        if process.collect_reports() {
            process.nurse.at = process.nurse.at.min(self.now() + Duration::from_micros(100));
        }
        process.hear_bell();
        self.remind(side, process, &touched);
        if let Some(rows) = process.next_exchange() {
            let (fault, [until, answer]) = self.draw(side.0, rows.is_empty());
            process.planned = Some((fault, answer));
            self.after(until, Event::Exchange(side, rows));
        } else if let Some(at) = process.ledger_at {
            process.reminders.ledger.arm(at, || Event::Ledger(side), self);
        }
    }

    fn look_at_asks(&mut self, side: Side, process: &mut Process) {
        let (asked, early) = {
            let mut books = process.desk.books();
            (std::mem::take(&mut books.asked), std::mem::take(&mut books.early))
        };
        for ((conn, _), answer) in early {
            self.after(Duration::ZERO, Event::Conn(side, conn, Happened::Answer(answer)));
        }
        for asked in asked {
            match asked {
                Asked::Claim => self.at_point(side.0, Point::BeforeClaim),
                Asked::Release => self.at_point(side.0, Point::BeforeRelease),
            }
        }
    }

    /// The process has come to this point: was it to end here?
    pub(crate) fn at_point(&mut self, sidecar: usize, point: Point) {
        let slot = &mut self.slots[sidecar];
        if slot.crash_at == Some(point) {
            slot.crash_at = None;
            slot.is_doomed = true;
            self.note(|| format!("side {sidecar}: at {point:?}"));
        }
    }

    fn remind(&mut self, side: Side, process: &mut Process, touched: &[usize]) {
        let (health, mend) = (process.nurse.at, process.mender.at);
        process.reminders.health.arm(health, || Event::Health(side), self);
        process.reminders.mend.arm(mend, || Event::Mend(side), self);
        for conn in touched {
            let Some(state) = process.conns.get_mut(conn) else { continue };
            let Some(at) = state.deadline() else { continue };
            let event = || Event::Conn(side, *conn, Happened::Nothing);
            state.reminder.arm(at, event, self);
        }
    }

    fn open_log(&mut self, side: Side, process: &mut Process) {
        process.is_exchanging = true;
        if self.slots[side.0].mood == Mood::Hanging {
            return self.after(Duration::from_millis(50), Event::OpenLog(side));
        }
        let (fault, [until, _]) = self.draw(side.0, false);
        // A hanging opening is what `Hanging` is for; one that lands later is one that is lost.
        process.store.script(fault);
        let start = process.start.clone();
        match process.store.open(&start) {
            Ok(log) => {
                process.is_exchanging = false;
                process.desk.books().committer.opened(log, books::now());
            }
            Err(error) => {
                process.desk.books().committer.not_opened(&error.to_string());
                self.after(until + Duration::from_millis(100), Event::OpenLog(side));
            }
        }
        self.checks.read();
    }

    /// The store does its work.
    fn exchange(&mut self, side: Side, process: &mut Process, rows: &std::sync::Arc<Vec<Row>>) {
        if self.slots[side.0].mood == Mood::Hanging {
            return self.after(Duration::from_millis(50), Event::Exchange(side, rows.clone()));
        }
        let (fault, answer) = process.planned.take().unwrap_or_default();
        if matches!(fault, memory::Fault::Late) {
            let late = self.rng.millis(10, 4000);
            self.after(late, Event::Land);
        }
        process.store.script(fault);
        let result = process.store.exchange(rows);
        self.note(|| {
            let rows: Vec<_> = rows.iter().map(shown).collect();
            let how = if result.is_ok() { "done" } else { "failed" };
            format!("ledger {}: {how} [{}]", side.0, rows.join(", "))
        });
        self.checks.read();
        self.after(answer, Event::Exchanged(side, result));
        if rows.iter().any(|row| matches!(row.entry, Entry::Claim(_))) {
            self.at_point(side.0, Point::AfterClaim);
        }
        if rows.iter().any(|row| matches!(row.entry, Entry::Release { .. })) {
            self.at_point(side.0, Point::AfterRelease);
        }
    }

    fn exchanged(
        &mut self,
        side: Side,
        process: &mut Process,
        result: Result<lockside::ledger::store::Seen, lockside::ledger::store::StoreError>,
    ) -> Vec<usize> {
        process.is_exchanging = false;
        let seen = {
            let mut books = process.desk.books();
            let books = &mut *books;
            books.busy_since = None;
            match result {
                Ok(seen) => {
                    let done = books.committer.seen(seen, &mut books.fold, books::now());
                    books.show();
                    Ok(done)
                }
                Err(error) => Err(books.committer.failed(&error, books::now())),
            }
        };
        if let Ok(done) = &seen {
            process.tell(done);
            if self.bug != Some(Bug::SilentConflict) {
                done.disputes.iter().for_each(|dispute| self.checks.reported(&dispute.key));
            }
        }
        for (_, (conn, _), mut answer) in seen.map_or_else(|answers| answers, |done| done.answers) {
            process.desk.books().complete(&mut answer);
            let delay = self.rng.micros(1, 200);
            self.after(delay, Event::Conn(side, conn, Happened::Answer(answer)));
        }
        Vec::new()
    }
}

/// The earliest time for which something is planned: it is planned once.
#[derive(Debug, Default)]
pub(crate) struct Reminder(Option<Duration>);

impl Reminder {
    fn arm(&mut self, at: Duration, event: impl FnOnce() -> Event, world: &mut World) {
        let at = at.max(world.now());
        let is_planned = self.0.is_some_and(|planned| planned <= at && planned > clock::now());
        if !is_planned {
            self.0 = Some(at);
            world.at(at, event());
        }
    }
}

fn shown(row: &Row) -> String {
    let at = format!("{}/{}", row.at.log, row.at.seq);
    let key = |key: &LockKey| String::from_utf8_lossy(key.key()).into_owned();
    let token = |claim: &Claim| {
        String::from_utf8_lossy(&claim.stored[..claim.stored.len().min(18)]).into_owned()
    };
    match &row.entry {
        Entry::Claim(claim) => format!("{at} CLAIM {} {}", key(&claim.key), token(claim)),
        Entry::Grant(claim, fence) => {
            format!("{at} GRANT {} {} {fence}", key(&claim.key), token(claim))
        }
        Entry::Observe(claim) => format!("{at} OBSERVE {} {}", key(&claim.key), token(claim)),
        Entry::Release { key: lock, claim, cause, .. } => {
            format!("{at} RELEASE {} {}/{} {}", key(lock), claim.log, claim.seq, cause.word())
        }
        Entry::Gone { key: lock, stored, fence, .. } => {
            let token = String::from_utf8_lossy(&stored[..stored.len().min(18)]);
            format!("{at} GONE {} {token} up to {fence}", key(lock))
        }
        Entry::Withdraw { key: lock, claim } => {
            format!("{at} WITHDRAW {} {}/{}", key(lock), claim.log, claim.seq)
        }
        Entry::Extend { key: lock, claim, .. } => {
            format!("{at} EXTEND {} {}/{}", key(lock), claim.log, claim.seq)
        }
        Entry::Degraded => format!("{at} DEGRADED"),
        Entry::Healthy(_) => format!("{at} HEALTHY"),
        _ => format!("{at} note"),
    }
}
