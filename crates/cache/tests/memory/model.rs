//! Any sequence of operations, against a model that is too simple to be wrong.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use inkstone_core::cache::{Cache, Freshness, Reading};
use inkstone_core::clock::Clock;
use inkstone_core::events::Entity;
use proptest::prelude::*;

use crate::{LIFETIME, cache, page, post, touch};

#[derive(Debug, Clone)]
enum Step {
    /// Begin to load: takes a reading.
    Read,
    /// Store under a key what was loaded at the n-th last reading, made from these posts.
    Put {
        key: usize,
        reading: usize,
        posts: Vec<i64>,
        expires_in: Option<u64>,
    },
    Get(usize),
    Invalidate(Vec<i64>),
    Pass(u64),
    Sweep,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let posts = || prop::collection::vec(0..6_i64, 0..4);
    let step = prop_oneof![
        2 => Just(Step::Read),
        4 => (0..4_usize, 0..4_usize, posts(), prop::option::weighted(0.2, 0..400_u64))
            .prop_map(|(key, reading, posts, expires_in)| Step::Put { key, reading, posts, expires_in }),
        8 => (0..4_usize).prop_map(Step::Get),
        2 => posts().prop_map(Step::Invalidate),
        3 => prop_oneof![0..20_u64, 0..400_u64].prop_map(Step::Pass),
        1 => Just(Step::Sweep),
    ];
    prop::collection::vec(step, 1..120)
}

#[derive(Debug)]
struct Stored {
    text: String,
    posts: Vec<i64>,
    since: Instant,
    fresh_until: Instant,
    gone_at: Option<Instant>,
    claimed_until: Option<Instant>,
}

/// How the model would answer: the text, how long ago it was stored, and how fresh it is.
fn expected(stored: &mut Stored, now: Instant) -> Option<(String, Duration, Freshness)> {
    let past = now.checked_duration_since(stored.fresh_until);
    let freshness = match past {
        _ if stored.gone_at.is_some_and(|at| now >= at) => return None,
        None => Freshness::Fresh,
        Some(past) if past < LIFETIME.stale_while_revalidate => {
            let refresh = stored.claimed_until.is_none_or(|until| now >= until);
            if refresh {
                stored.claimed_until = Some(now + Duration::from_secs(10));
            }
            Freshness::Stale { refresh }
        }
        Some(past) if past < LIFETIME.stale_if_error => Freshness::OnlyOnError,
        Some(_) => return None,
    };
    Some((stored.text.clone(), now - stored.since, freshness))
}

proptest! {
    #[test]
    fn the_cache_does_what_the_model_does(steps in steps()) {
        let (cache, clock) = cache();
        let mut model: HashMap<usize, Stored> = HashMap::new();
        // Each reading with the posts that were invalidated since.
        let mut readings: Vec<(Reading, Vec<i64>)> = vec![(cache.reading(), Vec::new())];
        for (number, step) in steps.into_iter().enumerate() {
            let now = clock.instant();
            match step {
                Step::Read => readings.push((cache.reading(), Vec::new())),
                Step::Put { key, reading, posts, expires_in } => {
                    let (reading, since) = &readings[readings.len().saturating_sub(reading + 1)];
                    let gone_at = expires_in.map(|seconds| now + Duration::from_secs(seconds));
                    let entities: Vec<Entity> = posts.iter().copied().map(post).collect();
                    let text = number.to_string();
                    let stored =
                        cache.put(*reading, &key.to_string(), page(&text, &entities), LIFETIME, gone_at);
                    let is_outdated = posts.iter().any(|id| since.contains(id));
                    prop_assert_eq!(stored, !is_outdated && expires_in != Some(0));
                    if stored {
                        // The jitter is the cache's own business: its bounds are tested elsewhere.
                        let ttl = cache.get(&key.to_string()).unwrap().ttl;
                        model.insert(key, Stored {
                            text, posts, since: now, fresh_until: now + ttl, gone_at, claimed_until: None,
                        });
                    }
                }
                Step::Get(key) => {
                    let hit = cache.get(&key.to_string());
                    let seen = hit.map(|hit| (hit.value.text.clone(), now - hit.stored_at, hit.freshness));
                    let expected = model.get_mut(&key).and_then(|stored| expected(stored, now));
                    prop_assert_eq!(seen, expected);
                }
                Step::Invalidate(posts) => {
                    let entities: Vec<Entity> = posts.iter().copied().map(post).collect();
                    touch(&cache, &entities);
                    model.retain(|_, stored| !stored.posts.iter().any(|id| posts.contains(id)));
                    for (_, since) in &mut readings {
                        since.extend(&posts);
                    }
                }
                Step::Pass(seconds) => clock.pass_secs(seconds),
                Step::Sweep => {
                    cache.sweep();
                    model.retain(|_, stored| {
                        let end = stored.fresh_until + LIFETIME.stale_if_error;
                        now < stored.gone_at.map_or(end, |at| at.min(end))
                    });
                    prop_assert_eq!(cache.stats().entries, model.len() as u64);
                }
            }
        }
    }
}
