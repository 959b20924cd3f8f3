//! The probe: does Redis answer, does it take lock writes, and which run of it is it.
//!
//! **The write.** `SET lockside:probe:<random> 1 PX 1000 XX` on a key of this process's own, in
//! database 0. Redis refuses it for whatever it would refuse a lock's write for (READONLY, MISCONF,
//! OOM, NOREPLICAS) and holds it back in `CLIENT PAUSE … WRITE`, for it judges a command by its
//! kind before it runs. It does no harm: `XX` sets a key only where there is one, and there is
//! none, so nothing is written, replicated, appended to the AOF or counted towards the next
//! snapshot. Only where something is wrong already the probe is *deep*, without `XX`, on a second
//! key: then something is written that goes after a second, and a disk that hangs shows. No other
//! process uses these keys.
//!
//! **PING** goes before it, so that silence and writes that hang can be told apart.
//!
//! **Blind.** A user without the right to write that key (`NOPERM`), or no user where Redis wants
//! one (`NOAUTH`): then a probe says that Redis answers, and that it is no replica where INFO is
//! permitted; whether it takes lock writes is learnt from the workers' reports alone. Lockside's
//! own user needs `+ping +set +info +client|setname ~lockside:*`.
//!
//! **The run** is `run_id` of `INFO server`, asked for on each new connection. Where that is not
//! permitted, each new connection counts as another run unless the one before still stands.
//!
//! **Besides** it asks on each new connection how many databases there are (`CONFIG GET databases`;
//! not permitted: not known), and notes when Redis lets nobody in without a password. Where it has no
//! password itself, it asks of each rule which commands such a client may use on its locks: it has each
//! that is served without Redis queued in a transaction, on a key of each of the rule's globs, for which
//! Redis looks at the rights, and discards it. Who may SET may use the rule.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::Secret;
use crate::degraded::{Denied, questions};
use crate::mode::{Finding, Sign, UNTOLD};
use crate::resp::encode;
use crate::resp::reply::Reply;
use crate::telemetry;
use crate::upstream::Upstream;
use crate::upstream::line::{Fault, Line as Link};

/// A write that was not permitted is tried again after so many probes: rights can be given.
const BLIND_PROBES: u32 = 60;
/// Bytes of Redis's own words that are passed on.
const MAX_WORDS: usize = 120;

/// A rule's name, and a lock key of each of its globs.
pub type Sample = (Arc<str>, Vec<Vec<u8>>);

/// Whom to ask, and as whom.
#[derive(Debug, Clone)]
pub(super) struct Whom {
    pub(super) upstream: Arc<Upstream>,
    pub(super) username: Option<String>,
    pub(super) password: Option<Secret>,
    /// Longest time of a probe, connecting included.
    pub(super) timeout: Duration,
    /// A lock key of each rule, with the rule's name.
    pub(super) samples: Vec<Sample>,
}

/// Makes probes, by a connection that stands between them.
pub(super) struct Prober {
    whom: Whom,
    key: String,
    standing: Option<Contact>,
    /// Runs that were not told.
    untold: u64,
    /// People are told once that probes are blind.
    warned: bool,
    /// How many databases Redis has, if it has said so.
    databases: Option<u32>,
    /// The last connection that was made met NOAUTH; and whether that is news.
    is_stranger: bool,
    is_news: bool,
    /// Rules that the last connection was found to be let use without a password, if that is news.
    open: Vec<(Arc<str>, Denied)>,
    /// The run that was asked.
    asked: Option<Arc<str>>,
}

/// A connection, and what is known by it.
#[derive(Debug)]
struct Contact {
    link: Link,
    run: Arc<str>,
    /// Probes that are left to be made without the write.
    blind: u32,
    /// A reply is still owed, which must not be taken for that of the next probe.
    is_spent: bool,
}

/// Until when to wait in one probe.
#[derive(Debug, Clone, Copy)]
struct Deadlines {
    /// For the first sign of life.
    first: Instant,
    /// For all of it.
    all: Instant,
}

impl Prober {
    pub(super) fn new(whom: Whom) -> Self {
        // The hash of nothing under a key that the system has chosen.
        let key = format!("lockside:probe:{:016x}", RandomState::new().hash_one(()));
        Self {
            whom,
            key,
            standing: None,
            untold: 0,
            warned: false,
            databases: None,
            is_stranger: false,
            is_news: false,
            open: Vec::new(),
            asked: None,
        }
    }

    /// How many databases Redis has, if it has said so.
    pub(super) fn databases(&self) -> Option<u32> {
        self.databases
    }

    /// True once after Redis was found to let nobody in without a password.
    pub(super) fn take_closed(&mut self) -> bool {
        std::mem::take(&mut self.is_news)
    }

    /// Rules whose locks Redis was found to let everybody use, since the last call.
    pub(super) fn take_open(&mut self) -> Vec<(Arc<str>, Denied)> {
        std::mem::take(&mut self.open)
    }

    /// Makes one probe; `fresh`: by a new connection. Takes `timeout` at most.
    ///
    /// The connection that stands gets half of the time for its first reply, so that one which
    /// has died unseen is not taken for a Redis that hangs.
    pub(super) fn probe(&mut self, fresh: bool, deep: bool) -> Finding {
        let start = Instant::now();
        let all = start + self.whom.timeout;
        let half = Deadlines { first: start + self.whom.timeout / 2, all };
        let before = self.standing.take().map(|mut contact| {
            let found = self.check(&mut contact, deep, half);
            (contact, found)
        });
        let has_broken = matches!(before, Some((_, Err(_))));
        let before = before.and_then(|(contact, found)| Some((contact, found.ok()?)));
        match before {
            Some((contact, found)) if !fresh || Instant::now() >= all => {
                self.keep(contact);
                found
            }
            before => self.probe_anew(before, deep, Deadlines { first: all, all }, has_broken),
        }
    }

    fn probe_anew(
        &mut self,
        before: Option<(Contact, Finding)>,
        deep: bool,
        until: Deadlines,
        has_broken: bool,
    ) -> Finding {
        let opened = self.open(until.all).and_then(|mut contact| {
            let found = self.check(&mut contact, deep, until);
            Ok((contact, found.map_err(|fault| self.bad(fault.sign()))?))
        });
        match (opened, before) {
            // The same run as before: that connection still stands.
            (Ok((new, _)), Some((old, found))) if is_untold(&new.run) && is_untold(&old.run) => {
                self.keep(old);
                found
            }
            (Err(Finding::Bad { sign: Sign::MaxClients, .. }), Some((old, found))) => {
                self.keep(old);
                found
            }
            (Ok((new, mut found)), _) => {
                self.keep(new);
                if let Finding::Good { broken, .. } = &mut found {
                    *broken = has_broken;
                }
                found
            }
            (Err(finding), _) => finding,
        }
    }

    /// Connects, and asks which run it is.
    fn open(&mut self, deadline: Instant) -> Result<Contact, Finding> {
        let connected = Link::connect(&self.whom.upstream, deadline);
        let mut link = connected.map_err(|sign| self.bad(sign))?;
        let mut commands = Vec::new();
        self.write_auth(&mut commands);
        encode::command(&mut commands, &[b"CLIENT", b"SETNAME", b"lockside-health"]);
        encode::command(&mut commands, &[b"INFO", b"server"]);
        encode::command(&mut commands, &[b"CONFIG", b"GET", b"databases"]);
        link.send(&commands, deadline);
        let reply = |link: &mut Link| {
            let bytes = link.reply(deadline).map_err(|fault| self.bad(fault.sign()))?;
            refusal(&bytes).map_or(Ok(bytes), Err)
        };
        if self.whom.password.is_some() {
            reply(&mut link)?;
        }
        reply(&mut link)?;
        let info = reply(&mut link)?;
        let config = reply(&mut link)?;
        self.databases = databases(&config).or(self.databases);
        let was_stranger = std::mem::replace(&mut self.is_stranger, info.starts_with(b"-NOAUTH"));
        self.is_news |= self.is_stranger && !was_stranger;
        let run = field(&info, b"run_id").map(Arc::from).unwrap_or_else(|| {
            self.untold += 1;
            format!("{UNTOLD}{}", self.untold).into()
        });
        // Once for each run: what changes later shows when clients are refused.
        if self.whom.password.is_none() && self.asked.as_ref() != Some(&run) {
            let open = self.ask_for_strangers(&mut link, deadline);
            self.open = open.map_err(|fault| self.bad(fault.sign()))?;
            self.asked = Some(run.clone());
        }
        Ok(Contact { link, run, blind: 0, is_spent: false })
    }

    /// Rules whose locks Redis lets use who has not authenticated. Nothing is carried out: where there
    /// is no transaction nothing is asked.
    fn ask_for_strangers(
        &self,
        link: &mut Link,
        deadline: Instant,
    ) -> Result<Vec<(Arc<str>, Denied)>, Fault> {
        let mut commands = Vec::new();
        encode::command(&mut commands, &[b"MULTI"]);
        link.send(&commands, deadline);
        if link.reply(deadline)? != b"+OK\r\n" {
            return Ok(Vec::new());
        }
        commands.clear();
        for key in self.whom.samples.iter().flat_map(|(_, keys)| keys) {
            questions(key).for_each(|words| encode::command(&mut commands, &words));
        }
        encode::command(&mut commands, &[b"DISCARD"]);
        link.send(&commands, deadline);
        let mut open = Vec::new();
        for (rule, keys) in &self.whom.samples {
            let (mut denied, mut is_sure) = (Denied::NONE, true);
            for (at, _) in keys.iter().flat_map(|key| questions(key).enumerate()) {
                is_sure &= denied.hear(at, &link.reply(deadline)?);
            }
            let is_open = is_sure && !denied.has("set");
            open.extend(is_open.then(|| (rule.clone(), denied)));
        }
        link.reply(deadline)?;
        Ok(open)
    }

    /// Where the password is wrong, Redis treats what follows as from a stranger.
    fn write_auth(&self, commands: &mut Vec<u8>) {
        let Some(password) = &self.whom.password else { return };
        let password = password.expose().as_bytes();
        match &self.whom.username {
            Some(user) => encode::command(commands, &[b"AUTH", user.as_bytes(), password]),
            None => encode::command(commands, &[b"AUTH", password]),
        }
    }

    /// Asks on a connection. A fault is the connection's; what Redis says is a finding.
    fn check(
        &mut self,
        contact: &mut Contact,
        deep: bool,
        until: Deadlines,
    ) -> Result<Finding, Fault> {
        let is_blind = contact.blind > 0;
        let mut commands = Vec::new();
        encode::command(&mut commands, &[b"PING"]);
        match is_blind {
            true => encode::command(&mut commands, &[b"INFO", b"replication"]),
            false => self.write_set(&mut commands, deep),
        }
        contact.link.send(&commands, until.all);
        let pong = contact.link.reply(until.first)?;
        if let Some(finding) = refusal(&pong) {
            contact.link.reply(until.all)?;
            return Ok(finding);
        }
        let reply = match contact.link.reply(until.all) {
            Ok(reply) => reply,
            Err(Fault::Late) if !is_blind => {
                contact.is_spent = true;
                return Ok(self.bad(Sign::WritesHang));
            }
            Err(fault) => return Err(fault),
        };
        Ok(match is_blind {
            true => self.read_role(contact, &reply),
            false => self.read_set(contact, &reply),
        })
    }

    fn write_set(&self, commands: &mut Vec<u8>, deep: bool) {
        // One key for both would be kept alive by XX.
        match deep {
            true => {
                let key = format!("{}:deep", self.key);
                encode::command(commands, &[b"SET", key.as_bytes(), b"1", b"PX", b"1000"]);
            }
            false => {
                let key = self.key.as_bytes();
                encode::command(commands, &[b"SET", key, b"1", b"PX", b"1000", b"XX"]);
            }
        }
    }

    fn read_set(&mut self, contact: &mut Contact, reply: &[u8]) -> Finding {
        let is_written = !matches!(Reply::parse(reply), Some((Reply::Error(_), _)));
        refusal(reply).unwrap_or_else(|| {
            if !is_written {
                contact.blind = BLIND_PROBES;
                self.warn_blind();
            }
            Finding::Good { run: contact.run.clone(), blind: !is_written, broken: false }
        })
    }

    fn read_role(&mut self, contact: &mut Contact, reply: &[u8]) -> Finding {
        contact.blind -= 1;
        if field(reply, b"role") == Some("slave") {
            return self.bad(Sign::ReadOnly);
        }
        let run = contact.run.clone();
        refusal(reply).unwrap_or(Finding::Good { run, blind: true, broken: false })
    }

    fn warn_blind(&mut self) {
        if !std::mem::replace(&mut self.warned, true) {
            tracing::warn!(
                upstream = %self.whom.upstream.address(),
                "Lockside's own Redis user may not write lockside:*, so a Redis that takes no \
                 writes is noticed only when a lock command fails; see upstream.url"
            );
        }
    }

    fn keep(&mut self, contact: Contact) {
        self.standing = (!contact.is_spent).then_some(contact);
    }

    fn bad(&self, sign: Sign) -> Finding {
        Finding::Bad { sign, detail: self.whom.upstream.address().to_string().into() }
    }
}

/// What an error reply says of Redis's state, if it does.
fn refusal(reply: &[u8]) -> Option<Finding> {
    let Some((Reply::Error(text), _)) = Reply::parse(reply) else { return None };
    let words = &text[..text.len().min(MAX_WORDS)];
    let detail = telemetry::escape(words).to_string().into();
    Some(Finding::Bad { sign: Sign::of_error(text)?, detail })
}

fn is_untold(run: &str) -> bool {
    run.starts_with(UNTOLD)
}

/// The number in a reply to `CONFIG GET databases`.
fn databases(config: &[u8]) -> Option<u32> {
    let (reply, _) = Reply::parse(config)?;
    let (value, _) = Reply::parse(reply.elements().nth(1)?)?;
    std::str::from_utf8(value.text()?).ok()?.parse().ok()
}

/// The value of `name:value` in a reply of INFO.
fn field<'a>(info: &'a [u8], name: &[u8]) -> Option<&'a str> {
    let (reply, _) = Reply::parse(info)?;
    let mut lines = reply.text()?.split(|byte| *byte == b'\n');
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(b":"))?;
    std::str::from_utf8(value).ok().map(str::trim).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests;
