//! Rate limits: who is counted, what they are told, and that what they are told is true.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::routing::{get, post};
use http::StatusCode;
use inkstone_http::Settings;
use inkstone_http::extract::Call;
use inkstone_http::middleware::rate_limit::{SharedQuotas, Taken};
use inkstone_http::settings::{RateLimit, RateLimits};
use proptest::prelude::*;

use crate::support::{Answer, Site, request_from, site_with};

fn limited(quota: u32, window_secs: u32) -> Site {
    let some = |number| NonZeroU32::new(number).unwrap();
    let limit = Some(RateLimit { quota: some(quota), window_secs: some(window_secs) });
    let rate_limits = RateLimits { writes: limit, auth: limit, max_keys: 100 };
    let settings = Settings { rate_limits, ..Settings::default() };
    let routes = Router::new()
        .route("/api/v2/posts", post(|_: Call| async {}).get(|_: Call| async {}))
        .route("/api/v2/auth/login", post(|_: Call| async {}))
        .route("/api/v1/auth/refresh", post(|| async {}).get(|| async {}))
        .route("/api/v2/setup", post(|| async {}))
        .route("/free", get(|| async {}));
    site_with(settings, routes)
}

async fn write(site: &Site, from: &str, token: &str) -> Answer {
    let bearer = format!("Bearer {token}");
    let headers = if token.is_empty() { Vec::new() } else { vec![("authorization", bearer.as_str())] };
    site.send(request_from(from, "POST", "/api/v2/posts", &headers, "")).await
}

async fn login(site: &Site, from: &str, path: &str) -> StatusCode {
    site.send(request_from(from, "POST", path, &[], "")).await.status
}

/// `r` and `t` of the `RateLimit` field.
fn standing(answer: &Answer) -> (u64, u64) {
    let field = answer.header("ratelimit").unwrap();
    let (_, rest) = field.split_once(";r=").unwrap();
    let (remaining, reset) = rest.split_once(";t=").unwrap();
    (remaining.parse().unwrap(), reset.parse().unwrap())
}

/// A quota of two for everybody, counted for all processes; and whether it can be reached.
#[derive(Default)]
struct Everybody(Mutex<(HashMap<String, u32>, bool)>);

#[async_trait]
impl SharedQuotas for Everybody {
    async fn take(&self, whose: &str, _: u32, _: Duration) -> Option<Taken> {
        let (taken, is_gone) = &mut *self.0.lock().unwrap();
        let taken = taken.entry(whose.to_owned()).or_default();
        *taken += 1;
        let wait = (*taken > 2).then_some(Duration::from_secs(7));
        (!*is_gone).then_some(Taken { remaining: 2_u32.saturating_sub(*taken), wait })
    }
}

#[tokio::test]
async fn processes_count_together_and_each_for_itself_while_they_cannot() {
    let (one, two, everybody) = (limited(3, 60), limited(3, 60), Arc::<Everybody>::default());
    for site in [&one, &two] {
        site.edge.share_quotas(everybody.clone());
        assert_eq!(write(site, "203.0.113.7", "user-1").await.status, StatusCode::OK);
    }
    let over = write(&one, "203.0.113.7", "user-1").await;
    assert_eq!((over.status, over.header("retry-after")), (StatusCode::TOO_MANY_REQUESTS, Some("7")));
    assert_eq!(over.header("ratelimit"), Some("\"writes\";r=0;t=60"));
    assert_eq!(login(&one, "203.0.113.7", "/api/v2/auth/login").await, StatusCode::OK, "each policy for itself");
    assert_eq!(login(&two, "203.0.113.7", "/api/v2/auth/login").await, StatusCode::OK);
    assert_eq!(login(&two, "203.0.113.7", "/api/v2/auth/login").await, StatusCode::TOO_MANY_REQUESTS);
    everybody.0.lock().unwrap().1 = true;
    // What was counted together was counted here as well: nobody gets a quota anew.
    let last = write(&one, "203.0.113.7", "user-1").await;
    assert_eq!((last.status, last.header("ratelimit")), (StatusCode::OK, Some("\"writes\";r=0;t=60")));
    assert_eq!(write(&one, "203.0.113.7", "user-1").await.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(write(&two, "203.0.113.7", "user-1").await.status, StatusCode::OK);
}

#[tokio::test]
async fn writers_are_told_where_they_stand() {
    let site = limited(3, 60);
    let first = write(&site, "203.0.113.7", "user-1").await;
    assert_eq!(first.header("ratelimit-policy"), Some("\"writes\";q=3;w=60"));
    assert_eq!(first.header("ratelimit"), Some("\"writes\";r=2;t=20"));
    assert_eq!(first.header("retry-after"), None);
    write(&site, "203.0.113.7", "user-1").await;
    let last = write(&site, "203.0.113.7", "user-1").await;
    assert_eq!(last.header("ratelimit"), Some("\"writes\";r=0;t=60"));
    let over = write(&site, "203.0.113.7", "user-1").await;
    assert_eq!((over.status, over.code().as_str()), (StatusCode::TOO_MANY_REQUESTS, "rate-limited"));
    assert_eq!(over.header("ratelimit"), Some("\"writes\";r=0;t=60"));
    assert_eq!(over.header("retry-after"), Some("20"));
    site.clock.pass(Duration::from_secs(20));
    assert_eq!(write(&site, "203.0.113.7", "user-1").await.status, StatusCode::OK);
    assert_eq!(write(&site, "203.0.113.7", "user-1").await.status, StatusCode::TOO_MANY_REQUESTS);
    let reading = site.get("/api/v2/posts", &[("authorization", "Bearer user-1")]).await;
    assert_eq!((reading.status, reading.header("ratelimit")), (StatusCode::OK, None));
}

#[tokio::test]
async fn accounts_and_addresses_are_counted_apart() {
    let site = limited(1, 60);
    for (from, token) in [
        ("203.0.113.7", "user-1"),
        ("203.0.113.7", "user-2"),
        ("203.0.113.7", ""),
        ("203.0.113.8", ""),
        ("2001:db8:1:2::1", ""),
        ("2001:db8:1:3::1", ""),
    ] {
        assert_eq!(write(&site, from, token).await.status, StatusCode::OK, "{from} {token}");
    }
    for (from, token) in
        [("198.51.100.1", "user-1"), ("203.0.113.7", ""), ("::ffff:203.0.113.8", ""), ("2001:db8:1:2:ffff::9", "")]
    {
        assert_eq!(write(&site, from, token).await.status, StatusCode::TOO_MANY_REQUESTS, "{from} {token}");
    }
}

#[tokio::test]
async fn sign_in_refresh_and_setup_share_one_limit_by_address() {
    let site = limited(3, 60);
    for path in ["/api/v2/auth/login", "/api/v1/auth/refresh", "/api/v2/setup"] {
        assert_eq!(login(&site, "203.0.113.7", path).await, StatusCode::OK);
    }
    for path in ["/api/v2/auth/login", "/api/v1/auth/refresh", "/api/v2/setup"] {
        assert_eq!(login(&site, "203.0.113.7", path).await, StatusCode::TOO_MANY_REQUESTS);
    }
    // A limit of its own: the same address may still write.
    assert_eq!(write(&site, "203.0.113.7", "").await.status, StatusCode::OK);
    assert_eq!(login(&site, "203.0.113.9", "/api/v2/auth/login").await, StatusCode::OK);
}

#[tokio::test]
async fn a_flood_of_addresses_does_not_free_those_who_are_counted_by_account() {
    let site = limited(1, 60);
    assert_eq!(write(&site, "203.0.113.7", "user-1").await.status, StatusCode::OK);
    for n in 0..3000_u32 {
        let [_, _, high, low] = n.to_be_bytes();
        write(&site, &format!("10.1.{high}.{low}"), "").await;
    }
    assert_eq!(write(&site, "203.0.113.7", "user-1").await.status, StatusCode::TOO_MANY_REQUESTS);
    site.clock.pass(Duration::from_secs(61));
    assert_eq!(write(&site, "203.0.113.200", "").await.status, StatusCode::OK);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whoever has waited for `t` may use the whole quota, whatever was left before; and whoever
    /// is turned away nevertheless passes after `Retry-After`.
    #[test]
    fn whoever_obeys_is_never_turned_away(
        quota in 1_u32..20, window_secs in 1_u32..100, spent in prop::collection::vec(1_u32..25, 1..20),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let site = limited(quota, window_secs);
            for requests in spent {
                let mut reset = 0;
                for sent in 0..requests {
                    let answer = write(&site, "203.0.113.7", "user-1").await;
                    assert_eq!(answer.status == StatusCode::OK, sent < quota);
                    let (remaining, until_reset) = standing(&answer);
                    assert_eq!(remaining, u64::from(quota.saturating_sub(sent + 1)));
                    reset = until_reset;
                }
                if requests > quota {
                    let answer = write(&site, "203.0.113.7", "user-1").await;
                    let wait = answer.header("retry-after").unwrap().parse().unwrap();
                    site.clock.pass(Duration::from_secs(wait));
                    assert_eq!(write(&site, "203.0.113.7", "user-1").await.status, StatusCode::OK);
                    reset = u64::from(window_secs);
                }
                site.clock.pass(Duration::from_secs(reset));
            }
        });
    }
}
