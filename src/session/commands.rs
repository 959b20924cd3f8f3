//! The client's commands: cut out of its bytes, and sent their way.

use super::operation::Operation;
use super::state::Change;
use super::{Cx, End, Session, change};
use crate::command::{LockUse, StateUse};
use crate::lock::record::LockKey;
use crate::lock::rule;
use crate::mode::{Mode, View};
use crate::resp::Args;
use crate::resp::request::{ProtocolError, RequestScanner, Scanned};
use crate::router::{self, Route};

/// What becomes of a complete command.
enum Taken {
    /// Its bytes go upstream with those around it.
    Forward,
    /// Something else is done instead, now.
    Instead(Route),
    /// It is carried out without Redis, now.
    Alone(Route),
    /// Not before what is outstanding has been answered.
    Later,
}

/// Bytes of the client that are being cut into commands: `run..at` is to be forwarded.
struct Cut<'b> {
    buf: &'b [u8],
    run: usize,
    at: usize,
}

impl<'b> Cut<'b> {
    fn rest(&self) -> &'b [u8] {
        &self.buf[self.at..]
    }

    /// What is to be forwarded before something else happens.
    fn pending(&mut self) -> &'b [u8] {
        let pending = &self.buf[self.run..self.at];
        self.run = self.at;
        pending
    }

    /// The next bytes go nowhere.
    fn skip(&mut self, len: usize) {
        self.at += len;
        self.run = self.at;
    }
}

impl Session {
    /// Takes bytes of the client, from the start of a command; gives how many it has consumed.
    /// The rest comes again, with more behind it, once [`Session::takes_commands`].
    pub fn client_bytes(&mut self, buf: &[u8], cx: &mut Cx<'_>) -> usize {
        if cx.shared.board.view().reachable {
            self.ensure_link(cx);
        }
        if self.raw {
            self.forward(buf, cx);
            return buf.len();
        }
        self.command_waits = false;
        let mut requests = std::mem::take(&mut self.requests);
        let mut cut = Cut { buf, run: 0, at: 0 };
        while self.takes_commands() && cut.at < buf.len() {
            if self.skimmer.is_some() {
                self.skim(&mut cut);
            } else if !self.next_command(&mut requests, &mut cut, cx) {
                break;
            }
        }
        let pending = cut.pending();
        self.forward(pending, cx);
        self.requests = requests;
        self.watch_over_state(cx);
        self.settle_end(cx);
        self.note_heard(cx);
        cut.at
    }

    /// Takes the next command out of `cut`; false when that has to wait.
    fn next_command(
        &mut self,
        requests: &mut RequestScanner,
        cut: &mut Cut<'_>,
        cx: &mut Cx<'_>,
    ) -> bool {
        match requests.scan(cut.rest(), &cx.shared.request_limits) {
            Scanned::Command { len } => {
                let args = requests.args(cut.rest());
                match self.decide(args, cx) {
                    Taken::Forward if requests.is_inline() => {
                        let pending = cut.pending();
                        self.forward(pending, cx);
                        self.forward(args.frame(), cx);
                        cut.skip(len);
                    }
                    Taken::Forward => cut.at += len,
                    Taken::Instead(route) => {
                        // What stands before it must be on its way first.
                        let pending = cut.pending();
                        self.forward(pending, cx);
                        self.carry_out(route, args, cx);
                        cut.skip(len);
                    }
                    Taken::Alone(route) => {
                        let pending = cut.pending();
                        self.forward(pending, cx);
                        self.alone(route, args, cx);
                        cut.skip(len);
                    }
                    Taken::Later => {
                        self.command_waits = true;
                        return false;
                    }
                }
                true
            }
            Scanned::NeedMore => {
                if self.may_stream(requests, cut.rest(), cx) {
                    self.pipeline.expect_plain();
                    self.skimmer = Some(requests.into_skim(cut.rest().len()));
                    cut.at = cut.buf.len();
                }
                false
            }
            Scanned::Invalid(error) => {
                self.protocol_error(&error);
                let pending = cut.pending();
                self.forward(pending, cx);
                cut.skip(cut.rest().len());
                false
            }
        }
    }

    /// Decides what happens to a complete command, and notes its reply if it is forwarded.
    fn decide(&mut self, args: Args<'_>, cx: &mut Cx<'_>) -> Taken {
        let route = match router::route(args, &cx.shared.rules) {
            Route::Lock(LockUse::Content) if !self.names_held_content(args, cx) => Route::Upstream,
            Route::Lock(LockUse::Inside) if !self.looks_inside(args, cx) => Route::Upstream,
            route => route,
        };
        let view = cx.shared.board.view();
        if view.reachable {
            // Redis may be back since the first of these commands.
            self.ensure_link(cx);
        }
        match route {
            route
                if self.is_alone_with(&route, view, cx)
                    || self.looks_at_locks(&route, args, view, cx) =>
            {
                let free = self.pipeline.is_empty() && !cx.wires.client_is_behind();
                if free { Taken::Alone(route) } else { Taken::Later }
            }
            Route::Upstream if !is_http(args) => {
                if may_block(args) {
                    let ours = |key: &[u8]| cx.shared.rules.companion_of(key).is_some();
                    let kept = self.names_only(args, ours);
                    let words = kept.then(|| (args.iter().map(<[u8]>::to_vec).collect(), cx.now));
                    self.pipeline.expect(Change::Block(words));
                } else {
                    self.pipeline.expect_plain();
                }
                Taken::Forward
            }
            // QUIT, or a browser that was sent here: Redis closes the connection.
            Route::Upstream | Route::State(StateUse::Quit) => {
                self.pipeline.expect_plain();
                self.end = Some(End::ByRedis);
                Taken::Forward
            }
            Route::Exec if self.queued.is_empty() => {
                self.pipeline.expect(Change::Exec);
                Taken::Forward
            }
            // What is queued on a link can't be verified any more.
            Route::State(StateUse::Multi) if self.has_to_verify(&route, view, cx) => {
                if self.pipeline.is_empty() && !cx.wires.client_is_behind() {
                    self.run(Operation::verify, cx);
                }
                Taken::Later
            }
            Route::State(state_use) if state_use != StateUse::Sync => {
                match change::parse(state_use, args) {
                    change::Parsed::Plain => self.pipeline.expect_plain(),
                    change::Parsed::Change(change) => self.pipeline.expect(change),
                    change::Parsed::Rewrite(..) => return Taken::Instead(route),
                }
                Taken::Forward
            }
            Route::Ignore => Taken::Instead(route),
            // Exclusive: it has to wait for what is outstanding.
            route if self.pipeline.is_empty() && !cx.wires.client_is_behind() => {
                if self.has_to_verify(&route, view, cx) {
                    self.run(Operation::verify, cx);
                    return Taken::Later;
                }
                if let Some((key, rule)) = self.rights_to_ask(&route, args, view, cx) {
                    self.run(|scope| Operation::ask_rights(key, rule, scope), cx);
                    return Taken::Later;
                }
                Taken::Instead(route)
            }
            _ => Taken::Later,
        }
    }

    /// True for a command on a held lock that is no string.
    fn names_held_content(&self, args: Args<'_>, cx: &Cx<'_>) -> bool {
        let key = LockKey::new(self.state.next_db(), args.get(1).unwrap_or_default());
        cx.shared.table.find(&key).is_some_and(|record| record.other.is_some())
    }

    /// True for a read of what is no string where the ledger has, or another sidecar may have, a holder.
    fn looks_inside(&self, args: Args<'_>, cx: &Cx<'_>) -> bool {
        let shared = cx.shared;
        let rule = || args.get(1).and_then(|key| shared.rules.find(key));
        let may_be_held = || rule().is_some_and(|rule| rule.mode == rule::Mode::Persistent);
        shared.believes_ledger()
            && (self.names_held_content(args, cx) || shared.door.has_company() && may_be_held())
    }

    /// True for a look at locks (EXISTS, PTTL, TYPE, ...) that Redis may not have as the ledger has
    /// them, or at companions while they are kept here. While all is well nothing is looked up.
    fn looks_at_locks(&self, route: &Route, args: Args<'_>, view: View, cx: &Cx<'_>) -> bool {
        let well = view.mode == Mode::Healthy;
        if *route != Route::Upstream || well && !cx.shared.repairs.any_is_due() {
            return false;
        }
        let due = |key: &[u8]| {
            let lock = LockKey::new(self.state.db, key);
            cx.shared.rules.find(key).is_some() && (!well || cx.shared.repairs.is_due(&lock))
        };
        let here = |key: &[u8]| due(key) || !well && cx.shared.rules.companion_of(key).is_some();
        self.state.transaction.is_none() && self.names_only(args, here)
    }

    /// True for a command with keys, all of which are such.
    pub(super) fn names_only(&self, args: Args<'_>, such: impl Fn(&[u8]) -> bool) -> bool {
        let Some(spec) = args.get(0).and_then(crate::command::lookup) else { return false };
        let mut keys = spec.keys(args).peekable();
        keys.peek().is_some() && keys.all(such)
    }

    /// True before the first lock command on a new link, or the first transaction.
    fn has_to_verify(&self, route: &Route, view: View, cx: &Cx<'_>) -> bool {
        !self.verified
            && matches!(route, Route::Lock(_) | Route::State(StateUse::Multi))
            && view.mode == Mode::Healthy
            && self.state.transaction.is_none()
            && !self.state.only_listens()
            && cx.shared.reports.expects()
    }

    /// The first lock of a command, and its rule, if nobody knows what this client may not do there.
    fn rights_to_ask<'k, 'r>(
        &mut self,
        route: &Route,
        args: Args<'k>,
        view: View,
        cx: &Cx<'r>,
    ) -> Option<(&'k [u8], &'r str)> {
        let is_free = self.state.transaction.is_none() && !self.state.is_watching();
        let may_ask = is_free && view.mode == Mode::Healthy && !self.state.only_listens();
        if !may_ask || !matches!(route, Route::Lock(_)) || !self.witness.is_upstream(&self.state) {
            return None;
        }
        let shared = cx.shared;
        let keys = args.get(0).and_then(crate::command::lookup)?.keys(args);
        let (key, rule) = { keys }.find_map(|key| Some((key, shared.rules.find(key)?)))?;
        self.witness.has_to_ask(&rule.name, &self.state, &*shared.gate).then_some((key, &rule.name))
    }

    /// Carries out a command that is not simply forwarded.
    fn carry_out(&mut self, route: Route, args: Args<'_>, cx: &mut Cx<'_>) {
        match route {
            Route::Ignore | Route::Upstream => {}
            Route::State(StateUse::Sync) => {
                self.raw = true;
                self.forward(args.frame(), cx);
            }
            Route::State(state_use) => {
                if let change::Parsed::Rewrite(change, bytes) = change::parse(state_use, args) {
                    self.pipeline.expect(change);
                    self.forward(&bytes, cx);
                }
            }
            route => self.run(|scope| Operation::begin(route, args, scope), cx),
        }
    }

    /// Passes on more of a huge frame.
    fn skim(&mut self, cut: &mut Cut<'_>) {
        let Some(skimmer) = &mut self.skimmer else { return };
        match skimmer.skim(cut.rest()) {
            Ok(skimmed) => {
                cut.at += skimmed.consumed;
                if skimmed.done {
                    self.skimmer = None;
                }
            }
            Err(error) => {
                // Redis has the first half of it, and nothing more can be said on this link.
                self.protocol_error(&error);
                self.end = Some(End::Now);
            }
        }
    }

    /// A huge frame is passed on before it is complete, once its key is known not to be a lock's.
    fn may_stream(&self, requests: &RequestScanner, rest: &[u8], cx: &Cx<'_>) -> bool {
        rest.len() >= cx.shared.stream_above
            && cx.shared.board.view().reachable
            && self.state.held_back.is_none()
            && requests
                .partial(rest)
                .is_some_and(|partial| router::may_stream(partial.args, &cx.shared.rules))
    }

    fn protocol_error(&mut self, error: &ProtocolError) {
        let mut words = Vec::new();
        error.encode(&mut words);
        // As `End::Words` keeps them: without the `-` and the line's end.
        let words = words.get(1..words.len().saturating_sub(2)).unwrap_or_default();
        self.skimmer = None;
        self.end = Some(End::Words(words.to_vec()));
    }
}

/// True for what Redis takes for HTTP, and closes the connection on.
fn is_http(args: Args<'_>) -> bool {
    args.get(0).is_some_and(|name| {
        name.len() <= 5
            && (name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:"))
    })
}

/// True for what may have no reply for a long time though Redis is well.
fn may_block(args: Args<'_>) -> bool {
    const NAMES: [&[u8]; 10] = [
        b"blpop",
        b"brpop",
        b"blmove",
        b"brpoplpush",
        b"bzpopmin",
        b"bzpopmax",
        b"blmpop",
        b"bzmpop",
        b"xread",
        b"xreadgroup",
    ];
    // Few commands begin so: the rest costs one look at a byte.
    let Some(name) = args.get(0) else { return false };
    matches!(name.first(), Some(b'b' | b'B' | b'x' | b'X'))
        && NAMES.iter().any(|known| name.eq_ignore_ascii_case(known))
}
