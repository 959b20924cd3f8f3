//! Lock rules: which keys are locks, and how the locks of a rule behave (SPEC 1 and 3).
//!
//! Pure. Every key of every command passes through [`Rules::find`], so a key that is no lock
//! must cost next to nothing: one bit of a table for its first byte, then a compare with a
//! literal prefix. Nothing here reads a configuration file; `config` builds these values.

use std::time::Duration;

pub use super::value::Stamp;

mod fence;
pub mod glob;

pub use glob::Glob;

/// Name of the rule that is in force when no rule is configured.
pub const DEFAULT_NAME: &str = "default";
/// Keys of the rule that is in force when no rule is configured (SPEC 10).
pub const DEFAULT_KEYS: [&str; 3] = ["lock:*", "redlock:*", "mutex:*"];
/// Companions of a rule that names none (SPEC 1): the list that python-redis-lock signals by; the channel
/// that Redisson names among the keys of its unlock script, and the key in which that keeps its outcome.
pub const DEFAULT_COMPANIONS: [&str; 3] =
    ["lock-signal:*", "redisson_lock__channel*", "redisson_unlock_latch:*"];
/// How long an acquire that nobody finished may live in Redis (`REDIS_SAFETY_TTL`, SPEC 3).
pub const DEFAULT_SAFETY_TTL: Duration = Duration::from_secs(10);
/// TTL of a lock whose client names none (`REDIS_LOCK_TTL_SECONDS`, SPEC 3).
pub const DEFAULT_TTL: Duration = Duration::from_secs(3600);
/// Longest key, in bytes, that can be a lock (SPEC 9). Longer keys pass through.
pub const DEFAULT_MAX_KEY: usize = 1024;
/// Most rules of one configuration. A [`RuleId`] would hold more; nobody can review more.
pub const MAX_RULES: usize = 1024;

/// What becomes of the TTL that a client gives its lock (SPEC 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The lock stays until it is released (`REDIS_PERSISTENT_LOCKS=true`, the default).
    Persistent,
    /// The lock has the client's own TTL, or [`Rule::default_ttl`].
    Ttl,
}

/// What an outage of Redis means for the locks of a rule (SPEC 6). What is held stays held, and can
/// be released, in every case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Outage {
    /// Locks go on by the ledger.
    #[default]
    Ledger,
    /// No new lock until Redis is back.
    Refuse,
    /// Locks go on by this sidecar's own table; between sidecars nothing is promised.
    Local,
}

/// One lock rule: key globs and how the locks under those keys behave (SPEC 1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// What people call it: in logs, metrics and `LOCKSIDE OWNER`. Unique in a configuration.
    pub name: String,
    /// A key that matches one of these is a lock of this rule...
    pub keys: Vec<Glob>,
    /// ...unless it matches one of these.
    pub exclude: Vec<Glob>,
    /// Keys that lock libraries use beside the lock. They are no locks, of this or another rule.
    pub companions: Vec<Glob>,
    /// Whether a lock lives until its release or until its TTL.
    pub mode: Mode,
    /// Whether the stored value carries a stamp.
    pub stamp: Stamp,
    /// TTL of a key between the two steps of an acquire. Whole milliseconds, at least one.
    pub safety_ttl: Duration,
    /// `ttl` rules: the TTL of a lock whose client gave none. Persistent rules: the virtual TTL
    /// that scripts read when the acquire gave none (SPEC 5). Whole milliseconds.
    pub default_ttl: Duration,
    /// The operator accepts that equal values under `stamp = "never"` are taken for one grant
    /// (SPEC 4).
    pub allow_repeated_values: bool,
    /// What an outage of Redis means here.
    pub outage: Outage,
    /// A lock that was held for longer is released (SPEC 7). None: never.
    pub max_hold: Option<Duration>,
    /// What a client puts behind a lock's key to read its fence by GET (SPEC 5). None: no such
    /// keys. Never empty.
    pub fence_suffix: Option<Vec<u8>>,
    /// Locks that others put into Redis directly are followed (SPEC 6). Every glob of [`Rule::keys`]
    /// has a literal beginning then.
    pub observe: bool,
}

impl Rule {
    /// A rule for `keys` with every other property at its default.
    pub fn new(name: impl Into<String>, keys: Vec<Glob>) -> Self {
        Self {
            name: name.into(),
            keys,
            exclude: Vec::new(),
            companions: globs(&DEFAULT_COMPANIONS),
            mode: Mode::Persistent,
            stamp: Stamp::Auto,
            safety_ttl: DEFAULT_SAFETY_TTL,
            default_ttl: DEFAULT_TTL,
            allow_repeated_values: false,
            outage: Outage::Ledger,
            max_hold: None,
            fence_suffix: None,
            observe: false,
        }
    }

    /// True if this rule's globs make `key` a lock; earlier rules and companions not considered.
    fn claims(&self, key: &[u8]) -> bool {
        any(&self.keys, key) && !any(&self.exclude, key)
    }
}

impl Default for Rule {
    /// The rule that is in force when no rule is configured (SPEC 10).
    fn default() -> Self {
        Self::new(DEFAULT_NAME, globs(&DEFAULT_KEYS))
    }
}

/// Which rule: its place in the configuration, from 0. Small enough to stand in every record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId(pub u16);

/// All rules in their order, with an index for the common answer "no lock".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    rules: Vec<Rule>,
    /// First bytes that a key of any rule can have: one bit for each of the 256.
    first_bytes: ByteSet,
    /// How the keys of each glob begin: one compare of words for each instead of a match.
    heads: Vec<Head>,
    /// True if a rule claims the empty key, which has no first byte.
    claims_empty: bool,
    max_key: usize,
    /// Suffixes of keys that show a fence, each once.
    suffixes: Vec<Vec<u8>>,
}

impl Rules {
    /// Rules in the order in which they are asked. What is past [`MAX_RULES`] is dropped: the
    /// configuration refuses it before.
    pub fn new(mut rules: Vec<Rule>) -> Self {
        rules.truncate(MAX_RULES);
        let mut first_bytes = ByteSet::default();
        for glob in rules.iter().flat_map(|rule| &rule.keys) {
            first_bytes.add_all(&glob.first_bytes());
        }
        let heads = rules.iter().flat_map(|rule| &rule.keys).map(Glob::head).collect();
        let claims_empty = rules.iter().any(|rule| rule.claims(b""));
        let suffixes = fence::suffixes(&rules);
        Self { rules, first_bytes, heads, claims_empty, max_key: DEFAULT_MAX_KEY, suffixes }
    }

    /// The same rules, with keys of more than `bytes` bytes passed through (SPEC 9).
    pub fn with_max_key(mut self, bytes: usize) -> Self {
        self.max_key = bytes;
        self
    }

    /// The rule of `key`, if it is a lock key. The first rule that matches wins; companions of
    /// any rule, keys that show a fence, and keys longer than the limit are no locks.
    #[inline]
    pub fn find(&self, key: &[u8]) -> Option<&Rule> {
        self.find_id(key).and_then(|id| self.get(id))
    }

    /// As [`Rules::find`], but the rule's id.
    #[inline]
    pub fn find_id(&self, key: &[u8]) -> Option<RuleId> {
        let possible = match key.first() {
            Some(&byte) => self.first_bytes.has(byte),
            None => self.claims_empty,
        };
        if possible { self.search(key) } else { None }
    }

    /// The rule with this id. None for an id of another configuration.
    #[inline]
    pub fn get(&self, id: RuleId) -> Option<&Rule> {
        self.rules.get(usize::from(id.0))
    }

    /// The first rule that has `key` among its companions: no lock, yet served when Redis is
    /// down (SPEC 1).
    pub fn companion_of(&self, key: &[u8]) -> Option<RuleId> {
        self.position(|rule| any(&rule.companions, key))
    }

    /// All rules in their order, with their ids.
    pub fn iter(&self) -> impl Iterator<Item = (RuleId, &Rule)> {
        (0..).map(RuleId).zip(&self.rules)
    }

    /// A lock key of each glob of each rule, with the rule's name: not of a rule of which one can't be
    /// told from the glob (`[0-9]`, excluded).
    pub fn samples(&self) -> Vec<(&str, Vec<Vec<u8>>)> {
        let of_rule = |rule: &Rule| {
            let is_its =
                |key: &Vec<u8>| self.find(key).is_some_and(|found| found.name == rule.name);
            let of_glob = |glob: &Glob| {
                let longer = [glob.prefix(), b"lockside:probe"].concat();
                let both = [longer, glob.prefix().to_vec()];
                both.into_iter().find(|key| glob.matches(key) && is_its(key))
            };
            rule.keys.iter().map(of_glob).collect::<Option<Vec<_>>>()
        };
        self.iter().filter_map(|(_, rule)| Some((rule.name.as_str(), of_rule(rule)?))).collect()
    }

    /// How many rules there are.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// True if no key is a lock.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    fn search(&self, key: &[u8]) -> Option<RuleId> {
        let id = self.claimed(key)?;
        (!self.has_fences() || self.fence_of(key).is_none()).then_some(id)
    }

    /// The rule whose globs make `key` a lock.
    fn claimed(&self, key: &[u8]) -> Option<RuleId> {
        let word = Head::word(key);
        if key.len() > self.max_key || !self.heads.iter().any(|head| head.fits(word)) {
            return None;
        }
        let id = self.position(|rule| rule.claims(key))?;
        // Companions last: only a key that would be a lock pays for the question.
        self.companion_of(key).is_none().then_some(id)
    }

    fn position(&self, claims: impl FnMut(&Rule) -> bool) -> Option<RuleId> {
        let place = self.rules.iter().position(claims)?;
        // `new` keeps at most MAX_RULES rules, so the place fits.
        u16::try_from(place).ok().map(RuleId)
    }
}

impl Default for Rules {
    /// The one default rule.
    fn default() -> Self {
        Self::new(vec![Rule::default()])
    }
}

fn any(globs: &[Glob], key: &[u8]) -> bool {
    globs.iter().any(|glob| glob.matches(key))
}

fn globs(patterns: &[&str]) -> Vec<Glob> {
    patterns.iter().map(|pattern| Glob::new(pattern.as_bytes())).collect()
}

/// The first bytes of a glob's prefix, up to eight, as one word. It lets through every key that
/// matches, and few others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Head {
    bytes: u64,
    mask: u64,
}

impl Head {
    fn new(prefix: &[u8]) -> Self {
        let bits = 8 * prefix.len().min(8);
        // Little-endian: the first byte is the lowest. A shift by 64 gives None: all bits count.
        let mask = 1_u64.checked_shl(bits as u32).map_or(u64::MAX, |bit| bit - 1);
        Self { bytes: Self::word(prefix), mask }
    }

    /// The first eight bytes of `text`, with zeros behind a shorter one.
    #[inline]
    fn word(text: &[u8]) -> u64 {
        if let Some(first) = text.first_chunk::<8>() {
            return u64::from_le_bytes(*first);
        }
        text.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte))
    }

    #[inline]
    fn fits(&self, word: u64) -> bool {
        word & self.mask == self.bytes
    }
}

/// A set of byte values, as 256 bits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ByteSet([u64; 4]);

impl ByteSet {
    /// Every byte value.
    pub(crate) const ALL: Self = Self([u64::MAX; 4]);

    #[inline]
    pub(crate) fn has(&self, byte: u8) -> bool {
        self.0[usize::from(byte >> 6)] >> (byte & 63) & 1 == 1
    }

    pub(crate) fn add(&mut self, byte: u8) {
        self.0[usize::from(byte >> 6)] |= 1 << (byte & 63);
    }

    pub(crate) fn add_all(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(mine, theirs)| *mine |= theirs);
    }

    pub(crate) fn complement(&self) -> Self {
        Self(self.0.map(|bits| !bits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rule(name: &str, keys: &[&str]) -> Rule {
        Rule::new(name, globs(keys))
    }

    fn name<'a>(rules: &'a Rules, key: &str) -> Option<&'a str> {
        rules.find(key.as_bytes()).map(|rule| rule.name.as_str())
    }

    #[test]
    fn default_rule_claims_the_three_prefixes_and_nothing_else() {
        let rules = Rules::default();
        for key in ["lock:", "lock:a", "redlock:x", "mutex:job:1"] {
            assert_eq!(name(&rules, key), Some("default"), "{key}");
        }
        for key in ["", "lock", "Lock:a", "locks:a", "lock-signal:a", "cache:1", "m", "user:lock:1"]
        {
            assert_eq!(name(&rules, key), None, "{key}");
        }
    }

    #[test]
    fn first_rule_wins_and_exclude_lets_the_next_one_ask() {
        let mut first = rule("first", &["lock:a*"]);
        first.exclude = globs(&["lock:ab*"]);
        let rules = Rules::new(vec![first, rule("second", &["lock:*"])]);
        assert_eq!(name(&rules, "lock:a1"), Some("first"));
        assert_eq!(name(&rules, "lock:ab"), Some("second"));
        assert_eq!(name(&rules, "lock:b"), Some("second"));
        assert_eq!(rules.find_id(b"lock:b"), Some(RuleId(1)));
        assert_eq!(rules.get(RuleId(1)).map(|rule| rule.name.as_str()), Some("second"));
        assert_eq!(rules.get(RuleId(2)), None);
    }

    #[test]
    fn companions_of_any_rule_are_no_locks() {
        let mut first = rule("first", &["a:*"]);
        first.companions = globs(&["lock:signal:*"]);
        let rules = Rules::new(vec![rule("all", &["lock:*"]), first]);
        assert_eq!(name(&rules, "lock:signal:x"), None);
        assert_eq!(rules.companion_of(b"lock:signal:x"), Some(RuleId(1)));
        assert_eq!(rules.companion_of(b"lock:x"), None);
        assert_eq!(name(&rules, "lock:x"), Some("all"));
    }

    #[test]
    fn long_keys_are_no_locks() {
        let rules = Rules::default();
        let key = [b"lock:".as_slice(), &[b'x'; 1019]].concat();
        assert!(rules.find(&key).is_some());
        assert!(rules.find(&[key.as_slice(), b"x"].concat()).is_none());
        assert!(rules.with_max_key(8).find(b"lock:1234").is_none());
    }

    #[test]
    fn empty_key_is_a_lock_where_a_rule_claims_it() {
        assert!(Rules::new(vec![rule("all", &["*"])]).find(b"").is_some());
        assert!(Rules::new(vec![rule("none", &["**"])]).find(b"").is_none());
        assert!(Rules::new(vec![]).find(b"lock:a").is_none());
    }

    #[test]
    fn heads_compare_up_to_eight_bytes() {
        for (prefix, key, fits) in [
            ("", "x", true),
            ("lock:", "lock:", true),
            ("lock:", "lock", false),
            ("12345678", "123456789", true),
            ("12345678", "1234567", false),
            ("123456789", "12345678x", true),
        ] {
            assert_eq!(
                Head::new(prefix.as_bytes()).fits(Head::word(key.as_bytes())),
                fits,
                "{key}"
            );
        }
    }

    #[test]
    fn byte_set_complement_has_exactly_the_others() {
        let mut set = ByteSet::default();
        set.add(0);
        set.add(64);
        set.add(255);
        let others = set.complement();
        assert!((0..=255).all(|byte| set.has(byte) != others.has(byte)));
        assert_eq!((0..=255).filter(|&byte| set.has(byte)).count(), 3);
    }

    proptest! {
        /// The index never changes an answer.
        #[test]
        fn find_says_what_asking_every_rule_says(
            patterns in prop::collection::vec("[abl*?\\[\\]-]{0,4}", 0..5),
            excluded in "[abl*]{0,3}",
            companion in "[abl*]{2,3}",
            key in "[abl]{0,4}",
        ) {
            let mut all: Vec<Rule> =
                patterns.iter().map(|pattern| rule("r", &[pattern.as_str(), "lll*"])).collect();
            if let Some(first) = all.first_mut() {
                first.exclude = globs(&[&excluded]);
                first.companions = globs(&[&companion]);
            }
            let key = key.as_bytes();
            let one = |globs: &[Glob]| globs.iter().any(|glob| glob.matches(key));
            let companion = all.iter().any(|rule| one(&rule.companions));
            let claims = |rule: &Rule| one(&rule.keys) && !one(&rule.exclude);
            let expected = if companion { None } else { all.iter().position(claims) };
            let found = Rules::new(all).find_id(key).map(|id| usize::from(id.0));
            prop_assert_eq!(found, expected);
        }
    }
}
