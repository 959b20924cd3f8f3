//! What the keys of one turn hold: loaded once, changed by its commands, compared at the end.
//!
//! A lock and a companion look alike to commands: an [`Entry`] with a value and an expiry. A lock's
//! value is the client value. The expiry of a persistent lock is its virtual TTL, so that Redis's
//! own rules for expiries give the answers of SPEC 5; nothing of it is kept.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::companions::CompanionEffects;
use super::turn::Stop;
use super::{Change, Taken, World};
use crate::lock::content::{self, Content};
use crate::lock::record::{Confidence, LockKey, Record};
use crate::lock::rule::{Mode, Rule};
use crate::lock::value;

/// What a key holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// A string: a lock's client value.
    String(Vec<u8>),
    /// A hash, sorted set, set or list; not empty behind a command. Copied when it is first changed.
    Content(Arc<Content>),
    /// A lock that is no string and whose content the ledger does not have: too large for it, or of
    /// an older version. Of a large one it knows the type.
    Elsewhere,
}

/// A key that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// What it holds.
    pub(super) value: Value,
    /// When it runs out, in milliseconds since the Unix epoch.
    pub(super) expires_at_ms: Option<u64>,
    /// A lock: still the hold that was loaded, and not one that this turn has made.
    pub(super) is_loaded_hold: bool,
}

impl Entry {
    /// An entry that this turn has made.
    pub(super) fn new(value: Value, expires_at_ms: Option<u64>) -> Self {
        Self { value, expires_at_ms, is_loaded_hold: false }
    }
}

/// How much a key holds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Weight {
    /// Bytes of a string.
    pub(super) bytes: usize,
    /// Elements of what is no string.
    pub(super) elements: usize,
}

/// What a key is, and was.
enum Origin<'a> {
    Lock { rule: &'a Rule, record: Option<Box<Record>> },
    Companion { entry: Option<Entry>, generation: u64 },
}

struct Slot<'a> {
    origin: Origin<'a>,
    now: Option<Entry>,
}

/// Why a turn can't end in changes.
pub(super) enum Unfinished {
    /// Something was written that is no lock.
    NotServed,
    /// A limit is passed: the error's text.
    Full(&'static str),
}

/// More than a stamp adds to a value: what is longer names no lock.
const STAMP_ROOM: usize = 128;
/// In the words of the way by Redis.
const TABLE_FULL: &str =
    "OOM lockside: not acquired: as many locks are held as limits.locks allows";
const COMPANIONS_FULL: &str = "OOM lockside: too much is kept for companion keys while upstream is \
                               unavailable";

/// The keys of one turn.
pub(super) struct Overlay<'a> {
    world: World<'a>,
    slots: BTreeMap<LockKey, Slot<'a>>,
    /// Arguments of the command or script, with their places: a lock is shown in the form that they
    /// present.
    presented: HashMap<Vec<u8>, usize>,
    /// A script has run: locks that are no strings are taken by scripts, and what commands write under
    /// such a key by themselves is their client's own matter (`command::table`).
    pub(super) has_scripts: bool,
}

/// The hold of a lock that has not run out.
pub(super) fn standing(world: &World<'_>, key: &LockKey) -> Option<Record> {
    let instead = world.instead.filter(|(of, _)| of == key).map(|(_, record)| record.clone());
    let record = instead.or_else(|| world.table.find(key))?;
    let stands = |at_ms: u64| at_ms.saturating_add(world.grace_ms) > world.now_ms;
    record.expires_at_ms.is_none_or(stands).then_some(record)
}

impl<'a> Overlay<'a> {
    /// An overlay over nothing.
    pub(super) fn new(world: World<'a>) -> Self {
        Self { world, slots: BTreeMap::new(), presented: HashMap::new(), has_scripts: false }
    }

    /// Makes a key known; a key that is neither a lock nor a companion is not served.
    pub(super) fn load(&mut self, key: &LockKey) -> Result<(), Stop> {
        if !self.slots.contains_key(key) {
            let slot = Slot::load(&self.world, key).ok_or(Stop::NotServed)?;
            self.slots.insert(key.clone(), slot);
        }
        Ok(())
    }

    /// Notes the arguments that a token may be presented in.
    pub(super) fn present<'b>(&mut self, args: impl Iterator<Item = &'b [u8]>) {
        let largest = self.world.limits.max_lock_value + STAMP_ROOM;
        self.presented.clear();
        for (at, arg) in args.enumerate().filter(|(_, arg)| arg.len() <= largest) {
            self.presented.entry(arg.to_vec()).or_insert(at);
        }
    }

    /// What a key holds now.
    pub(super) fn find(&self, key: &LockKey) -> Option<&Entry> {
        self.slots.get(key).and_then(|slot| slot.now.as_ref())
    }

    /// Redis's word for the type of what a key holds now; none for nothing, and where that is not known.
    pub(super) fn type_of(&self, key: &LockKey) -> Option<&'static str> {
        let slot = self.slots.get(key)?;
        match (&slot.now.as_ref()?.value, &slot.origin) {
            (Value::String(_), _) => Some("string"),
            (Value::Content(content), _) => Some(content.type_name()),
            (Value::Elsewhere, Origin::Lock { record: Some(record), .. }) => {
                content::type_of_mark(record.other.as_deref()?)
            }
            (Value::Elsewhere, _) => None,
        }
    }

    /// True for a lock of a persistent rule.
    pub(super) fn is_persistent(&self, key: &LockKey) -> bool {
        let origin = self.slots.get(key).map(|slot| &slot.origin);
        matches!(origin, Some(Origin::Lock { rule, .. }) if rule.mode == Mode::Persistent)
    }

    /// True for a persistent lock whose client gave it no TTL, and still the hold that was loaded.
    pub(super) fn is_without_ttl(&self, key: &LockKey) -> bool {
        let slot = self.slots.get(key);
        let loaded = slot.filter(|slot| slot.now.as_ref().is_some_and(|now| now.is_loaded_hold));
        matches!(loaded.map(|slot| &slot.origin),
            Some(Origin::Lock { rule, record: Some(record) })
                if rule.mode == Mode::Persistent && record.asked_ttl_ms.is_none())
    }

    /// True for a persistent lock that was granted to this value, unique by itself, when nobody
    /// knows whether the client has its reply.
    pub(super) fn is_unconfirmed_grant(&self, key: &LockKey, value: &[u8]) -> bool {
        let Some(slot) = self.slots.get(key) else { return false };
        let Origin::Lock { rule, record: Some(record) } = &slot.origin else { return false };
        slot.now.as_ref().is_some_and(|entry| entry.is_loaded_hold)
            && rule.mode == Mode::Persistent
            && record.confidence == Confidence::Unconfirmed
            && value::is_unique(value)
            && value::matches(&record.stored, value, rule.stamp)
    }

    /// The key is gone. False if it was not there.
    pub(super) fn remove(&mut self, key: &LockKey) -> bool {
        self.slots.get_mut(key).is_some_and(|slot| slot.now.take().is_some())
    }

    /// The key holds this. What has run out already is not kept.
    pub(super) fn put(&mut self, key: &LockKey, entry: Entry) {
        let alive = entry.expires_at_ms.is_none_or(|at_ms| at_ms > self.world.now_ms);
        if let Some(slot) = self.slots.get_mut(key) {
            slot.now = Some(entry).filter(|_| alive);
        }
    }

    /// What a key holds that is no string, to be changed in place; `empty` where nothing is there. A
    /// hold that was loaded is still the same. None for a string.
    pub(super) fn content_mut(
        &mut self,
        key: &LockKey,
        empty: impl FnOnce() -> Content,
    ) -> Option<&mut Content> {
        let slot = self.slots.get_mut(key)?;
        let entry =
            slot.now.get_or_insert_with(|| Entry::new(Value::Content(Arc::new(empty())), None));
        match &mut entry.value {
            Value::Content(content) => Some(Arc::make_mut(content)),
            _ => None,
        }
    }

    /// A key without elements does not exist.
    pub(super) fn drop_empty(&mut self, key: &LockKey) {
        let is_empty =
            |entry: &Entry| matches!(&entry.value, Value::Content(all) if all.is_empty());
        if let Some(slot) = self.slots.get_mut(key) {
            slot.now.take_if(|entry| is_empty(entry));
        }
    }

    /// About how many steps it takes to look at all that a key holds.
    pub(super) fn weight(&self, key: &LockKey) -> Weight {
        match self.find(key).map(|entry| &entry.value) {
            Some(Value::String(text)) => Weight { bytes: text.len(), elements: 0 },
            Some(Value::Content(content)) => Weight { bytes: 0, elements: content.len() },
            Some(Value::Elsewhere) | None => Weight { bytes: 0, elements: 0 },
        }
    }

    /// How many keys were looked at.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The key holds this string. The token that a lock has already is the same hold.
    pub(super) fn put_string(&mut self, key: &LockKey, value: &[u8], expires_at_ms: Option<u64>) {
        let loaded = self.find(key).filter(|entry| entry.is_loaded_hold);
        let same = loaded.is_some() && self.shown(key).as_deref() == Some(value);
        let entry = match loaded {
            Some(entry) if same => Entry { expires_at_ms, ..entry.clone() },
            _ => Entry::new(Value::String(value.to_vec()), expires_at_ms),
        };
        self.put(key, entry);
    }

    /// The string that a client sees: in the form that its arguments present, else the client
    /// value (SPEC 4). None without a string.
    pub(super) fn shown(&self, key: &LockKey) -> Option<Vec<u8>> {
        let slot = self.slots.get(key)?;
        let entry = slot.now.as_ref()?;
        let Value::String(client_value) = &entry.value else { return None };
        let Origin::Lock { rule, record: Some(record) } = &slot.origin else {
            return Some(client_value.clone());
        };
        if !entry.is_loaded_hold {
            return Some(client_value.clone());
        }
        // Another form than the client value is presented by who has read it somewhere.
        let forms = value::forms(&record.stored, rule.stamp).into_iter().flatten();
        let marker = record.marker.as_ref().map(|marker| marker.as_bytes());
        let others = forms.chain(marker).filter(|form| form != client_value);
        let presented = others.filter_map(|form| Some((self.presented.get(form)?, form)));
        let first = presented.min().map(|(_, form)| form.to_vec());
        Some(first.unwrap_or_else(|| client_value.clone()))
    }

    /// The keys that hold something now.
    pub(super) fn held(&self) -> BTreeSet<LockKey> {
        let held = self.slots.iter().filter(|(_, slot)| slot.now.is_some());
        held.map(|(key, _)| key.clone()).collect()
    }

    /// What a script took before it failed is nobody's: nobody is told of it. In Redis it runs out
    /// by its TTL, which a persistent lock does not; without a TTL it stays. `before`: what was
    /// held when the script began.
    pub(super) fn drop_failed_takes(&mut self, before: &BTreeSet<LockKey>) {
        for (key, slot) in &mut self.slots {
            let Origin::Lock { rule, .. } = &slot.origin else { continue };
            let runs_out = slot.now.as_ref().is_some_and(|entry| entry.expires_at_ms.is_some());
            if rule.mode == Mode::Persistent && runs_out && !before.contains(key) {
                slot.now = None;
            }
        }
    }

    /// What the turn comes to.
    pub(super) fn finish(self) -> Result<(Vec<Change>, CompanionEffects), Unfinished> {
        let (mut changes, mut companions) = (Vec::new(), CompanionEffects::default());
        for (key, slot) in self.slots {
            match slot.origin {
                Origin::Lock { rule, record } => {
                    let (world, has_scripts) = (&self.world, self.has_scripts);
                    let ending = Ending { world, rule, key, record, has_scripts };
                    ending.changes(slot.now, &mut changes)?;
                }
                Origin::Companion { entry, generation } => {
                    companions.note(key, generation, (slot.now != entry).then_some(slot.now));
                }
            }
        }
        companions.must_be_fresh = changes.is_empty();
        if !self.world.companions.makes_room_for(&companions, self.world.now_ms) {
            return Err(Unfinished::Full(COMPANIONS_FULL));
        }
        Ok((changes, companions))
    }
}

impl<'a> Slot<'a> {
    fn load(world: &World<'a>, key: &LockKey) -> Option<Self> {
        if let Some(rule) = world.rules.find(key.key()) {
            let record = standing(world, key);
            let now = record.as_ref().map(|record| loaded(record, rule, world.now_ms));
            return Some(Self { origin: Origin::Lock { rule, record: record.map(Box::new) }, now });
        }
        world.rules.companion_of(key.key())?;
        let (entry, generation) = world.companions.find(key, world.now_ms);
        Some(Self { origin: Origin::Companion { entry: entry.clone(), generation }, now: entry })
    }
}

fn loaded(record: &Record, rule: &Rule, now_ms: u64) -> Entry {
    let value = match &record.other {
        Some(mark) => content::of_mark(mark)
            .map_or(Value::Elsewhere, |content| Value::Content(Arc::new(content))),
        None => Value::String(value::strip(&record.stored, rule.stamp).to_vec()),
    };
    let expires_at_ms = match rule.mode {
        Mode::Ttl => record.expires_at_ms,
        Mode::Persistent => {
            let virtual_ttl_ms = record.asked_ttl_ms.unwrap_or_else(|| default_ttl_ms(rule));
            Some(now_ms.saturating_add(virtual_ttl_ms.max(1)))
        }
    };
    Entry { value, expires_at_ms, is_loaded_hold: true }
}

fn default_ttl_ms(rule: &Rule) -> u64 {
    u64::try_from(rule.default_ttl.as_millis()).unwrap_or(u64::MAX)
}

/// True if the record is of this string, or of this content.
fn is_same(record: &Record, stored: &[u8], other: Option<&[u8]>) -> bool {
    match (&record.other, other) {
        (Some(one), Some(other)) => content::is_same_content(one, other),
        (None, None) => *record.stored == *stored,
        _ => false,
    }
}

/// What is to stand in Redis; for a lock that is no string nothing, and its mark.
type Claimed = (Arc<[u8]>, Option<Arc<[u8]>>);

/// A lock at the end of a turn.
struct Ending<'a> {
    world: &'a World<'a>,
    rule: &'a Rule,
    key: LockKey,
    record: Option<Box<Record>>,
    has_scripts: bool,
}

impl Ending<'_> {
    fn changes(mut self, now: Option<Entry>, out: &mut Vec<Change>) -> Result<(), Unfinished> {
        let Some(entry) = now else {
            self.release(out);
            return Ok(());
        };
        if entry.is_loaded_hold {
            self.change(&entry.value, out)?;
            self.extend(&entry, out);
            return Ok(());
        }
        let (stored, other) = self.taken(&entry)?;
        // Deleted and set again with a token that is unique by itself: the same claim.
        if self.record.as_ref().is_some_and(|record| is_same(record, &stored, other.as_deref())) {
            self.extend(&entry, out);
            return Ok(());
        }
        if self.record.is_none() && self.world.table.is_full_for(&self.key) {
            return Err(Unfinished::Full(TABLE_FULL));
        }
        self.release(out);
        let asked_ttl_ms = entry.expires_at_ms.map(|at_ms| at_ms - self.world.now_ms);
        let expires_at_ms = self.expiry(&entry);
        let new = Taken { stored, other, asked_ttl_ms, expires_at_ms };
        out.push(Change::Take { key: self.key, new });
        Ok(())
    }

    /// What a lock that this turn has made is claimed with.
    fn taken(&self, entry: &Entry) -> Result<Claimed, Unfinished> {
        match &entry.value {
            Value::String(value) if value.len() <= self.world.limits.max_lock_value => {
                Ok(((self.world.stamp)(value, self.rule.stamp), None))
            }
            Value::Content(content) if self.has_scripts && self.fits(content) => {
                let at_ms = entry.expires_at_ms.unwrap_or(self.world.now_ms).max(1);
                Ok(([].into(), Some(content::mark(at_ms, Some(content)))))
            }
            _ => Err(Unfinished::NotServed),
        }
    }

    /// The hold goes on: what stands there may be another content.
    fn change(&self, value: &Value, out: &mut Vec<Change>) -> Result<(), Unfinished> {
        let (Value::Content(content), Some(record)) = (value, &self.record) else { return Ok(()) };
        let Some(mark) = &record.other else { return Ok(()) };
        if content::of_mark(mark).as_ref() == Some(&**content) {
            return Ok(());
        }
        if !self.fits(content) {
            return Err(Unfinished::NotServed);
        }
        let to = content::renamed(mark, &content.to_bytes());
        out.push(Change::Content { key: self.key.clone(), record: (**record).clone(), to });
        Ok(())
    }

    fn fits(&self, content: &Content) -> bool {
        let largest = self.world.limits.max_lock_value.min(content::LARGEST);
        content.len() <= content::MOST && content.to_bytes().len() <= largest
    }

    fn release(&mut self, out: &mut Vec<Change>) {
        if let Some(record) = self.record.take() {
            out.push(Change::Release { key: self.key.clone(), record: *record });
        }
    }

    fn extend(self, entry: &Entry, out: &mut Vec<Change>) {
        let expiry = self.expiry(entry);
        if let (Some(expires_at_ms), Some(record)) = (expiry, self.record)
            && record.expires_at_ms != Some(expires_at_ms)
        {
            out.push(Change::Extend { key: self.key, record: *record, expires_at_ms });
        }
    }

    /// `ttl` rules: when the lock runs out; one without a TTL of its own gets the rule's.
    fn expiry(&self, entry: &Entry) -> Option<u64> {
        let default = || self.world.now_ms.saturating_add(default_ttl_ms(self.rule));
        let is_ttl = self.rule.mode == Mode::Ttl;
        is_ttl.then(|| entry.expires_at_ms.unwrap_or_else(default))
    }
}
