//! Upgrades: what commands say of a schema that is not theirs, and `kill -9` at every step of a migration
//! (battery row F20).

use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitStatus};
use std::sync::Arc;

use inkstone_core::clock::SystemClock;
use inkstone_store::db::SqliteOptions;
use inkstone_store::migrate::{self, EXPANDS, Migration, Migrator};
use inkstone_testkit::services::Postgres;

use super::{BINARY, Home};

/// The number of the last migration that the program knows.
fn known() -> u32 {
    u32::try_from(migrate::SQLITE.len()).unwrap()
}

/// Brings the database of a home further than the program knows: by an expansion, or by what needs to be known.
fn bring_further(home: &Home, needs: u32) {
    let more = Migration { number: known() + 1, name: "further", needs, sql: "create table further (id integer)" };
    let list: Vec<Migration> = migrate::SQLITE.iter().copied().chain([more]).collect();
    let options = SqliteOptions::new(home.data_dir().join("inkstone.db"), Arc::new(SystemClock));
    assert_eq!(Migrator::of(&list).run(&options).unwrap().len(), 1);
}

#[test]
fn commands_work_on_a_schema_that_is_ahead_and_say_so_but_copy_nothing() {
    let home = Home::new();
    home.run(&["user", "add", "ada", "--no-password"]).ok();
    bring_further(&home, EXPANDS);
    assert!(home.run(&["user", "list"]).ok().contains("ada"));
    let ahead = format!(
        "newer than this program, which can work with it: it has migration {} (further), and the program knows {}",
        known() + 1,
        known()
    );
    for command in [&["migrate"][..], &["migrate", "--dry-run"]] {
        assert_eq!(home.run(command).ok(), format!("The database is {ahead}.\n"));
    }
    let report = home.run(&["migrate", "--json"]).json();
    assert_eq!(report["not_known"][0]["name"], "further");
    assert_eq!(report["migrations"].as_array().unwrap().len(), 0);
    let doctor = home.run(&["doctor", "--set", "server.listen=127.0.0.1:0"]);
    assert!(doctor.out.contains(&format!("warn  schema: {ahead}")) && doctor.out.contains("ok    database: opens"));

    let (mine, other) = (home.data_dir().display().to_string(), home.path().join("other").display().to_string());
    let words = ["newer than this program", "cannot copy", "newer version of the program"];
    home.run(&["store", "copy", "--from", &mine, "--to", &other]).fails(1, &words);
    let another = Home::new();
    another.run(&["user", "add", "bob", "--no-password"]).ok();
    let from = another.data_dir().display().to_string();
    home.run(&["store", "copy", "--from", &from, "--to", &mine, "--restart"]).fails(1, &words);
    home.run(&["store", "copy", "--from", &from, "--to", &mine, "--verify"]).fails(1, &words);
    assert!(home.run(&["user", "list"]).ok().contains("ada"));
}

#[test]
fn commands_refuse_a_schema_that_needs_more_than_they_know() {
    let home = Home::new();
    home.run(&["migrate"]).ok();
    bring_further(&home, known() + 1);
    let words = ["newer than this program", "(further)", &format!("this one knows {}", known()), "restore the backup"];
    let serve = ["serve", "--listen", "127.0.0.1:0", "--operations-listen", ""];
    for command in [&["user", "list"][..], &["migrate"], &["migrate", "--dry-run"], &serve] {
        home.run(command).fails(1, &words);
    }
    let doctor = home.run(&["doctor", "--set", "server.listen=127.0.0.1:0"]);
    assert!(doctor.code == 1 && doctor.out.contains("FAIL  schema: "), "{}", doctor.out);
}

/// Runs `inkstone migrate`, killed (SIGKILL) when it begins its n-th of these system calls.
fn migrate_until(calls: &str, n: usize, arguments: &[&str]) -> ExitStatus {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={calls}")]);
    strace.args(["-e", &format!("inject={calls}:signal=KILL:when={n}"), BINARY, "migrate"]).args(arguments);
    strace.output().expect("strace is installed: ./test installs it").status
}

/// Kills one run after the other, each a step later than the one before, and begins at the first step again with
/// each migration that came through; gives how many were killed. `applied` says how many have come through.
fn kill_at_every_step(
    mut migrate: impl FnMut(usize) -> ExitStatus,
    mut applied: impl FnMut() -> usize,
    next: impl Fn(usize) -> usize,
) -> usize {
    let (mut kills, mut step, mut done) = (0, 1, applied());
    loop {
        let status = migrate(step);
        if status.success() {
            return kills;
        }
        assert_eq!(status.signal(), Some(9), "killed, and not refused: {status}");
        kills += 1;
        let now = applied();
        assert!(now >= done);
        step = if now > done { 1 } else { next(step) };
        done = now;
    }
}

#[test]
fn a_file_survives_kill_9_at_every_step_of_its_migrations() {
    let (home, whole) = (Home::new(), Home::new());
    whole.run(&["migrate"]).ok();
    std::fs::create_dir(home.data_dir()).unwrap();
    let data_dir = home.data_dir().display().to_string();
    let options = |home: &Home| SqliteOptions::new(home.data_dir().join("inkstone.db"), Arc::new(SystemClock));
    // Hundreds of pages are written: the steps become larger.
    let kills = kill_at_every_step(
        |n| migrate_until("pwrite64,fsync,fdatasync,ftruncate,unlink", n, &["--data-dir", &data_dir]),
        || migrate::applied(&options(&home)).unwrap().len(),
        |step| step + 1 + step / 3,
    );
    println!("{kills} kills");
    assert!(kills > 3 * migrate::SQLITE.len(), "{kills}");
    let recorded = |home: &Home| -> Vec<_> {
        let applied = migrate::applied(&options(home)).unwrap();
        applied.into_iter().map(|step| (step.number, step.checksum, step.needs)).collect()
    };
    assert_eq!(recorded(&home), recorded(&whole));
    let doctor = home.run(&["doctor", "--set", "server.listen=127.0.0.1:0"]);
    assert!(doctor.out.contains("ok    database: opens, and passes its integrity check"), "{}", doctor.out);
    home.run(&["user", "add", "ada", "--no-password"]).ok();
}

#[test]
fn a_database_of_the_first_release_survives_kill_9_at_every_step_of_its_upgrade() {
    let (postgres, runtime) = (Postgres::shared(), tokio::runtime::Runtime::new().unwrap());
    let (database, whole) = (postgres.database(), postgres.database());
    let options = |database: &str| {
        inkstone_store::db::PostgresOptions::new(postgres.url(database).parse().unwrap(), Arc::new(SystemClock))
    };
    let list = migrate::postgres::MIGRATIONS;
    runtime.block_on(migrate::postgres::run_of(&list[..1], &options(&database))).unwrap();
    runtime.block_on(migrate::postgres::run(&options(&whole))).unwrap();
    // That release did not say what its migrations need.
    postgres.sql(&database, "alter table schema_migrations drop column needs");
    let state = "select (select count(*) from schema_migrations) || ' ' ||
                        (to_regclass('posts_search') is not null)::int || (to_regclass('leases') is not null)::int || ' ' ||
                        (select count(*) from information_schema.columns
                         where table_name = 'schema_migrations' and column_name = 'needs')";
    let url = postgres.url(&database);
    let kills = kill_at_every_step(
        |n| migrate_until("sendto,sendmsg,writev", n, &["--database", &url]),
        || {
            let seen = postgres.sql(&database, state);
            let count = seen.split(' ').next().unwrap().parse().unwrap();
            let flag = |is_there: bool| u8::from(is_there);
            let whole = format!("{count} {}{} {}", flag(count > 1), flag(count > 2), flag(count > 1));
            assert_eq!(seen, whole, "a half of a migration is there");
            count
        },
        |step| step + 1,
    );
    println!("{kills} kills");
    assert!(kills > 2 * list.len(), "{kills}");
    let schema = "select string_agg(concat_ws(' ', table_name, column_name, data_type, is_nullable), E'\\n' order by 1)
                  from (select table_name, column_name, data_type, is_nullable from information_schema.columns
                        where table_schema = 'public' order by 1, 2) c";
    assert_eq!(postgres.sql(&database, schema), postgres.sql(&whole, schema));
    let needs =
        "select string_agg(number || ':' || coalesce(needs::text, '-'), ' ' order by number) from schema_migrations";
    let said: Vec<String> = list[1..].iter().map(|step| format!("{}:{}", step.number, step.needs)).collect();
    assert_eq!(postgres.sql(&database, needs), format!("1:- {}", said.join(" ")));
}
