//! Simulation of whole fleets: the real sessions, mode machine, degraded engine, committer, fold and
//! repair passes, with simulated time, network, Redis, store and clients.
//!
//! A run is told by its seed alone: the scenario is the seed's remainder by ten. What fails prints
//! the command that plays it again.
#![allow(clippy::unwrap_used, reason = "a panic is the report of a test")]

mod checks;
mod client;
mod clock;
mod process;
mod redis;
mod scenario;
mod world;

use std::collections::BTreeMap;

use process::Fleet;
use process::books::Bug;
use scenario::{Run, Scenario};

/// Runs of `make test` (strict, and the other fleets), and of `make prove`.
const SEEDS: u64 = 1_000;
const FEW_SEEDS: u64 = 300;
const MANY_SEEDS: u64 = 10_000;
/// Lines of a failed run's story.
const LINES: usize = 40;

fn of(seed: u64) -> Scenario {
    let count = Scenario::ALL.len() as u64;
    Scenario::ALL[usize::try_from(seed % count).unwrap()]
}

/// One seed; a failure tells its story.
fn play(fleet: Fleet, seed: u64) {
    let mut run = Run::new(fleet, of(seed), seed, None, false);
    let Err(what) = run.go() else { return };
    let mut again = Run::new(fleet, of(seed), seed, None, true);
    let told = again.go();
    let story = again.world.story.take().unwrap_or_default();
    let from = story.len().saturating_sub(LINES);
    let name = fleet.name();
    panic!(
        "{}\n\nseed {seed} ({fleet:?}, {:?}): {what}\n(again: {told:?})\nplay it again:\n  \
         LOCKSIDE_SIM_FLEET={name} LOCKSIDE_SIM_SEED={seed} \
         cargo nextest run --test simulation --no-capture one_seed\n",
        story[from..].join("\n"),
        of(seed)
    );
}

/// The seeds of one scenario.
fn play_all(fleet: Fleet, scenario: Scenario, end: u64) {
    (0..end).filter(|seed| of(*seed) == scenario).for_each(|seed| play(fleet, seed));
}

macro_rules! scenarios {
    ($fleet:ident, $seeds:expr) => {
        scenarios! { $fleet, $seeds,
            calm: Calm,
            redis_is_killed_and_comes_back: Outage,
            redis_comes_back_with_old_data: OldData,
            one_sidecar_does_not_reach_redis: Asymmetric,
            redis_flaps: Flapping,
            the_ledger_is_slow_fails_or_hangs: Ledger,
            a_sidecar_crashes_at_a_named_point: Crash,
            a_sidecar_is_stopped_for_a_while: Pause,
            many_clients_race_at_recovery: Race,
            everything_at_once: Everything,
        }
    };
    ($fleet:ident, $seeds:expr, $($name:ident: $scenario:ident,)*) => {
        use super::*;

        $(
            #[test]
            fn $name() {
                play_all(Fleet::$fleet, Scenario::$scenario, $seeds);
            }
        )*

        /// Ten thousand seeds.
        mod long {
            use super::*;

            $(
                #[test]
                #[ignore = "a minute"]
                fn $name() {
                    play_all(Fleet::$fleet, Scenario::$scenario, MANY_SEEDS);
                }
            )*
        }
    };
}

mod strict {
    scenarios! { Strict, SEEDS }
}

mod fast {
    scenarios! { Fast, FEW_SEEDS }
}

mod ttl {
    scenarios! { Ttl, FEW_SEEDS }
}

mod users {
    scenarios! { Users, FEW_SEEDS }
}

mod sheet {
    scenarios! { Sheet, FEW_SEEDS }
}

mod fast_sheet {
    scenarios! { FastSheet, FEW_SEEDS }
}

/// `LOCKSIDE_SIM_FLEET`, strict without it.
fn chosen() -> Fleet {
    let name = std::env::var("LOCKSIDE_SIM_FLEET").unwrap_or_else(|_| "strict".into());
    let known = Fleet::ALL.into_iter().find(|fleet| fleet.name() == name);
    known.expect("LOCKSIDE_SIM_FLEET names a fleet")
}

/// `LOCKSIDE_SIM_SEED`, with its whole story; nothing without it.
#[test]
fn one_seed() {
    let Ok(seed) = std::env::var("LOCKSIDE_SIM_SEED") else { return };
    let seed = seed.parse().expect("LOCKSIDE_SIM_SEED is a number");
    let mut run = Run::new(chosen(), of(seed), seed, None, true);
    let told = run.go();
    for line in run.world.story.take().unwrap_or_default() {
        eprintln!("{line}");
    }
    eprintln!("{:?} {} steps {:?}", of(seed), run.world.steps, run.world.checks.counts);
    told.unwrap();
}

/// What is wrong with `LOCKSIDE_SIM_SEEDS` seeds, one line for each, and what happened in all of
/// them; nothing without it. The first of them is `LOCKSIDE_SIM_FROM`.
#[test]
fn survey() {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let Some(count) = number("LOCKSIDE_SIM_SEEDS") else { return };
    let from = number("LOCKSIDE_SIM_FROM").unwrap_or_default();
    let (mut wrong, mut counts) = (0, BTreeMap::<&str, u64>::new());
    for seed in from..from + count {
        let go = || {
            let mut run = Run::new(chosen(), of(seed), seed, None, false);
            let told = run.go();
            (told, run.world.checks.counts)
        };
        let what = match std::panic::catch_unwind(go) {
            Ok((told, new)) => {
                new.into_iter().for_each(|(what, count)| *counts.entry(what).or_default() += count);
                told.err()
            }
            Err(_) => Some("it panics".to_owned()),
        };
        if let Some(what) = what {
            wrong += 1;
            eprintln!("{seed} {:?}: {what}", of(seed));
        }
    }
    eprintln!("{counts:?}");
    assert_eq!(wrong, 0);
}

/// Seeds that have found a mistake. They are played first and alone, so that what was mended is
/// seen to stay so; what happens in a seed changes with the simulation.
const FOUND: [(Fleet, &[u64]); 4] = [
    (
        Fleet::Strict,
        &[3, 14, 16, 39, 48, 54, 65, 69, 75, 86, 87, 89, 114, 161, 166, 290, 342, 508, 685, 5_265],
    ),
    (Fleet::Fast, &[5_426, 5_606]),
    (Fleet::Ttl, &[2_166, 4_909]),
    (Fleet::FastSheet, &[897, 1458, 1463, 1717, 4496]),
];

#[test]
fn seeds_that_have_found_something() {
    for (fleet, seeds) in FOUND {
        seeds.iter().for_each(|seed| play(fleet, *seed));
    }
}

/// The one scenario that no seed names: played here alone.
#[test]
fn one_loses_redis_just_as_the_others_lose_the_ledger() {
    for (fleet, seed) in (0..40).flat_map(|seed| [(Fleet::Strict, seed), (Fleet::Fast, seed)]) {
        let told = Run::new(fleet, Scenario::Deaf, seed, None, false).go();
        assert_eq!(told, Ok(()), "seed {seed} of {fleet:?}");
    }
}

/// The same seed is the same run.
#[test]
fn a_run_is_told_by_its_seed() {
    for (fleet, seed) in Fleet::ALL.into_iter().flat_map(|fleet| (0..10).map(move |s| (fleet, s))) {
        let story = || {
            let mut run = Run::new(fleet, of(seed), seed, None, true);
            run.go().unwrap();
            run.world.story.take()
        };
        assert!(story() == story(), "seed {seed} of {fleet:?}");
    }
}

fn is_found(fleet: Fleet, scenario: Scenario, bug: Bug) {
    let fails = |seed: &u64| Run::new(fleet, scenario, *seed, Some(bug), false).go().is_err();
    let found = (0..300).find(fails);
    let found = found.unwrap_or_else(|| panic!("{bug:?} is not found in 300 seeds"));
    // By nothing else.
    let without = Run::new(fleet, scenario, found, None, false).go();
    assert_eq!(without, Ok(()), "seed {found} without {bug:?}");
}

macro_rules! planted {
    ($($name:ident: $fleet:ident $scenario:ident $bug:ident,)*) => {$(
        #[test]
        fn $name() {
            is_found(Fleet::$fleet, Scenario::$scenario, Bug::$bug);
        }
    )*};
}

planted! {
    finds_a_grant_before_its_claim: Strict Outage EarlyGrant,
    finds_a_release_before_its_entry: Strict Outage EarlyRelease,
    finds_a_claim_that_is_not_withdrawn: Strict Ledger NoWithdrawal,
    finds_a_table_that_is_not_rebuilt: Strict Crash NoTable,
    finds_a_repair_that_puts_back_what_is_released: Strict Outage StaleRepair,
    finds_a_script_whose_lock_is_not_claimed: Strict Calm SilentScript,
    finds_a_command_whose_second_lock_is_not_claimed: Strict Calm FirstClaim,
    finds_a_grant_that_is_not_mirrored: Fast Outage NoMirror,
    finds_a_double_grant_that_is_not_reported: Fast Deaf SilentConflict,
    finds_a_lease_that_is_shorter_than_it_was_told: Ttl Outage ShortLease,
    finds_a_user_without_rights_that_is_let_in: Users Outage OpenGate,
}
