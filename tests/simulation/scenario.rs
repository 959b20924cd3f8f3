//! Scenarios: which faults, with details that the seed draws; then all faults end, and what must
//! be in the end is looked at.

use std::time::Duration;

use lockside::lock::record::LockKey;
use lockside::mode::Mode;

use crate::checks;
use crate::process::Fleet;
use crate::process::books::Bug;
use crate::redis::Start;
use crate::world::{Event, Fault, Mood, Point, World};

/// What happens in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scenario {
    Calm,
    Outage,
    OldData,
    Asymmetric,
    Flapping,
    Ledger,
    Crash,
    Pause,
    Race,
    Everything,
    /// One loses Redis just as the others lose the ledger, and they go on with Redis: in `fast` a lock
    /// may be granted twice. For planted mistakes; no seed of its own.
    Deaf,
}

impl Scenario {
    /// Of runs that are told by their seed.
    pub(crate) const ALL: [Self; 10] = [
        Self::Calm,
        Self::Outage,
        Self::OldData,
        Self::Asymmetric,
        Self::Flapping,
        Self::Ledger,
        Self::Crash,
        Self::Pause,
        Self::Race,
        Self::Everything,
    ];
}

/// When the faults are over, at the latest.
const FAULTS_END: Duration = Duration::from_secs(9);
/// How long it may take from there until all is well.
const PATIENCE: Duration = Duration::from_secs(90);

/// One run. An error says what was wrong.
pub(crate) struct Run {
    pub(crate) world: World,
}

impl Run {
    pub(crate) fn new(
        fleet: Fleet,
        scenario: Scenario,
        seed: u64,
        bug: Option<Bug>,
        tells: bool,
    ) -> Self {
        let mut draw = crate::clock::Rng(seed ^ 0x00c0_ffee);
        let sidecars = match scenario {
            Scenario::Asymmetric | Scenario::Deaf => 2 + draw.below(2),
            _ => 1 + draw.below(3),
        };
        let sidecars = usize::try_from(sidecars).unwrap();
        let clients = usize::try_from(3 + draw.below(4)).unwrap();
        let keys = usize::try_from(1 + draw.below(4)).unwrap();
        let mut world = World::new(fleet, seed, sidecars, clients, keys);
        world.bug = bug;
        world.redis.loses_reports = bug == Some(Bug::SilentScript);
        world.story = tells.then(Vec::new);
        (0..sidecars).for_each(|sidecar| world.start(sidecar));
        (0..clients).for_each(|client| world.wake(client));
        let mut run = Self { world };
        run.plan(scenario);
        run
    }

    /// Lets it happen.
    pub(crate) fn go(&mut self) -> Result<(), String> {
        self.world.run_until(FAULTS_END);
        self.heal();
        self.world.is_closing = true;
        let end = self.world.now() + PATIENCE;
        let mut why = String::new();
        while self.world.checks.violation.is_none() && self.world.now() < end {
            self.world.run_until(self.world.now() + Duration::from_millis(500));
            match self.unsettled() {
                Some(reason) => {
                    self.world.note(|| format!("not at rest: {reason}"));
                    why = reason;
                }
                None => return self.finish(),
            }
        }
        match &self.world.checks.violation {
            Some(violation) => Err(violation.clone()),
            None => Err(format!("all faults are over, and nothing settles: {why}")),
        }
    }

    fn fault(&mut self, at: Duration, fault: Fault) {
        self.world.at(at, Event::Fault(fault));
    }

    fn heal(&mut self) {
        for sidecar in 0..self.world.slots.len() {
            // A point that was never come to is none any more: nobody would start it again.
            self.world.slots[sidecar].crash_at = None;
            for fault in [
                Fault::Join(sidecar),
                Fault::Mood(sidecar, Mood::Fast),
                Fault::Resume(sidecar),
                Fault::Start(sidecar),
            ] {
                self.fault(Duration::ZERO, fault);
            }
        }
        for fault in
            [Fault::ResumeRedis, Fault::RefuseClients(false), Fault::StartRedis(Start::Kept)]
        {
            self.fault(Duration::ZERO, fault);
        }
    }

    /// What is not yet as it should be in the end.
    fn unsettled(&mut self) -> Option<String> {
        let world = &mut self.world;
        for (id, client) in world.clients.iter().enumerate() {
            if !client.is_at_rest() {
                return Some(format!("client {id} is {:?}", client.doing));
            }
        }
        if world.checks.is_unheard(&world.redis.data) {
            return Some("Redis has a grant that the ledger has not heard of".into());
        }
        for (sidecar, slot) in world.slots.iter().enumerate() {
            let Some(process) = &slot.process else { return Some(format!("{sidecar} is down")) };
            let (mode, _) = process.nurse.machine.shown();
            let waiting = process.desk.books().committer.waiting();
            if mode != Mode::Healthy || waiting > 0 || !process.dirty.is_empty() {
                let dirty = process.dirty.len();
                return Some(format!("{sidecar} is {mode:?}, {waiting} rows, {dirty} dirty keys"));
            }
            if !process.mender.is_idle() {
                return Some(format!("{sidecar} makes a repair pass"));
            }
        }
        world.checks.read();
        if let Some(double) = world.checks.unreported() {
            return Some(double);
        }
        world.redis.expire();
        if let Some((at, open)) = world.undecided_by_the_living() {
            return Some(format!("{at:?} is undecided: {open:?}"));
        }
        // What a run has left undecided is nobody's lock for a repair: Redis may have it or not.
        let is_undecided =
            |key: &[u8]| !world.checks.fold.undecided_on(&LockKey::new(0, key)).is_empty();
        let locks: Vec<_> = world
            .redis
            .data
            .iter()
            .filter(|(key, _)| key.starts_with(b"lock:") && !is_undecided(key))
            .map(|(key, entry)| {
                let expires_at = entry.expires_at.filter(|_| world.fleet != Fleet::Ttl);
                (key.clone(), checks::token(&entry.value), expires_at)
            })
            .collect();
        let mut holders: Vec<_> = world
            .checks
            .fold
            .holders()
            .iter()
            .filter(|holder| !is_undecided(holder.claim.key.key()))
            .map(|holder| {
                (holder.claim.key.key().to_vec(), checks::token(&holder.claim.stored), None)
            })
            .collect();
        holders.sort();
        (locks != holders).then(|| format!("Redis has {locks:?}, the ledger {holders:?}"))
    }

    fn finish(&mut self) -> Result<(), String> {
        self.world.checks.end();
        self.world.checks.violation.clone().map_or(Ok(()), Err)
    }
}

mod plan;
