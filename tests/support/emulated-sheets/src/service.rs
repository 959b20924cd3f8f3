//! One request from its arrival to its answer: who asks, what goes wrong, how long it takes, what it does.
//!
//! A call goes on when its caller goes away: Google's servers do not stop because a client did.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use crate::api::{self, Call};
use crate::book::Caller;
use crate::clock::Clock;
use crate::error::{self, ApiError};
use crate::fault::Kind;
use crate::journal::Entry;
use crate::world::World;
use crate::{control, tokens};

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Time.
    pub(crate) clock: Clock,
    /// Everything else.
    pub(crate) world: Mutex<World>,
    /// Where this emulator is, with a `/` at its end.
    pub(crate) base: String,
}

impl Shared {
    /// The state. A panic elsewhere was reported there; what it left behind is whole, since writes
    /// put a finished copy in place.
    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state with everything done that is due.
    pub(crate) fn settled(&self) -> MutexGuard<'_, World> {
        let mut world = self.world();
        world.settle(self.clock.now());
        world
    }
}

/// A request with its body.
#[derive(Clone, Debug, Default)]
pub(crate) struct Incoming {
    /// GET, POST, …
    pub(crate) verb: String,
    /// The path as it came, encoded.
    pub(crate) path: String,
    /// Query parameters.
    pub(crate) query: Vec<(String, String)>,
    /// The `Authorization` header.
    pub(crate) authorization: Option<String>,
    /// True with `Metadata-Flavor: Google`.
    pub(crate) flavored: bool,
    /// The body.
    pub(crate) body: Vec<u8>,
}

/// How an answer reaches its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// As it should.
    Whole,
    /// The connection is closed instead.
    Cut,
    /// The connection is closed after so many bytes of the body.
    Broken(usize),
    /// Not at all.
    Never,
}

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    /// The HTTP status.
    pub(crate) status: u16,
    /// Headers beyond the usual.
    pub(crate) headers: Vec<(&'static str, String)>,
    /// The type of the body.
    pub(crate) content: &'static str,
    /// The body.
    pub(crate) body: Vec<u8>,
    /// How it goes out.
    pub(crate) delivery: Delivery,
}

const JSON: &str = "application/json; charset=UTF-8";
const HTML: &str = "text/html; charset=UTF-8";

impl Reply {
    /// JSON with two blanks of indentation, as Google sends it.
    pub(crate) fn json(status: u16, value: &Value) -> Self {
        let mut body = serde_json::to_vec_pretty(value).unwrap_or_default();
        body.push(b'\n');
        Self { status, headers: Vec::new(), content: JSON, body, delivery: Delivery::Whole }
    }

    /// Plain text.
    pub(crate) fn text(status: u16, text: impl Into<String>) -> Self {
        let body = text.into().into_bytes();
        let content = "text/plain; charset=UTF-8";
        Self { status, headers: Vec::new(), content, body, delivery: Delivery::Whole }
    }

    fn page(code: u16, path: &str) -> Self {
        let body = error::page(code, path).into_bytes();
        Self { status: code, headers: Vec::new(), content: HTML, body, delivery: Delivery::Whole }
    }

    fn error(error: &ApiError) -> Self {
        let mut reply = Self::json(error.code, &error.body());
        if let Some(authenticate) = &error.authenticate {
            reply.headers.push(("www-authenticate", authenticate.clone()));
        }
        reply
    }

    fn result(result: &Result<Value, ApiError>) -> Self {
        match result {
            Ok(value) => Self::json(200, value),
            Err(error) => Self::error(error),
        }
    }

    fn never() -> Self {
        Self { delivery: Delivery::Never, ..Self::text(0, "") }
    }
}

/// Answers a request.
pub(crate) async fn answer(shared: Arc<Shared>, request: Incoming) -> Reply {
    if let Some(rest) = request.path.strip_prefix("/_emulator") {
        return control::answer(&shared, rest, &request);
    }
    match (request.verb.as_str(), request.path.as_str()) {
        ("POST", "/token") => credentials(&shared, &request, "token").await,
        ("GET", path) if path == "/" || path.starts_with("/computeMetadata/v1/") => {
            credentials(&shared, &request, "metadata").await
        }
        (verb, path) => match api::find(verb, path) {
            Some(found) => call(&shared, found, request).await,
            None => Reply::page(404, path),
        },
    }
}

/// What a call has to do, decided at its arrival.
struct Plan {
    call: Call,
    caller: Caller,
    fault: Option<Kind>,
    takes: Duration,
    /// The part of the time that passes before it is applied.
    before: Duration,
}

async fn call(
    shared: &Shared,
    found: (&'static api::Method, String, String),
    request: Incoming,
) -> Reply {
    let arrived = shared.clock.now();
    let method = found.0;
    let mut entry = Entry {
        at: arrived,
        took: Duration::ZERO,
        method: method.name.to_owned(),
        write: Some(method.write),
        account: None,
        bytes_in: request.body.len(),
        bytes_out: 0,
        status: 0,
        applied: false,
        fault: None,
    };
    let reply = match plan(shared, found, &request, &mut entry) {
        Ok(plan) => carry_out(shared, plan, &request.path, &mut entry).await,
        Err(error) => Reply::error(&error),
    };
    write_down(shared, entry, &reply);
    reply
}

fn write_down(shared: &Shared, mut entry: Entry, reply: &Reply) {
    entry.took = shared.clock.now().saturating_sub(entry.at);
    if matches!(reply.delivery, Delivery::Whole | Delivery::Broken(_)) {
        (entry.status, entry.bytes_out) = (reply.status, reply.body.len());
    }
    shared.world().journal.add(entry);
}

fn plan(
    shared: &Shared,
    found: (&'static api::Method, String, String),
    request: &Incoming,
    entry: &mut Entry,
) -> Result<Plan, ApiError> {
    let now = shared.clock.now();
    let method = found.0;
    let mut world = shared.settled();
    let bearer = request.authorization.as_deref().and_then(|text| text.strip_prefix("Bearer "));
    let parameter = |name: &str| request.query.iter().find(|(own, _)| own == name);
    let named = parameter("access_token").or_else(|| parameter("oauth_token"));
    let token = bearer.or(named.map(|(_, value)| value.as_str()));
    let caller = world.admit(method, token, now)?;
    entry.account = Some(caller.email.clone());
    let call = Call::read(found, request.query.clone(), &request.body)?;
    let world = &mut *world;
    world.charge(method, &caller, now)?;
    let fault = world.faults.pick(method.name, Some(method.write), &mut world.random);
    entry.fault = fault.as_ref().map(crate::Fault::name);
    let mut takes = match &world.latency {
        Some(latency) => latency.draw(method.write, &mut world.random),
        None => Duration::ZERO,
    };
    if let Some(Kind::Slow { by }) = fault.as_ref().map(|fault| &fault.kind) {
        takes += *by;
    }
    let before = takes.mul_f64(0.3 + 0.6 * world.random.unit());
    Ok(Plan { call, caller, fault: fault.map(|fault| fault.kind), takes, before })
}

async fn carry_out(shared: &Shared, plan: Plan, path: &str, entry: &mut Entry) -> Reply {
    let Plan { call, caller, fault, takes, before } = plan;
    if let Some(Kind::Late { after }) = fault {
        shared.world().postpone(entry.at + after, call, caller);
        entry.applied = true;
        return Reply::never();
    }
    let applies = !matches!(
        fault,
        Some(
            Kind::CutBefore
                | Kind::Hang { applied: false }
                | Kind::Status { applied: false, .. }
                | Kind::Page { applied: false, .. }
        )
    );
    shared.clock.wait(before).await;
    let result = applies.then(|| {
        let behind = match fault {
            Some(Kind::Stale { by }) => Some(by),
            _ => None,
        };
        let now = shared.clock.now();
        shared.settled().perform(&call, &caller, behind, now)
    });
    entry.applied = result.as_ref().is_some_and(Result::is_ok);
    shared.clock.wait(takes.saturating_sub(before)).await;
    let cut = |delivery| Reply { delivery, ..Reply::text(0, "") };
    match (fault, result) {
        (Some(Kind::Status { code, .. }), _) => Reply::error(&ApiError::injected(code)),
        (Some(Kind::Page { code, .. }), _) => Reply::page(code, path),
        (Some(Kind::CutBefore | Kind::CutAfter), _) => cut(Delivery::Cut),
        (Some(Kind::Hang { .. }), _) | (_, None) => Reply::never(),
        (Some(Kind::CutBody { bytes }), Some(result)) => {
            Reply { delivery: Delivery::Broken(bytes), ..Reply::result(&result) }
        }
        (_, Some(result)) => {
            let mut reply = Reply::result(&result);
            if let (Some("false"), Ok(value)) = (call.parameter("prettyPrint"), &result) {
                reply.body = serde_json::to_vec(value).unwrap_or_default();
            }
            reply
        }
    }
}

/// The token endpoint and the metadata server, with their faults.
async fn credentials(shared: &Shared, request: &Incoming, what: &str) -> Reply {
    let arrived = shared.clock.now();
    let fault = {
        let world = &mut *shared.settled();
        world.faults.pick(what, None, &mut world.random)
    };
    let mut entry = Entry {
        at: arrived,
        took: Duration::ZERO,
        method: what.to_owned(),
        write: None,
        account: None,
        bytes_in: request.body.len(),
        bytes_out: 0,
        status: 0,
        applied: false,
        fault: fault.as_ref().map(crate::Fault::name),
    };
    let fault = fault.map(|fault| fault.kind);
    if let Some(Kind::Slow { by }) = fault {
        shared.clock.wait(by).await;
    }
    let reply = match fault {
        Some(Kind::Status { code, .. }) => {
            let text = json!({"error": "internal_failure", "error_description": "Internal Error"});
            Reply::json(code, &text)
        }
        Some(Kind::Page { code, .. }) => Reply::page(code, &request.path),
        Some(Kind::CutBefore | Kind::CutAfter) => {
            Reply { delivery: Delivery::Cut, ..Reply::text(0, "") }
        }
        Some(Kind::Hang { .. } | Kind::Late { .. }) => Reply::never(),
        other => {
            let mut reply =
                if what == "token" { token(shared, request) } else { metadata(shared, request) };
            if let Some(Kind::CutBody { bytes }) = other {
                reply.delivery = Delivery::Broken(bytes);
            }
            reply
        }
    };
    entry.applied = reply.status == 200;
    write_down(shared, entry, &reply);
    reply
}

fn token(shared: &Shared, request: &Incoming) -> Reply {
    let form = api::pairs(&String::from_utf8_lossy(&request.body));
    let own = format!("{}token", shared.base);
    let times = (shared.clock.now(), shared.clock.wall());
    match shared.world().tokens.grant(&form, &own, times) {
        Ok(token) => Reply::json(200, &token),
        Err((error, text)) => Reply::json(400, &json!({"error": error, "error_description": text})),
    }
}

/// The metadata server of a virtual machine or a pod, as far as credentials need it.
/// <https://cloud.google.com/compute/docs/metadata/overview>
fn metadata(shared: &Shared, request: &Incoming) -> Reply {
    const FLAVOR: (&str, &str) = ("metadata-flavor", "Google");
    if request.path != "/" && !request.flavored {
        let mut reply = Reply::text(403, "Missing required header \"Metadata-Flavor\": \"Google\"");
        reply.headers.push((FLAVOR.0, FLAVOR.1.to_owned()));
        return reply;
    }
    let rest = request.path.strip_prefix("/computeMetadata/v1/").unwrap_or_default();
    let email = tokens::account(1);
    let account = rest.strip_prefix("instance/service-accounts/").map(|rest| {
        let rest = rest.strip_prefix("default").or_else(|| rest.strip_prefix(email.as_str()));
        rest.unwrap_or("?")
    });
    let parameter = |name: &str| request.query.iter().find(|(own, _)| own == name);
    let scopes = parameter("scopes").map(|(_, value)| value.as_str());
    let own = [tokens::scopes(true)[1], "https://www.googleapis.com/auth/cloud-platform"];
    let mut reply = match (rest, account) {
        ("", _) => Reply::text(200, "computeMetadata/\n"),
        ("project/project-id", _) => Reply::text(200, tokens::PROJECT.0),
        ("project/numeric-project-id", _) => Reply::text(200, tokens::PROJECT.1.to_string()),
        ("universe/universe-domain", _) => Reply::text(200, "googleapis.com"),
        (_, Some("/token")) => {
            Reply::json(200, &shared.world().tokens.machine(scopes, shared.clock.now()))
        }
        (_, Some("/email")) => Reply::text(200, email),
        (_, Some("/scopes")) => Reply::text(200, own.join("\n")),
        (_, Some("" | "/")) if parameter("recursive").is_some() => {
            Reply::json(200, &json!({"aliases": ["default"], "email": email, "scopes": own}))
        }
        (_, Some("" | "/")) => Reply::text(200, "aliases\nemail\nscopes\ntoken\n"),
        _ => Reply::page(404, &request.path),
    };
    reply.headers.push((FLAVOR.0, FLAVOR.1.to_owned()));
    reply
}
