//! Whether what the server says on stdout is kept.

use std::ffi::OsString;
use std::os::unix::fs::MetadataExt as _;

/// What systemd sets where stdout or stderr go to its journal: the device and inode of the stream.
const VARIABLE: &str = "JOURNAL_STREAM";

/// Whether stdout goes to systemd's journal (systemd.exec(5)), which others may read, and keeps.
pub(super) fn takes_stdout(environment: &[(OsString, OsString)]) -> bool {
    let Some((_, stream)) = environment.iter().find(|(name, _)| name == VARIABLE) else { return false };
    // The variable is handed on to children whose stdout may go elsewhere. Where that cannot be known, it may not.
    std::fs::metadata("/proc/self/fd/1").map_or(true, |stdout| *stream == *format!("{}:{}", stdout.dev(), stdout.ino()))
}
