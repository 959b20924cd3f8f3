//! Users that may use locks while Redis can't be asked who they are (SPEC 6).
//!
//! Beside users that this sidecar saw Redis accept. A password is kept as its SHA-256 alone, as
//! Redis keeps those of its own users.

use std::fmt;

use sha2::{Digest, Sha256};

use super::problem::Wrong;
use crate::lock::rule::RuleId;

/// Most configured users.
pub(super) const MAX_USERS: usize = 1000;
/// Longest name, in bytes.
const MAX_NAME: usize = 128;

/// One configured user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The name; `default` is who authenticates by a password alone. Unique in a configuration.
    pub name: String,
    /// The password's digest.
    pub password: PasswordDigest,
    /// The rules whose locks the user may use, in the order of the rules.
    pub rules: Vec<RuleId>,
}

impl User {
    /// True if the user may use the locks of this rule.
    pub fn may_use(&self, rule: RuleId) -> bool {
        self.rules.contains(&rule)
    }
}

/// A password's SHA-256. `Debug` does not show it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PasswordDigest([u8; 32]);

impl PasswordDigest {
    /// The digest of this password.
    pub fn of(password: &[u8]) -> Self {
        Self(Sha256::digest(password).into())
    }

    /// True if this is the password. Takes as long for one wrong password as for another.
    pub fn fits(&self, password: &[u8]) -> bool {
        let other = Self::of(password);
        self.0.iter().zip(other.0).fold(0, |differ, (mine, theirs)| differ | (mine ^ theirs)) == 0
    }

    /// Reads 64 hexadecimal digits, as `ACL LIST` of Redis shows them behind `#`.
    pub(super) fn parse(hex: &str) -> Result<Self, Wrong> {
        // The text is not quoted: a password may have been put here by mistake.
        let wrong = || Wrong::new("no SHA-256", "64 hexadecimal digits");
        let digits = hex.as_bytes().as_chunks::<2>();
        if hex.len() != 64 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        let mut digest = [0; 32];
        for (byte, pair) in digest.iter_mut().zip(digits.0) {
            let pair = std::str::from_utf8(pair).map_err(|_| wrong())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| wrong())?;
        }
        Ok(Self(digest))
    }
}

impl fmt::Debug for PasswordDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordDigest(***)")
    }
}

/// A name as Redis takes it: no spaces, no NUL.
pub(super) fn name(text: &str) -> Result<String, Wrong> {
    let plain = |c: char| !c.is_whitespace() && !c.is_control();
    if (1..=MAX_NAME).contains(&text.len()) && text.chars().all(plain) {
        return Ok(text.to_owned());
    }
    Err(Wrong::new(format!("{text:?} is no user"), format!("1 to {MAX_NAME} bytes without spaces")))
}

/// The digest of a password that stands in the file.
pub(super) fn password(text: &str) -> Result<PasswordDigest, Wrong> {
    match text {
        "" => Err(Wrong::new("empty", "a password, or its password_sha256")),
        text => Ok(PasswordDigest::of(text.as_bytes())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_fits_its_password_alone() {
        // `printf secret | sha256sum`.
        let hex = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
        let digest = PasswordDigest::parse(hex).unwrap();
        assert!(digest.fits(b"secret"));
        assert!(!digest.fits(b"Secret") && !digest.fits(b""));
        assert_eq!(PasswordDigest::parse(&hex.to_uppercase()).unwrap(), digest);
        assert_eq!(PasswordDigest::of(b"secret"), digest);
        assert!(!format!("{digest:?}").contains("2bb8"));
    }

    #[test]
    fn what_is_no_digest_is_not_quoted() {
        for bad in ["", "hunter2", &"+1".repeat(32), &"é".repeat(32), &"a".repeat(63)] {
            let wrong = PasswordDigest::parse(bad).unwrap_err().to_string();
            assert_eq!(wrong, "no SHA-256; expected 64 hexadecimal digits", "{bad}");
        }
    }

    #[test]
    fn names() {
        assert!(name("default").is_ok() && name("worker-1").is_ok());
        assert!(name("").is_err() && name("a b").is_err() && name("a\0").is_err());
    }
}
