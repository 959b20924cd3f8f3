//! The machine against a simulated Redis, and against every short and many long random histories.

use super::*;

mod random;

const MS: fn(u64) -> Duration = Duration::from_millis;

fn run(name: &str) -> Arc<str> {
    name.into()
}

fn good(name: &str) -> Finding {
    Finding::Good { run: run(name), blind: false, broken: false }
}

fn bad(sign: Sign) -> Finding {
    Finding::Bad { sign, detail: "".into() }
}

/// A machine with what was seen of it, checked at every step.
///
/// It judges by inputs and effects alone: a pass counts if it began after the last sign of
/// trouble, was of the run that the last probe met, and was complete.
#[derive(Clone)]
struct Watched {
    machine: Machine,
    now: Duration,
    changes: Vec<(Duration, Change)>,
    reachable: bool,
    probing: Option<(bool, bool)>,
    pass: Option<(Arc<str>, u32)>,
    /// Counts what makes a pass under way useless.
    troubles: u32,
    last_run: Option<Arc<str>>,
    complete: Option<(Arc<str>, u32)>,
    last_bad: Option<Duration>,
    /// The last probe's connection broke, and that was no trouble yet.
    broke: bool,
    notes: Vec<Option<Arc<str>>>,
    lost: Option<Cause>,
}

impl Watched {
    fn start(terms: Terms) -> Self {
        let (machine, effects) = Machine::start(Duration::ZERO, terms);
        let mut watched = Self {
            machine,
            now: Duration::ZERO,
            changes: Vec::new(),
            reachable: false,
            probing: None,
            pass: None,
            troubles: 0,
            last_run: None,
            complete: None,
            last_bad: None,
            broke: false,
            notes: Vec::new(),
            lost: None,
        };
        watched.take(effects);
        watched
    }

    fn feed(&mut self, input: Input) {
        self.observe(&input);
        let effects = self.machine.handle(self.now, input);
        self.take(effects);
    }

    fn observe(&mut self, input: &Input) {
        match input {
            Input::Probed { finding: Finding::Good { run, .. }, .. } => {
                if self.last_run.as_ref().is_some_and(|known| known != run) {
                    self.troubles += 1;
                }
                self.last_run = Some(run.clone());
                self.broke = false;
            }
            Input::Probed { finding: Finding::Bad { sign: Sign::Reset, .. }, .. }
                if !self.broke && self.mode() != Mode::Degraded =>
            {
                self.broke = true;
            }
            Input::Probed { finding: Finding::Bad { sign, .. }, .. } => {
                if !matches!(sign, Sign::Busy | Sign::MaxClients) {
                    self.troubles += 1;
                    self.last_bad = Some(self.now);
                    self.broke = false;
                }
            }
            Input::PassEnded { run, complete: true } => {
                if let Some((of, since)) = &self.pass
                    && of == run
                {
                    self.complete = Some((run.clone(), *since));
                }
            }
            Input::PassEnded { .. } | Input::Tick | Input::Report(_) | Input::Ledger(_) => {}
        }
        if matches!(input, Input::Probed { .. }) {
            assert!(self.probing.take().is_some(), "only what was asked for is answered");
        }
        if let Input::PassEnded { run, .. } = input {
            self.pass.take_if(|(of, _)| of == run);
        }
    }

    fn take(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Probe { fresh, deep } => {
                    assert!(self.probing.replace((fresh, deep)).is_none(), "one probe at a time");
                }
                Effect::StartPass(run) => {
                    let pass = Some((run, self.troubles));
                    assert!(std::mem::replace(&mut self.pass, pass).is_none(), "one at a time");
                }
                Effect::StopPass => assert!(self.pass.is_some(), "there is one to stop"),
                Effect::Show(_, reachable) => self.reachable = reachable,
                Effect::Changed(change) => self.changed(change),
                Effect::Lost(lost) => self.lost = lost,
                Effect::NoteDegraded => {
                    assert!(self.notes.last() != Some(&None), "said once");
                    self.notes.push(None);
                }
                Effect::NoteHealthy(run) => self.healthy(run),
            }
        }
        assert_eq!(self.machine.shown(), (self.mode(), self.reachable));
    }

    fn changed(&mut self, change: Change) {
        match self.changes.last() {
            None => assert_eq!(change.cause, Cause::Started),
            Some((_, before)) => {
                assert_eq!(before.to, change.from);
                assert_ne!(change.from, change.to);
                assert_ne!(change.cause, Cause::Started);
            }
        }
        self.changes.push((self.now, change));
    }

    /// No way leads here but by a complete pass on the run that is met now.
    fn healthy(&mut self, run: Arc<str>) {
        assert_eq!(Some(&run), self.last_run.as_ref());
        assert_eq!(Some((run.clone(), self.troubles)), self.complete);
        if let Some(bad) = self.last_bad {
            assert!(self.now - bad >= self.machine.terms.recover_after, "not so soon");
        }
        self.notes.push(Some(run));
    }

    fn mode(&self) -> Mode {
        self.changes.last().map(|(_, change)| change.to).unwrap_or_default()
    }

    fn cause(&self) -> Cause {
        self.changes.last().unwrap().1.cause.clone()
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.feed(Input::Tick);
    }

    fn report(&mut self, report: Report) {
        self.feed(Input::Report(report));
    }

    /// Answers the probe under way at once; there has to be one.
    fn answer(&mut self, finding: Finding) {
        assert!(self.probing.is_some(), "a probe is under way");
        self.feed(Input::Probed { began: self.now, finding });
    }

    fn end_pass(&mut self, complete: bool) {
        let (run, _) = self.pass.clone().expect("a pass is under way");
        self.feed(Input::PassEnded { run, complete });
    }

    /// Lives for `time` with a Redis that answers probes by `redis`, and passes that are complete.
    fn live(&mut self, time: Duration, mut redis: impl FnMut(Duration) -> Finding) {
        let end = self.now + time;
        loop {
            if self.probing.is_some() {
                let finding = redis(self.now);
                self.answer(finding);
            } else if self.pass.is_some() {
                self.end_pass(true);
            } else {
                let next = self.machine.wake_at().expect("nothing is under way");
                assert!(next > self.now, "time goes on");
                if next > end {
                    self.now = end;
                    return;
                }
                self.now = next;
                self.feed(Input::Tick);
            }
        }
    }

    fn healthy_on(name: &str) -> Self {
        let mut watched = Self::start(Terms::default());
        watched.answer(good(name));
        watched.end_pass(true);
        assert_eq!(watched.mode(), Mode::Healthy);
        watched
    }
}

#[test]
fn a_first_start_waits_for_nothing_but_the_pass() {
    let mut watched = Watched::start(Terms::default());
    assert_eq!((watched.mode(), watched.reachable), (Mode::Recovering, true));
    assert_eq!(watched.probing, Some((true, true)));
    watched.answer(good("a"));
    assert_eq!(watched.mode(), Mode::Recovering);
    watched.end_pass(false);
    assert_eq!((watched.mode(), &watched.pass), (Mode::Recovering, &None));
    watched.pass(PASS_PAUSE);
    watched.end_pass(true);
    assert_eq!((watched.mode(), watched.cause()), (Mode::Healthy, Cause::Repaired));
    assert_eq!(watched.notes, [Some(run("a"))]);
}

#[test]
fn a_first_start_without_redis_is_degraded_at_once() {
    let mut watched = Watched::start(Terms::default());
    watched.answer(bad(Sign::Refused));
    assert_eq!((watched.mode(), watched.reachable), (Mode::Degraded, false));
    assert_eq!((watched.cause(), &watched.notes[..]), (watched.lost.clone().unwrap(), &[None][..]));
    watched.live(MS(5000), |_| good("a"));
    assert_eq!((watched.mode(), &watched.lost), (Mode::Healthy, &None));
    let recovering = watched.changes.iter().find(|(_, change)| change.to == Mode::Recovering);
    let (at, change) = &watched.changes[2];
    assert_eq!((change.to, &change.cause), (Mode::Recovering, &Cause::Back));
    assert!(recovering.is_some() && *at >= MS(1500) && *at <= MS(1700), "{at:?}");
}

#[test]
fn a_broken_connection_is_no_outage_and_a_refused_probe_is_one() {
    let mut watched = Watched::healthy_on("a");
    watched.now += MS(100);
    watched.report(Report::Reset);
    assert_eq!(watched.probing, Some((true, false)), "at once, by a new connection");
    watched.answer(good("a"));
    assert_eq!(watched.mode(), Mode::Healthy);
    watched.now += MS(100);
    watched.report(Report::Refused);
    watched.now += MS(3);
    watched.answer(bad(Sign::Refused));
    assert_eq!((watched.mode(), watched.reachable), (Mode::Degraded, false));
    let (_, change) = watched.changes.last().unwrap();
    assert_eq!(change.detected_after, Some(MS(3)), "from the command on, not from the probe");
}

#[test]
fn a_probe_whose_new_connection_breaks_is_made_once_more() {
    let mut watched = Watched::healthy_on("a");
    for _ in 0..3 {
        watched.pass(MS(500));
        watched.answer(bad(Sign::Reset));
        assert_eq!((watched.mode(), watched.reachable), (Mode::Healthy, true));
        watched.pass(PROBE_GAP);
        assert_eq!(watched.probing, Some((true, false)), "by another new connection");
        watched.answer(good("a"));
        assert_eq!(watched.mode(), Mode::Healthy, "each is looked at for itself");
    }
    watched.pass(MS(500));
    watched.answer(bad(Sign::Reset));
    watched.pass(PROBE_GAP);
    watched.answer(bad(Sign::Reset));
    assert_eq!((watched.mode(), watched.reachable), (Mode::Degraded, false));
    let (_, change) = watched.changes.last().unwrap();
    assert_eq!(change.detected_after, Some(PROBE_GAP), "from the first on");
}

#[test]
fn reachable_and_usable_are_two_facts() {
    for sign in Sign::ALL {
        let mut watched = Watched::healthy_on("a");
        watched.pass(MS(500));
        watched.answer(bad(sign));
        if matches!(sign, Sign::Busy | Sign::MaxClients | Sign::Reset) {
            assert_eq!((watched.mode(), watched.reachable), (Mode::Healthy, true), "{sign:?}");
        } else {
            let expected = (Mode::Degraded, sign.is_reachable());
            assert_eq!((watched.mode(), watched.reachable), expected, "{sign:?}");
        }
    }
}

#[test]
fn busy_is_waited_out_for_command_timeout() {
    let mut watched = Watched::healthy_on("a");
    watched.live(MS(5000), |_| bad(Sign::Busy));
    assert_eq!(watched.mode(), Mode::Healthy);
    watched.live(MS(1000), |_| bad(Sign::Busy));
    assert_eq!((watched.mode(), watched.reachable), (Mode::Degraded, true));
    let (_, change) = watched.changes.last().unwrap();
    assert!(change.detected_after.unwrap() > MS(5000), "from its first sign on");
    let mut watched = Watched::healthy_on("a");
    watched.live(MS(4000), |_| bad(Sign::Busy));
    watched.live(MS(1000), |_| good("a"));
    watched.live(MS(4000), |_| bad(Sign::Busy));
    assert_eq!(watched.mode(), Mode::Healthy, "counted from its own beginning");
}

#[test]
fn two_write_timeouts_are_an_outage_whatever_a_probe_says() {
    let mut watched = Watched::healthy_on("a");
    watched.live(MS(5100), |_| good("a"));
    watched.report(Report::WriteTimeout);
    assert_eq!(watched.probing, Some((false, true)), "by a write that leaves something");
    watched.answer(good("a"));
    watched.now += MS(1001);
    watched.report(Report::WriteTimeout);
    assert_eq!(watched.mode(), Mode::Healthy, "too far apart");
    watched.now += MS(900);
    watched.report(Report::WriteTimeout);
    assert_eq!((watched.mode(), watched.cause()), (Mode::Degraded, Cause::WriteTimeouts));
    assert!(watched.reachable);
    let (_, change) = watched.changes.last().unwrap();
    assert_eq!(change.detected_after, Some(MS(900)));
    watched.live(MS(3000), |_| good("a"));
    for _ in 0..2 {
        watched.report(Report::WriteTimeout);
        watched.live(MS(10), |_| good("a"));
    }
    assert_eq!(watched.mode(), Mode::Healthy, "late ones of before count no more");
}

#[test]
fn an_error_reply_that_a_probe_cannot_refute_counts() {
    let blind = || Finding::Good { run: run("a"), blind: true, broken: false };
    let mut watched = Watched::healthy_on("a");
    watched.now += MS(100);
    watched.report(Report::Error(Sign::ReadOnly));
    watched.answer(good("a"));
    assert_eq!(watched.mode(), Mode::Healthy, "the probe has written");
    watched.now += MS(100);
    watched.report(Report::Error(Sign::ReadOnly));
    watched.answer(blind());
    assert_eq!((watched.mode(), watched.reachable), (Mode::Degraded, true));
    watched.live(MS(3000), |_| blind());
    assert_eq!(watched.mode(), Mode::Healthy);
    watched.report(Report::Error(Sign::MaxClients));
    assert_eq!((watched.mode(), watched.probing), (Mode::Healthy, None), "that client only");
}

#[test]
fn another_run_is_repaired_at_once() {
    let mut watched = Watched::healthy_on("a");
    watched.pass(MS(500));
    watched.answer(good("b"));
    assert_eq!((watched.mode(), watched.cause()), (Mode::Recovering, Cause::OtherRun));
    assert_eq!(watched.pass.as_ref().unwrap().0, run("b"));
    assert_eq!(watched.notes, [Some(run("a")), None]);
    watched.end_pass(true);
    assert_eq!(watched.mode(), Mode::Recovering, "not before recover_after");
    watched.live(MS(1000), |_| good("b"));
    assert_eq!(watched.mode(), Mode::Healthy);
    assert_eq!(watched.notes, [Some(run("a")), None, Some(run("b"))]);
}

#[test]
fn a_worker_that_meets_another_run_is_believed_until_a_new_connection_tells() {
    let mut watched = Watched::healthy_on("a");
    watched.now += MS(100);
    watched.report(Report::Met(run("a")));
    assert_eq!((watched.mode(), watched.probing), (Mode::Healthy, None));
    watched.report(Report::Met(run("b")));
    assert_eq!((watched.mode(), watched.probing), (Mode::Recovering, Some((true, true))));
    assert!(watched.pass.is_none(), "of which run is not known yet");
    watched.answer(good("b"));
    assert_eq!(watched.pass.as_ref().unwrap().0, run("b"));
    // Another fail-over while the pass runs: its end means nothing.
    watched.now += MS(100);
    watched.report(Report::Met(run("c")));
    watched.answer(good("b"));
    watched.end_pass(true);
    assert!(watched.pass.is_some(), "once more, since the run was in doubt meanwhile");
    watched.live(MS(2000), |_| good("b"));
    assert_eq!(watched.mode(), Mode::Healthy);
}

#[test]
fn a_run_that_is_not_told_goes_by_the_name_that_others_met() {
    let mut watched = Watched::healthy_on("?1");
    watched.report(Report::Met(run("a")));
    watched.report(Report::Met(run("a")));
    assert_eq!(watched.mode(), Mode::Healthy);
    watched.report(Report::Met(run("b")));
    assert_eq!(watched.mode(), Mode::Recovering);
}

#[test]
fn whatever_breaks_before_redis_counts_as_back_starts_the_wait_again() {
    let broken = |run: &str| Finding::Good { run: run.into(), blind: false, broken: true };
    for finding in [good("b"), broken("a"), bad(Sign::Loading)] {
        let mut watched = Watched::start(Terms::default());
        watched.answer(bad(Sign::Refused));
        watched.live(MS(1400), |_| good("a"));
        assert_eq!(watched.mode(), Mode::Degraded);
        watched.now += MS(50);
        watched.report(Report::Reset);
        let after = match &finding {
            Finding::Good { run, .. } => run.to_string(),
            Finding::Bad { .. } => "a".into(),
        };
        watched.answer(finding.clone());
        watched.live(MS(900), |_| good(&after));
        assert_eq!(watched.mode(), Mode::Degraded, "{finding:?}");
        watched.live(MS(1000), |_| good(&after));
        assert_eq!(watched.mode(), Mode::Healthy, "{finding:?}");
    }
}

#[test]
fn without_the_ledger_strict_is_blocked_and_fast_only_without_redis() {
    let trouble = || Input::Ledger(Some("the disk is full".into()));
    let mut watched = Watched::healthy_on("a");
    watched.feed(trouble());
    assert_eq!((watched.mode(), watched.reachable), (Mode::Blocked, true));
    assert_eq!(watched.cause().to_string(), "the disk is full");
    watched.live(MS(1000), |_| bad(Sign::Refused));
    assert_eq!((watched.mode(), watched.reachable), (Mode::Blocked, false));
    watched.feed(Input::Ledger(None));
    assert_eq!((watched.mode(), watched.cause()), (Mode::Degraded, Cause::LedgerBack));

    let mut watched = Watched::start(Terms { needs_ledger: false, ..Terms::default() });
    watched.answer(good("a"));
    watched.feed(trouble());
    assert_eq!(watched.mode(), Mode::Blocked);
    watched.end_pass(true);
    assert_eq!(watched.mode(), Mode::Healthy);
    watched.live(MS(600), |_| bad(Sign::ReadOnly));
    assert_eq!((watched.mode(), watched.reachable), (Mode::Blocked, true));
}

/// Up for `up`, down for `down`, in turn, each time as another run: how often the mode changes in
/// a minute.
fn flap(up: u64, down: u64) -> usize {
    let mut watched = Watched::healthy_on("r0");
    let before = watched.changes.len();
    watched.live(MS(60_000), |now| {
        let period = MS(up + down).as_millis();
        match now.as_millis() % period {
            at if at < MS(up).as_millis() => good(&format!("r{}", now.as_millis() / period)),
            _ => bad(Sign::Refused),
        }
    });
    watched.changes.len() - before
}

#[test]
fn a_flapping_redis_does_not_make_the_mode_flap() {
    for (up, down) in [(300, 300), (100, 900), (900, 100), (450, 50), (999, 1)] {
        let changes = flap(up, down);
        assert!((1..=3).contains(&changes), "{up} ms up, {down} ms down: {changes} changes");
    }
    let changes = flap(2000, 300);
    assert!((3..=3 * 27).contains(&changes), "{changes}");
}

#[test]
fn runs_that_take_turns_do_not_make_the_mode_flap() {
    let mut watched = Watched::healthy_on("a");
    let before = watched.changes.len();
    let mut turn = 0;
    watched.live(MS(60_000), |_| {
        turn += 1;
        good(if turn % 2 == 0 { "a" } else { "b" })
    });
    assert!(watched.changes.len() - before <= 1, "{:?}", watched.changes);
}

#[test]
fn failing_clients_cost_a_bounded_number_of_probes() {
    let mut watched = Watched::healthy_on("a");
    let mut probes = 0;
    for _ in 0..1000 {
        watched.now += MS(1);
        watched.report(Report::Reset);
        if watched.probing.is_some() {
            probes += 1;
            watched.answer(good("a"));
        }
    }
    assert!((40..=50).contains(&probes), "{probes}");
    assert_eq!(watched.mode(), Mode::Healthy);
}
