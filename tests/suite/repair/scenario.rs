//! Reads scenario files, and holds the pure plan to them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use lockside::config::Conflict;
use lockside::ledger::Guarantee;
use lockside::lock::content::{self, Content};
use lockside::lock::envelope::Guard;
use lockside::repair::Standing;
use lockside::repair::plan::{Found, Hold, Left, Plan, Repair, Rest, Says, Terms, Why, plan};

/// One file.
pub(super) struct Scenario {
    pub(super) name: String,
    pub(super) terms: Terms,
    pub(super) before: Thing,
    pub(super) holder: Option<(Thing, Left)>,
    pub(super) value: Standing,
    releasing: bool,
    then: String,
    pub(super) after: Thing,
    next: String,
}

/// What stands in Redis, or is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Thing {
    Nothing,
    Value(String, Option<u64>),
    Hash(String, Option<u64>),
}

impl Thing {
    /// `A for ever`, `hash H for 5000 ms`, `B, run out`, `nothing`, `no holder`.
    fn parse(text: &str) -> (Self, Left) {
        if matches!(text, "nothing" | "no holder") {
            return (Self::Nothing, Left::Forever);
        }
        let (what, left) = if let Some(what) = text.strip_suffix(" for ever") {
            (what, Left::Forever)
        } else if let Some(what) = text.strip_suffix(", run out") {
            (what, Left::RunOut)
        } else {
            let (what, time) = text.split_once(" for ").expect(text);
            (what, Left::Ms(time.strip_suffix(" ms").expect(text).parse().expect(text)))
        };
        let ttl = if let Left::Ms(ms) = left { Some(ms) } else { None };
        match what.strip_prefix("hash ") {
            Some(name) => (Self::Hash(name.into(), ttl), left),
            None => (Self::Value(what.into(), ttl), left),
        }
    }

    /// As the plan is told of it.
    pub(super) fn found(&self) -> Found {
        match self.clone() {
            Self::Nothing => Found::Missing,
            Self::Value(name, ttl_ms) => Found::Value { stored: name.into_bytes(), ttl_ms },
            Self::Hash(name, ttl_ms) => Found::Other { guard: guard_of_name(&name), ttl_ms },
        }
    }
}

/// All files, in the order of their names.
pub(super) fn all() -> Vec<Scenario> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        files.filter(|file| file.extension().is_some_and(|kind| kind == "txt")).collect();
    files.sort();
    assert!(files.len() > 30, "the scenarios are where this test looks");
    files.iter().map(|file| read(file)).collect()
}

fn read(file: &Path) -> Scenario {
    let text = fs::read_to_string(file).unwrap();
    let name = file.file_stem().unwrap().to_string_lossy().into_owned();
    let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).skip(1).collect();
    let given: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix("given ")).collect();
    let then: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix("then ")).collect();
    assert_eq!(given.len() + then.len(), lines.len(), "{name}: a line is neither");
    let [rule, redis, ledger] = given[..3] else { unreachable!() };
    let [action, after, next] = then[..] else { panic!("{name}: three lines begin with then") };
    let (before, _) = Thing::parse(redis.strip_prefix("Redis has ").expect(&name));
    let (held, left) = Thing::parse(ledger.strip_prefix("the ledger has ").expect(&name));
    let value = match given.get(3).map(|line| line.split_once(" is ").expect(&name).1) {
        None | Some("unknown" | "being released") => Standing::Unknown,
        Some("dead") => Standing::Dead,
        Some("disputed") => Standing::Disputed,
        Some("the holder") => Standing::Holder,
        Some(other) => panic!("{name}: {other}"),
    };
    Scenario {
        terms: Terms {
            persistent: rule.starts_with("a persistent rule"),
            guarantee: if rule.contains(", fast") { Guarantee::Fast } else { Guarantee::Strict },
            conflict: match rule.ends_with(", upstream") {
                true => Conflict::Upstream,
                false => Conflict::Ledger,
            },
            is_asked: rule.ends_with(", while Redis is asked"),
        },
        before,
        holder: (held != Thing::Nothing).then_some((held, left)),
        value,
        releasing: given.iter().any(|line| line.ends_with(" is being released")),
        then: action.into(),
        after: Thing::parse(after.strip_prefix("Redis has ").expect(&name)).0,
        next: next.into(),
        name,
    }
}

impl Scenario {
    /// Calls `with` with what the ledger says; `guard` gives the guard of a hash's name.
    pub(super) fn says<R>(
        &self,
        guard: impl Fn(&str) -> Vec<u8>,
        with: impl FnOnce(Says<'_>) -> R,
    ) -> R {
        let bytes = match &self.holder {
            Some((Thing::Hash(name, _), _)) => guard(name),
            Some((Thing::Value(name, _), _)) => name.clone().into_bytes(),
            Some((Thing::Nothing, _)) | None => Vec::new(),
        };
        let holder = self.holder.as_ref().map(|(thing, left)| {
            let is_hash = matches!(thing, Thing::Hash(..));
            let what = if is_hash { Guard::Other(&bytes) } else { Guard::Value(&bytes) };
            Hold { what, left: *left }
        });
        with(Says { holder, value: self.value, releasing: self.releasing })
    }

    /// What the ledger says after the action: an adopted value is the holder, and so is a value that
    /// is the holder's.
    fn says_next<R>(&self, with: impl FnOnce(Says<'_>) -> R) -> R {
        if let Some(preferred) = self.then.strip_prefix("prefer ") {
            let hold = Hold { what: Guard::Value(preferred.as_bytes()), left: Left::Forever };
            return with(Says { holder: Some(hold), value: Standing::Holder, releasing: false });
        }
        if let Some(adopted) = self.then.strip_prefix("adopt ") {
            let hash = adopted.strip_prefix("hash ").map(guard_of_name);
            let what = hash.as_deref().map_or(Guard::Value(adopted.as_bytes()), Guard::Other);
            let hold = Hold { what, left: Left::Forever };
            return with(Says { holder: Some(hold), value: Standing::Holder, releasing: false });
        }
        if let Some(followed) = self.then.strip_prefix("follow hash ") {
            let mark = guard_of_name(followed);
            let left = self.holder.as_ref().map_or(Left::Forever, |(_, left)| *left);
            let hold = Hold { what: Guard::Other(&mark), left };
            let told = content::is_told(&mark);
            let value = if told { Standing::Holder } else { Standing::Unknown };
            return with(Says { holder: Some(hold), value, releasing: false });
        }
        self.says(guard_of_name, |says| {
            let changed = self.after != self.before;
            let value = if changed { Standing::Holder } else { says.value };
            with(Says { value, ..says })
        })
    }
}

/// The fields of a hash: the one that all have, and a field of its own for a stranger's.
pub(super) fn field_of(name: &str) -> (&str, &str) {
    name.split_once('/').unwrap_or(("field", name))
}

/// The value of a field that makes a hash of this name too large for the ledger.
pub(super) fn more_of(name: &str) -> Option<String> {
    matches!(name, "LARGE" | "LARGER").then(|| "x".repeat(4000 + 200 * name.len()))
}

/// The mark of a hash: of one that is too large its digest, of one that is larger than any lock nothing.
pub(super) fn guard_of_name(name: &str) -> Vec<u8> {
    let (field, value) = field_of(name);
    match more_of(name) {
        Some(more) => {
            let fields = [(field, value), ("more", &more)];
            let fields = fields.map(|(field, value)| (field.into(), value.into()));
            [b"0:", &content::digest::of(&Content::Hash(fields.into()))[..]].concat()
        }
        None if name == "HUGE" => b"0:".to_vec(),
        None => format!("0:h{}:{field}{}:{value}", field.len(), value.len()).into_bytes(),
    }
}

/// The name of a hash with this mark.
fn name_of_guard(guard: &[u8]) -> String {
    let Some(Content::Hash(fields)) = content::of_mark(guard) else {
        let is_its = |name: &&str| content::is_same_content(&guard_of_name(name), guard);
        return ["LARGE", "LARGER"].into_iter().find(is_its).unwrap_or("HUGE").into();
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (field, value) = fields.first_key_value().unwrap();
    if field == b"field" { text(value) } else { format!("{}/{}", text(field), text(value)) }
}

/// A plan in the words of the files.
fn words(plan: Plan<'_>) -> String {
    match plan {
        Plan::Nothing(Rest::Free) => "nothing: free".into(),
        Plan::Nothing(Rest::Right) => "nothing: right".into(),
        Plan::Nothing(Rest::Provisional) => "nothing: provisional".into(),
        Plan::Nothing(Rest::Foreign) => "nothing: foreign".into(),
        Plan::Nothing(Rest::Changed) => "nothing: changed".into(),
        Plan::Nothing(Rest::RunOut) => "nothing: run out".into(),
        Plan::Wait(Why::Provisional) => "wait: provisional".into(),
        Plan::Wait(Why::Mirror) => "wait: mirror".into(),
        Plan::Wait(Why::Moved) => "wait: moved".into(),
        Plan::Wait(Why::Releasing) => "wait: releasing".into(),
        Plan::CannotRestore => "cannot restore".into(),
        Plan::Act(repair) => action(repair),
    }
}

fn action(repair: Repair<'_>) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let time = |ttl: Option<u64>| ttl.map_or("for ever".into(), |ms| format!("for {ms} ms"));
    let thing = |guard: Guard<'_>| match guard {
        Guard::Value(bytes) => text(bytes),
        Guard::Other(bytes) => format!("hash {}", name_of_guard(bytes)),
    };
    match repair {
        Repair::Delete(guard) => format!("delete {}", thing(guard)),
        Repair::Set { what, ttl_ms } => format!("set {} {}", thing(what), time(ttl_ms)),
        Repair::Persist(guard) => format!("persist {}", thing(guard)),
        Repair::Lengthen { guard, ttl_ms } => format!("lengthen {} to {ttl_ms} ms", thing(guard)),
        Repair::Replace { theirs, ours, ttl_ms, conflict } => {
            let conflict = if conflict { ", a conflict" } else { "" };
            format!("replace {} by {} {}{conflict}", thing(theirs), thing(ours), time(ttl_ms))
        }
        Repair::Adopt(theirs) => format!("adopt {}", thing(theirs)),
        Repair::Follow(mark) => format!("follow {}", thing(Guard::Other(mark))),
        Repair::Prefer(stored) => format!("prefer {}", text(stored)),
    }
}

#[test]
fn the_plan_is_what_the_files_say() {
    for scenario in all() {
        let found = scenario.before.found();
        let planned =
            scenario.says(guard_of_name, |says| words(plan(&found, says, scenario.terms)));
        assert_eq!(planned, scenario.then, "{}", scenario.name);
        let found = scenario.after.found();
        let next = scenario.says_next(|says| words(plan(&found, says, scenario.terms)));
        assert_eq!(next, scenario.next, "{}, afterwards", scenario.name);
    }
}

#[test]
fn the_files_have_every_word_of_the_table() {
    let said: BTreeSet<String> = all()
        .iter()
        .flat_map(|scenario| [scenario.then.clone(), scenario.next.clone()])
        .map(|then| match then.split_once(": ") {
            Some(_) => then,
            None => then.split(' ').next().unwrap_or_default().to_owned(),
        })
        .collect();
    let known = [
        "nothing: free",
        "nothing: right",
        "nothing: provisional",
        "nothing: foreign",
        "nothing: changed",
        "nothing: run out",
        "wait: provisional",
        "wait: mirror",
        "wait: moved",
        "wait: releasing",
        "cannot",
        "delete",
        "set",
        "persist",
        "lengthen",
        "replace",
        "adopt",
        "prefer",
        "follow",
    ];
    assert_eq!(said, known.map(str::to_owned).into());
}
