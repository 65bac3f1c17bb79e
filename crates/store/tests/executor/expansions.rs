//! What calls itself an expansion only expands.

use inkstone_store::copy::tables;
use inkstone_store::migrate::{self, EXPANDS, Migration};
use inkstone_testkit::expansion::{ahead, more_than_expands};

#[test]
fn the_stores_own_expansions_only_expand_and_its_needs_can_be_met() {
    for migrations in [migrate::SQLITE, migrate::postgres::MIGRATIONS, migrate::mariadb::MIGRATIONS] {
        for Migration { number, name, needs, sql } in migrations {
            assert!(needs <= number, "{name} needs what comes after it");
            if *needs == EXPANDS {
                assert_eq!(more_than_expands(sql), [""; 0], "{name} is no expansion: it must say what it needs");
            }
        }
    }
}

#[test]
fn what_tests_take_for_a_schema_ahead_is_one_expansion_after_the_other() {
    let names: Vec<&str> = tables().iter().map(|(table, _)| *table).collect();
    for sql in ahead(&names) {
        assert_eq!(more_than_expands(&sql), [""; 0], "{sql}");
    }
}

#[test]
fn what_more_than_expands_is_found() {
    for harmless in [
        "-- Drop nothing; really.\nCREATE TABLE a (id int); create unique index a_idx on a(id); insert into a values (1);",
        "alter table posts add column x text; create index if not exists posts_x_idx on posts (x);",
        "alter table posts add column x integer not null default 0",
        "alter table posts add column if not exists x numeric(10, 2) default -1.5",
        "create table a (id int, b int references a (id), c int references posts (id) on delete set null)",
    ] {
        assert_eq!(more_than_expands(harmless), [""; 0], "{harmless}");
    }
    for harmful in [
        "drop table posts",
        "alter table posts drop column title",
        "alter table posts rename column title to headline",
        "alter table posts rename to articles",
        "alter table posts alter column title type varchar(9)",
        "alter table posts alter column title set not null",
        "alter table posts add constraint c check (id > 0)",
        "alter table posts add column x text not null",
        "alter table posts add column x text unique",
        "alter table posts add column x bigint references users (id)",
        "alter table posts add column x integer default random()",
        "alter table posts add column x text, drop column title",
        "create unique index posts_title_idx on posts (title)",
        "create table a (id int references posts (id))",
        "create table a (id int references posts (id), b int references posts (id) on delete cascade)",
        "create trigger t after insert on posts begin select 1; end",
        "create function f() returns int language sql as 'select 1'",
        "insert into posts (id) values (1)",
        "update posts set title = ''",
        "delete from posts",
        "truncate posts",
        "alter table posts add column x text; alter table users add column x text",
        "create table a (id int); create index posts_x_idx on posts (x); create index users_x_idx on users (x)",
        "create table a (id int); drop table posts",
    ] {
        assert!(!more_than_expands(harmful).is_empty(), "{harmful}");
    }
}
