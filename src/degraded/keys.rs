//! Commands on keys of any type: DEL, UNLINK, EXISTS, TOUCH, TYPE.

use super::reply::Reply;
use super::turn::{Outcome, Stop, Turn, arg};
use crate::resp::Args;

/// Runs `name` if it is one of these.
pub(super) fn run(turn: &mut Turn<'_>, name: &str, args: Args<'_>) -> Option<Outcome> {
    Some(match name {
        "del" | "unlink" => turn.delete(args),
        "exists" | "touch" => turn.exists(args),
        "type" => turn.type_of(args),
        _ => return None,
    })
}

impl Turn<'_> {
    fn delete(&mut self, args: Args<'_>) -> Outcome {
        let mut deleted = 0;
        for key in args.iter().skip(1) {
            let key = self.key(key);
            deleted += usize::from(self.overlay.remove(&key));
        }
        Ok(Reply::count(deleted))
    }

    fn exists(&mut self, args: Args<'_>) -> Outcome {
        let keys = args.iter().skip(1).map(|key| self.key(key));
        Ok(Reply::count(keys.filter(|key| self.overlay.find(key).is_some()).count()))
    }

    fn type_of(&mut self, args: Args<'_>) -> Outcome {
        let key = self.key(arg(args, 1));
        let name = match self.overlay.type_of(&key) {
            Some(name) => name,
            None if self.overlay.find(&key).is_none() => "none",
            None => return Err(Stop::NotServed),
        };
        Ok(Reply::Status(name.as_bytes().into()))
    }
}
