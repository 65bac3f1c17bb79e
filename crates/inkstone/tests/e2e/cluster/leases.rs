//! Housekeeping on three nodes: one does it at a time, once a period, and one that was stopped while it was
//! at it, and goes on after another one has taken over, changes nothing any more.

use std::time::Duration;

use inkstone_testkit::Inkstone;
use inkstone_testkit::services::Postgres;

use super::{Site, until};

const NODES: usize = 3;

/// Three nodes that the database can tell from each other, since each has a name of its own there.
struct Bed {
    nodes: Vec<Inkstone>,
    names: Vec<String>,
    database: String,
}

impl Bed {
    fn start() -> Self {
        let (postgres, database) = (Postgres::shared(), Postgres::shared().database());
        let names: Vec<String> = (1..=NODES).map(|number| format!("{database}_node_{number}")).collect();
        let mut nodes = Vec::new();
        for name in &names {
            postgres.sql("postgres", &format!("create role {name} superuser login"));
            let url = postgres.url(&database).replace("inkstone:", &format!("{name}:"));
            // The shortest that there are, so that the test is not long.
            let site = Site::over(&url).set("WORKER__HOUSEKEEPING", "1s").set("WORKER__LEASE", "2s");
            nodes.push(site.set("STORE__WRITE_TIMEOUT", "2s").node());
        }
        let bed = Self { nodes, names, database };
        // Who removed something under whose lease, and who had which lease until when.
        bed.sql(
            "create table witness (id serial, who text, token bigint);
             create table witness_leases (id serial, owner text, token bigint, done_at bigint);
             create function witness() returns trigger language plpgsql as $$ begin
                 insert into witness (who, token)
                 select session_user, l.token from leases l where l.name = 'expired.remove';
                 return null;
             end $$;
             create function witness_leases() returns trigger language plpgsql as $$ begin
                 insert into witness_leases (owner, token, done_at) values (new.owner, new.token, new.done_at);
                 return null;
             end $$;
             create trigger witness after delete on idempotency_keys for each statement execute function witness();
             create trigger witness_leases after insert or update on leases for each row
                 when (new.name = 'expired.remove') execute function witness_leases();",
        );
        bed
    }

    fn sql(&self, sql: &str) -> String {
        Postgres::shared().sql(&self.database, sql)
    }

    /// Makes work for some seconds: keys that expired long ago.
    fn give_work(&self) {
        self.sql(
            "insert into idempotency_keys (scope, key, fingerprint, status, headers, created_at, expires_at, body)
             select 'test', gen_random_uuid(), '', 200, '[]', 0, 1, '' from generate_series(1, 100000)",
        );
    }

    fn work_left(&self) -> bool {
        self.sql("select exists (select 1 from idempotency_keys)") == "t"
    }

    /// Stops whoever is at work, between two of its transactions; gives its place and its token.
    async fn stop_somebody_at_work(&self) -> (usize, i64) {
        for _ in 0..1000 {
            if !self.work_left() {
                self.give_work();
            }
            // Whoever holds the lease is whoever removed something under its token.
            let at_work = "select w.who || ' ' || w.token from witness w join leases l on l.token = w.token
                           where l.name = 'expired.remove' and l.held_since < l.held_until order by w.id desc limit 1";
            let Some((who, token)) =
                self.sql(at_work).split_once(' ').map(|(who, token)| (who.to_owned(), token.to_owned()))
            else {
                continue;
            };
            let place = self.names.iter().position(|name| *name == who).unwrap();
            self.nodes[place].pause();
            let state = format!(
                "select (select count(*) from pg_stat_activity where usename = '{who}' and state <> 'idle') || ' ' ||
                        (select count(*) from leases where name = 'expired.remove' and token = {token}
                         and held_since < held_until)"
            );
            // Twice, since what it had sent may still have been on its way the first time.
            let mut stands_between = self.sql(&state) == "0 1";
            tokio::time::sleep(Duration::from_millis(300)).await;
            stands_between &= self.sql(&state) == "0 1";
            if stands_between && self.work_left() {
                return (place, token.parse().unwrap());
            }
            self.nodes[place].resume();
        }
        panic!("nobody could be stopped between two transactions");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_stopped_at_work_and_goes_on_does_nothing_twice() {
    stopped_at_work(Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: ./battery --long runs it"]
async fn long_a_node_that_was_stopped_at_work_for_a_minute_does_nothing_twice() {
    stopped_at_work(Duration::from_mins(1)).await;
}

/// Somebody is stopped at work for so long after another one has taken over.
async fn stopped_at_work(time: Duration) {
    let bed = Bed::start();
    bed.give_work();
    let (stopped, token) = bed.stop_somebody_at_work().await;
    let later = format!("select count(*) from witness where token > {token}");
    until("another node has taken over", async || bed.sql(&later) != "0").await;
    tokio::time::sleep(time).await;
    bed.nodes[stopped].resume();
    // By the fence; or by a connection that the database had given up meanwhile.
    until("the one that was stopped is told", async || {
        bed.nodes[stopped].log_text().contains("\"a regular task failed\",\"job\":\"expired.remove\"")
    })
    .await;
    until("all is done", async || !bed.work_left()).await;

    let shared = "select string_agg(distinct who, ' ') from witness group by token having count(distinct who) > 1";
    assert_eq!(bed.sql(shared), "", "somebody removed something under the lease of somebody else");
    let backwards = "select count(*) from witness a join witness b on b.id > a.id and b.token < a.token";
    assert_eq!(bed.sql(backwards), "0", "somebody came back");
    assert_eq!(bed.sql(&format!("select count(distinct who) from witness where token = {token}")), "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_three_nodes_one_does_it_once_a_period_and_another_one_when_that_is_dead() {
    let mut bed = Bed::start();
    let runs = "select count(distinct done_at) from witness_leases where done_at is not null";
    let more = async |bed: &Bed, more: i64| {
        let enough = bed.sql(runs).parse::<i64>().unwrap() + more;
        until("it is done some more times", async || bed.sql(runs).parse::<i64>().unwrap() >= enough).await;
    };
    more(&bed, 5).await;
    for place in 0..NODES - 1 {
        bed.nodes[place].kill();
        more(&bed, 2).await;
    }
    // By the database's clock, which is the one that counts: microseconds.
    let early = "select count(*) from (select done_at - lag(done_at) over (order by done_at) as pause
                 from (select distinct done_at from witness_leases where done_at is not null) d) p where pause < 800000";
    assert_eq!(bed.sql(early), "0", "twice in a period");
    let shared =
        "select count(*) from (select token from witness_leases group by token having count(distinct owner) > 1) t";
    assert_eq!(bed.sql(shared), "0", "a token was given twice");
}
