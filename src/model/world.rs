//! One state of everything: Redis, the ledger, the sidecars' acquires, and what is on its way.

use crate::lock::acquire::{Input, Outcome, Request};

use super::book::{EMPTY, Name, Place};
use super::laws::Laws;
use super::redis::{Command, Key, VALUES};

/// One thing that happens. Numbers name acquires (and their clients and values), or sidecars.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Move {
    /// A client asks this sidecar for the lock, which asks Redis first.
    Ask {
        acquire: u8,
        sidecar: u8,
    },
    /// As `Ask`, and the sidecar asks the ledger alone.
    AskLedger {
        acquire: u8,
        sidecar: u8,
    },
    /// Redis carries out what the acquire has sent; the reply is under way.
    Execute(u8, Request),
    /// Redis answers so instead, and does nothing.
    Refuse(u8, Input),
    /// The reply arrives (where replies are no steps of their own: Redis has just carried out the
    /// request).
    Deliver(u8, Request, Input),
    /// The reply is lost (likewise).
    LoseReply(u8, Request),
    /// The request is given up. It may be carried out later.
    LoseRequest(u8, Request),
    /// A new link stands, or can't be had.
    Reopen(u8),
    FailReopen(u8),
    /// A request that was given up is carried out.
    Late(u8, Late),
    /// The client's connection ends.
    Gone(u8),
    /// The claim is written.
    Land(u8),
    /// Its sidecar has read it back.
    Answer(u8),
    /// `acquire_timeout` has passed.
    GiveUp(u8),
    /// As `GiveUp`, and the claim still waited for the exchange before it: it is not written.
    Unqueue(u8),
    /// The row that takes the claim back is written.
    TakeBack(u8),
    /// That has been waited for, too long.
    Despair(u8),
    /// The client begins to release.
    Release {
        acquire: u8,
        sidecar: u8,
        how: How,
    },
    /// Redis carries out the release; the reply is under way.
    ExecuteRelease(u8),
    /// The reply arrives, at a sidecar that has read so much of the ledger.
    DeliverRelease(u8, Place),
    /// The release's request or reply is lost.
    LoseRelease(u8),
    /// The release is written.
    LandRelease(u8),
    /// `release_wait` has passed: the client does not wait for the release any more.
    LeaveRelease(u8),
    /// Somebody's repair, made of this sight, is carried out: perhaps late, perhaps again.
    Repair {
        seen: Option<Key>,
        command: Command,
    },
    /// The key's TTL ends.
    RunOut,
    /// Redis has lost its key, or has an older one again.
    Turn(Option<Key>),
    /// Somebody sets this value past every sidecar, or deletes what stands there.
    Foreign(Option<u8>),
    /// Somebody who follows Redis says that this observed hold has ended.
    Vanish(Name),
    /// The sidecar dies, and starts again.
    Crash(u8),
}

/// How a client releases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum How {
    /// `DEL`.
    Delete,
    /// Compare-and-delete.
    Compare,
    /// The sidecar does without Redis.
    Alone,
}

/// A request that was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Late {
    Set,
    Persist,
    Compare,
    Delete,
}

impl Late {
    pub(super) const ALL: [Self; 4] = [Self::Set, Self::Persist, Self::Compare, Self::Delete];

    pub(super) fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// A property that does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Violation {
    /// Two clients were told OK, and neither has begun to release.
    TwoHold,
    /// This client was told OK, and the ledger has another holder, or none.
    HoldsWithoutLedger(u8),
    /// Its client had gone, and it was granted all the same.
    GrantedToNobody(u8),
    /// Its fence is not higher than that of an earlier OK.
    FenceFalls(u8),
    /// Its client was told that it did not get the lock, and it is the ledger's holder, for good.
    HeldByRefused(u8, Outcome),
    /// Its client was told that the lock is released, and it is the ledger's holder.
    ReleasedHolds(u8),
    /// A repair took the key of a lock that is held.
    RepairTook(u8),
    /// Repairs do not bring Redis in line with the ledger.
    NotInLine,
    /// It waits, and nothing can happen that it waits for.
    Stuck(u8),
}

/// What is between an acquire and Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Wire {
    Sent(Request),
    Answered(Request, Input),
    Reopening,
    /// Nothing: the claim is with the ledger.
    Nothing,
}

/// How far an acquire is, as its client sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Stage {
    Before,
    /// The real machine, by its number.
    Asking {
        machine: u16,
        wire: Wire,
    },
    /// The claim had won, and the client is told this once it is taken back.
    Leaving(Outcome),
    /// Told something that is no OK.
    Refused(Outcome),
    /// The connection was lost, for the sidecar died.
    Cut,
    /// Told OK.
    Holding,
    /// The release is with Redis: sent, or answered.
    Releasing {
        sidecar: u8,
        how: How,
        answered: Option<bool>,
    },
    /// The release is with the ledger.
    Ending {
        again: bool,
    },
    /// Told that it is released.
    Released,
    /// Told that there was nothing to release, or an error.
    Unsure,
}

/// What the ledger is to hear of an acquire, and has heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Claim {
    /// Nothing.
    Unasked,
    /// It is to be written.
    Asked,
    /// It is written, and has won or lost; the sidecar has not read that.
    Landed(bool),
    /// The sidecar knows that it has won.
    Won,
    /// It was given up before that was known: if it is written and has won, it is withdrawn.
    GivenUp,
    /// Nobody waits for it, and nobody withdraws it.
    Forgotten,
    /// A row that takes it back is to be written.
    Owes(Back),
    /// There is nothing more to write.
    Settled,
}

/// How a claim that has won is taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Back {
    /// The sidecar had given it up.
    Withdraw,
    /// The sidecar had read that it has won.
    Release,
}

/// A release that is to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct End {
    pub(super) log: u8,
    pub(super) whose: Whose,
}

/// Whom a release speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Whose {
    /// The claim that the table had for the lock.
    Claim(Name),
    /// The client's own value, if it holds the lock then.
    Own,
    /// Whoever holds the lock then.
    Anybody,
}

/// One acquire, from its client's question to its release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Acquire {
    pub(super) stage: Stage,
    pub(super) claim: Claim,
    pub(super) end: Option<End>,
    /// Requests that were given up and may still be carried out.
    pub(super) late: u8,
    pub(super) sidecar: u8,
    pub(super) log: u8,
    pub(super) gone: bool,
    /// The sidecar died before the claim was settled.
    pub(super) orphan: bool,
    pub(super) releases: u8,
}

/// How often these may still happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Left {
    pub(super) crashes: u8,
    pub(super) losses: u8,
    pub(super) goes: u8,
    pub(super) tells: u8,
    pub(super) faults: u8,
    pub(super) others: u8,
}

/// One state of everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct World {
    pub(super) key: Option<Key>,
    pub(super) ledger: Place,
    /// The values that ever stood in Redis for good, as bits.
    pub(super) seen: u8,
    /// How often each sidecar was started again.
    pub(super) runs: [u8; 2],
    pub(super) left: Left,
    pub(super) acquires: [Acquire; VALUES],
}

impl World {
    /// The state in which everything begins.
    pub(super) fn beginning(laws: Laws) -> Self {
        let acquire = Acquire {
            stage: Stage::Before,
            claim: Claim::Unasked,
            end: None,
            late: 0,
            sidecar: 0,
            log: 0,
            gone: false,
            orphan: false,
            releases: 0,
        };
        Self {
            key: None,
            ledger: EMPTY,
            seen: 0,
            runs: [0; 2],
            left: Left {
                crashes: laws.crashes,
                losses: laws.losses,
                goes: laws.goes,
                tells: laws.tells,
                faults: laws.faults,
                others: laws.others,
            },
            acquires: [acquire; VALUES],
        }
    }

    /// The log that a sidecar writes in its present run.
    pub(super) fn log(&self, sidecar: u8) -> u8 {
        1 + sidecar + 2 * self.runs[usize::from(sidecar)]
    }

    /// Everybody has an answer, and nothing more is to be written.
    pub(super) fn has_ended(&self, laws: Laws) -> bool {
        self.acquires[..usize::from(laws.acquires)].iter().all(|acquire| {
            let told = matches!(
                acquire.stage,
                Stage::Refused(_) | Stage::Cut | Stage::Holding | Stage::Released | Stage::Unsure
            );
            told && acquire.late == 0 && acquire.end.is_none() && acquire.claim.is_settled()
        })
    }

    /// What makes no difference any more is made equal.
    pub(super) fn tidy(&mut self) {
        for acquire in &mut self.acquires {
            let is_over = match acquire.stage {
                Stage::Refused(_) | Stage::Cut | Stage::Released => true,
                Stage::Before
                | Stage::Asking { .. }
                | Stage::Leaving(_)
                | Stage::Holding
                | Stage::Releasing { .. }
                | Stage::Ending { .. }
                | Stage::Unsure => false,
            };
            if is_over {
                (acquire.gone, acquire.releases) = (false, 0);
                if acquire.claim.is_settled() {
                    (acquire.sidecar, acquire.log, acquire.claim) = (0, 0, Claim::Settled);
                }
            }
        }
    }

    pub(super) fn set_key(&mut self, key: Option<Key>) {
        self.key = key;
        self.seen |= Key::bit(key);
    }
}

impl Claim {
    /// Nothing more is to be written.
    pub(super) fn is_settled(self) -> bool {
        matches!(self, Self::Unasked | Self::Won | Self::Settled)
    }
}
