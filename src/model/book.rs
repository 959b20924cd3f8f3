//! The ledger of the model: the real fold, after every sequence of rows that comes up.
//!
//! A ledger is named by its [`Place`] in a tree: the root is the empty one, each row leads one
//! further. So a state of the world needs two bytes for it, each sequence is folded once, and all
//! that a reader may have read is known: the places before it. A row that changes nothing leads
//! nowhere.

use std::collections::HashMap;
use std::sync::Arc;

use crate::config::Conflict;
use crate::ledger::fold::{Fold, Snapshot, Standing as Known};
use crate::ledger::{Cause, Claim, Entry, Guarantee, Outcome, Position, Row};
use crate::lock::envelope::Guard;
use crate::lock::record::LockKey;
use crate::repair::Standing;
use crate::repair::plan::{Found, Hold, Left, Plan, Repair, Rest, Says, Terms, Why, plan};

use super::laws::Twin;
use super::redis::{Command, Key, VALUES};

/// A ledger: the rows from the root to here.
pub(super) type Place = u16;

/// The ledger that has no rows.
pub(super) const EMPTY: Place = 0;

/// Where an entry stands, in two bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Name {
    log: u8,
    seq: u8,
}

/// What a row says; acquires and values are named by their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Say {
    Claim {
        acquire: u8,
        value: u8,
    },
    Observe(u8),
    Release(Name),
    Withdraw(Name),
    /// A release for which nobody was told OK.
    Undelivered(Name),
    /// The end of what was only observed.
    Vanish(Name),
}

/// What has become of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Came {
    Won,
    Lost,
    Released,
    NotHeld,
    Noted,
}

/// What is known of one place.
struct Page {
    fold: Fold,
    before: Option<Place>,
    holder: Option<(u8, Name)>,
    /// For each acquire: where its claim stands, under which name it has won, and its fence.
    claims: [Option<Name>; VALUES],
    won: [Option<Name>; VALUES],
    fences: [u64; VALUES],
    /// Values that a repair has told the ledger of.
    told: [bool; VALUES],
    /// What repairs by readers that are here or were here before may do, by what they have seen.
    repairs: Vec<(Option<Key>, Command)>,
    /// Holds that were only observed, here or before.
    observed: Vec<Name>,
}

/// All ledgers that have come up.
pub(super) struct Book {
    twin: Twin,
    key: LockKey,
    pages: Vec<Page>,
    known: HashMap<(Place, u8, Say), (Place, Came)>,
}

impl Book {
    pub(super) fn new(twin: Twin) -> Self {
        let mut book = Self {
            twin,
            key: LockKey::new(0, b"lock:a"),
            pages: Vec::new(),
            known: HashMap::new(),
        };
        book.pages.push(Page {
            fold: Fold::default(),
            before: None,
            holder: None,
            claims: [None; VALUES],
            won: [None; VALUES],
            fences: [0; VALUES],
            told: [false; VALUES],
            repairs: Vec::new(),
            observed: Vec::new(),
        });
        book.pages[0].repairs = book.repairs_of(&book.pages[0]);
        book
    }

    /// How many different ledgers there were.
    pub(super) fn len(&self) -> usize {
        self.pages.len()
    }

    /// Whose value holds the lock, and the name of its claim.
    pub(super) fn holder(&self, place: Place) -> Option<(u8, Name)> {
        self.page(place).holder
    }

    /// Where the acquire's claim stands, if it has won.
    pub(super) fn claim_of(&self, place: Place, acquire: u8) -> Option<Name> {
        self.page(place).claims[usize::from(acquire)]
    }

    /// The name under which the acquire's claim has won.
    pub(super) fn won_by(&self, place: Place, acquire: u8) -> Option<Name> {
        self.page(place).won[usize::from(acquire)]
    }

    /// The acquire's fence; 0 for none.
    pub(super) fn fence(&self, place: Place, acquire: u8) -> u64 {
        self.page(place).fences[usize::from(acquire)]
    }

    /// Everything that a reader may know who has read at least the claim of the acquire `from`;
    /// the newest first.
    pub(super) fn readings(&self, place: Place, from: Option<u8>) -> Vec<Place> {
        let mut readings = vec![place];
        let mut at = place;
        while let Some(before) = self.page(at).before {
            if from.is_some_and(|acquire| self.claim_of(before, acquire).is_none()) {
                break;
            }
            readings.push(before);
            at = before;
        }
        readings
    }

    /// Repairs that somebody may have begun who has read the ledger up to here or less.
    pub(super) fn repairs(&self, place: Place) -> &[(Option<Key>, Command)] {
        &self.page(place).repairs
    }

    /// Holds that were only observed when somebody read them, who may say at any time that they have
    /// ended.
    pub(super) fn observed(&self, place: Place) -> &[Name] {
        &self.page(place).observed
    }

    /// The repair that a reader of everything makes of what it sees; whether it is content.
    pub(super) fn repair(&self, place: Place, seen: Option<Key>) -> (Option<Command>, bool) {
        self.plan(self.page(place), seen)
    }

    /// The ledger with one more row, of this log.
    pub(super) fn write(&mut self, place: Place, log: u8, say: Say) -> (Place, Came) {
        if let Some(known) = self.known.get(&(place, log, say)) {
            return *known;
        }
        let written = self.turn_page(place, log, say);
        self.known.insert((place, log, say), written);
        written
    }

    fn page(&self, place: Place) -> &Page {
        &self.pages[usize::from(place)]
    }

    fn turn_page(&mut self, place: Place, log: u8, say: Say) -> (Place, Came) {
        let page = self.page(place);
        let seq = page.fold.log(u64::from(log)).map_or(0, |log| log.last_seq) + 1;
        let at = Position { log: u64::from(log), seq };
        let mut fold = page.fold.clone();
        if self.twin == Twin::ForgetsTheDead && matches!(say, Say::Observe(_)) {
            fold = Fold::from(Snapshot { dead: Default::default(), ..fold.snapshot() });
        }
        let outcome = fold.apply(&Row { at, entry: self.entry(say) });
        let mut new = Page {
            holder: fold.holder(&self.key).map(|h| (number_of(&h.claim.stored), name(h.at))),
            before: Some(place),
            claims: page.claims,
            won: page.won,
            fences: page.fences,
            told: page.told,
            repairs: Vec::new(),
            observed: page.observed.clone(),
            fold,
        };
        if let Some(holder) = new.fold.holder(&self.key)
            && new.fold.is_observed(&self.key, holder.at)
            && !new.observed.contains(&name(holder.at))
        {
            new.observed.push(name(holder.at));
        }
        let came = match (say, outcome) {
            (Say::Claim { acquire, .. }, Outcome::Won { claim, fence }) => {
                let acquire = usize::from(acquire);
                new.claims[acquire] = Some(name(at));
                new.won[acquire] = Some(name(claim));
                new.fences[acquire] = fence;
                Came::Won
            }
            (Say::Claim { .. }, _) => Came::Lost,
            (Say::Observe(value), _) => {
                new.told[usize::from(value)] = true;
                Came::Noted
            }
            (_, Outcome::Released) => Came::Released,
            _ => Came::NotHeld,
        };
        let changes_nothing = new.told == page.told
            && without_logs(page.fold.snapshot()) == without_logs(new.fold.snapshot());
        if changes_nothing {
            return (place, came);
        }
        new.repairs = self.repairs_of(&new);
        for repair in &page.repairs {
            if !new.repairs.contains(repair) {
                new.repairs.push(*repair);
            }
        }
        self.pages.push(new);
        let place = Place::try_from(self.pages.len() - 1).expect("no more ledgers than names");
        (place, came)
    }

    fn entry(&self, say: Say) -> Entry {
        let position = |name: Name| Position { log: name.log.into(), seq: name.seq.into() };
        let key = self.key.clone();
        match say {
            Say::Claim { value, .. } => Entry::Claim(self.claim(value)),
            Say::Observe(value) => Entry::Observe(self.claim(value)),
            Say::Withdraw(claim) if self.twin != Twin::WithdrawsTheValue => {
                Entry::Withdraw { key, claim: position(claim) }
            }
            Say::Undelivered(claim) if self.twin != Twin::WithdrawsTheValue => {
                let cause = Cause::Undelivered;
                Entry::Release { key, claim: position(claim), cause, at_ms: 0 }
            }
            Say::Vanish(claim) if self.twin != Twin::EndsWhatIsClaimed => {
                let cause = Cause::Vanished;
                Entry::Release { key, claim: position(claim), cause, at_ms: 0 }
            }
            Say::Withdraw(claim)
            | Say::Undelivered(claim)
            | Say::Release(claim)
            | Say::Vanish(claim) => {
                Entry::Release { key, claim: position(claim), cause: Cause::Client, at_ms: 0 }
            }
        }
    }

    fn claim(&self, value: u8) -> Claim {
        let text: Arc<str> = "".into();
        Claim {
            key: self.key.clone(),
            stored: stored(value).into(),
            other: None,
            rule: text.clone(),
            client: text,
            at_ms: 0,
            asked_ttl_ms: None,
            expires_at_ms: None,
            marker: None,
        }
    }

    /// What a reader of this page would do, for everything that it may have seen.
    fn repairs_of(&self, page: &Page) -> Vec<(Option<Key>, Command)> {
        let repair = |seen| self.plan(page, seen).0.map(|command| (seen, command));
        Key::all().filter_map(repair).collect()
    }

    /// The real plan. The second look that an unknown value in a holder's place gets comes after
    /// the ledger was told of it, and so was read.
    fn plan(&self, page: &Page, seen: Option<Key>) -> (Option<Command>, bool) {
        let found = match seen {
            None => Found::Missing,
            Some(Key { value, for_good }) => {
                Found::Value { stored: stored(value).to_vec(), ttl_ms: (!for_good).then_some(5000) }
            }
        };
        let holder = page.holder.map(|(value, _)| stored(value));
        let value = seen.map_or(Standing::Unknown, |key| {
            match page.fold.standing(&self.key, &stored(key.value)) {
                Known::Holder => Standing::Holder,
                Known::Dead => Standing::Dead,
                Known::Unknown => Standing::Unknown,
            }
        });
        let hold =
            holder.as_ref().map(|what| Hold { what: Guard::Value(what), left: Left::Forever });
        let says = Says { holder: hold, value, releasing: false };
        let terms = Terms {
            persistent: true,
            guarantee: Guarantee::Strict,
            conflict: Conflict::Ledger,
            is_asked: false,
        };
        let adopts = self.twin == Twin::AdoptsProvisional;
        match (plan(&found, says, terms), seen) {
            (Plan::Nothing(Rest::Provisional), Some(key))
                if adopts && value == Standing::Unknown =>
            {
                (Some(Command::Tell(key.value)), false)
            }
            (Plan::Act(Repair::Replace { conflict: true, .. }), Some(key))
                if !page.told[usize::from(key.value)] =>
            {
                (Some(Command::Tell(key.value)), false)
            }
            (Plan::Act(repair), _) => (Some(command(repair)), false),
            (Plan::Nothing(Rest::Free | Rest::Right), _) => (None, true),
            (Plan::Nothing(Rest::Provisional) | Plan::Wait(Why::Provisional), _) => (None, false),
            (other, _) => panic!("{other:?} has no place in this world"),
        }
    }
}

fn without_logs(mut snapshot: Snapshot) -> Snapshot {
    snapshot.logs.clear();
    snapshot
}

fn name(at: Position) -> Name {
    let small = |number: u64| u8::try_from(number).expect("few logs, few rows");
    Name { log: small(at.log), seq: small(at.seq) }
}

fn stored(value: u8) -> [u8; 2] {
    [b'c', b'0' + value]
}

fn number_of(stored: &[u8]) -> u8 {
    stored[1] - b'0'
}

fn command(repair: Repair<'_>) -> Command {
    let value = |guard: Guard<'_>| match guard {
        Guard::Value(stored) => number_of(stored),
        Guard::Other(_) => panic!("all locks of this world are strings"),
    };
    match repair {
        Repair::Delete(guard) => Command::Delete(value(guard)),
        Repair::Set { what, .. } => Command::Set(value(what)),
        Repair::Persist(guard) => Command::Persist(value(guard)),
        Repair::Replace { theirs, ours, .. } => {
            Command::Replace { theirs: value(theirs), ours: value(ours) }
        }
        Repair::Adopt(theirs) => Command::Tell(value(theirs)),
        Repair::Follow(_) => panic!("all locks of this world are strings"),
        Repair::Prefer(_) => panic!("no fence of this world is of Redis's own"),
        Repair::Lengthen { .. } => panic!("no lock of this world has a TTL to keep"),
    }
}
