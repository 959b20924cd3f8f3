//! An EXEC whose releases met holds that were over.

use crate::lock::record::LockKey;
use crate::resp::encode;
use crate::resp::reply::Reply;
use crate::session::operation::{Flow, Scope, over};
use crate::session::state::Seen;

use super::Executing;

/// What an EXEC's reply says of locks.
#[derive(Default)]
pub(super) struct Said {
    /// Locks that were released, each with its place in the reply.
    pub(super) released: Vec<(usize, LockKey)>,
    /// Places of looks at locks, and of scripts.
    pub(super) looks: Vec<usize>,
    pub(super) scripts: Vec<usize>,
    /// Places of looks at what the transaction has taken itself.
    pub(super) own: Vec<usize>,
    /// What its client has read of the locks that it watches.
    pub(super) seen: Vec<Seen>,
}

impl Executing {
    /// True if nothing but values that its client had seen was deleted in Redis: those were old, and
    /// nobody's hold was touched.
    pub(super) fn has_seen(&self, ended: &[LockKey]) -> bool {
        let is_seen = |lock: &LockKey| {
            self.said.seen.iter().any(|seen| seen.lock == *lock && seen.claim.is_some())
        };
        self.taken.is_empty() && !ended.is_empty() && ended.iter().all(is_seen)
    }

    /// Answers. What is said to be released here was released by another before (`ended`): no element
    /// claims it. With WATCH, and nothing else done, that is a transaction that was not carried out.
    pub(super) fn disclaim(&mut self, ended: &[LockKey], scope: &mut Scope<'_, '_>) -> Flow {
        if ended.is_empty() {
            return self.answer(scope);
        }
        ended.iter().for_each(|lock| scope.shared().repairs.touch(lock));
        for (place, element) in self.elements.iter_mut().enumerate() {
            let is_over = |(at, lock): &&(usize, LockKey)| *at == place && ended.contains(lock);
            let count = self.said.released.iter().filter(is_over).count();
            if self.said.scripts.contains(&place) && count > 0 {
                element.clear();
                encode::error(element, OVER.as_bytes());
            } else {
                over::disclaim(element, count, scope.state.protocol);
            }
        }
        if !self.said.seen.is_empty() && self.has_done_nothing() {
            let mut reply = Vec::new();
            encode::null_array(&mut reply, scope.state.protocol);
            return scope.answer(&reply);
        }
        self.answer(scope)
    }

    fn has_done_nothing(&self) -> bool {
        let is_nothing = |(place, element): (usize, &Vec<u8>)| {
            let is_release = self.said.released.iter().any(|(at, _)| *at == place);
            let reply = Reply::parse(element).map(|(reply, _)| reply);
            self.said.looks.contains(&place)
                || is_release && matches!(reply, Some(Reply::Null | Reply::Integer(0)))
        };
        self.elements.iter().enumerate().all(is_nothing)
    }
}

const OVER: &str = "TRYAGAIN lockside: not released: the hold had been ended before by another";
