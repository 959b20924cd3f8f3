//! Keys that show a lock's fence: the lock's key with its rule's `fence_suffix` behind it (SPEC 5).
//!
//! They are no locks, and nobody writes them. Where no rule has a suffix they cost one look at an
//! empty list.

use super::{Rule, Rules};

impl Rules {
    /// True if any rule has a suffix.
    #[inline]
    pub fn has_fences(&self) -> bool {
        !self.suffixes.is_empty()
    }

    /// The key of the lock whose fence `key` shows; none if it shows none. The lock's key may itself
    /// end with the suffix: then nobody ever holds that lock.
    pub fn fence_of<'k>(&self, key: &'k [u8]) -> Option<&'k [u8]> {
        self.suffixes.iter().find_map(|suffix| {
            let lock = key.strip_suffix(suffix.as_slice())?;
            let rule = self.get(self.claimed(lock)?)?;
            (rule.fence_suffix.as_deref() == Some(suffix)).then_some(lock)
        })
    }
}

/// The suffixes of these rules, each once.
pub(super) fn suffixes(rules: &[Rule]) -> Vec<Vec<u8>> {
    let mut suffixes: Vec<Vec<u8>> = Vec::new();
    for suffix in rules.iter().filter_map(|rule| rule.fence_suffix.as_deref()) {
        if !suffix.is_empty() && suffixes.iter().all(|known| known != suffix) {
            suffixes.push(suffix.to_vec());
        }
    }
    suffixes
}

#[cfg(test)]
mod tests {
    use super::super::{Glob, Rules};
    use super::*;

    fn rule(name: &str, glob: &str, suffix: Option<&[u8]>) -> Rule {
        let fence_suffix = suffix.map(<[u8]>::to_vec);
        Rule { fence_suffix, ..Rule::new(name, vec![Glob::new(glob.as_bytes())]) }
    }

    #[test]
    fn a_suffix_makes_keys_that_are_no_locks() {
        let rules = Rules::new(vec![
            rule("a", "a:*", Some(b":fence")),
            rule("b", "b:*", None),
            rule("c", "c:*", Some(b"/f")),
        ]);
        let shows = |key: &'static [u8]| rules.fence_of(key);
        assert_eq!(shows(b"a:1:fence"), Some(&b"a:1"[..]));
        assert_eq!(shows(b"c:1/f"), Some(&b"c:1"[..]));
        assert_eq!(shows(b"a:1:fence:fence"), Some(&b"a:1:fence"[..]));
        for key in [&b"a:1"[..], b"b:1:fence", b"a:1/f", b"x:fence", b":fence", b""] {
            assert_eq!(shows(key), None, "{}", key.escape_ascii());
        }
        assert!(rules.find(b"a:1").is_some() && rules.find(b"b:1:fence").is_some());
        for key in [&b"a:1:fence"[..], b"a:1:fence:fence", b"c:1/f"] {
            assert!(rules.find(key).is_none(), "{}", key.escape_ascii());
        }
        assert!(rules.has_fences() && !Rules::default().has_fences());
    }

    #[test]
    fn a_lock_whose_key_is_too_long_has_no_fence() {
        let rules = Rules::new(vec![rule("a", "a:*", Some(b":fence"))]).with_max_key(4);
        assert_eq!(rules.fence_of(b"a:12:fence"), Some(&b"a:12"[..]));
        assert_eq!(rules.fence_of(b"a:123:fence"), None);
    }
}
