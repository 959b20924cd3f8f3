//! Commands on the connection's state, as the [`Change`] that their success will make. Pure.

use crate::command::StateUse;
use crate::command::subcommand::{self, ClientUse, ScriptUse};
use crate::resp::Args;
use crate::resp::encode::{self, Protocol};

use super::state::{Change, Credentials, Hello, ReplyMode, Topic};

/// What a state command is to the session.
#[derive(Debug)]
pub(super) enum Parsed {
    /// Nothing to follow: one reply, passed on.
    Plain,
    /// Forwarded as it came; success changes this.
    Change(Change),
    /// These bytes go upstream in its place.
    Rewrite(Change, Vec<u8>),
}

/// Reads a state command. What Redis would refuse parses as anything: its error changes nothing.
pub(super) fn parse(state_use: StateUse, args: Args<'_>) -> Parsed {
    let change = match state_use {
        StateUse::Multi => Change::Multi,
        StateUse::Discard => Change::Discard,
        StateUse::Watch => Change::Watch,
        StateUse::Unwatch => Change::Unwatch,
        StateUse::Reset => Change::Reset,
        StateUse::Monitor => Change::Monitor,
        StateUse::Sync | StateUse::Replconf => Change::Lasting,
        StateUse::Select => return or_plain(select(args)),
        StateUse::Auth => return or_plain(auth(args)),
        StateUse::Hello => return or_plain(hello(args)),
        StateUse::Subscribe | StateUse::Psubscribe | StateUse::Ssubscribe => {
            Change::Subscribe(args.len() - 1)
        }
        StateUse::Unsubscribe => unsubscribe(Topic::Channel, args),
        StateUse::Punsubscribe => unsubscribe(Topic::Pattern, args),
        StateUse::Sunsubscribe => unsubscribe(Topic::Shard, args),
        StateUse::Client => return client(args),
        StateUse::Script => return script(args),
        StateUse::Exec | StateUse::Quit | StateUse::Info | StateUse::Lockside => {
            return Parsed::Plain;
        }
    };
    Parsed::Change(change)
}

fn or_plain(change: Option<Change>) -> Parsed {
    change.map_or(Parsed::Plain, Parsed::Change)
}

fn unsubscribe(topic: Topic, args: Args<'_>) -> Change {
    let named = args.len() as u64 - 1;
    Change::Unsubscribe(topic, (named > 0).then_some(named))
}

fn select(args: Args<'_>) -> Option<Change> {
    std::str::from_utf8(args.get(1)?).ok()?.parse().ok().map(Change::Select)
}

fn auth(args: Args<'_>) -> Option<Change> {
    let (user, password) = match args.len() {
        2 => (None, args.get(1)?),
        3 => (Some(args.get(1)?.to_vec()), args.get(2)?),
        _ => return None,
    };
    Some(Change::Auth(Credentials { user, password: password.to_vec() }))
}

fn hello(args: Args<'_>) -> Option<Change> {
    let mut hello = Hello { protocol: None, auth: None, name: None };
    hello.protocol = match args.get(1) {
        None => return Some(Change::Hello(hello)),
        Some(b"3") => Some(Protocol::Resp3),
        Some(_) => Some(Protocol::Resp2),
    };
    let mut at = 2;
    while let Some(option) = args.get(at) {
        if option.eq_ignore_ascii_case(b"auth") {
            let (user, password) = (args.get(at + 1)?.to_vec(), args.get(at + 2)?.to_vec());
            hello.auth = Some(Credentials { user: Some(user), password });
            at += 3;
        } else {
            hello.name = Some(args.get(at + 1)?.to_vec());
            at += 2;
        }
    }
    Some(Change::Hello(hello))
}

fn client(args: Args<'_>) -> Parsed {
    let argument = |index: usize| args.get(index).unwrap_or_default().to_vec();
    let change = match subcommand::client(args) {
        ClientUse::SetName => Change::SetName(argument(2)),
        ClientUse::SetInfo => Change::SetInfo(argument(2), argument(3)),
        ClientUse::Tracking | ClientUse::Caching | ClientUse::Setting => Change::Lasting,
        ClientUse::Reply(mode) => return reply_mode(mode),
        ClientUse::Other => return Parsed::Plain,
    };
    Parsed::Change(change)
}

/// Lockside leaves replies out itself and keeps Redis sending them: else a lock command under
/// CLIENT REPLY OFF could not be followed to its end.
fn reply_mode(mode: subcommand::ReplyMode) -> Parsed {
    let mode = match mode {
        subcommand::ReplyMode::On => ReplyMode::On,
        subcommand::ReplyMode::Off => ReplyMode::Off,
        subcommand::ReplyMode::Skip => ReplyMode::Skip,
    };
    let mut command = Vec::new();
    encode::command(&mut command, &[b"CLIENT", b"REPLY", b"ON"]);
    Parsed::Rewrite(Change::Reply(mode), command)
}

fn script(args: Args<'_>) -> Parsed {
    match subcommand::script(args) {
        ScriptUse::Load => {
            Parsed::Change(Change::ScriptLoad(args.get(2).unwrap_or_default().to_vec()))
        }
        ScriptUse::Flush => Parsed::Change(Change::ScriptFlush),
        ScriptUse::Exists | ScriptUse::Other => Parsed::Plain,
    }
}
