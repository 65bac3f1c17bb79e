//! Data directories that take seconds to make and milliseconds to copy.

use std::fs::{DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use super::{Home, programs};

/// Copies the template `name` to `data` in `home`; the first time on this machine `make` makes
/// it, in a directory that it gets and that belongs to the servers' user.
///
/// A template outlives the tests and serves every test process of this user, so its name has to
/// say everything that it depends on, the version of the program first.
pub(crate) fn copy(name: &str, home: &Home, make: impl FnOnce(&Path)) -> PathBuf {
    let user = rustix::process::geteuid().as_raw();
    let cache = std::env::temp_dir().join(format!("inkstone-testkit-{user}"));
    let _ = DirBuilder::new().mode(0o755).create(&cache);
    let owner = std::fs::metadata(&cache).expect("the directory of templates").uid();
    assert_eq!(owner, user, "{} belongs to somebody else", cache.display());
    let template = cache.join(name.replace(|c: char| !c.is_ascii_alphanumeric() && c != '.', "-"));

    let lock = File::create(cache.join("lock")).expect("a file in a directory of ours");
    lock.lock().expect("files can be locked");
    if !template.exists() {
        // Renamed only when it is whole: a killed test must leave no half of a template.
        let unfinished = cache.join("unfinished");
        let _ = std::fs::remove_dir_all(&unfinished);
        DirBuilder::new().mode(0o700).create(&unfinished).expect("a directory in a directory of ours");
        programs::give_away(&unfinished);
        make(&unfinished);
        std::fs::rename(&unfinished, &template).expect("both are in one directory");
    }
    drop(lock);

    let data = home.path().join("data");
    let mut copy = programs::command(Path::new("/bin/cp"), home.path());
    // What is in it, since there may be a disk mounted there already.
    copy.args(["-a", "--reflink=auto"]).args([&template.join("."), &data]);
    programs::run(copy);
    data
}
