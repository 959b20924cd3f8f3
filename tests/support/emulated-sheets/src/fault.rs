//! What goes wrong on demand: for the next calls, or with a chance for each.

use std::time::Duration;

use serde_json::Value;

use crate::random::Random;

/// Which calls a fault is for.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// Every call, tokens included.
    Any,
    /// Calls that are charged as reads.
    Reads,
    /// Calls that are charged as writes.
    Writes,
    /// Calls for a token, at the token endpoint and the metadata server.
    Tokens,
    /// One method, such as `spreadsheets.batchUpdate`.
    Method(String),
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// This status with Google's JSON, before or after the call was applied.
    Status {
        /// The HTTP status.
        code: u16,
        /// True if the call had its effect all the same.
        applied: bool,
    },
    /// This status with a page of HTML.
    Page {
        /// The HTTP status.
        code: u16,
        /// True if the call had its effect all the same.
        applied: bool,
    },
    /// The connection is closed and nothing was applied.
    CutBefore,
    /// The call is applied, then the connection is closed without an answer.
    CutAfter,
    /// The call is applied, and the answer breaks off after so many bytes of its body.
    CutBody {
        /// Bytes that still come.
        bytes: usize,
    },
    /// No answer ever comes.
    Hang {
        /// True if the call had its effect all the same.
        applied: bool,
    },
    /// No answer ever comes, and the call is applied this much later.
    Late {
        /// Time from its arrival.
        after: Duration,
    },
    /// The call takes this much longer.
    Slow {
        /// Additional time.
        by: Duration,
    },
    /// A read does not see what was written within this time; a write does not see it in its own answer.
    Stale {
        /// How far behind it is; versions are kept for a minute, and at most 500.
        by: Duration,
    },
}

/// A fault that waits for its calls.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// Which calls.
    pub on: Target,
    /// How many of them; none for all from now on.
    pub times: Option<u32>,
    /// How probable it is for each; 1 is certain.
    pub chance: f64,
    /// What happens.
    pub kind: Kind,
}

impl Fault {
    /// For the next call only.
    pub fn next(on: Target, kind: Kind) -> Self {
        Self { on, times: Some(1), chance: 1.0, kind }
    }

    /// For every call, with this chance.
    pub fn chance(on: Target, chance: f64, kind: Kind) -> Self {
        Self { on, times: None, chance, kind }
    }

    /// From JSON, as the control address takes it.
    ///
    /// # Errors
    /// What is wrong with it, for a person.
    pub fn read(value: &Value) -> std::result::Result<Self, String> {
        let on = match value["on"].as_str().unwrap_or("any") {
            "any" => Target::Any,
            "reads" => Target::Reads,
            "writes" => Target::Writes,
            "tokens" => Target::Tokens,
            name if name.starts_with("spreadsheets.") => Target::Method(name.to_owned()),
            other => {
                return Err(format!(
                    "\"on\" is any, reads, writes, tokens or a method, not {other}"
                ));
            }
        };
        let chance = value["chance"].as_f64().unwrap_or(1.0);
        let times = match value.get("times").map(Value::as_u64) {
            Some(Some(times)) => Some(u32::try_from(times).unwrap_or(u32::MAX)),
            Some(None) => return Err("\"times\" is a number".to_owned()),
            None if value.get("chance").is_some() => None,
            None => Some(1),
        };
        Ok(Self { on, times, chance, kind: kind(value)? })
    }

    /// Its name in the journal.
    pub(crate) fn name(&self) -> String {
        format!("{:?}", self.kind)
    }

    fn fits(&self, method: &str, write: Option<bool>) -> bool {
        match &self.on {
            Target::Any => true,
            Target::Reads => write == Some(false),
            Target::Writes => write == Some(true),
            Target::Tokens => write.is_none(),
            Target::Method(name) => name == method,
        }
    }
}

fn kind(value: &Value) -> std::result::Result<Kind, String> {
    let applied = value["applied"].as_bool().unwrap_or(false);
    let code = || {
        let code = value["code"].as_u64().and_then(|code| u16::try_from(code).ok());
        code.filter(|code| (400..600).contains(code)).ok_or("\"code\" is a status from 400 to 599")
    };
    let time = |name: &str| {
        let ms = value[name].as_u64().ok_or_else(|| format!("\"{name}\" is a number"))?;
        Ok::<_, String>(Duration::from_millis(ms))
    };
    Ok(match value["kind"].as_str().unwrap_or_default() {
        "status" => Kind::Status { code: code()?, applied },
        "page" => Kind::Page { code: code()?, applied },
        "cut_before" => Kind::CutBefore,
        "cut_after" => Kind::CutAfter,
        "cut_body" => {
            let bytes = value["bytes"].as_u64().unwrap_or(20);
            Kind::CutBody { bytes: usize::try_from(bytes).unwrap_or(20) }
        }
        "hang" => Kind::Hang { applied },
        "late" => Kind::Late { after: time("after_ms")? },
        "slow" => Kind::Slow { by: time("by_ms")? },
        "stale" => Kind::Stale { by: time("by_ms")? },
        other => {
            return Err(format!(
                "\"kind\" is status, page, cut_before, cut_after, cut_body, hang, late, slow or stale, \
                 not \"{other}\""
            ));
        }
    })
}

/// The faults that wait, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    waiting: Vec<Fault>,
}

impl Faults {
    /// Adds one.
    pub(crate) fn add(&mut self, fault: Fault) {
        self.waiting.push(fault);
    }

    /// Forgets all.
    pub(crate) fn clear(&mut self) {
        self.waiting.clear();
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// The fault of a call, if it has one: the oldest that fits and whose chance comes true.
    pub(crate) fn pick(
        &mut self,
        method: &str,
        write: Option<bool>,
        random: &mut Random,
    ) -> Option<Fault> {
        let at = self.waiting.iter().position(|fault| {
            fault.fits(method, write) && (fault.chance >= 1.0 || random.unit() < fault.chance)
        })?;
        let found = self.waiting[at].clone();
        if let Some(times) = &mut self.waiting[at].times {
            *times = times.saturating_sub(1);
            if *times == 0 {
                self.waiting.remove(at);
            }
        }
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_next_calls_meet_it_and_no_others() {
        let (mut faults, mut random) = (Faults::default(), Random::new(1));
        faults.add(Fault::read(&json!({"on": "writes", "times": 2, "kind": "cut_after"})).unwrap());
        let mut pick = |write| faults.pick("spreadsheets.x", write, &mut random).is_some();
        assert!(!pick(Some(false)) && !pick(None));
        assert!(pick(Some(true)) && pick(Some(true)) && !pick(Some(true)));
    }

    #[test]
    fn a_chance_is_met_about_as_often_as_it_says() {
        let (mut faults, mut random) = (Faults::default(), Random::new(1));
        faults.add(Fault::chance(Target::Any, 0.2, Kind::CutBefore));
        let met = (0..1000).filter(|_| faults.pick("m", None, &mut random).is_some()).count();
        assert!((150..250).contains(&met), "{met}");
    }

    #[test]
    fn nonsense_is_refused_with_what_was_expected() {
        assert!(Fault::read(&json!({"kind": "melt"})).unwrap_err().contains("cut_before"));
        assert!(Fault::read(&json!({"kind": "status", "code": 200})).unwrap_err().contains("400"));
        assert!(Fault::read(&json!({"on": "x", "kind": "hang"})).is_err());
    }
}
