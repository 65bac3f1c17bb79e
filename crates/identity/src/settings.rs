//! Every number of identity in one place, with defaults that are safe to run with.

use std::time::Duration;

use crate::password::HashingSettings;
use crate::throttle::ThrottleSettings;

const DAY: Duration = Duration::from_hours(24);

/// How identity behaves. `..Default::default()` is meant to be the normal case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentitySettings {
    /// The `iss` of every access token: the URL under which this installation is reached.
    pub issuer: String,
    /// The `aud` of every access token: who is meant to accept it.
    pub audience: String,
    /// The `client_id` of tokens from a direct sign-in, where no OAuth client is involved (RFC 9068 §2.2).
    pub client_id: String,
    /// The site's name: its words do not make a password.
    pub site_name: String,
    /// How long an access token lives.
    pub access_token_lifetime: Duration,
    /// A session ends when it was not refreshed for this long.
    pub refresh_idle: Duration,
    /// A session ends after this long, however busy it was.
    pub refresh_absolute: Duration,
    /// How long a key signs before the next one takes over.
    pub key_rotation_period: Duration,
    /// How long a key must have been published before it may sign.
    pub key_publish_lead: Duration,
    /// How long a process trusts its copy of the key set before it reads it again.
    pub key_cache_max_age: Duration,
    /// At most one reading of the key set in this time because of key ids that nobody knows.
    pub key_miss_interval: Duration,
    /// How far the clocks of two machines may be apart; at most 60 s, more is cut to that.
    pub clock_leeway: Duration,
    /// How long the one-time set-up secret can be used.
    pub setup_lifetime: Duration,
    /// A personal token's last use is noted at most once in this time.
    pub touch_interval: Duration,
    /// The cost of password hashes, and how many are computed at once.
    pub hashing: HashingSettings,
    /// What failed sign-ins cost.
    pub throttle: ThrottleSettings,
}

impl Default for IdentitySettings {
    fn default() -> Self {
        Self {
            issuer: "http://127.0.0.1:8080".to_owned(),
            audience: "http://127.0.0.1:8080/api".to_owned(),
            client_id: "inkstone".to_owned(),
            site_name: "Inkstone".to_owned(),
            access_token_lifetime: Duration::from_mins(15),
            refresh_idle: 30 * DAY,
            refresh_absolute: 90 * DAY,
            key_rotation_period: 90 * DAY,
            key_publish_lead: DAY,
            key_cache_max_age: Duration::from_mins(5),
            key_miss_interval: Duration::from_secs(10),
            clock_leeway: Duration::from_secs(30),
            setup_lifetime: DAY,
            touch_interval: Duration::from_hours(1),
            hashing: HashingSettings::default(),
            throttle: ThrottleSettings::default(),
        }
    }
}

impl IdentitySettings {
    /// The leeway in use, in seconds.
    pub(crate) fn leeway_secs(&self) -> i64 {
        whole_secs(self.clock_leeway).min(60)
    }

    /// How long a retired key goes on verifying: the longest token, a process that signs with an
    /// old copy of the set, and clocks that differ.
    pub(crate) fn retired_key_lifetime(&self) -> Duration {
        self.access_token_lifetime + self.key_cache_max_age + Duration::from_mins(2)
    }
}

/// Whole seconds, as the formats want them; what does not fit is as good as for ever.
pub(crate) fn whole_secs(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

/// `at` plus a duration; the end of time where that is too far.
pub(crate) fn later(at: jiff::Timestamp, by: Duration) -> jiff::Timestamp {
    jiff::SignedDuration::try_from(by).ok().and_then(|by| at.checked_add(by).ok()).unwrap_or(jiff::Timestamp::MAX)
}
