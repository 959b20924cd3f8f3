//! The emulator as a program holds it: started, asked, disturbed, and stopped when it is dropped.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::book::{Book, Caller};
use crate::clock::Clock;
use crate::error::ApiError;
use crate::fault::Fault;
use crate::journal::{Entry, Minute};
use crate::person::{self, Act, Person};
use crate::service::Shared;
use crate::values::{self, Reading};
use crate::world::{OWNER, World};
use crate::{Latency, Options, Quota, batch, save, server, tokens};

/// How often changes are written to the file.
const SAVE_EVERY: Duration = Duration::from_millis(500);

/// A running emulator on a thread of its own. Dropping it closes its port and connections.
#[derive(Debug)]
pub struct Emulator {
    shared: Arc<Shared>,
    spreadsheet: String,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Emulator {
    /// Listens, and serves from now on.
    ///
    /// # Errors
    /// What the system says of the port, the file or the thread.
    pub fn start(options: Options) -> io::Result<Self> {
        let books = match &options.save {
            Some(path) => save::read(path)?,
            None => Vec::new(),
        };
        let listener = std::net::TcpListener::bind(options.listen)?;
        listener.set_nonblocking(true)?;
        let shared = Arc::new(Shared {
            clock: Clock::new(options.manual_clock),
            world: World::new(&options, books).into(),
            base: format!("http://{}/", listener.local_addr()?),
        });
        let (stop, stopped) = watch::channel(false);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (state, path) = (Arc::clone(&shared), options.save);
        let thread = Builder::new().name("sheets-emulator".to_owned()).spawn(move || {
            runtime.block_on(serve(listener, state, path, stopped));
        })?;
        Ok(Self { shared, spreadsheet: options.spreadsheet, stop, thread: Some(thread) })
    }

    /// Its address, with a `/` at its end: in place of `https://sheets.googleapis.com/`.
    pub fn base_url(&self) -> &str {
        &self.shared.base
    }

    /// The id of its spreadsheet.
    pub fn spreadsheet_id(&self) -> &str {
        &self.spreadsheet
    }

    /// The key file of a service account; accounts are numbered from 1. Its `token_uri` is here.
    pub fn key(&self, account: usize) -> Value {
        tokens::key_file(account, &self.shared.base)
    }

    /// The e-mail address of a service account.
    pub fn account(&self, account: usize) -> String {
        tokens::account(account)
    }

    /// A token with these scopes, without asking for it by HTTP.
    pub fn token(&self, scopes: &[&str]) -> String {
        let token =
            self.shared.world().tokens.machine(Some(&scopes.join(" ")), self.shared.clock.now());
        token["access_token"].as_str().unwrap_or_default().to_owned()
    }

    /// Adds a fault behind those that wait.
    pub fn fault(&self, fault: Fault) {
        self.shared.world().faults.add(fault);
    }

    /// Forgets all faults that wait.
    pub fn clear_faults(&self) {
        self.shared.world().faults.clear();
    }

    /// Time since the start.
    pub fn now(&self) -> Duration {
        self.shared.clock.now()
    }

    /// Moves a manual clock and does what became due: waiting calls end, late writes come, minutes begin.
    pub fn advance(&self, by: Duration) {
        self.shared.clock.advance(by);
        drop(self.shared.settled());
    }

    /// All calls so far (the last 100,000).
    pub fn journal(&self) -> Vec<Entry> {
        self.shared.world().journal.entries().cloned().collect()
    }

    /// Calls by the minute since the start.
    pub fn minutes(&self) -> Vec<(u64, Minute)> {
        let world = self.shared.world();
        world.journal.minutes().iter().map(|(minute, calls)| (*minute, *calls)).collect()
    }

    /// Forgets the calls so far.
    pub fn clear_journal(&self) {
        self.shared.world().journal.clear();
    }

    /// Other limits from now on.
    pub fn set_quota(&self, quota: Quota) {
        self.shared.world().quota = quota;
    }

    /// Another latency from now on.
    pub fn set_latency(&self, latency: Option<Latency>) {
        self.shared.world().latency = latency;
    }

    /// Takes back all tokens that were given out: calls with them are answered 401.
    pub fn revoke_tokens(&self) {
        self.shared.world().tokens.revoke();
    }

    /// How long tokens last that are given out from now on.
    pub fn set_token_lifetime(&self, lifetime: Duration) {
        self.shared.world().tokens.lifetime = lifetime;
    }

    /// Deletes an account (no token, and 401 for those that it has), or brings it back.
    pub fn set_account(&self, email: &str, alive: bool) {
        self.shared.world().tokens.set_account(email, alive);
    }

    /// What the metadata server's account may ask for; empty for everything. A machine without the scope of
    /// spreadsheets gets tokens that are answered 403.
    pub fn set_machine_scopes(&self, scopes: &[&str]) {
        let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        self.shared.world().tokens.machine_scopes = scopes;
    }

    /// Whether the project has enabled the API.
    pub fn set_enabled(&self, enabled: bool) {
        self.shared.world().disabled = !enabled;
    }

    /// Shares the spreadsheet: `editor`, `reader`, or `none` to take it away.
    pub fn share(&self, email: &str, role: &str) {
        let now = self.now();
        // The spreadsheet is there: it was made at the start and is never deleted.
        let _ = self.shared.world().change(&self.spreadsheet, now, |book, _| {
            share(book, email, role);
            Ok(())
        });
    }

    /// Applies requests of a batchUpdate as the owner, who may do everything, and returns their replies.
    ///
    /// # Errors
    /// As the API does.
    pub fn edit(&self, requests: &[Value]) -> Result<Vec<Value>, ApiError> {
        let now = self.now();
        let owner = Caller { email: OWNER.to_owned(), project: 0 };
        let mut world = self.shared.settled();
        world
            .change(&self.spreadsheet, now, |book, rules| batch::run(book, &owner, rules, requests))
    }

    /// Types rows of values into cells as a person does, from the range's corner on.
    ///
    /// # Errors
    /// As the API does.
    pub fn type_in(&self, range: &str, rows: &[Vec<Value>]) -> Result<(), ApiError> {
        type_values(&self.shared, &self.spreadsheet, range, rows)
    }

    /// What a person sees in a range, by rows; empty cells and rows at the ends are left out.
    ///
    /// # Errors
    /// As the API does.
    pub fn look(&self, range: &str) -> Result<Vec<Vec<String>>, ApiError> {
        let world = self.shared.settled();
        let shelf = world.shelves.get(&self.spreadsheet).ok_or_else(ApiError::not_found)?;
        let (place, area) = shelf.book.range_within(range)?;
        let shown = values::read(&shelf.book, place, &area, Reading::of(None, None, None));
        let cells = |row: &Value| {
            let cells = row.as_array().into_iter().flatten();
            cells.map(|cell| cell.as_str().unwrap_or_default().to_owned()).collect()
        };
        Ok(shown["values"].as_array().into_iter().flatten().map(cells).collect())
    }

    /// The tabs as `SheetProperties`, in their order.
    pub fn tabs(&self) -> Vec<Value> {
        let world = self.shared.settled();
        let shelf = world.shelves.get(&self.spreadsheet);
        let sheets = shelf.map(|shelf| shelf.book.sheets.clone()).unwrap_or_default();
        sheets.iter().enumerate().map(|(place, sheet)| sheet.describe(place)).collect()
    }

    /// Sets somebody to work in the spreadsheet: one of `acts` (all if empty) after each `every`; with zero
    /// only by [`Emulator::person_acts`].
    pub fn person(&self, acts: &[Act], every: Duration, seed: u64) {
        let person = Person::new(&self.spreadsheet, acts, every, seed, self.now());
        self.shared.settled().person = Some(person);
    }

    /// Lets the person act so often now.
    pub fn person_acts(&self, times: usize) {
        let now = self.now();
        let mut world = self.shared.settled();
        if let Some(mut person) = world.person.take() {
            for _ in 0..times {
                world.act(&mut person, now);
            }
            world.person = Some(person);
        }
    }

    /// The person goes home.
    pub fn person_leaves(&self) {
        self.shared.settled().person = None;
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed; there is nobody to tell here.
            let _ = thread.join();
        }
    }
}

/// Serves, and writes the file, until told to stop.
async fn serve(
    listener: std::net::TcpListener,
    shared: Arc<Shared>,
    path: Option<PathBuf>,
    stop: watch::Receiver<bool>,
) {
    // It was made non-blocking, which is all that can be wrong with it.
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    let mut ended = stop.clone();
    let served = server::run(listener, Arc::clone(&shared), stop);
    let Some(path) = path else { return served.await };
    let mut written = 0;
    let keep = async {
        loop {
            tokio::select! {
                () = tokio::time::sleep(SAVE_EVERY) => keep(&shared, &path, &mut written),
                _ = ended.changed() => break,
            }
        }
        keep(&shared, &path, &mut written);
    };
    tokio::join!(served, keep);
}

/// Writes the file if something has changed; a file that cannot be written is told on standard error.
fn keep(shared: &Shared, path: &std::path::Path, written: &mut u64) {
    let (books, changes) = {
        let world = shared.world();
        let books: Vec<Arc<Book>> = world.shelves.values().map(|s| Arc::clone(&s.book)).collect();
        (books, world.changes)
    };
    if changes == *written {
        return;
    }
    match save::write(path, &books) {
        Ok(()) => *written = changes,
        Err(error) => eprintln!("{}: {error}", path.display()),
    }
}

/// Gives or takes a role.
pub(crate) fn share(book: &mut Book, email: &str, role: &str) {
    book.editors.retain(|known| known != email);
    book.readers.retain(|known| known != email);
    match role {
        "editor" => book.editors.push(email.to_owned()),
        "reader" => book.readers.push(email.to_owned()),
        _ => {}
    }
}

/// What [`Emulator::type_in`] and the control address do.
pub(crate) fn type_values(
    shared: &Shared,
    id: &str,
    range: &str,
    rows: &[Vec<Value>],
) -> Result<(), ApiError> {
    let now = shared.clock.now();
    let person = Caller { email: person::EMAIL.to_owned(), project: 0 };
    shared.settled().change(id, now, |book, _| {
        let (place, area) = book.range(range)?;
        let corner = crate::a1::Area::of(area.top, area.left, area.top + 1, area.left + 1);
        let data = json!({ "values": rows });
        values::write(book, &person, (place, corner), &data, true).map(|_| ())
    })
}
