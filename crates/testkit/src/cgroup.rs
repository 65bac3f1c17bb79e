//! So much memory and processor time and no more: what a container gives a process.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::wait::patiently;

/// Set to 1, it says that tests which need such groups may pass without them.
const WITHOUT: &str = "INKSTONE_TEST_WITHOUT_CGROUPS";
/// Where the kernel shows them.
const ROOT: &str = "/sys/fs/cgroup";
/// How long the scheduler counts before it lets a group run again, in microseconds.
const PERIOD: u64 = 100_000;

/// What the kernel calls the files of a group.
struct Names {
    limit: &'static str,
    held: &'static str,
    most: &'static str,
    kills: &'static str,
    cpu: &'static str,
}

/// Version 1: a tree for each controller.
const V1: Names = Names {
    limit: "memory.limit_in_bytes",
    held: "memory.usage_in_bytes",
    most: "memory.max_usage_in_bytes",
    kills: "memory.oom_control",
    cpu: "cpu.cfs_quota_us",
};

/// Version 2: one tree for all of them.
const V2: Names =
    Names { limit: "memory.max", held: "memory.current", most: "memory.peak", kills: "memory.events", cpu: "cpu.max" };

/// A group of processes (cgroups, of either version). It is gone when this value is dropped and they have ended.
pub struct Cgroup {
    names: &'static Names,
    memory: PathBuf,
    /// With version 2 the same.
    cpu: PathBuf,
}

impl Cgroup {
    /// `None` only where tests may pass without.
    ///
    /// # Panics
    /// When none can be made here and the environment does not say that this is no matter.
    pub fn make() -> Option<Self> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("inkstone-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let group = separate(&name).or_else(|| unified(&name));
        if group.is_none() {
            let said = "no control group with memory and cpu can be made here, of either version: nothing is limited";
            let is_allowed = std::env::var_os(WITHOUT).is_some_and(|value| value == "1");
            assert!(
                is_allowed,
                "{said}. This test needs root on a machine that has them, or {WITHOUT}=1 to pass without"
            );
            // What is said by macros nobody sees of a test that passes.
            let _ = writeln!(std::io::stderr(), "{WITHOUT}: {said}");
        }
        group
    }

    /// `None` if it cannot be made, or does not limit, or takes no processes.
    fn at(names: &'static Names, memory: PathBuf, cpu: PathBuf) -> Option<Self> {
        let group = Self { names, memory, cpu };
        let is_made = std::fs::create_dir(&group.memory).is_ok()
            && (group.cpu == group.memory || std::fs::create_dir(&group.cpu).is_ok())
            && group.memory.join(names.limit).exists()
            && group.cpu.join(names.cpu).exists();
        let wrapper = group.wrapper();
        let mut join = Command::new(&wrapper[0]);
        join.args(&wrapper[1..]).arg("true").stderr(Stdio::null());
        (is_made && join.status().is_ok_and(|status| status.success())).then_some(group)
    }

    /// Lets its processes have so much memory together; `false` if they hold more that they cannot give back.
    pub fn limit_memory(&self, bytes: u64) -> bool {
        set(&self.memory, self.names.limit, &bytes.to_string())
    }

    /// Lets its processes have so many hundredths of one processor.
    pub fn limit_cpu(&self, percent: u64) {
        let quota = PERIOD / 100 * percent;
        let is_set = if self.names.cpu == V2.cpu {
            set(&self.cpu, V2.cpu, &format!("{quota} {PERIOD}"))
        } else {
            set(&self.cpu, "cpu.cfs_period_us", &PERIOD.to_string()) && set(&self.cpu, V1.cpu, &quota.to_string())
        };
        assert!(is_set, "the time of a group's processes can be limited");
    }

    /// What its processes hold now, with what they keep of files.
    pub fn memory(&self) -> u64 {
        number(&self.memory, self.names.held, "")
    }

    /// The most that they have held.
    pub fn most_memory(&self) -> u64 {
        number(&self.memory, self.names.most, "")
    }

    /// How many of them the kernel has killed for want of memory.
    pub fn kills(&self) -> u64 {
        number(&self.memory, self.names.kills, "oom_kill ")
    }

    /// What to put in front of a command, so that it runs in this group.
    pub fn wrapper(&self) -> Vec<String> {
        let join = "echo $$ >\"$1\" && echo $$ >\"$2\" && shift 2 && exec \"$@\"";
        let lists = [&self.memory, &self.cpu].map(|path| path.join("cgroup.procs").display().to_string());
        ["sh", "-c", join, "sh"].map(str::to_owned).into_iter().chain(lists).collect()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for path in [&self.memory, &self.cpu] {
            // Its processes may take a moment to be gone. One that was never made is no matter.
            let _ = patiently(|| std::fs::remove_dir(path).is_ok() || !path.exists());
        }
    }
}

/// A group of version 1, below the one that this process is in, so that whatever holds for this process holds for it.
fn separate(name: &str) -> Option<Cgroup> {
    let below = |controller: &str| {
        let path = Path::new(ROOT).join(controller).join(own(controller)?);
        path.is_dir().then(|| path.join(name))
    };
    Cgroup::at(&V1, below("memory")?, below("cpu")?)
}

/// A group of version 2, as near to the one that this process is in as can be. One that has processes cannot have
/// groups below it whose memory is limited, so it is one above that lends itself.
fn unified(name: &str) -> Option<Cgroup> {
    let own = Path::new(ROOT).join(own("")?);
    own.ancestors().take_while(|path| path.starts_with(ROOT)).find_map(|parent| {
        // Refused where there are processes. Whether what is needed is there is seen below.
        set(parent, "cgroup.subtree_control", "+cpu +memory");
        let path = parent.join(name);
        let group = Cgroup::at(&V2, path.clone(), path)?;
        // Or the kernel would put on disk what it should kill for. Not every kernel counts that.
        set(&group.memory, "memory.swap.max", "0");
        Some(group)
    })
}

/// The group of this process, from the root of a controller's tree; version 2 has no name there.
fn own(controller: &str) -> Option<String> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    groups.lines().find_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(":/")?;
        controllers.split(',').any(|one| one == controller).then(|| path.to_owned())
    })
}

fn set(group: &Path, name: &str, value: &str) -> bool {
    std::fs::write(group.join(name), value).is_ok()
}

/// The number that stands after this in a file of the kernel's.
fn number(group: &Path, name: &str, after: &str) -> u64 {
    let text = std::fs::read_to_string(group.join(name)).unwrap_or_default();
    text.lines().filter_map(|line| line.strip_prefix(after)).find_map(|rest| rest.trim().parse().ok()).unwrap_or(0)
}
