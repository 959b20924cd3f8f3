//! The checker finds what is planted, and nothing where nothing is wrong.

use std::collections::BTreeMap;

use super::super::event::{Acquired, Ending, Event, Moment, Released, What};
use super::{PROVISIONAL, Verdict, Wrong, judge};

/// A history of key 0 in the making: every call takes ten moments, the next begins later.
#[derive(Default)]
struct History(Vec<Event>, Moment);

impl History {
    fn add(mut self, what: What) -> Self {
        let called = self.1 + 1;
        self.1 = called + 10;
        self.0.push(Event { client: 0, key: 0, called, replied: self.1, how: "", what });
        self
    }

    fn acquire(self, token: &str, told: Acquired) -> Self {
        self.add(What::Acquire(token.into(), told))
    }

    fn granted(self, token: &str) -> Self {
        self.acquire(token, Acquired::Granted)
    }

    fn release(self, token: &str, told: Released) -> Self {
        self.add(What::Release(token.into(), told))
    }

    fn saw(self, token: Option<&str>) -> Self {
        self.add(What::Saw(token.map(Into::into)))
    }

    fn judge(&self) -> Verdict {
        judge(&self.0, &BTreeMap::new())
    }

    /// With this at the end: what Redis has (by its TTL), what is shown.
    fn ends(&self, redis: Option<(&str, i64)>, shown: Option<&str>) -> Verdict {
        let redis = redis.map(|(token, ttl)| (token.into(), ttl));
        let listed = Some(shown.is_some());
        let ending = Ending { redis, shown: shown.map(Into::into), listed };
        judge(&self.0, &BTreeMap::from([(0, ending)]))
    }
}

fn new() -> History {
    History::default()
}

#[track_caller]
fn assert_only(verdict: &Verdict, wrong: Wrong) {
    assert!(!verdict.findings.is_empty(), "{wrong:?} was not found");
    assert!(verdict.findings.iter().all(|finding| finding.wrong == wrong), "{verdict}");
}

#[track_caller]
fn assert_clean(verdict: &Verdict) {
    assert!(verdict.findings.is_empty(), "{verdict}");
}

#[test]
fn a_life_in_order_is_clean() {
    let life = new()
        .granted("a")
        .acquire("b", Acquired::Refused)
        .saw(Some("a"))
        .add(What::Fence("a".into(), 1))
        .release("a", Released::Failed)
        .saw(Some("a"))
        .release("a", Released::Done)
        .saw(None)
        .granted("b")
        .add(What::Fence("b".into(), 2));
    assert_clean(&life.ends(Some(("b", -1)), Some("b")));
    assert_eq!(life.judge().holds, 2);
    assert_clean(&life.release("b", Released::Done).ends(None, None));
}

#[test]
fn a_double_grant() {
    assert_only(&new().granted("a").granted("b").judge(), Wrong::DoubleGrant);
    let long = new().granted("a").granted("b").release("b", Released::Done);
    let verdict = long.granted("c").judge();
    assert_only(&verdict, Wrong::DoubleGrant);
    assert_eq!(verdict.findings.len(), 2, "the first hold goes on behind the second");
}

/// The second is granted while the release of the first is under way: that is no overlap.
#[test]
fn a_grant_during_a_release_is_clean() {
    let mut life = new().granted("a").release("a", Released::Done);
    life.1 -= 9;
    assert_clean(&life.granted("b").judge());
}

/// A release that nobody knows of may have been carried out.
#[test]
fn a_grant_behind_an_unknown_release_is_clean() {
    let life = new().granted("a").release("a", Released::Unknown).granted("b");
    assert_clean(&life.judge());
    assert_clean(&life.release("a", Released::NotHeld).judge());
}

/// A release that was certainly not done ends nothing.
#[test]
fn a_grant_behind_a_release_that_was_not_done() {
    let life = new().granted("a").release("a", Released::Failed).granted("b");
    assert_only(&life.judge(), Wrong::DoubleGrant);
}

#[test]
fn a_lost_lock() {
    let held = || new().granted("a");
    assert_only(&held().saw(None).judge(), Wrong::Lost);
    assert_only(&held().add(What::NotMine("a".into())).judge(), Wrong::Lost);
    assert_only(&held().release("a", Released::NotHeld).judge(), Wrong::Lost);
    assert_only(&held().ends(None, Some("a")), Wrong::Lost);
    assert_only(&held().ends(Some(("a", -1)), None), Wrong::Lost);
    assert_only(&held().ends(Some(("a", 4000)), Some("a")), Wrong::Lost);
    assert_only(&held().ends(Some(("b", -1)), Some("a")), Wrong::Lost);
}

/// What was asked before the grant's reply or after the release's call says nothing.
#[test]
fn asked_at_the_edges_is_clean() {
    let before = new().saw(None).granted("a");
    let mut around = before.saw(None);
    around.0[2].called = 5;
    assert_clean(&around.judge());
    let after = new().granted("a").release("a", Released::Unknown);
    assert_clean(&after.add(What::NotMine("a".into())).saw(None).judge());
}

#[test]
fn a_stranger_inside_a_hold() {
    assert_only(&new().granted("a").saw(Some("b")).judge(), Wrong::Usurped);
    // An acquire of unknown outcome that turns out to have been a grant all the same.
    let taken = new().granted("a").acquire("b", Acquired::Unknown);
    assert_only(&taken.release("b", Released::Done).judge(), Wrong::Usurped);
}

#[test]
fn an_overturned_release() {
    let released = || new().granted("a").release("a", Released::Done);
    let mut late = released();
    assert_clean(&released().saw(Some("a")).judge());
    late.1 += PROVISIONAL;
    assert_only(&late.saw(Some("a")).judge(), Wrong::Overturned);
    assert_only(&released().release("a", Released::Done).judge(), Wrong::Overturned);
    assert_only(&released().ends(Some(("a", -1)), Some("a")), Wrong::Overturned);
    assert_only(&released().ends(None, Some("a")), Wrong::Overturned);
}

#[test]
fn an_orphan() {
    let refused = new().acquire("a", Acquired::Refused);
    assert_only(&refused.ends(Some(("a", -1)), Some("a")), Wrong::Orphan);
    let not_acquired = new().acquire("a", Acquired::Failed);
    assert_only(&not_acquired.ends(Some(("a", -1)), None), Wrong::Orphan);
    assert_only(&new().ends(Some(("foreign", -1)), None), Wrong::Orphan);
}

/// What is unknown to its client may stand at the end, and is listed.
#[test]
fn an_unknown_one_is_listed() {
    let unknown = new().acquire("a", Acquired::Unknown);
    let verdict = unknown.ends(Some(("a", -1)), Some("a"));
    assert_clean(&verdict);
    assert_eq!(verdict.open, [(0, "a".into())]);
    assert_clean(&unknown.ends(None, None));
    let release = new().granted("a").release("a", Released::Unknown);
    assert_eq!(release.ends(Some(("a", -1)), Some("a")).open.len(), 1);
}

#[test]
fn a_fence_that_does_not_grow() {
    let first = new().granted("a").add(What::Fence("a".into(), 7));
    let second = first.release("a", Released::Done).granted("b");
    assert_only(&second.add(What::Fence("b".into(), 7)).judge(), Wrong::Fence);
}

#[test]
fn no_answer_and_a_wrong_one() {
    assert_only(&new().add(What::Hung("GET".into())).judge(), Wrong::Answer);
    assert_only(&new().add(What::Odd("+QUEUED".into())).judge(), Wrong::Answer);
}
