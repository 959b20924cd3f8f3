//! Which faults a scenario has, and when.

use super::*;
use crate::clock::Rng;

const POINTS: [Point; 5] = [
    Point::BeforeClaim,
    Point::AfterClaim,
    Point::AfterAnswer,
    Point::BeforeRelease,
    Point::AfterRelease,
];
const STARTS: [Start; 3] = [Start::Empty, Start::Kept, Start::Old];
const MOODS: [Mood; 3] = [Mood::Slow, Mood::Failing, Mood::Hanging];

impl Run {
    pub(super) fn plan(&mut self, scenario: Scenario) {
        let mut rng = Rng(self.world.rng.bits());
        let rng = &mut rng;
        let begin = rng.millis(1500, 3000);
        match scenario {
            Scenario::Calm => {}
            Scenario::Outage => self.outage(rng, begin, Start::Empty),
            Scenario::OldData => self.old_data(rng, begin),
            Scenario::Asymmetric => self.asymmetric(rng, begin),
            Scenario::Flapping => self.flapping(rng, begin),
            Scenario::Ledger => self.ledger(rng, begin),
            Scenario::Crash => self.crash(rng, begin),
            Scenario::Pause => self.pause(rng, begin),
            Scenario::Race => self.race(rng, begin),
            Scenario::Deaf => self.deaf(rng, begin),
            Scenario::Everything => {
                for _ in 0..rng.below(3) + 2 {
                    let at = rng.millis(1200, 6000);
                    match rng.below(6) {
                        0 => self.outage(rng, at, *rng.clone().pick(&STARTS)),
                        1 => self.old_data(rng, at),
                        2 => self.asymmetric(rng, at),
                        3 => self.ledger(rng, at),
                        4 => self.crash(rng, at),
                        _ => self.pause(rng, at),
                    }
                }
            }
        }
        if rng.percent(30) {
            let sidecar = self.one(rng);
            self.fault(rng.millis(1000, 8000), Fault::Compact(sidecar));
        }
    }

    fn one(&self, rng: &mut Rng) -> usize {
        usize::try_from(rng.below(self.world.slots.len() as u64)).unwrap()
    }

    fn outage(&mut self, rng: &mut Rng, at: Duration, with: Start) {
        let back = at + rng.millis(50, 4000);
        match rng.below(4) {
            0 => {
                self.fault(at, Fault::PauseRedis);
                self.fault(back, Fault::ResumeRedis);
            }
            1 => {
                self.fault(at, Fault::RefuseClients(true));
                self.fault(at + rng.millis(0, 100), Fault::KillRedis);
                self.fault(back, Fault::StartRedis(with));
            }
            _ => {
                self.fault(at, Fault::KillRedis);
                self.fault(back, Fault::StartRedis(with));
            }
        }
        self.fault(back + rng.millis(0, 1500), Fault::Rush);
    }

    fn old_data(&mut self, rng: &mut Rng, at: Duration) {
        self.fault(at.saturating_sub(rng.millis(1, 900)), Fault::SaveRedis);
        match rng.percent(50) {
            true => self.fault(at, Fault::FailOver(Start::Old)),
            false => {
                self.fault(at, Fault::KillRedis);
                self.fault(at + rng.millis(1, 3000), Fault::StartRedis(Start::Old));
            }
        }
        self.fault(at + rng.millis(0, 200), Fault::Rush);
    }

    fn asymmetric(&mut self, rng: &mut Rng, at: Duration) {
        let sidecar = self.one(rng);
        let fault = if rng.percent(50) { Fault::Cut(sidecar) } else { Fault::Hole(sidecar) };
        let back = at + rng.millis(100, 5000);
        self.fault(at, fault);
        self.fault(back, Fault::Join(sidecar));
        if rng.percent(30) {
            let mood = *rng.pick(&MOODS);
            self.fault(rng.millis(1000, 6000), Fault::Mood(sidecar, mood));
        }
        self.fault(back, Fault::Rush);
    }

    fn deaf(&mut self, rng: &mut Rng, begin: Duration) {
        let mut at = begin;
        while at < FAULTS_END {
            let alone = self.one(rng);
            let back = at + rng.millis(2000, 3000);
            for other in (0..self.world.slots.len()).filter(|other| *other != alone) {
                self.fault(at, Fault::Mood(other, Mood::Hanging));
                self.fault(back, Fault::Mood(other, Mood::Fast));
            }
            self.fault(at, Fault::Cut(alone));
            for _ in 0..20 {
                self.fault(at + rng.millis(400, 1500), Fault::Rush);
            }
            self.fault(back, Fault::Join(alone));
            at = back + rng.millis(500, 1500);
        }
    }

    fn flapping(&mut self, rng: &mut Rng, begin: Duration) {
        let mut at = begin;
        while at < FAULTS_END {
            let with = *rng.pick(&STARTS);
            self.fault(at, Fault::KillRedis);
            at += rng.millis(20, 700);
            self.fault(at, Fault::StartRedis(with));
            at += rng.millis(20, 900);
            if rng.percent(20) {
                self.fault(at, Fault::SaveRedis);
            }
        }
    }

    fn ledger(&mut self, rng: &mut Rng, begin: Duration) {
        let mut at = begin;
        for _ in 0..1 + rng.below(3) {
            let mood = *rng.pick(&MOODS);
            for sidecar in 0..self.world.slots.len() {
                if rng.percent(70) {
                    self.fault(at, Fault::Mood(sidecar, mood));
                }
            }
            at += rng.millis(100, 4000);
            for sidecar in 0..self.world.slots.len() {
                self.fault(at, Fault::Mood(sidecar, Mood::Fast));
            }
            at += rng.millis(100, 1000);
        }
        if rng.percent(40) {
            self.outage(rng, begin + rng.clone().millis(0, 2000), Start::Empty);
        }
    }

    fn crash(&mut self, rng: &mut Rng, begin: Duration) {
        let mut at = begin;
        for _ in 0..1 + rng.below(3) {
            let sidecar = self.one(rng);
            match rng.percent(80) {
                true => self.fault(at, Fault::CrashAt(sidecar, *rng.pick(&POINTS))),
                false => self.fault(at, Fault::Crash(sidecar)),
            }
            at += rng.millis(200, 2500);
            self.fault(at, Fault::Start(sidecar));
        }
        if rng.percent(50) {
            self.outage(rng, begin + rng.clone().millis(0, 2000), *rng.clone().pick(&STARTS));
        }
    }

    fn pause(&mut self, rng: &mut Rng, begin: Duration) {
        let sidecar = self.one(rng);
        self.fault(begin, Fault::Pause(sidecar));
        self.fault(begin + rng.millis(10, 6000), Fault::Resume(sidecar));
        match rng.below(3) {
            0 => self.outage(rng, begin + rng.clone().millis(0, 3000), *rng.clone().pick(&STARTS)),
            1 => self.old_data(rng, begin + rng.clone().millis(0, 3000)),
            _ => {}
        }
    }

    fn race(&mut self, rng: &mut Rng, begin: Duration) {
        let with = *rng.pick(&STARTS);
        self.outage(rng, begin, with);
        for _ in 0..30 {
            let at = begin + rng.millis(0, 6000);
            self.fault(at, Fault::Rush);
        }
    }
}
