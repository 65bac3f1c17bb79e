//! One server process (and the children it makes) in a directory of its own.

use std::fs::File;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::{Pid, Signal, kill_process};

use super::{free_ports, programs};
use crate::SmallDisk;
use crate::keeper::{self, Keeper};
use crate::wait::{patiently, wait_until};

/// How often other ports are tried when somebody was quicker.
const PORT_ATTEMPTS: usize = 10;

/// What servers say, in whatever words, when their port is taken.
const TAKEN: &str = "in use";

/// A directory that belongs to the servers' user and ends with everything in it.
pub(crate) struct Home {
    path: PathBuf,
    /// A disk of its own for the data. Unmounted before the directory goes.
    disk: Option<SmallDisk>,
    _keeper: Keeper,
}

impl Home {
    pub(crate) fn new(name: &str) -> Self {
        let directory = tempfile::Builder::new()
            .prefix(&format!("inkstone-{name}-"))
            .permissions(std::fs::Permissions::from_mode(0o700))
            .tempdir()
            .expect("a temporary directory")
            .keep();
        let keeper = Keeper::new(&directory, &directory);
        programs::give_away(&directory);
        Self { path: directory, disk: None, _keeper: keeper }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Puts `data` in it on a disk of this size.
    pub(crate) fn mount_data(&mut self, size: &str) {
        self.disk = Some(SmallDisk::mount_for_services(&self.path.join("data"), size));
    }

    /// Writes a file that only the servers' user can read.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path.join(name);
        std::fs::write(&path, text).expect("a file in a directory of ours");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("our own file");
        programs::give_away(&path);
        path
    }
}

/// When a server is ready.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ready {
    /// When its log has this in it.
    Says(&'static str),
    /// When every port of it takes connections.
    Listens,
    /// When each of these sockets in its home does.
    ListensAt(&'static [&'static str]),
}

/// The arguments of a program that is to listen on these ports.
type Arguments = Box<dyn Fn(&Home, &[u16]) -> Vec<String> + Send + Sync>;

/// How a server is started.
pub(crate) struct Plan {
    pub(crate) name: &'static str,
    pub(crate) program: PathBuf,
    /// How many ports it wants.
    pub(crate) ports: usize,
    /// Writes what has to be written into its home, and gives the program's arguments.
    pub(crate) arguments: Arguments,
    pub(crate) ready: Ready,
    /// What makes it stop in order, without waiting for those who are connected.
    pub(crate) stop: Signal,
}

/// A server's process. Dropping it kills it and removes its directory.
pub struct Process {
    name: &'static str,
    program: PathBuf,
    arguments: Vec<String>,
    ready: Ready,
    stop: Signal,
    ports: Vec<u16>,
    running: Mutex<Running>,
    home: Home,
}

#[derive(Default)]
struct Running {
    child: Option<Child>,
    logs: Vec<PathBuf>,
}

impl Process {
    /// Starts it on free ports.
    ///
    /// # Panics
    /// When it does not become ready, with its log.
    pub(crate) fn start(plan: Plan, home: Home) -> Self {
        let Plan { name, program, ports, arguments, ready, stop } = plan;
        let mut process = Self {
            name,
            program,
            arguments: Vec::new(),
            ready,
            stop,
            ports: Vec::new(),
            running: Mutex::default(),
            home,
        };
        for _ in 0..PORT_ATTEMPTS {
            process.ports = free_ports(ports);
            process.arguments = arguments(&process.home, &process.ports);
            if process.launch() {
                return process;
            }
            assert!(process.last_log().contains(TAKEN), "{name} does not start:\n{}", process.log_text());
        }
        panic!("{name} finds no free port:\n{}", process.log_text());
    }

    /// Starts the program and waits until it is ready; `false` if it ended before that.
    fn launch(&self) -> bool {
        let mut running = self.running();
        let path = self.home.path().join(format!("log-{}", running.logs.len()));
        let log = File::create(&path).expect("a log in a directory of ours");
        running.logs.push(path.clone());
        let mut command = programs::command(&self.program, self.home.path());
        // A group of its own: Ctrl-C at the tests is for the tests, the keeper does the rest.
        command.args(&self.arguments).process_group(0).stdout(log.try_clone().expect("a file")).stderr(log);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut ended = false;
        let ready = patiently(|| {
            ended = !matches!(child.try_wait(), Ok(None));
            ended || self.is_ready(&path)
        });
        assert!(ready, "{} is not ready in time:\n{}", self.name, std::fs::read_to_string(&path).unwrap_or_default());
        if !ended {
            running.child = Some(child);
        }
        !ended
    }

    fn is_ready(&self, log: &Path) -> bool {
        match self.ready {
            Ready::Says(words) => std::fs::read_to_string(log).is_ok_and(|log| log.contains(words)),
            Ready::ListensAt(sockets) => {
                sockets.iter().all(|socket| UnixStream::connect(self.home.path().join(socket)).is_ok())
            }
            Ready::Listens => self.ports.iter().all(|port| TcpStream::connect(("127.0.0.1", *port)).is_ok()),
        }
    }

    /// The ports it listens on, in the order of its kind.
    pub fn ports(&self) -> &[u16] {
        &self.ports
    }

    /// Where it works. Owned by the servers' user.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// The disk that its data is on, if it has one of its own.
    pub fn disk(&self) -> Option<&SmallDisk> {
        self.home.disk.as_ref()
    }

    /// The process that was started, if it runs.
    pub fn pid(&self) -> Option<u32> {
        self.running().child.as_ref().map(Child::id)
    }

    /// It and all of its children that are alive.
    pub fn pids(&self) -> Vec<u32> {
        keeper::working_in(self.home.path())
    }

    /// Everything it has logged so far, over all of its starts.
    pub fn log_text(&self) -> String {
        self.running().logs.iter().filter_map(|path| std::fs::read_to_string(path).ok()).collect()
    }

    fn last_log(&self) -> String {
        self.running().logs.last().and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default()
    }

    /// Stops it and its children in the midst of what they do (SIGSTOP): connections stay open,
    /// new ones are still taken by the kernel, nothing is answered. Returns when all stand still.
    pub fn pause(&self) {
        // The parent first, so that it makes no child that would be missed.
        signal_all(self.pid().as_slice(), Signal::STOP);
        wait_until("all of the server stands still", || {
            let moving: Vec<u32> = self.pids().into_iter().filter(|pid| !stands_still(*pid)).collect();
            signal_all(&moving, Signal::STOP);
            moving.is_empty()
        });
    }

    /// Lets it go on after [`Process::pause`] (SIGCONT).
    pub fn resume(&self) {
        signal_all(&self.pids(), Signal::CONT);
    }

    /// Kills it and all of its children without a word (SIGKILL), as when the machine fails; what
    /// it wrote stays. Returns when all are dead.
    pub fn kill(&self) {
        let child = self.running().child.take();
        wait_until("all of the server is dead", || {
            let alive = self.pids();
            signal_all(&alive, Signal::KILL);
            alive.is_empty()
        });
        if let Some(mut child) = child {
            let _ = child.wait();
        }
    }

    /// Asks it to stop in order, without waiting for those who are connected, and waits until it
    /// has. Gives its exit code, `None` if it was not running or died of a signal.
    pub fn terminate(&self) -> Option<i32> {
        let mut child = self.running().child.take()?;
        signal_all(&[child.id()], self.stop);
        let mut code = None;
        wait_until("the server stops in order", || {
            let Ok(Some(status)) = child.try_wait() else { return false };
            code = status.code();
            true
        });
        code
    }

    /// Starts it again with the same data on the same ports, after killing it if it runs.
    pub fn restart(&self) {
        self.kill();
        // A port can still be held for a moment by what died.
        wait_until("the server starts again", || {
            let started = self.launch();
            assert!(
                started || self.last_log().contains(TAKEN),
                "{} does not start again:\n{}",
                self.name,
                self.last_log()
            );
            started
        });
    }

    /// A fault in one test is no reason for another to find the lock poisoned.
    fn running(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log_text();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("--- the end of {}'s log ---\n{}", self.name, lines[lines.len().saturating_sub(40)..].join("\n"));
        }
        self.kill();
    }
}

/// Sends each a signal; whoever has died in the meantime needs none.
fn signal_all(pids: &[u32], signal: Signal) {
    for pid in pids {
        if let Some(pid) = i32::try_from(*pid).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, signal);
        }
    }
}

/// Whether a process is stopped or dead: the third field of its `stat`, after a name in brackets.
fn stands_still(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
    !matches!(state, Some('R' | 'S' | 'D' | 'I'))
}
