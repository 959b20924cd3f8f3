//! A content follows what changed somewhere else, part by part. Pure.
//!
//! Several clients may share one lock (readers, permits of a semaphore), and their changes may reach
//! the ledger in another order than Redis made them. Changes of different parts go in any order; one
//! of a part that is not what the change began with is refused, for it was made of something else.

use std::collections::{BTreeMap, BTreeSet};

use super::Content;

/// `current` with what changed from `from` to `to`. None if a part that changed is neither as it was
/// before nor as it is after, or nothing would be left. A list is one part.
pub fn follow(current: &Content, from: &Content, to: &Content) -> Option<Content> {
    let followed = match (current, from, to) {
        (Content::Hash(current), Content::Hash(from), Content::Hash(to)) => {
            Content::Hash(follow_parts(current, from, to)?)
        }
        (Content::Sorted(current), Content::Sorted(from), Content::Sorted(to)) => {
            Content::Sorted(follow_parts(current, from, to)?)
        }
        (Content::Set(current), Content::Set(from), Content::Set(to)) => {
            let parts = follow_parts(&keyed(current), &keyed(from), &keyed(to))?;
            Content::Set(parts.into_keys().collect())
        }
        (current, from, to) => (current == from || current == to).then(|| to.clone())?,
    };
    (!followed.is_empty()).then_some(followed)
}

/// True if `current` is as a change from `from` to `to` leaves it, as far as that goes.
pub fn is_followed(current: Option<&Content>, from: &Content, to: &Content) -> bool {
    let Some(current) = current else { return only_takes_away(from, to) };
    follow(current, from, to).is_some_and(|followed| followed == *current)
}

/// True if the two are of one type and have a field or a member in common: one may have become the
/// other.
pub fn shares_a_part(one: &Content, other: &Content) -> bool {
    match (one, other) {
        (Content::Hash(one), Content::Hash(other)) => {
            one.keys().any(|part| other.contains_key(part))
        }
        (Content::Sorted(one), Content::Sorted(other)) => {
            one.keys().any(|part| other.contains_key(part))
        }
        (Content::Set(one), Content::Set(other)) => !one.is_disjoint(other),
        (Content::List(one), Content::List(other)) => one.iter().any(|part| other.contains(part)),
        _ => false,
    }
}

fn only_takes_away(from: &Content, to: &Content) -> bool {
    match (from, to) {
        (Content::Hash(from), Content::Hash(to)) => is_within(to, from),
        (Content::Sorted(from), Content::Sorted(to)) => is_within(to, from),
        (Content::Set(from), Content::Set(to)) => to.is_subset(from),
        _ => false,
    }
}

fn is_within<V: PartialEq>(small: &BTreeMap<Vec<u8>, V>, large: &BTreeMap<Vec<u8>, V>) -> bool {
    small.iter().all(|(name, value)| large.get(name) == Some(value))
}

fn keyed(set: &BTreeSet<Vec<u8>>) -> BTreeMap<Vec<u8>, ()> {
    set.iter().map(|member| (member.clone(), ())).collect()
}

fn follow_parts<V: Clone + PartialEq>(
    current: &BTreeMap<Vec<u8>, V>,
    from: &BTreeMap<Vec<u8>, V>,
    to: &BTreeMap<Vec<u8>, V>,
) -> Option<BTreeMap<Vec<u8>, V>> {
    let mut followed = current.clone();
    let names: BTreeSet<&Vec<u8>> = from.keys().chain(to.keys()).collect();
    for name in names {
        let (before, after, now) = (from.get(name), to.get(name), current.get(name));
        if before == after || now == after {
            continue;
        }
        if now != before {
            return None;
        }
        match after {
            Some(value) => followed.insert(name.clone(), value.clone()),
            None => followed.remove(name),
        };
    }
    Some(followed)
}
