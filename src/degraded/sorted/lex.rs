//! Ranges of members by their bytes (`BYLEX`), for sets whose scores are all the same.

use crate::degraded::reply::Reply;
use crate::degraded::turn::{Outcome, Stop, Turn, arg};
use crate::resp::Args;

/// An end of a range of names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bound<'a> {
    Least,
    Greatest,
    Closed(&'a [u8]),
    Open(&'a [u8]),
}

impl<'a> Bound<'a> {
    fn parse(text: &'a [u8]) -> Result<Self, Stop> {
        match text.split_first() {
            Some((b'-', [])) => Ok(Self::Least),
            Some((b'+', [])) => Ok(Self::Greatest),
            Some((b'[', name)) => Ok(Self::Closed(name)),
            Some((b'(', name)) => Ok(Self::Open(name)),
            _ => Err(Stop::error("ERR min or max not valid string range item")),
        }
    }
}

/// Names between two ends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Names<'a> {
    min: Bound<'a>,
    max: Bound<'a>,
}

impl<'a> Names<'a> {
    /// Reads both ends.
    pub(super) fn parse(min: &'a [u8], max: &'a [u8]) -> Result<Self, Stop> {
        Ok(Self { min: Bound::parse(min)?, max: Bound::parse(max)? })
    }

    /// True for a name between them.
    pub(super) fn has(&self, name: &[u8]) -> bool {
        let above = match self.min {
            Bound::Least => true,
            Bound::Greatest => false,
            Bound::Closed(min) => name >= min,
            Bound::Open(min) => name > min,
        };
        let below = match self.max {
            Bound::Least => false,
            Bound::Greatest => true,
            Bound::Closed(max) => name <= max,
            Bound::Open(max) => name < max,
        };
        above && below
    }
}

impl Turn<'_> {
    pub(super) fn zlexcount(&self, args: Args<'_>) -> Outcome {
        let names = Names::parse(arg(args, 2), arg(args, 3))?;
        let members = self.sorted(&self.key(arg(args, 1)))?.into_iter().flatten();
        Ok(Reply::count(members.filter(|(name, _)| names.has(name)).count()))
    }

    pub(super) fn zremrange_by_lex(&mut self, args: Args<'_>) -> Outcome {
        let names = Names::parse(arg(args, 2), arg(args, 3))?;
        let key = self.key(arg(args, 1));
        let members = self.sorted(&key)?.into_iter().flatten().map(|(name, _)| name);
        let gone: Vec<Vec<u8>> = members.filter(|name| names.has(name)).cloned().collect();
        self.remove_members(&key, &gone)
    }
}
