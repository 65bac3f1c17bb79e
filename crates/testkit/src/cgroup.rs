//! So much memory and processor time and no more: what a container gives a process.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::wait::patiently;

/// How long the scheduler counts before it lets a group run again, in microseconds.
const PERIOD: u64 = 100_000;

/// A group of processes (cgroups, version 1), below the one that this process is in, so that whatever
/// holds for this process holds for them. It is gone when this value is dropped and they have ended.
pub struct Cgroup {
    memory: PathBuf,
    cpu: PathBuf,
}

impl Cgroup {
    /// `None` where there are no such groups, or this process may not make any.
    pub fn make() -> Option<Self> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("inkstone-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let [memory, cpu] = ["memory", "cpu"].map(|controller| below(controller).map(|group| group.join(&name)));
        let group = Self { memory: memory?, cpu: cpu? };
        let is_made = [&group.memory, &group.cpu].iter().all(|path| std::fs::create_dir(path).is_ok());
        is_made.then_some(group)
    }

    /// Lets its processes have so much memory together; `false` if they hold more that they cannot give back.
    pub fn limit_memory(&self, bytes: u64) -> bool {
        set(&self.memory, "memory.limit_in_bytes", bytes)
    }

    /// Lets its processes have so many hundredths of one processor.
    pub fn limit_cpu(&self, percent: u64) {
        let is_set =
            set(&self.cpu, "cpu.cfs_period_us", PERIOD) && set(&self.cpu, "cpu.cfs_quota_us", PERIOD / 100 * percent);
        assert!(is_set, "the time of a group's processes can be limited");
    }

    /// What its processes hold now, with what they keep of files.
    pub fn memory(&self) -> u64 {
        number(&self.memory, "memory.usage_in_bytes", "")
    }

    /// The most that they have held.
    pub fn most_memory(&self) -> u64 {
        number(&self.memory, "memory.max_usage_in_bytes", "")
    }

    /// How many of them the kernel has killed for want of memory.
    pub fn kills(&self) -> u64 {
        number(&self.memory, "memory.oom_control", "oom_kill ")
    }

    /// What to put in front of a command, so that it runs in this group.
    pub fn wrapper(&self) -> Vec<String> {
        let join = "echo $$ >\"$1\"; echo $$ >\"$2\"; shift 2; exec \"$@\"";
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

/// The group of this process.
fn below(controller: &str) -> Option<PathBuf> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = groups.lines().find_map(|line| line.split_once(&format!(":{controller}:")))?.1;
    let path = Path::new("/sys/fs/cgroup").join(controller).join(own.trim_start_matches('/'));
    path.is_dir().then_some(path)
}

fn set(group: &Path, name: &str, value: u64) -> bool {
    std::fs::write(group.join(name), value.to_string()).is_ok()
}

/// The number that stands after this in a file of the kernel's.
fn number(group: &Path, name: &str, after: &str) -> u64 {
    let text = std::fs::read_to_string(group.join(name)).unwrap_or_default();
    text.lines().filter_map(|line| line.strip_prefix(after)).find_map(|rest| rest.trim().parse().ok()).unwrap_or(0)
}
