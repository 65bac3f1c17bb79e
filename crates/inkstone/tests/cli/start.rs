//! A server that is told to stop before it has started: it is gone at once, and whoever starts next finds nothing of it.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};

use inkstone_testkit::services::Postgres;
use inkstone_testkit::{Inkstone, Options, run, wait_until};
use rustix::fs::FlockOperation;

use super::{BINARY, Home};

/// Under which nodes migrate a PostgreSQL, as `store/migrate/postgres.rs` has it.
const MIGRATIONS_LOCK: i64 = 0x696e_6b73_746f_6e4d;

/// A server that does not come to its end by itself.
struct Starting(Child);

impl Starting {
    fn begin(home: &Home, env: &[(&str, &str)]) -> Self {
        let mut command = Command::new(BINARY);
        command.args(["serve", "--listen", "127.0.0.1:0", "--operations-listen", ""]);
        command.env("INKSTONE_DATA_DIR", home.data_dir()).envs(env.iter().copied());
        Self(command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap())
    }

    /// Tells it to stop, and holds it to that.
    fn stop(mut self) {
        let told = Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status().unwrap();
        assert!(told.success(), "it has ended before");
        let mut status = None;
        wait_until("it stops, though what it waits for does not come", || {
            status = self.0.try_wait().unwrap();
            status.is_some()
        });
        let mut said = String::new();
        self.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(status.unwrap().code(), Some(1), "{said}");
        assert!(said.contains("stopped at once, as asked for by a signal"), "{said}");
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        // It may have ended already.
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

#[tokio::test]
async fn who_waits_for_the_migration_of_another_node_stops_at_once_and_leaves_nothing_behind() {
    let (postgres, database, home) = (Postgres::shared(), Postgres::shared().database(), Home::new());
    let url = postgres.url(&database);
    let holder = std::thread::spawn({
        let database = database.clone();
        let hold = format!("select pg_advisory_lock({MIGRATIONS_LOCK}); select pg_sleep(3600)");
        move || postgres.try_sql(&database, &hold)
    });
    let ours = "from pg_locks l join pg_stat_activity a using (pid) \
                where l.locktype = 'advisory' and a.datname = current_database()";
    let count = |what: &str| postgres.sql(&database, &format!("select count(*) {ours} and {what}"));
    wait_until("somebody migrates", || count("l.granted") == "1");
    let starting = Starting::begin(&home, &[("INKSTONE__STORE__URL", &url)]);
    wait_until("it waits for them", || count("not l.granted") == "1");
    starting.stop();

    let end = "select pg_terminate_backend(pid) from pg_stat_activity where query like '%pg_sleep(3600)%' and \
               datname = current_database() and pid <> pg_backend_pid()";
    assert_eq!(postgres.sql(&database, end), "t");
    assert!(holder.join().unwrap().is_err());
    let others = "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()";
    wait_until("its connection is gone", || postgres.sql(&database, others) == "0");
    let tables = "select count(*) from pg_tables where schemaname = 'public'";
    assert_eq!(postgres.sql(&database, tables), "0");
    assert!(!home.data_dir().exists());
    let env = vec![("INKSTONE__STORE__URL".to_owned(), url)];
    let next = Inkstone::start_with(BINARY, Options { env, ..Options::default() });
    next.client().get("/api/v2/posts").await.expect(200);
}

/// Somebody keeps the file locked: a backup tool, or a migration of many posts that takes its time.
#[tokio::test]
async fn who_waits_for_its_file_stops_at_once_and_leaves_it_as_it_was() {
    let home = Home::new();
    home.run(&["migrate"]).ok();
    let path = home.data_dir().join("inkstone.db");
    let before = std::fs::read(&path).unwrap();
    let file = File::options().read(true).write(true).open(&path).unwrap();
    // As SQLite itself locks it, and for every kind of access.
    rustix::fs::fcntl_lock(file.as_fd(), FlockOperation::NonBlockingLockExclusive).unwrap();
    let starting = Starting::begin(&home, &[("INKSTONE__STORE__BUSY_TIMEOUT", "1m")]);
    let descriptors = format!("/proc/{}/fd", starting.0.id());
    let mut looks = 0;
    wait_until("it has the file open, and keeps it open", || {
        let open = std::fs::read_dir(&descriptors).unwrap().map_while(Result::ok);
        let is_open = open.filter_map(|entry| std::fs::read_link(entry.path()).ok()).any(|target| target == path);
        looks = if is_open { looks + 1 } else { 0 };
        looks > 20
    });
    starting.stop();
    assert!(std::fs::read(&path).unwrap() == before, "nothing was written");
    // With it goes the lock.
    drop(file);
    let listed = run(BINARY.as_ref(), &home.data_dir(), &["user", "list"], "");
    assert!(listed.status.success(), "{listed:?}");
}
