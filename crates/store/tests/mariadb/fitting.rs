//! Which databases are taken for a blog's.

use inkstone_store::migrate::mariadb;
use inkstone_testkit::services::MariaDb;

use crate::server::migrations::place;

/// Each table says what it needs, whatever the database was made with.
#[tokio::test]
async fn a_database_that_was_made_for_latin1_holds_every_text_all_the_same() {
    let (database, options) = place();
    MariaDb::shared().sql("mysql", &format!("alter database {} character set latin1", database.name()));
    mariadb::run(&options).await.unwrap();
    let others = "select count(*), coalesce(sum(character_set_name not in ('utf8mb4', 'ascii')), 0) \
                  from information_schema.columns where table_schema = database() and character_set_name is not null";
    let seen = MariaDb::shared().sql(database.name(), others);
    let (all, other) = seen.split_once('\t').unwrap();
    assert!(all.parse::<u32>().unwrap() > 20 && other == "0", "{seen}");
}
