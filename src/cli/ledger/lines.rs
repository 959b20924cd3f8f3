//! The form of an export: a first line about the ledger, then one JSON object a line for each lock.
//! Pure.
//!
//! Bytes that are no UTF-8 stand in hexadecimal under the same name with `_hex` behind it. Unknown
//! fields are left alone, so that a newer Lockside may add some.

use std::sync::Arc;

use serde_json::{Map, Value as Json};

use crate::ledger::{Claim, Guarantee};
use crate::lock::record::LockKey;

/// Version of this form.
pub(super) const VERSION: u64 = 1;

/// What the first line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    /// Names the upstream.
    pub(super) namespace: String,
    /// What an OK meant.
    pub(super) guarantee: Guarantee,
    /// The highest fence ever given: those to come have to be higher.
    pub(super) fence_high: u64,
}

/// One held lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) claim: Claim,
    pub(super) fence: u64,
    pub(super) heard: bool,
}

impl Head {
    /// The line, without its end.
    pub(super) fn line(&self) -> String {
        let mut map = Map::new();
        map.insert("lockside_ledger".into(), VERSION.into());
        map.insert("namespace".into(), self.namespace.as_str().into());
        map.insert("guarantee".into(), self.guarantee.word().into());
        map.insert("fence_high".into(), self.fence_high.into());
        Json::Object(map).to_string()
    }

    /// Reads the line.
    ///
    /// # Errors
    /// What is missing, for a person.
    pub(super) fn read(line: &str) -> Result<Self, String> {
        let map = Fields::read(line)?;
        match map.number("lockside_ledger") {
            Ok(VERSION) => {}
            Ok(other) => return Err(format!("form {other} is not known; expected {VERSION}")),
            Err(_) => return Err("this is no export of a ledger".into()),
        }
        let word = map.text("guarantee")?;
        let known = [Guarantee::Strict, Guarantee::Fast];
        let guarantee = known.into_iter().find(|guarantee| guarantee.word() == &*word);
        Ok(Self {
            namespace: map.text("namespace")?.to_string(),
            guarantee: guarantee.ok_or("guarantee is neither strict nor fast")?,
            fence_high: map.number("fence_high")?,
        })
    }
}

impl Held {
    /// The line, without its end. It has the whole token in it.
    pub(super) fn line(&self) -> String {
        let claim = &self.claim;
        let mut map = Map::new();
        put(&mut map, "key", claim.key.key());
        map.insert("db".into(), claim.key.db().into());
        put(&mut map, "stored", &claim.stored);
        if let Some(other) = &claim.other {
            put(&mut map, "other", other);
        }
        let numbers = [
            ("at_ms", Some(claim.at_ms)),
            ("asked_ttl_ms", claim.asked_ttl_ms),
            ("expires_at_ms", claim.expires_at_ms),
            ("fence", Some(self.fence)),
        ];
        let texts = [
            ("rule", Some(&claim.rule)),
            ("client", Some(&claim.client)),
            ("marker", claim.marker.as_ref()),
        ];
        for (name, number) in numbers {
            map.extend(number.map(|number| (name.to_owned(), number.into())));
        }
        for (name, text) in texts {
            map.extend(text.map(|text| (name.to_owned(), (**text).into())));
        }
        map.insert("heard".into(), self.heard.into());
        Json::Object(map).to_string()
    }

    /// Reads the line.
    ///
    /// # Errors
    /// What is missing or wrong, for a person, without any value of the line.
    pub(super) fn read(line: &str) -> Result<Self, String> {
        let map = Fields::read(line)?;
        let db = u32::try_from(map.number("db")?).map_err(|_| "db is out of range")?;
        let claim = Claim {
            key: LockKey::new(db, &map.bytes("key")?),
            stored: map.bytes("stored")?.into(),
            other: map.if_any("other", |map, name| map.bytes(name))?.map(Arc::from),
            rule: map.text("rule")?,
            client: map.text("client")?,
            at_ms: map.number("at_ms")?,
            asked_ttl_ms: map.if_any("asked_ttl_ms", Fields::number)?,
            expires_at_ms: map.if_any("expires_at_ms", Fields::number)?,
            marker: map.if_any("marker", Fields::text)?,
        };
        Ok(Self { claim, fence: map.number("fence")?, heard: map.switch("heard")? })
    }
}

fn put(map: &mut Map<String, Json>, name: &str, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => map.insert(name.into(), text.into()),
        Err(_) => {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            map.insert(format!("{name}_hex"), hex.into())
        }
    };
}

/// The fields of one line.
struct Fields(Map<String, Json>);

impl Fields {
    fn read(line: &str) -> Result<Self, String> {
        match serde_json::from_str(line) {
            Ok(Json::Object(map)) => Ok(Self(map)),
            // serde_json's own words can quote the line.
            _ => Err("not a JSON object".into()),
        }
    }

    fn number(&self, name: &str) -> Result<u64, String> {
        self.field(name, Json::as_u64, "whole number")
    }

    fn switch(&self, name: &str) -> Result<bool, String> {
        self.field(name, Json::as_bool, "true or false")
    }

    fn text(&self, name: &str) -> Result<Arc<str>, String> {
        self.field(name, |value| value.as_str().map(Arc::from), "text")
    }

    fn bytes(&self, name: &str) -> Result<Vec<u8>, String> {
        if self.0.contains_key(name) {
            return self.field(name, |value| value.as_str().map(|text| text.into()), "text");
        }
        let hex = |value: &Json| value.as_str().and_then(decode);
        self.field(&format!("{name}_hex"), hex, "hexadecimal text")
    }

    /// What `read` gives, if the field (or its hexadecimal form) is there.
    fn if_any<T>(
        &self,
        name: &str,
        read: impl FnOnce(&Self, &str) -> Result<T, String>,
    ) -> Result<Option<T>, String> {
        let there = self.0.contains_key(name) || self.0.contains_key(&format!("{name}_hex"));
        if there { read(self, name).map(Some) } else { Ok(None) }
    }

    fn field<T>(
        &self,
        name: &str,
        read: impl FnOnce(&Json) -> Option<T>,
        kind: &str,
    ) -> Result<T, String> {
        let value = self.0.get(name).ok_or_else(|| format!("{name} is missing"))?;
        read(value).ok_or_else(|| format!("{name} is no {kind}"))
    }
}

fn decode(hex: &str) -> Option<Vec<u8>> {
    let digit = |digit: &u8| char::from(*digit).to_digit(16);
    let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
    let byte = |[high, low]: &[u8; 2]| u8::try_from(digit(high)? << 4 | digit(low)?).ok();
    rest.is_empty().then(|| pairs.iter().map(byte).collect())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn held(key: &[u8], stored: &[u8]) -> Held {
        let claim = Claim {
            key: LockKey::new(3, key),
            stored: stored.into(),
            other: None,
            rule: "jobs".into(),
            client: "127.0.0.1:1".into(),
            at_ms: 17,
            asked_ttl_ms: Some(30_000),
            expires_at_ms: None,
            marker: None,
        };
        Held { claim, fence: 9, heard: true }
    }

    #[test]
    fn a_line_can_be_read_by_people() {
        let head = Head { namespace: "orders".into(), guarantee: Guarantee::Fast, fence_high: 12 };
        let text =
            r#"{"fence_high":12,"guarantee":"fast","lockside_ledger":1,"namespace":"orders"}"#;
        assert_eq!(head.line(), text);
        assert_eq!(Head::read(text), Ok(head));
        let text = r#"{"asked_ttl_ms":30000,"at_ms":17,"client":"127.0.0.1:1","db":3,"fence":9,"heard":true,"key":"lock:a","rule":"jobs","stored_hex":"ff00"}"#;
        assert_eq!(held(b"lock:a", b"\xff\0").line(), text);
        assert_eq!(Held::read(text), Ok(held(b"lock:a", b"\xff\0")));
    }

    #[test]
    fn what_is_wrong_is_named_and_not_quoted() {
        let line = held(b"lock:a", b"hunter2").line();
        for (from, to, expected) in [
            ("{", "", "not a JSON object"),
            (r#""fence":9,"#, "", "fence is missing"),
            (r#""fence":9,"#, r#""fence":-9,"#, "fence is no whole number"),
            (r#""db":3,"#, r#""db":99999999999,"#, "db is out of range"),
            (r#""key":"lock:a""#, r#""key_hex":"abc""#, "key_hex is no hexadecimal text"),
            (r#""heard":true"#, r#""heard":1"#, "heard is no true or false"),
        ] {
            assert_eq!(Held::read(&line.replacen(from, to, 1)), Err(expected.into()));
        }
        assert_eq!(Head::read(&line), Err("this is no export of a ledger".into()));
        assert!(Head::read(r#"{"lockside_ledger":2}"#).unwrap_err().contains("form 2"));
    }

    proptest! {
        #[test]
        fn every_lock_reads_back(
            key in any::<Vec<u8>>(),
            stored in any::<Vec<u8>>(),
            other in any::<Option<Vec<u8>>>(),
            client in ".{0,9}",
            marker in proptest::option::of("[A-Z:]{1,9}"),
            numbers in any::<(u64, Option<u64>, Option<u64>, u64, bool)>(),
        ) {
            let mut lock = held(&key, &stored);
            lock.claim.other = other.map(Arc::from);
            lock.claim.client = client.as_str().into();
            lock.claim.marker = marker.map(|marker| marker.as_str().into());
            (lock.claim.at_ms, lock.claim.asked_ttl_ms, lock.claim.expires_at_ms, lock.fence, lock.heard) =
                numbers;
            let line = lock.line();
            prop_assert!(!line.contains('\n'));
            prop_assert_eq!(Held::read(&line), Ok(lock));
        }
    }
}
