//! The way to the server is private, and both ends prove who they are.

use std::sync::Arc;

use inkstone_core::Code;
use inkstone_core::clock::SystemClock;
use inkstone_store::db::{Db, Health, PostgresOptions, Statement};
use inkstone_testkit::services::{Authority, Postgres, PostgresOptions as ServerOptions};

use crate::bed::ctx;

const CONNECTION: Statement = Statement {
    name: "test.connection",
    sql: "select case when ssl then version else 'plain' end from pg_stat_ssl where pid = pg_backend_pid()",
};

struct Place {
    server: Postgres,
    database: String,
    authority: Arc<Authority>,
}

fn start() -> Place {
    let authority = Arc::new(Authority::new());
    let tls = Some(Arc::clone(&authority));
    let server = Postgres::start_with(ServerOptions { password: true, tls, ..ServerOptions::default() });
    let database = server.database();
    Place { server, database, authority }
}

/// How the connection is encrypted; or the refusal, and why the store says it cannot be reached.
async fn connect(url: &str) -> Result<String, String> {
    let db = Db::connect(PostgresOptions::new(url.parse().unwrap(), Arc::new(SystemClock))).unwrap();
    let asked = db.read(&ctx(), "test.connection", |conn| Box::pin(conn.fetch_one::<String>(&CONNECTION, &[]))).await;
    asked.map_err(|error| {
        assert_eq!(error.code(), Code::Unavailable);
        let Health::Unreachable { reason, .. } = db.health() else { panic!("it was reached: {error}") };
        reason
    })
}

#[tokio::test]
async fn the_password_is_proved_over_an_encrypted_connection_to_the_right_server() {
    let Place { server, database, authority } = start();
    let url = server.url(&database);
    assert!(url.contains("sslmode=verify-full"));
    assert_eq!(connect(&url).await.unwrap(), "TLSv1.3");

    let (name, rest) = url.split_once('@').unwrap();
    let user = name.trim_start_matches("postgres://").split(':').next().unwrap();
    let wrong = connect(&format!("postgres://{user}:guessed@{rest}")).await.unwrap_err();
    assert!(wrong.contains("28P01") && !wrong.contains("guessed"), "{wrong}");
    let none = connect(&format!("postgres://{user}@{rest}")).await.unwrap_err();
    assert!(none.contains("password"), "{none}");

    let other = Authority::new();
    let stranger = url.replace(&authority.file().display().to_string(), &other.file().display().to_string());
    assert_ne!(stranger, url);
    let stranger = connect(&stranger).await.unwrap_err();
    assert!(stranger.contains("certificate"), "{stranger}");

    // The right authority, but the certificate is another host's.
    let elsewhere = url.replace("@127.0.0.1:", "@db.example:") + "&hostaddr=127.0.0.1";
    let elsewhere = connect(&elsewhere).await.unwrap_err();
    assert!(elsewhere.contains("certificate"), "{elsewhere}");

    let open = connect(url.split('?').next().unwrap()).await.unwrap_err();
    assert!(open.contains("no encryption"), "{open}");
}

#[tokio::test]
async fn off_this_machine_nothing_is_said_in_the_open() {
    let authority = Authority::new();
    let server = Postgres::shared();
    let database = crate::database::Database::empty();
    let roots = authority.file().display().to_string();
    let url = server.url(database.name()).replace("@127.0.0.1:", "@db.example:");
    let refused = connect(&format!("{url}?hostaddr=127.0.0.1&sslrootcert={roots}")).await.unwrap_err();
    assert!(refused.contains("TLS"), "{refused}");
    let open = connect(&format!("{url}?hostaddr=127.0.0.1&sslmode=disable")).await.unwrap();
    assert_eq!(open, "plain");
}
