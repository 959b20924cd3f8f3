//! What Redis's replies to an acquire's requests mean to the machine.

use crate::lock::acquire::{Input, Request};
use crate::lock::value;
use crate::resp::reply::Reply;
use crate::session::operation::Scope;

use super::words::{is_error, is_forbidden, is_unusable};
use super::{Acquiring, Form};

impl Acquiring {
    pub(super) fn read_reply(
        &mut self,
        reply: &Reply<'_>,
        frame: &[u8],
        scope: &Scope<'_, '_>,
    ) -> Input {
        match self.sent {
            Request::SetNx => self.read_set(reply, frame, scope),
            Request::Replicas => self.read_replicas(reply, scope),
            Request::ReadBack => self.read_value(reply, scope),
            Request::Persist => self.read_guarded(reply, frame),
            Request::PlainPersist => match reply {
                Reply::Integer(1) => Input::TtlRemoved,
                Reply::Integer(_) => Input::TtlAbsent,
                _ => self.refused(frame),
            },
            Request::Confirm => self.read_confirmation(reply, frame, scope),
            Request::CompareAndDelete => match self.read_guarded(reply, frame) {
                Input::Ours | Input::Anothers | Input::Gone => Input::Undone,
                error => error,
            },
        }
    }

    fn read_set(&mut self, reply: &Reply<'_>, frame: &[u8], scope: &Scope<'_, '_>) -> Input {
        match (reply, self.ask.form) {
            (Reply::Simple(b"OK"), _) | (Reply::Null, Form::SetGet) => Input::Taken,
            (Reply::Null, _) => Input::Occupied,
            (Reply::Bulk(there), Form::SetGet) => {
                self.note_holder(there, scope);
                Input::Occupied
            }
            (reply, _) if is_unusable(reply) => {
                self.error = frame.to_vec();
                Input::Unusable
            }
            _ => self.refused(frame),
        }
    }

    pub(super) fn note_holder(&mut self, stored: &[u8], scope: &Scope<'_, '_>) {
        let stamp = scope.shared().stamp_of(&self.ask.key);
        self.held_value = Some(value::strip(stored, stamp).to_vec());
    }

    fn read_value(&mut self, reply: &Reply<'_>, scope: &Scope<'_, '_>) -> Input {
        match reply {
            Reply::Bulk(there) if **there == *self.ask.stored => Input::Ours,
            Reply::Null => Input::Gone,
            Reply::Bulk(there) => {
                self.note_holder(there, scope);
                Input::Anothers
            }
            // Another's key, of another type.
            reply if is_error(reply, b"WRONGTYPE") => Input::Anothers,
            _ => Input::Refused,
        }
    }

    pub(super) fn read_guarded(&mut self, reply: &Reply<'_>, frame: &[u8]) -> Input {
        let first = reply.elements().next().and_then(Reply::parse).map(|(reply, _)| reply);
        match first {
            Some(Reply::Integer(1)) => Input::Ours,
            Some(Reply::Integer(0)) => Input::Anothers,
            Some(Reply::Integer(_)) => Input::Gone,
            _ if is_forbidden(reply) => Input::Forbidden,
            _ => self.refused(frame),
        }
    }

    fn read_confirmation(
        &mut self,
        reply: &Reply<'_>,
        frame: &[u8],
        scope: &Scope<'_, '_>,
    ) -> Input {
        let mut parts = reply.elements().filter_map(Reply::parse).map(|(part, _)| part);
        match (parts.next(), parts.next()) {
            (Some(value), Some(ttl)) => match self.read_value(&value, scope) {
                Input::Ours if ttl != Reply::Integer(-1) => Input::Provisional,
                there => there,
            },
            _ => self.refused(frame),
        }
    }

    fn refused(&mut self, frame: &[u8]) -> Input {
        self.error = frame.to_vec();
        Input::Refused
    }
}
