//! What a session does by itself while Redis can't be asked: connection commands, so that new
//! clients can connect, and transactions that are held back until EXEC (SPEC 6).
//!
//! What changes the connection's state is carried to the next link by `State::replay`.

use crate::command::subcommand::{self, ClientUse, ScriptUse};
use crate::command::{StateUse, lookup};
use crate::degraded;
use crate::lock::record::LockKey;
use crate::mode::{Mode, View};
use crate::resp::Args;
use crate::resp::encode::{self, Protocol};
use crate::router::{Ask, Route};

use super::operation::{self, Operation};
use super::state::{Change, HeldBack, Watched};
use super::{Cx, End, Session, change};

/// Most commands of one transaction that is held back.
const MAX_HELD_BACK: usize = 65_536;

impl Session {
    /// True if this command is not simply sent upstream: Redis is away, or it belongs to a
    /// transaction that Lockside holds back.
    pub(super) fn is_alone_with(&self, route: &Route, view: View, cx: &Cx<'_>) -> bool {
        let transactional = matches!(
            route,
            Route::Exec
                | Route::State(
                    StateUse::Multi | StateUse::Watch | StateUse::Unwatch | StateUse::Discard
                )
        );
        !view.reachable
            || self.state.held_back.is_some()
            || transactional
                && self.state.transaction.is_none()
                && (self.state.watched.is_some() || self.may_be_about_locks(view, cx))
    }

    /// While locks are served here and Redis answers: a stranger's transaction is Redis's matter.
    fn may_be_about_locks(&self, view: View, cx: &Cx<'_>) -> bool {
        view.mode != Mode::Healthy
            && operation::may_use_some_locks(self.witness.who(&self.state), cx.shared)
    }

    /// Carries out a command without Redis.
    pub(super) fn alone(&mut self, route: Route, args: Args<'_>, cx: &mut Cx<'_>) {
        let mut out = Vec::new();
        let has_upstream = self.state.transaction.is_some() || self.state.is_watching();
        if has_upstream && !cx.shared.board.view().reachable {
            // What Redis has queued or watches goes with the link, whether that is noticed yet or not.
            self.state.lose_link();
            self.queued.clear();
            self.renew_link(cx);
        }
        if let Some(name) = misshapen(args) {
            // Redis looks at this before anything else.
            self.state.held_back.iter_mut().for_each(|held| held.aborted = true);
            wrong_arguments(name, &mut out);
        } else if self.state.held_back.is_some() {
            if self.hold_back(&route, args, cx, &mut out) {
                self.run(operation::execute_held_back, cx);
                return;
            }
        } else {
            match route {
                Route::Ignore => return,
                Route::Exec => encode::error(&mut out, b"ERR EXEC without MULTI"),
                Route::State(state_use) => self.change_alone(state_use, args, cx, &mut out),
                Route::Ask(Ask::Info) => {
                    operation::info_alone(cx.shared, self.state.protocol, &mut out);
                }
                Route::Ask(Ask::ScriptExists) => script_exists(args, cx, &mut out),
                Route::Ask(_) | Route::Fence | Route::Lock(_) | Route::Refuse(_) => {
                    self.run(|scope| Operation::begin(route, args, scope), cx);
                    return;
                }
                Route::Upstream if self.is_ours(args, cx) => {
                    self.run(|scope| Operation::serve(args, scope), cx);
                    return;
                }
                Route::Upstream | Route::Keyspace(_) => plain(args, cx, &mut out),
            }
        }
        self.tell(&out, cx);
    }

    /// A reply of the session's own, if there is one (CLIENT REPLY has none), unless the client wants
    /// none.
    fn tell(&mut self, reply: &[u8], cx: &mut Cx<'_>) {
        if !reply.is_empty() && self.state.takes_reply() {
            cx.wires.to_client(reply);
        }
    }

    /// True for a command on locks and companions alone.
    fn is_ours(&self, args: Args<'_>, cx: &Cx<'_>) -> bool {
        let rules = &cx.shared.rules;
        let ours = |key: &[u8]| rules.find(key).is_some() || rules.companion_of(key).is_some();
        self.names_only(args, ours)
    }

    /// A command while a transaction is held back. True: EXEC, which is to be carried out.
    fn hold_back(&mut self, route: &Route, args: Args<'_>, cx: &Cx<'_>, out: &mut Vec<u8>) -> bool {
        let Some(held) = &mut self.state.held_back else { return false };
        match route {
            Route::Ignore => {}
            Route::Exec => return true,
            Route::State(StateUse::Discard) => {
                self.state.end_held_back();
                encode::simple(out, b"OK");
            }
            Route::State(StateUse::Multi) => {
                encode::error(out, b"ERR MULTI calls can not be nested");
            }
            Route::State(StateUse::Watch) => {
                encode::error(out, b"ERR WATCH inside MULTI is not allowed");
            }
            Route::State(StateUse::Reset) => self.reset(out),
            Route::State(StateUse::Quit) => self.quit(out),
            Route::Refuse(text) => {
                held.aborted = true;
                encode::error(out, text.as_bytes());
            }
            Route::Fence => {
                held.aborted = true;
                encode::error(out, operation::FENCE_IN_TRANSACTION.as_bytes());
            }
            _ => {
                let bytes: usize = args.iter().map(<[u8]>::len).sum();
                held.bytes += bytes;
                if held.commands.len() >= MAX_HELD_BACK || held.bytes > cx.shared.max_captured {
                    held.aborted = true;
                    encode::error(out, b"OOM lockside: too much in one transaction");
                } else {
                    held.commands.push(args.iter().map(<[u8]>::to_vec).collect());
                    encode::simple(out, b"QUEUED");
                }
            }
        }
        false
    }

    fn change_alone(
        &mut self,
        state_use: StateUse,
        args: Args<'_>,
        cx: &mut Cx<'_>,
        out: &mut Vec<u8>,
    ) {
        match state_use {
            StateUse::Multi => {
                // EXEC will not be Redis's, which alone knows what it watches.
                self.state.lose_watch();
                self.state.held_back = Some(Box::new(HeldBack::default()));
                encode::simple(out, b"OK");
            }
            StateUse::Discard => encode::error(out, b"ERR DISCARD without MULTI"),
            StateUse::Watch => self.watch(args, cx, out),
            StateUse::Unwatch => {
                self.state.apply(Change::Unwatch);
                encode::simple(out, b"OK");
            }
            StateUse::Reset => self.reset(out),
            StateUse::Quit => self.quit(out),
            StateUse::Select => self.select(args, cx, out),
            StateUse::Auth | StateUse::Hello => self.greet(state_use, args, cx, out),
            StateUse::Client => self.client_alone(args, out),
            // Texts are kept for all: not those of strangers.
            StateUse::Script
                if !operation::may_use_some_locks(self.witness.who(&self.state), cx.shared) =>
            {
                encode::error(out, operation::NOAUTH.as_bytes());
            }
            StateUse::Script => match subcommand::script(args) {
                ScriptUse::Load => match args.get(2) {
                    Some(text) => match degraded::compile(text) {
                        Ok(()) => {
                            let script = cx.shared.scripts.insert(text);
                            encode::bulk(out, &script.envelope.client_sha);
                        }
                        Err(error) => encode::error(out, error.as_bytes()),
                    },
                    None => wrong_arguments("script|load", out),
                },
                _ => away(cx, out),
            },
            _ => away(cx, out),
        }
    }

    fn watch(&mut self, args: Args<'_>, cx: &Cx<'_>, out: &mut Vec<u8>) {
        let keys: Vec<&[u8]> = args.iter().skip(1).collect();
        let served = |key: &&[u8]| {
            cx.shared.rules.find(key).is_some() || cx.shared.rules.companion_of(key).is_some()
        };
        if keys.is_empty() {
            return wrong_arguments("watch", out);
        }
        if !keys.iter().all(served) {
            return away(cx, out);
        }
        // What has changed says something of a lock. Where Redis answers, EXEC has it asked.
        let who = self.witness.who(&self.state);
        if !cx.shared.board.view().reachable
            && let Some(refusal) = operation::gate_refusal(keys.iter().copied(), who, cx.shared)
        {
            return encode::error(out, refusal.as_bytes());
        }
        let db = self.state.db;
        let watched = self.state.watched.get_or_insert_with(Watched::default);
        operation::with_world(cx.shared, |world| {
            for key in keys {
                let key = LockKey::new(db, key);
                let version = degraded::version(&key, world);
                watched.keys.push((key, version));
            }
        });
        encode::simple(out, b"OK");
    }

    fn select(&mut self, args: Args<'_>, cx: &Cx<'_>, out: &mut Vec<u8>) {
        let number = args.get(1).and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
        match number {
            _ if args.len() != 2 => wrong_arguments("select", out),
            Some(db) if db < cx.shared.databases() => {
                self.state.apply(Change::Select(db));
                encode::simple(out, b"OK");
            }
            Some(_) => encode::error(out, b"ERR DB index is out of range"),
            None => encode::error(out, b"ERR value is not an integer or out of range"),
        }
    }

    fn greet(&mut self, state_use: StateUse, args: Args<'_>, cx: &Cx<'_>, out: &mut Vec<u8>) {
        let change::Parsed::Change(parsed) = change::parse(state_use, args) else {
            let word = if state_use == StateUse::Auth { "auth" } else { "hello" };
            return wrong_arguments(word, out);
        };
        let asked = args.get(1).filter(|_| state_use == StateUse::Hello);
        if asked.is_some_and(|version| !matches!(version, b"2" | b"3")) {
            return encode::error(out, b"NOPROTO unsupported protocol version");
        }
        let credentials = match &parsed {
            Change::Auth(credentials) => Some(credentials),
            Change::Hello(hello) => hello.auth.as_ref(),
            _ => None,
        };
        if let Some(credentials) = credentials {
            match cx.shared.gate.admits(credentials.user(), &credentials.password) {
                Some(proof) => self.witness.let_in(proof),
                None => return encode::error(out, WRONGPASS.as_bytes()),
            }
        }
        self.state.apply(parsed);
        match state_use {
            StateUse::Auth => encode::simple(out, b"OK"),
            _ => hello(self.state.protocol, out),
        }
    }

    fn client_alone(&mut self, args: Args<'_>, out: &mut Vec<u8>) {
        let word = args.get(1).unwrap_or_default().to_ascii_lowercase();
        match (subcommand::client(args), word.as_slice()) {
            (ClientUse::SetName | ClientUse::SetInfo, _) => {
                if let change::Parsed::Change(change) = change::parse(StateUse::Client, args) {
                    self.state.apply(change);
                }
                encode::simple(out, b"OK");
            }
            (ClientUse::Reply(_), _) => {
                if let change::Parsed::Rewrite(change, _) = change::parse(StateUse::Client, args) {
                    let on = matches!(change, Change::Reply(super::state::ReplyMode::On));
                    self.state.apply(change);
                    if on {
                        encode::simple(out, b"OK");
                    }
                }
            }
            (_, b"getname") => match &self.state.name {
                Some(name) => encode::bulk(out, name),
                None => encode::null(out, self.state.protocol),
            },
            (_, b"id") => {
                let (index, generation) = self.id;
                let id = i64::from(generation) << 20 | index as i64;
                encode::integer(out, id);
            }
            (_, b"maint_notifications" | b"no-evict" | b"no-touch") => encode::simple(out, b"OK"),
            _ => encode::error(out, b"ERR lockside: this needs Redis, which does not answer"),
        }
    }

    fn reset(&mut self, out: &mut Vec<u8>) {
        self.state.apply(Change::Reset);
        self.queued.clear();
        encode::simple(out, b"RESET");
    }

    fn quit(&mut self, out: &mut Vec<u8>) {
        self.end = Some(End::Now);
        encode::simple(out, b"OK");
    }
}

/// Commands on nothing, which any server answers; the rest is Redis's.
fn plain(args: Args<'_>, cx: &Cx<'_>, out: &mut Vec<u8>) {
    let word = args.get(0).unwrap_or_default().to_ascii_lowercase();
    match (word.as_slice(), args.len()) {
        (b"ping", 1) => encode::simple(out, b"PONG"),
        (b"ping" | b"echo", 2) => encode::bulk(out, args.get(1).unwrap_or_default()),
        (b"time", 1) => {
            let ms = cx.shared.clock.unix_ms();
            encode::array(out, 2);
            encode::bulk(out, (ms / 1000).to_string().as_bytes());
            encode::bulk(out, (ms % 1000 * 1000).to_string().as_bytes());
        }
        // Clients that ask for all commands on connect live without.
        (b"command", 2..) if args.get(1).is_some_and(|arg| arg.eq_ignore_ascii_case(b"count")) => {
            encode::integer(out, 0);
        }
        (b"command", _) => encode::array(out, 0),
        _ => away(cx, out),
    }
}

/// The name of a command that has a wrong number of arguments.
fn misshapen(args: Args<'_>) -> Option<&'static str> {
    let spec = lookup(args.get(0)?)?;
    (!spec.takes(args.len())).then_some(spec.name)
}

fn away(cx: &Cx<'_>, out: &mut Vec<u8>) {
    let text = cx.shared.only_locks();
    encode::error(out, text.as_bytes());
}

/// Redis's own words, and what they mean here.
const WRONGPASS: &str = "WRONGPASS invalid username-password pair or user is disabled. lockside: \
    upstream is unavailable, and was not seen to accept it; see [[user]] in the configuration";

fn wrong_arguments(name: &str, out: &mut Vec<u8>) {
    let text = format!("ERR wrong number of arguments for '{name}' command");
    encode::error(out, text.as_bytes());
}

fn script_exists(args: Args<'_>, cx: &Cx<'_>, out: &mut Vec<u8>) {
    encode::array(out, args.len() - 2);
    for sha in args.iter().skip(2) {
        encode::integer(out, i64::from(cx.shared.scripts.find(sha).is_some()));
    }
}

/// HELLO's reply, as Redis 7.0 words it.
fn hello(protocol: Protocol, out: &mut Vec<u8>) {
    let version = if protocol == Protocol::Resp3 { 3 } else { 2 };
    encode::map(out, protocol, 7);
    let text = |out: &mut Vec<u8>, name: &str, value: &str| {
        encode::bulk(out, name.as_bytes());
        encode::bulk(out, value.as_bytes());
    };
    text(out, "server", "redis");
    text(out, "version", "7.0.0");
    encode::bulk(out, b"proto");
    encode::integer(out, version);
    encode::bulk(out, b"id");
    encode::integer(out, 0);
    text(out, "mode", "standalone");
    text(out, "role", "master");
    encode::bulk(out, b"modules");
    encode::array(out, 0);
}
