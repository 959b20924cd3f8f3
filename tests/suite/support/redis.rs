//! A private redis-server: free port, directory of its own, no persistence.

use std::process::Command;
use std::time::Duration;

use super::client::Client;
use super::process::{Process, directory, free_port};
use super::wait::{poll_for, wait_until};

/// A running redis-server.
pub(crate) struct Redis {
    process: Process,
    port: u16,
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
        let process = Self::launch(port, arguments)?;
        Some(Self { process, port })
    }

    /// One try at this port; none if it was taken.
    fn launch(port: u16, arguments: &[&str]) -> Option<Process> {
        let directory = directory("redis");
        let mut command = Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
        command.args(["--appendonly", "no", "--dir"]).arg(directory.path()).args(arguments);
        let mut process = Process::start("redis-server", &mut command, directory);
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
        let launched = (0..3).find_map(|_| Self::launch(self.port, &[]));
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
