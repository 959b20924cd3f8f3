//! Subcommands that the session cares about: those of CLIENT and SCRIPT.

use crate::resp::Args;

/// What a `CLIENT` command does to the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientUse {
    /// `REPLY ON|OFF|SKIP`: the server may stop replying.
    Reply(ReplyMode),
    /// `SETNAME`.
    SetName,
    /// `SETINFO`.
    SetInfo,
    /// `TRACKING`: invalidations may be pushed.
    Tracking,
    /// `CACHING`: counts for the next command alone.
    Caching,
    /// `NO-EVICT`, `NO-TOUCH`, `CAPA`, `MAINT_NOTIFICATIONS`, `IMPORT-SOURCE`: a setting that
    /// the connection keeps.
    Setting,
    /// Everything else, and malformed ones: keeps no state.
    Other,
}

/// The argument of `CLIENT REPLY`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyMode {
    /// Replies again; this command is answered.
    On,
    /// No replies from here on, this command included.
    Off,
    /// No reply to this and the next command.
    Skip,
}

/// What a `SCRIPT` command does to the scripts that are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScriptUse {
    /// `LOAD text`.
    Load,
    /// `EXISTS sha...`.
    Exists,
    /// `FLUSH [ASYNC|SYNC]`.
    Flush,
    /// Everything else, and malformed ones.
    Other,
}

/// What this `CLIENT` command does.
pub fn client(args: Args<'_>) -> ClientUse {
    let Some(name) = args.get(1) else { return ClientUse::Other };
    let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
    let settings = ["no-evict", "no-touch", "capa", "maint_notifications", "import-source"];
    match args.len() {
        3 if is("reply") => reply_mode(args).map_or(ClientUse::Other, ClientUse::Reply),
        3 if is("setname") => ClientUse::SetName,
        3 if is("caching") => ClientUse::Caching,
        4 if is("setinfo") => ClientUse::SetInfo,
        3.. if is("tracking") => ClientUse::Tracking,
        3.. if settings.into_iter().any(is) => ClientUse::Setting,
        _ => ClientUse::Other,
    }
}

/// What this `SCRIPT` command does.
pub fn script(args: Args<'_>) -> ScriptUse {
    let Some(name) = args.get(1) else { return ScriptUse::Other };
    let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
    match args.len() {
        3 if is("load") => ScriptUse::Load,
        2 | 3 if is("flush") => ScriptUse::Flush,
        3.. if is("exists") => ScriptUse::Exists,
        _ => ScriptUse::Other,
    }
}

fn reply_mode(args: Args<'_>) -> Option<ReplyMode> {
    let word = args.get(2)?;
    let modes = [("on", ReplyMode::On), ("off", ReplyMode::Off), ("skip", ReplyMode::Skip)];
    modes
        .into_iter()
        .find(|(name, _)| word.eq_ignore_ascii_case(name.as_bytes()))
        .map(|mode| mode.1)
}
