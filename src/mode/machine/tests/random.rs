//! Every short history of the machine, and long random ones: the rules hold, and it recovers.

use proptest::prelude::*;

use super::*;

/// One step of an arbitrary history.
#[derive(Debug, Clone)]
enum Step {
    Wait(u64),
    Report(Report),
    Answer(Finding),
    EndPass(bool),
    Ledger(bool),
}

fn apply(watched: &mut Watched, step: &Step) {
    match step {
        Step::Wait(ms) => watched.pass(MS(*ms)),
        Step::Report(report) => watched.report(report.clone()),
        Step::Answer(finding) if watched.probing.is_some() => watched.answer(finding.clone()),
        Step::EndPass(complete) if watched.pass.is_some() => watched.end_pass(*complete),
        Step::Answer(_) | Step::EndPass(_) => {}
        Step::Ledger(true) => watched.feed(Input::Ledger(Some("it hangs".into()))),
        Step::Ledger(false) => watched.feed(Input::Ledger(None)),
    }
}

/// From any state good probes and complete passes lead to healthy.
fn assert_recovers(mut watched: Watched) {
    watched.feed(Input::Ledger(None));
    watched.live(MS(4000), |_| good("z"));
    assert_eq!((watched.mode(), watched.reachable), (Mode::Healthy, true));
    assert!(watched.machine.is_calm());
    assert_eq!((watched.notes.last(), &watched.lost), (Some(&Some(run("z"))), &None));
}

#[test]
fn every_short_history_keeps_the_rules() {
    let steps = [
        Step::Wait(500),
        Step::Wait(5100),
        Step::Report(Report::Refused),
        Step::Report(Report::WriteTimeout),
        Step::Report(Report::Met(run("b"))),
        Step::Answer(good("a")),
        Step::Answer(good("b")),
        Step::Answer(bad(Sign::Refused)),
        Step::Answer(bad(Sign::Busy)),
        Step::EndPass(true),
        Step::EndPass(false),
    ];
    for start in [Watched::start(Terms::default()), Watched::healthy_on("a")] {
        let mut level = vec![start];
        for _ in 0..4 {
            let mut next = Vec::new();
            for watched in &level {
                for step in &steps {
                    let mut after = watched.clone();
                    apply(&mut after, step);
                    next.push(after);
                }
            }
            level = next;
        }
        for watched in level {
            assert_recovers(watched);
        }
    }
}

fn any_report() -> impl Strategy<Value = Report> {
    prop_oneof![
        Just(Report::Refused),
        Just(Report::Reset),
        Just(Report::ConnectTimeout),
        Just(Report::ReadTimeout),
        Just(Report::WriteTimeout),
        Just(Report::Ledger),
        prop::sample::select(Sign::ALL.to_vec()).prop_map(Report::Error),
        any_run().prop_map(Report::Met),
    ]
}

fn any_run() -> impl Strategy<Value = Arc<str>> {
    prop::sample::select(vec!["a", "b", "?1", "?2"]).prop_map(Arc::from)
}

fn any_finding() -> impl Strategy<Value = Finding> {
    let good = (any_run(), any::<bool>(), any::<bool>())
        .prop_map(|(run, blind, broken)| Finding::Good { run, blind, broken });
    prop_oneof![3 => good, 2 => prop::sample::select(Sign::ALL.to_vec()).prop_map(bad)]
}

fn any_step(with_ledger: bool) -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..1500u64).prop_map(Step::Wait),
        1 => Just(Step::Wait(6000)),
        2 => any_report().prop_map(Step::Report),
        4 => any_finding().prop_map(Step::Answer),
        2 => any::<bool>().prop_map(Step::EndPass),
        1 => any::<bool>().prop_map(move |lost| Step::Ledger(lost && with_ledger)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_history_keeps_the_rules(
        needs_ledger in any::<bool>(),
        steps in prop::collection::vec(any_step(true), 0..120),
    ) {
        let mut watched = Watched::start(Terms { needs_ledger, ..Terms::default() });
        for step in &steps {
            apply(&mut watched, step);
        }
        assert_recovers(watched);
    }

    /// Redis alone changes the mode at most three times in each `recover_after`: the way up to
    /// healthy and down again. The first start may add as much.
    #[test]
    fn changes_are_bounded(steps in prop::collection::vec(any_step(false), 0..200)) {
        let mut watched = Watched::start(Terms::default());
        for step in &steps {
            apply(&mut watched, step);
        }
        let times: Vec<Duration> = watched.changes.iter().skip(1).map(|(at, _)| *at).collect();
        let ups = watched.changes.iter().skip(1).filter(|(_, c)| c.to == Mode::Healthy).count();
        for window in times.windows(7) {
            prop_assert!(window[6] - window[0] >= MS(1000), "{times:?}");
        }
        prop_assert!(ups as u128 <= 1 + watched.now.as_millis() / 1000);
    }
}
