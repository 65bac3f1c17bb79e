//! The runner of migrations, where none is a transaction.

use inkstone_store::migrate::{Migration, mariadb};
use inkstone_testkit::services::MariaDb;

use crate::database::Database;
use crate::server::migrations::{BROKEN, FIRST, SECOND, place, tables};

#[tokio::test]
async fn a_migration_that_breaks_off_is_done_again_from_its_beginning() {
    let (database, options) = place();
    mariadb::run_of(&[FIRST, SECOND, BROKEN], &options).await.unwrap_err();
    assert_eq!(tables(&database), "a b c schema_migrations", "what was made stays: no transaction holds it");
    assert_eq!(mariadb::applied(&options).await.unwrap().len(), 2);
    let mended = Migration { sql: "create table if not exists c (id bigint);", ..BROKEN };
    assert_eq!(mariadb::run_of(&[FIRST, SECOND, mended], &options).await.unwrap().len(), 1);
    assert_eq!(tables(&database), "a b c schema_migrations");
}

/// What a process leaves behind that is killed at any moment.
#[tokio::test]
async fn each_migration_can_be_killed_after_each_statement_and_run_again() {
    let (database, options) = place();
    let schema = |database: &Database| {
        let sql = "select table_name, column_name, column_type, is_nullable, column_default, collation_name \
                   from information_schema.columns where table_schema = database() \
                   union all \
                   select table_name, index_name, column_name, seq_in_index, non_unique, null \
                   from information_schema.statistics where table_schema = database() order by 1, 2, 3, 4";
        MariaDb::shared().sql(database.name(), sql)
    };
    let modes = "set session sql_mode = 'ANSI_QUOTES,PIPES_AS_CONCAT,STRICT_ALL_TABLES'";
    // Before its first statement comes the table of the migrations themselves.
    let dead = Migration { sql: "insert into nowhere values (1);", ..FIRST };
    mariadb::run_of(&[dead], &options).await.unwrap_err();
    for (place, migration) in mariadb::MIGRATIONS.iter().enumerate() {
        for statement in mariadb::statements(migration.sql) {
            // Killed after this statement, and the next process comes as far as the next.
            MariaDb::shared().sql(database.name(), &format!("{modes};\n{statement}"));
            MariaDb::shared().sql(database.name(), &format!("{modes};\n{statement}"));
        }
        assert_eq!(mariadb::applied(&options).await.unwrap().len(), place);
        assert_eq!(mariadb::run_of(&mariadb::MIGRATIONS[..=place], &options).await.unwrap().len(), 1);
    }
    let whole = Database::migrated().await;
    assert_eq!(schema(&database), schema(&whole));
    for table in ["site", "counters"] {
        assert_eq!(MariaDb::shared().sql(database.name(), &format!("select count(*) from {table}")), "1");
    }
}

#[tokio::test]
async fn a_node_that_is_killed_in_the_middle_holds_nobody_up() {
    let (database, options) = place();
    let slow = Migration {
        number: 1,
        name: "slow",
        needs: 1,
        sql: "create table if not exists a (id bigint);\ndo sleep(600);",
    };
    let node = tokio::spawn({
        let options = options.clone();
        async move { mariadb::run_of(&[slow], &options).await }
    });
    let asleep = format!(
        "select id from information_schema.processlist where db = '{}' and info like '%sleep(600)%'",
        database.name()
    );
    let id = tokio::task::spawn_blocking(move || {
        let id = || MariaDb::shared().sql("mysql", &asleep);
        inkstone_testkit::wait_until("it runs", || !id().is_empty());
        id()
    });
    let id = id.await.unwrap();
    // As when a process dies: its connections close, without a word. The server ends what it runs for
    // it when it notices.
    node.abort();
    node.await.unwrap_err();
    MariaDb::shared().sql("mysql", &format!("kill {id}"));
    assert_eq!(mariadb::run_of(&[FIRST], &options).await.unwrap().len(), 1);
    assert_eq!(tables(&database), "a schema_migrations");
}
