//! Who may use which locks while Redis can't be asked (SPEC 6). Never weaker than Redis.
//!
//! [`Gate`] is what sessions tell and ask; [`Doorman`] is the one that there is. It remembers what
//! Redis was seen to accept, and forgets it as soon as Redis is seen to refuse it: credentials as
//! a keyed hash, in memory alone, under a key that no other process has. That clients need no
//! password at all is no secret, and is kept in the state directory (`open`), so that a sidecar
//! which starts while Redis is away goes on for them. It must not log or store a password.

mod open;
mod seen;

use std::fs::File;
use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::served::Denied;
use crate::config::{PasswordDigest, Settings, User};
use crate::lock::rule::Rules;

use open::OpenFile;
use seen::{Seen, Tag};

/// The user of a client that has not said who it is.
pub const DEFAULT_USER: &[u8] = b"default";

/// How a client has proved who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Proof {
    /// Not at all: it is the default user as Redis takes strangers.
    Nothing,
    /// By credentials that Redis has accepted, then or earlier.
    Upstream,
    /// By credentials that only the configuration has (`[[user]]`).
    Local,
}

/// A client, as far as its rights go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Who<'a> {
    /// The ACL user.
    pub user: &'a [u8],
    /// How it has proved that.
    pub proof: Proof,
}

/// What a [`Gate`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// It may.
    Granted,
    /// It has to authenticate.
    Unknown,
    /// It may not use locks of this rule.
    Denied,
}

/// Who may use which locks while Redis can't be asked (SPEC 6). Never weaker than Redis: a user is
/// let in with credentials that Redis was seen to accept, or that are configured, and then only to
/// the rules whose lock commands Redis was seen to accept of it.
pub trait Gate: Send + Sync {
    /// Grows whenever something was forgotten: then sessions tell again what they have told.
    fn epoch(&self) -> u64;
    /// Redis has accepted these in AUTH or HELLO.
    fn saw_accepted(&self, user: &[u8], password: &[u8]);
    /// Redis has refused these (WRONGPASS).
    fn saw_rejected(&self, user: &[u8], password: &[u8]);
    /// Redis has carried out a lock command that writes, under this rule, on a link that was
    /// opened in the epoch `since`.
    fn saw_use(&self, who: Who<'_>, rule: &str, since: u64);
    /// Redis has refused a command of this client: for want of rights on the locks of a rule
    /// (NOPERM), or (no rule) because it has not authenticated (NOAUTH).
    fn saw_refused(&self, who: Who<'_>, rule: Option<&str>);
    /// How these prove who the client is; none if they do not.
    fn admits(&self, user: &[u8], password: &[u8]) -> Option<Proof>;
    /// Whether the client may use locks of this rule.
    fn access(&self, who: Who<'_>, rule: &str) -> Access;
    /// Whether Redis is to be asked which commands this client may not use under a rule.
    fn has_to_ask(&self, _who: Who<'_>, _rule: &str) -> bool {
        false
    }
    /// Redis was asked, and these are what it would refuse.
    fn saw_rights(&self, _who: Who<'_>, _rule: &str, _denied: Denied) {}
    /// Whether Redis was seen to refuse the client this command under a rule.
    fn is_denied(&self, _who: Who<'_>, _rule: &str, _command: &str) -> bool {
        false
    }
}

/// Remembers whom Redis lets use which locks.
pub struct Doorman {
    key: [u8; 32],
    local: Vec<LocalUser>,
    seen: RwLock<Seen>,
    epoch: AtomicU64,
    file: Option<OpenFile>,
}

/// A configured user, with the names of its rules.
struct LocalUser {
    name: String,
    password: PasswordDigest,
    rules: Vec<String>,
}

impl Doorman {
    /// One that knows the configured users, and what the state directory says of clients that
    /// need no password.
    ///
    /// # Errors
    /// The system has no random bytes, no thread, or no state directory to give. A file that can't
    /// be used is no error: it is not believed.
    pub fn open(settings: &Settings) -> io::Result<Self> {
        let mut doorman = Self::in_memory(&settings.users, &settings.rules)?;
        let upstream = settings.upstream.address.to_string();
        let place = &settings.state_dir;
        let (file, open) = OpenFile::open(place, &upstream, &settings.namespace, &settings.rules)?;
        doorman.file = Some(file);
        doorman.write().open(open);
        Ok(doorman)
    }

    /// One that forgets everything with the process.
    ///
    /// # Errors
    /// The system has no random bytes to give.
    pub fn in_memory(users: &[User], rules: &Rules) -> io::Result<Self> {
        let mut key = [0; 32];
        File::open("/dev/urandom")?.read_exact(&mut key)?;
        let named = |user: &User| LocalUser {
            name: user.name.clone(),
            password: user.password,
            rules: user.rules.iter().filter_map(|id| Some(rules.get(*id)?.name.clone())).collect(),
        };
        Ok(Self {
            key,
            local: users.iter().map(named).collect(),
            seen: RwLock::default(),
            epoch: AtomicU64::new(0),
            file: None,
        })
    }

    /// What is kept of credentials: says nothing without the key, and is no other user's.
    fn tag(&self, user: &[u8], password: &[u8]) -> Tag {
        // HMAC takes a key of any length: this never fails.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.key) else { return Tag::NONE };
        mac.update(&(user.len() as u64).to_be_bytes());
        mac.update(user);
        mac.update(password);
        Tag::new(mac.finalize().into_bytes().into())
    }

    fn local(&self, user: &[u8]) -> Option<&LocalUser> {
        self.local.iter().find(|local| local.name.as_bytes() == user)
    }

    fn is_local(&self, user: &[u8], rule: &str) -> bool {
        self.local(user).is_some_and(|local| local.rules.iter().any(|name| name == rule))
    }

    // A panic elsewhere leaves nothing half done here: each change is one call of `Seen`.
    fn read(&self) -> RwLockReadGuard<'_, Seen> {
        self.seen.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Seen> {
        self.seen.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something was forgotten. Under the lock, so that what is told behind it counts again.
    fn next_epoch(&self) -> u64 {
        self.epoch.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// Has the state directory follow.
    fn keep_open(&self, seen: &Seen) {
        if let Some(file) = &self.file {
            file.keep(&seen.wholly_open_rules());
        }
    }

    fn forget_strangers(&self, rule: Option<&str>) {
        let mut seen = self.write();
        let was_open = seen.is_open();
        match rule {
            Some(rule) if !seen.close_rule(rule) => return,
            Some(_) => {
                self.next_epoch();
            }
            // Also when nothing was known: what links that are older than this show later is no
            // proof.
            None => seen.close(self.next_epoch()),
        }
        if was_open {
            self.keep_open(&seen);
        }
    }
}

impl Gate for Doorman {
    fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    fn saw_accepted(&self, user: &[u8], password: &[u8]) {
        let tag = self.tag(user, password);
        if self.read().knows(user, &tag) {
            return;
        }
        let mut seen = self.write();
        if seen.admit(user, tag) {
            self.next_epoch();
        }
    }

    fn saw_rejected(&self, user: &[u8], password: &[u8]) {
        let tag = self.tag(user, password);
        // Anybody can send a wrong password: that says nothing of the right one.
        if !self.read().knows(user, &tag) {
            return;
        }
        let mut seen = self.write();
        if seen.forget(user) {
            self.next_epoch();
        }
    }

    fn saw_use(&self, who: Who<'_>, rule: &str, since: u64) {
        let known = match who.proof {
            Proof::Nothing => self.read().is_rule_open(rule),
            Proof::Upstream => self.read().is_allowed(who.user, rule),
            // Redis has not been asked who this is.
            Proof::Local => true,
        };
        if known {
            return;
        }
        let mut seen = self.write();
        if who.proof == Proof::Upstream {
            seen.allow(who.user, rule);
        } else if seen.open_rule(rule, since) {
            self.keep_open(&seen);
        }
    }

    fn saw_refused(&self, who: Who<'_>, rule: Option<&str>) {
        if who.proof == Proof::Nothing {
            return self.forget_strangers(rule);
        }
        let mut seen = self.write();
        let forgotten = match rule {
            Some(rule) => seen.disallow(who.user, rule),
            None => seen.forget(who.user),
        };
        if forgotten {
            self.next_epoch();
        }
    }

    fn admits(&self, user: &[u8], password: &[u8]) -> Option<Proof> {
        let tag = self.tag(user, password);
        if self.read().knows(user, &tag) {
            return Some(Proof::Upstream);
        }
        self.local(user).is_some_and(|local| local.password.fits(password)).then_some(Proof::Local)
    }

    fn has_to_ask(&self, who: Who<'_>, rule: &str) -> bool {
        let seen = self.read();
        who.proof == Proof::Upstream
            && seen.is_known(who.user)
            && seen.denied(who.user, rule).is_none()
    }

    fn saw_rights(&self, who: Who<'_>, rule: &str, denied: Denied) {
        let mut seen = self.write();
        match who.proof {
            Proof::Nothing => {
                seen.deny_strangers(rule, denied);
                self.keep_open(&seen);
            }
            Proof::Upstream => seen.deny(who.user, rule, denied),
            // Redis has not been asked who this is.
            Proof::Local => {}
        }
    }

    fn is_denied(&self, who: Who<'_>, rule: &str, command: &str) -> bool {
        let seen = self.read();
        let denied = match who.proof {
            Proof::Nothing => seen.denied_to_strangers(rule),
            Proof::Upstream => seen.denied(who.user, rule),
            Proof::Local => None,
        };
        denied.is_some_and(|denied| denied.has(command)) && !self.is_local(who.user, rule)
    }

    fn access(&self, who: Who<'_>, rule: &str) -> Access {
        let seen = self.read();
        let by_redis = match who.proof {
            Proof::Nothing if !seen.is_open() => return Access::Unknown,
            Proof::Nothing => return granted_if(seen.is_rule_open(rule)),
            Proof::Upstream if !seen.is_known(who.user) => return Access::Unknown,
            Proof::Upstream => seen.is_allowed(who.user, rule),
            Proof::Local => false,
        };
        granted_if(by_redis || self.is_local(who.user, rule))
    }
}

fn granted_if(granted: bool) -> Access {
    if granted { Access::Granted } else { Access::Denied }
}

#[cfg(test)]
mod tests;
