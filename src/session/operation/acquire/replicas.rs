//! `min_replicas`: WAIT behind the SET or the script that has taken a lock (SPEC 10).
//!
//! Sent on the link that the write was sent on, for WAIT speaks of that link's writes alone. It is
//! not sent inside MULTI, where Redis does not wait, nor while Redis can't be asked.

use crate::lock::acquire::Input;
use crate::resp::reply::Reply;
use crate::session::Shared;
use crate::session::operation::{Flow, Scope};
use crate::telemetry;

use super::Acquiring;

/// Bytes of Redis's own words that are passed on.
const MAX_WORDS: usize = 120;

impl Acquiring {
    pub(super) fn read_replicas(&mut self, reply: &Reply<'_>, scope: &Scope<'_, '_>) -> Input {
        self.replicas = match reply {
            Reply::Integer(have) => Some(*have),
            _ => None,
        };
        match judge(reply, scope.shared()) {
            Ok(()) => Input::Replicated,
            Err(text) => {
                self.trouble = Some(text);
                Input::Refused
            }
        }
    }

    /// The key was taken back, or runs out.
    pub(super) fn answer_too_few(&mut self, scope: &mut Scope<'_, '_>) -> Flow {
        let text = self.trouble.take().unwrap_or_else(|| LINK_LOST.to_owned());
        scope.answer_error(&text)
    }
}

/// True if a lock counts only once replicas have it.
pub(in crate::session::operation) fn are_wanted(scope: &Scope<'_, '_>) -> bool {
    scope.shared().replicas.least > 0
}

/// Has Redis wait for its replicas.
pub(in crate::session::operation) fn send(scope: &mut Scope<'_, '_>) {
    let replicas = scope.shared().replicas;
    // Zero would wait for ever.
    let ms = replicas.within.as_millis().max(1).to_string();
    scope.send(&[b"WAIT", replicas.least.to_string().as_bytes(), ms.as_bytes()]);
}

/// What WAIT's reply says; an error is for the client.
pub(in crate::session::operation) fn judge(
    reply: &Reply<'_>,
    shared: &Shared,
) -> Result<(), String> {
    let least = shared.replicas.least;
    match reply {
        Reply::Integer(have) if usize::try_from(*have).is_ok_and(|have| have >= least) => Ok(()),
        Reply::Integer(have) => Err(too_few(*have, shared)),
        Reply::Error(text) => {
            let words = telemetry::escape(&text[..text.len().min(MAX_WORDS)]);
            Err(format!("NOREPLICAS lockside: Redis refuses WAIT ({words}); not acquired"))
        }
        _ => Err(LINK_LOST.to_owned()),
    }
}

/// No more than so many had it.
pub(super) fn too_few(have: i64, shared: &Shared) -> String {
    let least = shared.replicas.least;
    format!("NOREPLICAS lockside: {have} of {least} replicas had it in time; not acquired")
}

/// Nobody can say how many have it.
pub(in crate::session::operation) const LINK_LOST: &str = "NOREPLICAS lockside: the connection was \
    lost before Redis said how many replicas had it; not acquired";
