//! The data directory: everything that one blog is, readable by its owner alone.

use std::fs::{DirBuilder, OpenOptions, Permissions};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use inkstone_store::db::{LogDamage, damage_in_log};

use crate::failure::{Failure, Result};

const RIGHTS: &str = "see that the data directory belongs to you and that the disk works";

/// The name of the database in the data directory.
const DATABASE: &str = "inkstone.db";
/// The bits that say what others than the owner may do.
const OTHERS: u32 = 0o077;

/// Where the database is.
pub(crate) fn database(data_dir: &Path) -> PathBuf {
    data_dir.join(DATABASE)
}

/// The data directory that somebody means by its path, or by that of the database in it.
pub(crate) fn of_database(path: &Path) -> PathBuf {
    let directory = path.parent().filter(|_| path.file_name().is_some_and(|name| name == DATABASE) && !path.is_dir());
    match directory {
        Some(here) if here.as_os_str().is_empty() => PathBuf::from("."),
        Some(directory) => directory.to_owned(),
        None => path.to_owned(),
    }
}

/// Makes the directory and the database's file if they are not there, for the owner alone. What
/// is there keeps its permissions: `doctor` tells where they are too wide.
pub(crate) fn prepare(data_dir: &Path) -> Result<()> {
    let cannot = |what: &str, error: &std::io::Error| {
        Failure::with_hint(
            format!("the data directory {} cannot be {what}: {error}", data_dir.display()),
            "name a directory that you may write to with --data-dir",
        )
    };
    DirBuilder::new().recursive(true).mode(0o700).create(data_dir).map_err(|error| cannot("made", &error))?;
    // SQLite would make it readable for everybody; the files beside it take its permissions.
    let made = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(database(data_dir));
    made.map_err(|error| cannot("written to", &error))?;
    Ok(())
}

/// Says that there is nothing yet, where that is so.
pub(crate) fn require(data_dir: &Path) -> Result<()> {
    if database(data_dir).exists() {
        return Ok(());
    }
    Err(Failure::with_hint(
        format!("there is no blog in {}", data_dir.display()),
        "name its directory with --data-dir, or start one with `inkstone serve`",
    ))
}

/// What SQLite would do to a damaged write-ahead log, and what to do instead. To be asked only where
/// no server has the database open.
pub(crate) fn log_damage(data_dir: &Path) -> Option<(String, String)> {
    let damage = match damage_in_log(&database(data_dir)) {
        Ok(damage) => damage?,
        Err(error) => return Some((format!("the write-ahead log cannot be read: {error}"), RIGHTS.to_owned())),
    };
    let LogDamage { frame, transactions } = damage;
    Some((
        format!(
            "the write-ahead log is damaged at frame {frame}: {transactions} changes or more behind it would be lost"
        ),
        format!(
            "keep a copy of {}, and restore a backup; to do without these changes, \
             `sqlite3 {} 'pragma wal_checkpoint(truncate)'`",
            data_dir.display(),
            database(data_dir).display()
        ),
    ))
}

/// As [`log_damage`], for whoever is about to open the database.
///
/// # Errors
/// What is damaged.
pub(crate) fn require_sound_log(data_dir: &Path) -> Result<()> {
    match log_damage(data_dir) {
        Some((what, hint)) => Err(Failure::with_hint(what, hint)),
        None => Ok(()),
    }
}

/// The permissions of a path, if others than its owner have any.
pub(crate) fn open_to_others(path: &Path) -> Option<u32> {
    let mode = std::fs::metadata(path).map(|metadata| Permissions::mode(&metadata.permissions())).ok()?;
    (mode & OTHERS != 0).then_some(mode & 0o777)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn what_is_made_is_for_the_owner_alone() {
        let home = tempfile::tempdir().unwrap();
        let data_dir = home.path().join("a/b");
        assert!(require(&data_dir).is_err());
        prepare(&data_dir).unwrap();
        assert_eq!(mode(&data_dir), 0o700);
        assert_eq!(mode(&database(&data_dir)), 0o600);
        assert_eq!(open_to_others(&data_dir), None);
        require(&data_dir).unwrap();
        // Again, without touching what is there.
        std::fs::write(database(&data_dir), "kept").unwrap();
        std::fs::set_permissions(&data_dir, Permissions::from_mode(0o750)).unwrap();
        prepare(&data_dir).unwrap();
        assert_eq!(std::fs::read_to_string(database(&data_dir)).unwrap(), "kept");
        assert_eq!(open_to_others(&data_dir), Some(0o750));
    }

    #[test]
    fn a_database_stands_for_its_directory() {
        for (path, directory) in
            [("blog", "blog"), ("/a/blog", "/a/blog"), ("/a/blog/inkstone.db", "/a/blog"), ("inkstone.db", ".")]
        {
            assert_eq!(of_database(Path::new(path)), Path::new(directory));
        }
    }

    #[test]
    fn what_cannot_be_made_is_said_with_the_path() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("file");
        std::fs::write(&file, "").unwrap();
        let message = prepare(&file.join("data")).unwrap_err().message().unwrap();
        assert!(message.contains("file/data cannot be made") && message.contains("--data-dir"), "{message}");
    }
}
