//! Where the servers' programs are, and as whom they run.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use std::os::unix::process::CommandExt as _;

/// Debian's `nobody` and `nogroup`: it owns nothing, and every machine has it.
const NOBODY: (u32, u32) = (65_534, 65_534);

/// What every program gets for a `PATH`.
const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The environment variable that names a directory with another PostgreSQL than Debian's, whose programs go before all
/// others (`tests/postgres`).
const POSTGRES: &str = "INKSTONE_TEST_POSTGRES";

/// Finds a program.
///
/// # Panics
/// When it is not there, naming the Debian package that brings it: a test that cannot run has
/// failed.
pub(crate) fn program(name: &str, package: &str) -> PathBuf {
    let mut places: Vec<PathBuf> = Vec::new();
    // Debian keeps PostgreSQL's programs by version: the newest first.
    if let Ok(versions) = std::fs::read_dir("/usr/lib/postgresql") {
        places.extend(versions.filter_map(|version| Some(version.ok()?.path().join("bin"))));
        places.sort_by_key(|place| {
            let version = place.parent().and_then(Path::file_name).and_then(|name| name.to_str()?.parse::<u32>().ok());
            std::cmp::Reverse(version)
        });
    }
    places.extend(std::env::split_paths(SEARCH_PATH));
    places.splice(..0, std::env::var_os(POSTGRES).filter(|place| !place.is_empty()).map(PathBuf::from));
    places.iter().map(|place| place.join(name)).find(|path| path.is_file()).unwrap_or_else(|| {
        panic!("this test needs the program {name}: apt-get install {package} (./test does that by itself)")
    })
}

/// As whom the servers run: they refuse to run as root, or should.
pub(crate) fn identity() -> Option<(u32, u32)> {
    rustix::process::geteuid().is_root().then_some(NOBODY)
}

/// A command that runs as that user, in `home`, and knows nothing of the machine it runs on.
pub(crate) fn command(program: &Path, home: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .envs([("PATH", SEARCH_PATH), ("LC_ALL", "C.UTF-8"), ("TZ", "UTC")])
        .env("HOME", home)
        .current_dir(home)
        .stdin(Stdio::null());
    if let Some((user, group)) = identity() {
        command.uid(user).gid(group);
    }
    command
}

/// Runs a program to its end and gives what it said.
///
/// # Panics
/// When it fails, with what it complained about.
#[track_caller]
pub(crate) fn run(mut command: Command) -> String {
    try_run(&mut command).unwrap_or_else(|complaint| panic!("{command:?}: {complaint}"))
}

/// Runs a program to its end; gives what it said, or what it complained about.
pub(crate) fn try_run(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
    if output.status.success() {
        return Ok(said);
    }
    Err(format!("{}: {}\n{said}", output.status, String::from_utf8_lossy(&output.stderr).trim_end()))
}

/// Gives something to the servers' user.
pub(crate) fn give_away(path: &Path) {
    if let Some((user, group)) = identity() {
        std::os::unix::fs::chown(path, Some(user), Some(group)).expect("root may give things away");
    }
}
