//! Real servers for a program that is not a Rust test: `services [--fsync] postgres redis …`.
//!
//! Prints one line of JSON with their addresses and processes, and keeps them until its standard
//! input ends: `{"postgres": {"url": …, "home": …, "pid": …}, …}`. There are `postgres`, `mariadb`,
//! `redis` and `memcached`. With `--fsync` PostgreSQL waits for the disk before it acknowledges, as in life.

use std::io::Read as _;

use inkstone_testkit::services::{MariaDb, Memcached, Postgres, PostgresOptions, Process, Redis};
use serde_json::{Map, Value, json};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let fsync = arguments.iter().any(|argument| argument == "--fsync");
    let mut running: Vec<Box<dyn std::any::Any>> = Vec::new();
    let mut said = Map::new();
    for name in arguments.iter().filter(|argument| !argument.starts_with("--")) {
        let (server, about): (Box<dyn std::any::Any>, Value) = match name.as_str() {
            "postgres" => {
                let settings = [("shared_buffers", "256MB"), ("max_connections", "200")];
                let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
                let server = Postgres::start_with(PostgresOptions { fsync, settings, ..PostgresOptions::default() });
                let database = server.database();
                let about = about(server.process(), &server.url(&database));
                (Box::new(server), about)
            }
            "mariadb" => {
                let server = MariaDb::start();
                let database = server.database();
                let about = about(server.process(), &server.url(&database));
                (Box::new(server), about)
            }
            "redis" => {
                let server = Redis::start();
                let about = about(server.process(), &server.keyspace());
                (Box::new(server), about)
            }
            "memcached" => {
                let server = Memcached::start();
                let about = about(server.process(), &format!("memcached://{}", server.address()));
                (Box::new(server), about)
            }
            other => panic!("there is no service {other:?}: there are postgres, mariadb, redis and memcached"),
        };
        said.insert(name.clone(), about);
        running.push(server);
    }
    println!("{}", Value::Object(said));
    let _end = std::io::stdin().read_to_end(&mut Vec::new());
}

fn about(process: &Process, url: &str) -> Value {
    json!({ "url": url, "home": process.home(), "pid": process.pid(), "port": process.ports()[0] })
}
