//! Child processes: started in a directory of their own, ended by their pid, measured by /proc.

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tempfile::TempDir;

/// A running child. Dropped, it is killed and its directory removed; if the test panics, what it
/// wrote to stderr and stdout is shown first.
pub(crate) struct Process {
    child: Child,
    directory: Arc<TempDir>,
    name: &'static str,
}

impl Process {
    /// Starts `command` with its output in files of `directory`.
    pub(crate) fn start(name: &'static str, command: &mut Command, directory: TempDir) -> Self {
        Self::start_in(name, command, Arc::new(directory))
    }

    /// As `start`, in a directory that an earlier process may have used: output is appended.
    pub(crate) fn start_in(
        name: &'static str,
        command: &mut Command,
        directory: Arc<TempDir>,
    ) -> Self {
        let output = |name| {
            let path = directory.path().join(name);
            fs::File::options().create(true).append(true).open(path).unwrap()
        };
        let (out, err) = (output("stdout"), output("stderr"));
        let child = command
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        Self { child, directory, name }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The process's own directory. Whoever keeps it keeps it from being removed.
    pub(crate) fn directory(&self) -> Arc<TempDir> {
        self.directory.clone()
    }

    /// A path inside the process's own directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The exit code, once the process has ended (-1: by a signal).
    pub(crate) fn exit_code(&mut self) -> Option<i32> {
        self.child.try_wait().unwrap().map(|status| status.code().unwrap_or(-1))
    }

    /// All that the process has written so far.
    pub(crate) fn output(&self) -> String {
        let read = |name: &str| {
            String::from_utf8_lossy(&fs::read(self.path(name)).unwrap_or_default()).into_owned()
        };
        format!("{}{}", read("stdout"), read("stderr"))
    }

    /// Sends a signal by its name: `TERM`, `STOP`, `CONT`, `KILL`.
    pub(crate) fn signal(&self, signal: &str) {
        send_signal(self.pid(), signal);
    }

    /// True once every thread of it has stopped, after SIGSTOP.
    pub(crate) fn is_stopped(&self) -> bool {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap().flatten();
        let state = |path| std::fs::read_to_string(path).unwrap_or_default();
        threads.into_iter().all(|thread| state(thread.path().join("stat")).contains(") T "))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A stopped process takes SIGKILL as well as any other.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let output = self.output();
            let tail: Vec<&str> = output.lines().rev().take(30).collect();
            eprintln!("--- last lines of {}:", self.name);
            tail.iter().rev().for_each(|line| eprintln!("{line}"));
        }
    }
}

/// Sends a signal to a process that the test started.
pub(crate) fn send_signal(pid: u32, signal: &str) {
    let done = Command::new("kill").arg(format!("-{signal}")).arg(pid.to_string()).status();
    assert!(done.unwrap().success(), "kill -{signal} {pid}");
}

/// A port of 127.0.0.1 for a server that may be stopped and started again: this process's alone until
/// it ends, and none that the system gives to others meanwhile, who would be mistaken for the server.
pub(crate) fn free_port() -> u16 {
    /// Below what the system gives out by itself.
    const PORTS: std::ops::Range<u16> = 10_000..32_000;
    // Who has the port's UDP side has the port: all processes of the tests ask so.
    static GIVEN: Mutex<Vec<UdpSocket>> = Mutex::new(Vec::new());
    let mut given = GIVEN.lock().unwrap();
    let span = usize::from(PORTS.end - PORTS.start);
    let first = std::process::id() as usize * 7919 + given.len();
    for offset in 0..span {
        let port = PORTS.start + u16::try_from((first + offset) % span).unwrap();
        let Ok(token) = UdpSocket::bind(("127.0.0.1", port)) else { continue };
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            given.push(token);
            return port;
        }
    }
    panic!("no port is free");
}

/// A temporary directory for one process.
pub(crate) fn directory(name: &str) -> TempDir {
    tempfile::Builder::new().prefix(&format!("lockside-{name}-")).tempdir().unwrap()
}

/// Anonymous resident memory of a process in KiB: what it allocated, without its mapped binary.
pub(crate) fn memory_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap_or("0");
    line.trim().trim_end_matches("kB").trim().parse().unwrap()
}

/// How many file descriptors a process has open.
pub(crate) fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

/// Watches the memory of a process and keeps its peak.
pub(crate) struct MemoryWatch {
    peak: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    watcher: Option<JoinHandle<()>>,
}

impl MemoryWatch {
    /// Looks every few milliseconds until `peak_kib` is called.
    pub(crate) fn start(pid: u32) -> Self {
        let (peak, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (shared, ended) = (peak.clone(), stop.clone());
        let watcher = std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                shared.fetch_max(memory_kib(pid), Ordering::Relaxed);
                std::thread::park_timeout(Duration::from_millis(5));
            }
        });
        Self { peak, stop, watcher: Some(watcher) }
    }

    /// Ends the watch: the highest memory seen, in KiB.
    pub(crate) fn peak_kib(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.watcher.take().map(JoinHandle::join);
        self.peak.load(Ordering::Relaxed)
    }
}
