//! One process to a data directory.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::time::Duration;

use inkstone_core::{Code, Error, Result};

/// The name of the lock's file in the data directory.
const FILE_NAME: &str = "inkstone.lock";

/// Held for as long as a process serves a data directory. The operating system lets go of it
/// when the process ends, however it ends; the file itself stays and means nothing.
#[derive(Debug)]
pub struct DataDirLock {
    _file: File,
}

impl DataDirLock {
    /// Takes the lock of this directory, which must exist.
    ///
    /// # Errors
    /// `Conflict` if another process has it, with that process's number; `Unavailable` if the
    /// file cannot be made.
    pub fn acquire(directory: &Path) -> Result<Self> {
        let path = directory.join(FILE_NAME);
        let unusable = |error: std::io::Error| {
            let detail = format!("The data directory cannot be locked: {}: {error}.", path.display());
            Error::try_later(Code::Unavailable, detail, Duration::from_mins(1))
        };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        // Whoever can open it can hold it, and keep the server from starting.
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&path).map_err(unusable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(taken(directory, &mut file)),
            Err(TryLockError::Error(error)) => return Err(unusable(error)),
        }
        file.set_len(0).map_err(unusable)?;
        writeln!(file, "{}", std::process::id()).map_err(unusable)?;
        Ok(Self { _file: file })
    }
}

fn taken(directory: &Path, file: &mut File) -> Error {
    let mut holder = String::new();
    // Only for the message: what cannot be read is left out.
    let read = file.rewind().and_then(|()| file.read_to_string(&mut holder));
    let process = match (read, holder.trim().parse::<u32>()) {
        (Ok(_), Ok(number)) => format!("Another process (number {number})"),
        _ => "Another process".to_owned(),
    };
    let directory = directory.display();
    Error::refused(
        Code::Conflict,
        format!("{process} is using the data directory {directory}. Stop it first, or use another directory."),
    )
}
