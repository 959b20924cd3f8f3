//! A private redis-server: free port, directory of its own, no persistence.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use super::client::Client;
use super::process::{Process, directory, free_port};
use super::wait::{poll_for, wait_until};

/// A running redis-server.
pub(crate) struct Redis {
    process: Process,
    port: u16,
    arguments: Vec<String>,
}

impl Redis {
    /// Starts a server and waits until it answers.
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    /// Starts a server with more arguments, such as `--maxclients 100`.
    pub(crate) fn with(arguments: &[&str]) -> Self {
        (0..5).find_map(|_| Self::attempt(arguments)).expect("redis-server starts")
    }

    fn attempt(arguments: &[&str]) -> Option<Self> {
        let port = free_port();
        let process = Self::launch(port, arguments, Arc::new(directory("redis")))?;
        let arguments = arguments.iter().map(|&word| word.to_owned()).collect();
        Some(Self { process, port, arguments })
    }

    /// One try at this port; none if it was taken.
    fn launch(port: u16, arguments: &[&str], directory: Arc<TempDir>) -> Option<Process> {
        let mut command = Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
        command.args(["--appendonly", "no", "--dir"]).arg(directory.path()).args(arguments);
        let mut process = Process::start_in("redis-server", &mut command, directory);
        let pid = format!("process_id:{}\r\n", process.pid());
        poll_for("redis-server answers", Duration::from_secs(10), || {
            if process.exit_code().is_some() {
                return Some(None); // the port was taken
            }
            let mut client = Client::attempt(port).ok()?;
            // Another test's server may have won the race for the port.
            Some(client.ask("INFO server").contains(&pid).then_some(()))
        })?;
        Some(process)
    }

    /// Ends the server as a crash does.
    pub(crate) fn kill(&mut self) {
        self.process.signal("KILL");
        wait_until("redis-server has ended", || self.process.exit_code().is_some());
    }

    /// Starts an empty server at the same port.
    pub(crate) fn start_again(&mut self) {
        self.launch_again(&[], &Arc::new(directory("redis")));
    }

    /// Starts an empty server at the same port, with the arguments of the first start.
    pub(crate) fn start_empty(&mut self) {
        let arguments = self.arguments.clone();
        self.launch_again(&borrowed(&arguments), &Arc::new(directory("redis")));
    }

    /// Starts the server at the same port with its arguments and whatever its directory holds:
    /// with `--appendonly yes` all that it had acknowledged.
    pub(crate) fn start_with_data(&mut self) {
        let (arguments, directory) = (self.arguments.clone(), self.process.directory());
        self.launch_again(&borrowed(&arguments), &directory);
    }

    /// Starts the server at the same port with a dataset that [`Redis::snapshot`] gave, and with
    /// the append-only file on if it was on before.
    pub(crate) fn start_with(&mut self, snapshot: &[u8]) {
        let directory = Arc::new(directory("redis"));
        std::fs::write(directory.path().join("dump.rdb"), snapshot).unwrap();
        let appends = self.arguments.windows(2).any(|two| two == ["--appendonly", "yes"]);
        let arguments = self.arguments.clone();
        // With an append-only file the server would not read the dump.
        let arguments: Vec<&str> =
            borrowed(&arguments).into_iter().chain(["--appendonly", "no"]).collect();
        self.launch_again(&arguments, &directory);
        if appends {
            assert_eq!(self.ask("CONFIG SET appendonly yes"), "+OK\r\n");
            wait_until("the append-only file is whole", || {
                let info = self.ask("INFO persistence");
                info.contains("aof_rewrite_in_progress:0")
                    && info.contains("aof_rewrite_scheduled:0")
            });
        }
    }

    /// The dataset as it is now.
    pub(crate) fn snapshot(&self) -> Vec<u8> {
        assert_eq!(self.ask("SAVE"), "+OK\r\n");
        std::fs::read(self.process.path("dump.rdb")).unwrap()
    }

    fn launch_again(&mut self, arguments: &[&str], directory: &Arc<TempDir>) {
        let launched = (0..3).find_map(|_| Self::launch(self.port, arguments, directory.clone()));
        self.process = launched.expect("redis-server starts again at its port");
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The URL that Lockside takes for this server.
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn process(&self) -> &Process {
        &self.process
    }

    /// A new connection to this server, past Lockside.
    pub(crate) fn client(&self) -> Client {
        Client::connect(self.port)
    }

    /// One command on a connection of its own, past Lockside.
    pub(crate) fn ask(&self, line: &str) -> String {
        self.client().ask(line)
    }
}

fn borrowed(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}
