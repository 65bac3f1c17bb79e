//! Quotas that are counted in Redis or in Memcached, for all nodes together.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::{join_all, poll_immediate};
use inkstone_cache::{Remote, RemoteError, Taken};
use inkstone_core::clock::{Clock, SystemClock};
use inkstone_core::guard::breaker::State;
use inkstone_testkit::PATIENCE;
use jiff::Timestamp;

use crate::servers::{Server, connected};
use crate::support::{World, clock};

const HOUR: Duration = Duration::from_hours(1);
/// So long that nothing comes back while a test runs.
const DAYS: Duration = Duration::from_hours(20 * 24);

macro_rules! suite {
    ($($law:ident),+ $(,)?) => {
        mod redis {
            $(#[tokio::test] async fn $law() { super::$law(super::Server::redis()).await; })+
        }
        mod memcached {
            $(#[tokio::test] async fn $law() { super::$law(super::Server::memcached()).await; })+
        }
    };
}

suite![
    a_quota_is_one_for_all_nodes,
    nodes_that_ask_at_once_get_a_quota_altogether,
    who_waits_as_long_as_told_is_let_in,
    what_is_full_is_forgotten,
    what_no_quota_reaches_counts_as_used_up_for_the_moment,
    what_is_no_number_is_replaced,
];

async fn nodes<const N: usize>(server: &Server) -> [Arc<dyn Remote>; N] {
    let nodes = join_all((0..N).map(|_| connected(server.remote_within(PATIENCE)))).await;
    nodes.try_into().unwrap()
}

/// Takes one, however many others do.
async fn take(node: &dyn Remote, name: &str, quota: u32, window: Duration) -> Taken {
    loop {
        match node.take(name, quota, window).await {
            Err(RemoteError::Contended) => {}
            taken => return taken.unwrap(),
        }
    }
}

async fn a_quota_is_one_for_all_nodes(server: Server) {
    let nodes = nodes::<2>(&server).await;
    for taken in 0..10_u32 {
        let standing = nodes[taken as usize % 2].take("somebody", 10, HOUR).await.unwrap();
        assert_eq!(standing, Taken { remaining: 9 - taken, wait: None });
    }
    let refused = nodes[0].take("somebody", 10, HOUR).await.unwrap();
    let wait = refused.wait.expect("the quota is used up");
    assert_eq!(refused.remaining, 0);
    // One tenth of an hour for each, less what the test has taken so far.
    assert!(wait <= HOUR / 10 && wait > HOUR / 20, "{wait:?}");
    assert_eq!(nodes[1].take("somebody-else", 10, HOUR).await.unwrap().remaining, 9);
}

async fn nodes_that_ask_at_once_get_a_quota_altogether(server: Server) {
    const QUOTA: u32 = 100;
    let asked = nodes::<4>(&server).await.into_iter().map(|node| {
        tokio::spawn(async move {
            // As many at once as the guard lets through.
            let asked = (0..64).map(|_| take(&*node, "somebody", QUOTA, DAYS));
            join_all(asked).await
        })
    });
    let taken: Vec<Taken> = join_all(asked).await.into_iter().flat_map(Result::unwrap).collect();
    let admitted: Vec<u32> = taken.iter().filter(|taken| taken.wait.is_none()).map(|taken| taken.remaining).collect();
    assert_eq!(admitted.len(), QUOTA as usize, "of {}", taken.len());
    let each_once: BTreeSet<u32> = admitted.into_iter().collect();
    assert_eq!(each_once, (0..QUOTA).collect(), "each is told another number");
}

async fn who_waits_as_long_as_told_is_let_in(server: Server) {
    let [remote] = nodes(&server).await;
    let window = Duration::from_millis(400);
    for _ in 0..2 {
        remote.take("a", 2, window).await.unwrap();
    }
    // However long the machine takes: either there is room by now, or there is after the wait.
    if let Some(wait) = remote.take("a", 2, window).await.unwrap().wait {
        tokio::time::sleep(wait).await;
        assert_eq!(remote.take("a", 2, window).await.unwrap().wait, None);
    }
}

async fn what_is_full_is_forgotten(server: Server) {
    let [remote] = nodes(&server).await;
    for taken in 1..=3 {
        remote.take("somebody", 10, HOUR).await.unwrap();
        let left = seconds_left(&server, "somebody").expect("it is kept for ever");
        // Longer by what clocks may be apart.
        assert!(left <= 360 * taken + 10, "{left} s after {taken}");
    }
}

/// When what lies there is forgotten; none if never.
fn seconds_left(server: &Server, name: &str) -> Option<u64> {
    match server {
        Server::Redis(redis) => redis.cli(&["ttl", name]).trim().parse().ok(),
        Server::Memcached(_) => {
            let answer = raw(server, &format!("mg {name} t\r\n"));
            answer.strip_prefix("HD t").unwrap_or_else(|| panic!("{answer:?}")).parse().ok()
        }
    }
}

/// The first line that Memcached answers.
fn raw(server: &Server, request: &str) -> String {
    let Server::Memcached(memcached) = server else { panic!("this is Memcached's") };
    let mut stream = TcpStream::connect(memcached.address()).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

async fn what_no_quota_reaches_counts_as_used_up_for_the_moment(server: Server) {
    let [remote] = nodes(&server).await;
    let now = SystemClock.now().as_microsecond();
    let in_a_year = now + 365 * 24 * 3_600_000_000;
    remote.put("somebody", Bytes::from(in_a_year.to_string()), HOUR).await.unwrap();
    let refused = remote.take("somebody", 10, HOUR).await.unwrap();
    assert_eq!(refused, Taken { remaining: 0, wait: Some(HOUR / 10) });
    // From now on it comes back as ever.
    let kept = remote.get("somebody").await.unwrap().unwrap();
    let kept: i64 = std::str::from_utf8(&kept).unwrap().parse().unwrap();
    assert!(kept >= now && kept <= SystemClock.now().as_microsecond() + 3_600_000_000, "{kept}");
    let wait = remote.take("somebody", 10, HOUR).await.unwrap().wait.unwrap();
    assert!(wait <= HOUR / 10, "{wait:?}");
}

async fn what_is_no_number_is_replaced(server: Server) {
    let [remote] = nodes(&server).await;
    for rubbish in ["", "rubbish", "12 or so", "\u{fffd}"] {
        remote.put("somebody", Bytes::from(rubbish), HOUR).await.unwrap();
        for remaining in [9, 8] {
            let taken = remote.take("somebody", 10, HOUR).await.unwrap();
            assert_eq!(taken, Taken { remaining, wait: None }, "{rubbish:?}");
        }
    }
}

#[tokio::test]
async fn a_node_whose_clock_is_a_year_ahead_keeps_nobody_waiting_elsewhere() {
    let server = Server::memcached();
    let (clock, wrong) = (clock(), clock());
    wrong.pass(Duration::from_hours(365 * 24));
    let [node, ahead] = [clock.clone(), wrong].map(|clock| server.remote_by(clock));
    for _ in 0..10 {
        assert_eq!(ahead.take("somebody", 10, HOUR).await.unwrap().wait, None);
    }
    assert_eq!(node.take("somebody", 10, HOUR).await.unwrap().wait, Some(HOUR / 10));
    clock.pass(HOUR / 10);
    assert_eq!(node.take("somebody", 10, HOUR).await.unwrap().wait, None);
}

#[tokio::test]
async fn who_goes_away_takes_nobody_along_and_is_not_counted() {
    let server = Server::memcached();
    let [node] = nodes(&server).await;
    let mut asked: Vec<_> = (0..5).map(|_| node.take("somebody", 10, DAYS)).collect();
    // Nothing has been counted yet: that is done by a task that has not had its turn.
    for take in &mut asked {
        assert!(poll_immediate(take).await.is_none());
    }
    let staying = asked.split_off(1);
    drop(asked);
    let taken: Vec<u32> = join_all(staying).await.into_iter().map(|taken| taken.unwrap().remaining).collect();
    assert_eq!(taken, [9, 8, 7, 6], "in the order in which they asked");
}

/// A clock that is looked at when the number has been read: then another node counts, too, some times.
#[derive(Debug)]
struct Meddler {
    server: u16,
    times: u64,
    meddled: AtomicU64,
}

const NOW: i64 = 2_000_000_000_000_000;

impl Clock for Meddler {
    fn now(&self) -> Timestamp {
        let meddled = self.meddled.fetch_add(1, Ordering::SeqCst) + 1;
        if meddled <= self.times {
            let full_at = (NOW + i64::try_from(meddled).unwrap()).to_string();
            let mut stream = TcpStream::connect(("127.0.0.1", self.server)).unwrap();
            write!(stream, "ms somebody {} T60\r\n{full_at}\r\n", full_at.len()).unwrap();
            let mut line = String::new();
            BufReader::new(stream).read_line(&mut line).unwrap();
            assert_eq!(line, "HD\r\n");
        }
        Timestamp::from_microsecond(NOW).unwrap()
    }

    fn instant(&self) -> Instant {
        SystemClock.instant()
    }
}

#[tokio::test]
async fn whoever_was_forestalled_counts_again_and_gives_up_at_last() {
    let server = Server::memcached();
    let Server::Memcached(memcached) = &server else { unreachable!() };
    // A thousand in a thousand microseconds: one comes back in each.
    let (quota, window) = (1000, Duration::from_millis(1));
    for times in [0, 1, 3, 1_000_000] {
        raw(&server, "md somebody\r\n");
        let meddler = Arc::new(Meddler { server: memcached.port(), times, meddled: AtomicU64::new(0) });
        let taken = server.remote_by(meddler.clone()).take("somebody", quota, window).await;
        match u32::try_from(times) {
            Ok(times) if times < 10 => assert_eq!(taken, Ok(Taken { remaining: 999 - times, wait: None })),
            _ => {
                assert_eq!(taken, Err(RemoteError::Contended));
                let rounds = meddler.meddled.load(Ordering::SeqCst);
                assert!(rounds > 5 && rounds < 50, "{rounds}");
            }
        }
    }
}

/// Others are always quicker.
#[derive(Debug)]
struct Crowded;

#[async_trait]
impl Remote for Crowded {
    async fn get(&self, _name: &str) -> Result<Option<Bytes>, RemoteError> {
        Ok(None)
    }

    async fn put(&self, _name: &str, _form: Bytes, _keep: Duration) -> Result<(), RemoteError> {
        Ok(())
    }

    async fn ping(&self) -> Result<(), RemoteError> {
        Ok(())
    }

    async fn take(&self, _name: &str, _quota: u32, _window: Duration) -> Result<Taken, RemoteError> {
        Err(RemoteError::Contended)
    }
}

#[tokio::test]
async fn a_crowd_is_no_fault_of_the_tier() {
    let node = World::new().node(Arc::new(Crowded));
    for _ in 0..100 {
        assert_eq!(node.cache.take("somebody", 10, HOUR).await, None, "then each counts for itself");
    }
    assert_eq!(node.cache.guard().state, State::Closed);
    assert!(node.notices.lock().unwrap().is_empty());
}

#[tokio::test]
async fn memcached_cannot_announce() {
    let server = Server::memcached();
    let [remote] = nodes(&server).await;
    assert_eq!(remote.announce("a", 1).await, Err(RemoteError::Unsupported));
}
