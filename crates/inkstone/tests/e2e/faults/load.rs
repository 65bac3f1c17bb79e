//! Battery rows L2 and L4: more than can be done, and more than are awake.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::mpsc;

use futures_util::future::join_all;
use inkstone_testkit::{Client, Inkstone, Options, until};
use reqwest::Method;
use serde_json::json;
use tokio::sync::oneshot;

use crate::posts::post;
use crate::shared_cache::metric;
use crate::{BINARY, context, open_store};

/// Requests that each client of the storm makes.
const REQUESTS: u32 = 60;
/// Clients of each kind.
const CLIENTS: u32 = 24;
/// Requests in work at once, and how many of them each kind may take together with what is more urgent.
const PLACES: u32 = 20;
const SHARES: [(&str, u32); 5] =
    [("crawler", 10), ("write", 15), ("signed_in_write", 16), ("read", 19), ("signed_in_read", 20)];

fn with(settings: &[(&str, &str)]) -> Inkstone {
    let env = settings.iter().map(|(name, value)| (format!("INKSTONE__{name}"), (*value).to_owned())).collect();
    Inkstone::start_with(BINARY, Options { env, ..Options::default() })
}

/// A server whose limit is [`PLACES`], however long requests take, which keeps no answers, and whose changes
/// wait for as long as they have to.
fn with_places() -> Inkstone {
    let places = PLACES.to_string();
    let patience = [("STORE__URL", "sqlite:"), ("STORE__BUSY_TIMEOUT", "1m"), ("HTTP__REQUEST_DEADLINE", "1m")];
    with(&[&[("HTTP__CONCURRENCY", places.as_str()), ("CACHE__MAX_BYTES", "0")], &patience[..]].concat())
}

/// One request of the kind that the metrics call so.
async fn ask(kind: &str, client: &Client, signed_in: &Client, path: &str) -> u16 {
    let draft = json!({"title": "x", "content": {"markdown": "x"}, "status": "draft"});
    let answer = match kind {
        "signed_in_read" => signed_in.get(path).await,
        "read" => client.get(path).await,
        "signed_in_write" => signed_in.post("/api/v2/posts", &draft).await,
        "write" => client.post("/api/v2/posts", &draft).await,
        _ => client.request(Method::GET, path).header("user-agent", "Examplebot/1.0").send().await,
    };
    answer.status.as_u16()
}

async fn in_work(server: &Inkstone) -> f64 {
    metric(server, "inkstone_http_load_in_work ").await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_less_urgent_are_refused_first_and_health_always_answers() {
    let server = with_places();
    let author = server.with_token("ada", "author");
    let made = author.post("/api/v2/posts", &post("Wanted")).await.expect(201);
    let path = made.header("location").unwrap().to_owned();
    // A change that somebody else's keep waiting is in work.
    let (entered, has_entered) = oneshot::channel();
    let (release, released) = mpsc::channel::<()>();
    let db = open_store(&server).db().clone();
    let holder = tokio::spawn(async move {
        let ctx = context();
        let work = db.write(&ctx, "test.hold", move |_| {
            Box::pin(async move {
                entered.send(()).unwrap();
                released.recv().unwrap();
                Ok(())
            })
        });
        work.await
    });
    has_entered.await.unwrap();
    let (mut slow, mut taken) = (Vec::new(), 0);
    // More than 16 a change cannot take.
    for wanted in [0, 9, 10, 14, 15, 16] {
        slow.extend((taken..wanted).map(|_| {
            let author = author.clone();
            tokio::spawn(async move { author.post("/api/v2/posts", &post("Held up")).await.expect(201) })
        }));
        taken = wanted;
        until("they are in work", async || (in_work(&server).await - f64::from(taken)).abs() < 0.5).await;
        for (kind, share) in SHARES {
            // One that is let in and changes nothing does not wait.
            let refused = match kind {
                "signed_in_write" => author.post("/api/v2/posts", &json!({})).await.status == 503,
                _ => ask(kind, &server.client(), &author, &path).await == 503,
            };
            assert_eq!(refused, taken >= share, "{kind} while {taken} are in work");
        }
        for path in ["/livez", "/readyz"] {
            server.client().get(path).await.expect(200);
        }
    }
    release.send(()).unwrap();
    holder.await.unwrap().unwrap();
    for change in slow {
        change.await.unwrap();
    }
    until("they have left", async || in_work(&server).await < 0.5).await;
    for (kind, _) in SHARES {
        assert!(ask(kind, &server.client(), &author, &path).await < 500, "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_is_answered_or_refused_and_leaves_nothing_behind() {
    let server = with_places();
    let author = server.with_token("ada", "author");
    let made = author.post("/api/v2/posts", &post("Wanted")).await.expect(201);
    let path = made.header("location").unwrap().to_owned();
    let kinds = ["signed_in_read", "read", "signed_in_write", "crawler"];
    let storm = kinds.iter().flat_map(|kind| (0..CLIENTS).map(move |_| *kind)).map(|kind| {
        let (client, signed_in, path) = (author.anonymous(), author.clone(), path.clone());
        tokio::spawn(async move {
            let mut outcomes: BTreeMap<(&str, u16), u32> = BTreeMap::new();
            for _ in 0..REQUESTS {
                *outcomes.entry((kind, ask(kind, &client, &signed_in, &path).await)).or_default() += 1;
            }
            outcomes
        })
    });
    let storm = join_all(storm.collect::<Vec<_>>());
    let health = async {
        for _ in 0..20 {
            server.client().get("/livez").await.expect(200);
            server.client().get("/readyz").await.expect(200);
        }
    };
    let (storm, ()) = tokio::join!(storm, health);
    let mut outcomes: BTreeMap<(&str, u16), u32> = BTreeMap::new();
    for (outcome, count) in storm.into_iter().flat_map(Result::unwrap) {
        *outcomes.entry(outcome).or_default() += count;
    }
    assert!(outcomes.keys().all(|(_, status)| [200, 201, 503].contains(status)), "{outcomes:?}");
    for kind in kinds {
        let shed = outcomes.get(&(kind, 503)).copied().unwrap_or_default();
        println!("of {} requests of {kind}, {shed} were refused", CLIENTS * REQUESTS);
        let counted = metric(&server, &format!("inkstone_http_requests_shed_total{{class=\"{kind}\"}} ")).await;
        assert!((counted - f64::from(shed)).abs() < 0.5, "{kind}: {counted} counted");
    }
    // After the storm everybody is let in, and nothing is in work any more.
    for kind in kinds {
        let status = ask(kind, &server.client(), &author, &path).await;
        assert!(status < 300, "{kind}: {status}");
    }
    assert!(in_work(&server).await < 0.5);
}

/// What a process holds in memory, in MiB.
fn resident_mib(pid: u32) -> u64 {
    let pages = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap();
    let pages: u64 = pages.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096 / (1 << 20)
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_idle_connections_cost_little() {
    const COUNT: usize = 10_000;
    let server =
        with(&[("SERVER__LIMITS__UNCAPPED_NETWORKS", "127.0.0.0/8"), ("SERVER__LIMITS__CONNECTIONS", "12000")]);
    let before = resident_mib(server.pid());
    let address = server.base().trim_start_matches("http://").to_owned();
    let connect = |address: String| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        let mut start = [0; 15];
        stream.read_exact(&mut start).unwrap();
        assert_eq!(&start, b"HTTP/1.1 200 OK");
        stream
    };
    let some = || {
        let address = address.clone();
        tokio::task::spawn_blocking(move || (0..COUNT / 50).map(|_| connect(address.clone())).collect::<Vec<_>>())
    };
    let idle = join_all((0..50).map(|_| some())).await;
    let idle: Vec<TcpStream> = idle.into_iter().flat_map(Result::unwrap).collect();
    server.client().get("/api/v2/posts").await.expect(200);
    let after = resident_mib(server.pid());
    assert!(metric(&server, "inkstone_connections_open{listener=\"main\"} ").await >= 10_000.0, "all are let in");
    println!("FIGURES {} idle connections: {before} MiB before, {after} MiB with them", idle.len());
    // Battery row L4 asks for 150. If each kept one of its buffers, it would be 130.
    assert!(after <= 110, "{after} MiB");
}
