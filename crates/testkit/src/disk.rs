//! A disk that can be full.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::services::give_away;

/// The file that fills it up.
const BALLAST: &str = "ballast";

/// A small file system in memory, unmounted when dropped, and by the [keeper](crate::Keeper) of the
/// directory it is in. Needs root, as every test of a full disk does.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts one of this size, such as `6m`, for the user as whom this runs.
    ///
    /// # Panics
    /// When it cannot be mounted: a test that cannot run has failed.
    pub fn mount(at: &Path, size: &str) -> Self {
        std::fs::create_dir_all(at).expect("a directory to mount on");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size},mode=0700"), "tmpfs"]).arg(at);
        assert!(mount.status().expect("mount").success(), "this test mounts a small tmpfs and must run as root");
        Self(at.to_owned())
    }

    /// As [`SmallDisk::mount`], for the user as whom the [services](crate::services) run.
    pub fn mount_for_services(at: &Path, size: &str) -> Self {
        let disk = Self::mount(at, size);
        give_away(at);
        disk
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Makes it larger or smaller.
    pub fn resize(&self, size: &str) {
        let status = Command::new("mount").args(["-o", &format!("remount,size={size}")]).arg(&self.0).status();
        assert!(status.expect("mount").success(), "the disk can be resized");
    }

    /// Takes all of the space that is left.
    pub fn fill(&self) {
        let mut ballast = File::create(self.0.join(BALLAST)).expect("a file on a disk of ours");
        // The last part of a page, too.
        while ballast.write_all(&[1; 4096]).is_ok() {}
    }

    /// Gives back what [`SmallDisk::fill`] took.
    pub fn make_room(&self) {
        std::fs::remove_file(self.0.join(BALLAST)).expect("our own file");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a test that fails leaves files open.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
