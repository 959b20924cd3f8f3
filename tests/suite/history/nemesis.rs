//! Faults at random: each lasts for a bounded time and is undone before the next begins.

use std::time::Duration;

use emulated_sheets::{Emulator, Fault as Google, Kind, Target};

use super::journal::Journal;
use super::random::Random;
use crate::support::{Client, Redis, Relay, Subject, Trouble, poll_for};

/// How long Lockside may take to be healthy again once nothing is wrong any more.
const RECOVERY: Duration = Duration::from_secs(60);

/// What can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// CLIENT KILL of every link.
    KillLinks,
    /// Every link is reset by the network.
    Reset,
    /// Every piece takes some milliseconds.
    Delay,
    /// Lockside itself stands still.
    StopLockside,
    /// Connects are refused, and what stands is reset.
    Refuse,
    /// Connects are closed at once, and what stands is reset.
    Hangup,
    /// Nothing passes for a while.
    BlackHole,
    /// Links are cut after so many bytes.
    CutAfter,
    /// Redis has lost its links; Lockside does not know.
    HalfOpen,
    /// CLIENT PAUSE.
    Pause,
    /// The server stands still.
    StopRedis,
    /// kill -9 of Redis, which comes back with all its data.
    CrashWithData,
    /// kill -9 of Redis, which comes back empty.
    CrashEmpty,
    /// kill -9 of Redis, which comes back with an old dataset.
    CrashOld,
    /// kill -9 of Lockside, which comes back on the same state directory.
    CrashLockside,
    /// Google says 503, or cuts the connection before or after it has written, or writes late.
    SheetFails,
    /// Google does not answer at all.
    SheetHangs,
}

/// Whoever does it, and what it has to do it with.
pub(crate) struct Nemesis<'a> {
    pub(crate) redis: &'a mut Redis,
    pub(crate) relay: &'a Relay,
    pub(crate) subjects: &'a mut [Subject],
    /// Whom the fault of the moment meets, where it meets one.
    at: usize,
    pub(crate) journal: &'a Journal,
    pub(crate) random: Random,
    pub(crate) faults: &'a [Fault],
    /// Where the ledger is a sheet.
    pub(crate) google: Option<&'a Emulator>,
    /// A dataset of some time ago.
    old: Option<Vec<u8>>,
    /// How many faults there were.
    pub(crate) done: usize,
}

impl<'a> Nemesis<'a> {
    pub(crate) fn new(
        (redis, relay): (&'a mut Redis, &'a Relay),
        subjects: &'a mut [Subject],
        journal: &'a Journal,
        random: Random,
        faults: &'a [Fault],
    ) -> Self {
        Self {
            redis,
            relay,
            subjects,
            at: 0,
            journal,
            random,
            faults,
            google: None,
            old: None,
            done: 0,
        }
    }

    /// Fault after fault until `time` is over; then nothing is wrong any more.
    pub(crate) fn rage(&mut self, time: Duration) {
        let end = self.journal.now() + u64::try_from(time.as_micros()).unwrap();
        while self.journal.now() < end {
            self.journal.pass(self.random.millis(0, 700));
            if self.random.chance(30) {
                self.old = Some(self.redis.snapshot());
            }
            let fault = self.random.pick(self.faults);
            self.strike(fault);
            if self.random.chance(40) {
                self.wait_healthy();
            }
        }
        self.wait_healthy();
    }

    /// One fault, for as long as it lasts; sometimes Lockside crashes in the middle of it.
    fn strike(&mut self, fault: Fault) {
        let lasts = self.random.millis(20, 1500);
        self.at = usize::try_from(self.random.below(self.subjects.len() as u64)).unwrap();
        self.note(format!("{fault:?} for {lasts:?}"));
        match fault {
            Fault::KillLinks => drop(self.redis.ask("CLIENT KILL TYPE normal")),
            Fault::Reset => self.relay.reset(),
            Fault::Pause => {
                drop(self.redis.ask(&format!("CLIENT PAUSE {} ALL", lasts.as_millis())));
                self.last(fault, lasts);
            }
            Fault::StopLockside => {
                self.signal_lockside("STOP");
                self.journal.pass(lasts / 2);
                self.signal_lockside("CONT");
            }
            Fault::CrashLockside => self.crash_lockside(),
            Fault::StopRedis => {
                self.redis.process().signal("STOP");
                self.last(fault, lasts);
                self.redis.process().signal("CONT");
            }
            Fault::CrashWithData | Fault::CrashEmpty | Fault::CrashOld => self.crash(fault, lasts),
            Fault::SheetFails | Fault::SheetHangs => self.fail_google(fault, lasts),
            _ => self.trouble(fault, lasts),
        }
    }

    fn fail_google(&mut self, fault: Fault, lasts: Duration) {
        let Some(google) = self.google else { return };
        let after = self.random.millis(500, 4000);
        let kinds = [
            Kind::Status { code: 503, applied: false },
            Kind::Status { code: 500, applied: true },
            Kind::CutBefore,
            Kind::CutAfter,
            Kind::Late { after },
        ];
        match fault {
            Fault::SheetHangs => {
                google.fault(Google::chance(Target::Any, 1.0, Kind::Hang { applied: false }));
            }
            _ => {
                for kind in kinds {
                    google.fault(Google::chance(Target::Any, 0.15, kind));
                }
            }
        }
        self.last(fault, lasts * 3);
        google.clear_faults();
    }

    fn crash(&mut self, fault: Fault, lasts: Duration) {
        self.redis.kill();
        if self.random.chance(70) {
            self.last(fault, lasts);
        }
        match (fault, &self.old) {
            (Fault::CrashWithData, _) => self.redis.start_with_data(),
            (Fault::CrashOld, Some(old)) => self.redis.start_with(old),
            _ => self.redis.start_empty(),
        }
    }

    fn trouble(&mut self, fault: Fault, lasts: Duration) {
        let trouble = match fault {
            Fault::Refuse => Trouble::Refuse,
            Fault::Hangup => Trouble::Hangup,
            Fault::BlackHole => Trouble::BlackHole,
            Fault::HalfOpen => Trouble::HalfOpen,
            Fault::CutAfter => {
                Trouble::CutAfter(1 + usize::try_from(self.random.below(600)).unwrap())
            }
            _ => Trouble::Delay(self.random.millis(1, 30)),
        };
        self.begin(trouble);
        if matches!(fault, Fault::Refuse | Fault::Hangup) {
            self.relay.reset();
        }
        self.last(fault, lasts);
        self.relay.set(Trouble::None);
    }

    /// The fault lasts; Lockside may crash meanwhile, if it may crash at all.
    fn last(&mut self, fault: Fault, lasts: Duration) {
        let crashes = self.faults.contains(&Fault::CrashLockside) && self.random.chance(25);
        self.journal.pass(lasts / 2);
        if crashes {
            self.note(format!("Lockside crashes in {fault:?}"));
            self.crash_lockside();
        }
        self.journal.pass(lasts / 2);
    }

    fn signal_lockside(&self, signal: &str) {
        if let Some(process) = self.subjects[self.at].process() {
            process.signal(signal);
        }
    }

    fn crash_lockside(&mut self) {
        self.subjects[self.at].kill();
        self.subjects[self.at].start_again();
    }

    /// Trouble for all, or for one of several.
    fn begin(&mut self, trouble: Trouble) {
        let alone = self.subjects.len() > 1 && self.random.chance(60);
        let process = self.subjects[self.at].process().filter(|_| alone);
        match (process, trouble) {
            (Some(process), Trouble::Refuse) => self.relay.set_for(process.pid(), Trouble::Hangup),
            (Some(process), trouble) => self.relay.set_for(process.pid(), trouble),
            (None, trouble) => self.relay.set(trouble),
        }
    }

    /// Said at once: whoever waits in vain afterwards wants to know.
    fn note(&mut self, what: String) {
        let line = format!("{:>9} us  at {}: {what}", self.journal.now(), self.at);
        eprintln!("{line}");
        self.done += 1;
    }

    fn wait_healthy(&self) {
        self.subjects.iter().for_each(|subject| wait_healthy(subject.port()));
    }
}

/// Waits until Lockside says that it is healthy.
pub(crate) fn wait_healthy(port: u16) {
    poll_for("healthy again", RECOVERY, || {
        let mut client = Client::attempt(port).ok()?;
        client.try_send(b"LOCKSIDE MODE\r\n").ok()?;
        let mode = client.frame_within(Duration::from_secs(5)).ok()?;
        String::from_utf8_lossy(&mode).contains("healthy").then_some(())
    });
}
