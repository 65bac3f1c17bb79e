//! What the tests of servers need to know of MariaDB.

use std::sync::Arc;

use inkstone_core::clock::SystemClock;
use inkstone_store::db::{Db, MariaDbOptions};
pub(crate) use inkstone_store::migrate::mariadb as runner;
use inkstone_testkit::services::{MariaDb, MariaDbOptions as Server};

use crate::database::Database;

pub(crate) type Options = MariaDbOptions;

pub(crate) const SCHEME: &str = "mysql";
/// The row of numbers is what a write locks.
pub(crate) const NOTES: &str = "create table counters (name varchar(64) primary key, value bigint not null);
insert into counters values ('change_seq', 0);
create table notes (
    id   bigint not null auto_increment primary key,
    text varchar(700) character set utf8mb4 collate utf8mb4_nopad_bin not null,
    next bigint,
    constraint notes_text_length check (length(text) <= 255),
    constraint notes_next_fkey foreign key (next) references notes (id),
    constraint notes_text_key unique (text)
)";
pub(crate) const SLEEP: &str = "select 1 from (select sleep(60)) as s";
/// How many are at that.
pub(crate) const ASLEEP: &str = "select count(*) from information_schema.processlist \
     where db = database() and info like '%sleep(60)%' and id <> connection_id()";
pub(crate) const TABLES: &str = "select coalesce(group_concat(table_name order by table_name separator ' '), '') \
     from information_schema.tables where table_schema = database()";
pub(crate) const NO_SUCH_DATABASE: &str = "Unknown database";

pub(crate) fn connect(options: Options) -> Db {
    Db::connect_mariadb(options)
}

pub(crate) fn options(database: &Database) -> Options {
    database.options(Arc::new(SystemClock))
}

pub(crate) fn sql(database: &str, sql: &str) -> String {
    MariaDb::shared().sql(database, sql)
}

pub(crate) fn url(database: &str) -> String {
    MariaDb::shared().url(database)
}

/// A server of its own, and the address of a database with notes on it.
pub(crate) fn server() -> (MariaDb, String) {
    server_with(Server::default())
}

/// The same, for a user who may do no more than an operator grants.
pub(crate) fn server_with(options: Server) -> (MariaDb, String) {
    let server = MariaDb::start_with(options);
    let database = server.database();
    server.sql(&database, NOTES);
    server.sql(
        "mysql",
        &format!(
            "create user 'blog'@'%' identified by 'sesame'; \
             grant select, insert, update, delete on {database}.* to 'blog'@'%'"
        ),
    );
    let address = format!("mysql://blog:sesame@127.0.0.1:{}/{database}", server.port());
    (server, address)
}
