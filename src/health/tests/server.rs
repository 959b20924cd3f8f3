//! A redis-server of the test's own, on a unix socket, which can be killed, stopped and restarted.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::Address;
use crate::resp::encode;
use crate::upstream::Upstream;
use crate::upstream::line::Line as Link;

/// Longest wait for anything that must happen.
pub(super) const LIMIT: Duration = Duration::from_secs(20);

pub(super) struct Server {
    process: Option<Child>,
    pub(super) upstream: Arc<Upstream>,
    pub(super) directory: tempfile::TempDir,
    /// For people who set the server up; opened once, so that a full server still has it.
    link: Option<Link>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Server {
    pub(super) fn away() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let address = Address::Unix(directory.path().join("redis.sock"));
        let upstream = Arc::new(Upstream::new(address));
        Self { process: None, upstream, directory, link: None }
    }

    pub(super) fn start() -> Self {
        let mut server = Self::away();
        server.restart();
        server
    }

    /// Starts it again, empty, as another run.
    pub(super) fn restart(&mut self) {
        self.kill();
        let mut process = Command::new("redis-server")
            .args([
                "--port",
                "0",
                "--save",
                "",
                "--enable-protected-configs",
                "yes",
                "--unixsocket",
            ])
            .arg(self.directory.path().join("redis.sock"))
            .arg("--dir")
            .arg(self.directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("redis-server must be installed");
        let mut log = BufReader::new(process.stdout.take().unwrap()).lines();
        self.process = Some(process);
        let ready = |line: &String| line.contains("ready to accept connections at");
        assert!(log.by_ref().map_while(Result::ok).any(|line| ready(&line)), "not ready");
        // Keep reading: a server whose log nobody reads would meet a closed pipe.
        std::thread::spawn(move || log.for_each(drop));
        self.link = Some(self.connect_again());
    }

    /// As kill -9 does.
    pub(super) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    pub(super) fn signal(&self, name: &str) {
        let pid = self.process.as_ref().unwrap().id().to_string();
        let status = Command::new("kill").args([name, &pid]).status().unwrap();
        assert!(status.success());
    }

    pub(super) fn connect_again(&self) -> Link {
        Link::connect(&self.upstream, Instant::now() + LIMIT).unwrap()
    }

    /// From now on the server is asked by this connection.
    pub(super) fn use_link(&mut self, link: Link) {
        self.link = Some(link);
    }

    pub(super) fn send_words(&mut self, words: &[&str]) {
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        let mut command = Vec::new();
        encode::command(&mut command, &words);
        self.link.as_mut().unwrap().send(&command, Instant::now() + LIMIT);
    }

    pub(super) fn reply(&mut self) -> String {
        let reply = self.link.as_mut().unwrap().reply(Instant::now() + LIMIT).unwrap();
        String::from_utf8(reply).unwrap()
    }

    /// Sends words with one space between them.
    pub(super) fn ask(&mut self, words: &str) -> String {
        self.send_words(&words.split(' ').collect::<Vec<_>>());
        self.reply()
    }

    pub(super) fn ok(&mut self, words: &str) {
        assert_eq!(self.ask(words), "+OK\r\n", "{words}");
    }

    /// The number or word behind `name:` in INFO.
    pub(super) fn info(&mut self, section: &str, name: &str) -> String {
        let info = self.ask(&format!("INFO {section}"));
        let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_else(|| panic!("{name} is in {info}")).to_owned()
    }
}
