//! Sees to it that nothing which a test started outlives the test, however that one ends.
//!
//! `Drop` runs at the end of a test and on a panic, but not when the test process is killed, and
//! not for what lives in a `static`. So every directory with processes has a keeper beside it: a
//! small shell that reads from a pipe which nobody but the test process holds. When the pipe
//! closes, the keeper kills every process that works in the directory, and removes it.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

/// `$1` is where the processes work, `$2` is what goes when nobody is left to want it.
///
/// A killed PostgreSQL leaves a segment of shared memory behind, which the kernel counts and
/// keeps; its number stands in the seventh line of `postmaster.pid`. A mounted
/// [disk](crate::SmallDisk) is left behind, too.
const SCRIPT: &str = r#"
read -r farewell
while :; do
    found=$(find /proc/[0-9]*/cwd -maxdepth 0 \( -lname "$1" -o -lname "$1/*" \) 2>/dev/null)
    [ -n "$found" ] || break
    for link in $found; do
        link=${link%/cwd}
        kill -KILL "${link#/proc/}" 2>/dev/null
    done
done
for lock in "$1"/*/*/postmaster.pid; do
    [ -f "$lock" ] && ipcrm -m "$(sed -n '7s/.* //p' "$lock")"
done
if [ "$farewell" != bye ]; then
    sed -n "s#^tmpfs \($2/[^ ]*\) .*#\1#p" /proc/mounts | while read -r disk; do umount -l "$disk"; done
fi
if [ "$farewell" = bye ]; then rm -rf -- "$1"; else rm -rf -- "$1" "$2"; fi
"#;

/// Keeps one directory. Dropping it kills everything that works there and removes it.
pub struct Keeper {
    shell: Child,
    pipe: Option<ChildStdin>,
    place: PathBuf,
}

impl Keeper {
    /// Keeps `place`, which ends with this value, and `home`, which ends only if the whole test
    /// process goes without a word.
    pub fn new(place: &Path, home: &Path) -> Self {
        // A group of its own: what is sent to the group of the tests must not hit the keeper.
        let mut shell = Command::new("/bin/sh")
            .args(["-c", SCRIPT, "keeper"])
            .args([place, home])
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell");
        let pipe = shell.stdin.take();
        Self { shell, pipe, place: place.to_owned() }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        if let Some(mut pipe) = self.pipe.take() {
            let _ = pipe.write_all(b"bye\n");
        }
        let _ = self.shell.wait();
        debug_assert!(!self.place.exists() || std::thread::panicking(), "{} is gone", self.place.display());
    }
}

/// Everything alive that works in `place` or below, by process id.
pub(crate) fn working_in(place: &Path) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let mut found: Vec<u32> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|at| at.starts_with(place)))
        .collect();
    found.sort_unstable();
    found
}
