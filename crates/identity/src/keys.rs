//! Signing keys: made ahead, published before they sign, kept until the last token is dead.
//!
//! A key is `next` (published, so that everybody can learn it), then `active` (signs), then
//! `retired` (only verifies), then gone. [`plan`] decides on a step out of what is there and the
//! time alone; the store replaces the set only if nobody else did in the meantime.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use inkstone_core::Context;
use inkstone_core::clock::{Entropy, SharedClock, SharedEntropy};
use inkstone_core::error::{Error, Result};
use inkstone_core::identity::{KeyRepository, KeyState, SigningKey};
use jiff::Timestamp;
use jsonwebtoken::{DecodingKey, EncodingKey};
use secrecy::zeroize::Zeroizing;
use serde_json::{Value, json};

use crate::settings::{IdentitySettings, later};
use crate::tokens::{base64url, hash_secret};

/// How often to try again when another process changed the set at the same time.
const REPLACE_ATTEMPTS: u32 = 8;

/// Makes a new key.
fn generate(entropy: &dyn Entropy, state: KeyState, now: Timestamp) -> Result<SigningKey> {
    let mut seed = Zeroizing::new([0_u8; 32]);
    entropy.fill(seed.as_mut())?;
    let pair =
        Ed25519KeyPair::from_seed_unchecked(seed.as_ref()).map_err(|error| Error::internal(error.to_string()))?;
    let pkcs8 = pair.to_pkcs8().map_err(|error| Error::internal(error.to_string()))?.as_ref().to_vec();
    let public = pair.public_key().as_ref().to_vec();
    Ok(SigningKey { kid: thumbprint(&public), state, pkcs8, public, created_at: now, state_since: now })
}

/// The RFC 7638 thumbprint of an Ed25519 public key (members as RFC 8037 §2 orders them).
pub fn thumbprint(public: &[u8]) -> String {
    base64url(&hash_secret(&format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, base64url(public))))
}

/// What the set should be at `now`, if it is not that already.
fn plan(
    keys: &[SigningKey],
    settings: &IdentitySettings,
    now: Timestamp,
    mut fresh: impl FnMut(KeyState) -> Result<SigningKey>,
) -> Result<Option<Vec<SigningKey>>> {
    let dead = |key: &SigningKey| {
        key.state == KeyState::Retired && later(key.state_since, settings.retired_key_lifetime()) <= now
    };
    let mut planned: Vec<SigningKey> = keys.iter().filter(|key| !dead(key)).cloned().collect();
    let position = |planned: &[SigningKey], state| planned.iter().position(|key| key.state == state);
    let enter = |key: &mut SigningKey, state| (key.state, key.state_since) = (state, now);

    match (position(&planned, KeyState::Active), position(&planned, KeyState::Next)) {
        (None, None) => planned.push(fresh(KeyState::Active)?),
        (None, Some(next)) => enter(&mut planned[next], KeyState::Active),
        (Some(active), Some(next))
            if later(planned[active].state_since, settings.key_rotation_period) <= now
                && later(planned[next].created_at, settings.key_publish_lead) <= now =>
        {
            enter(&mut planned[active], KeyState::Retired);
            enter(&mut planned[next], KeyState::Active);
        }
        (Some(_), _) => {}
    }
    if position(&planned, KeyState::Next).is_none() {
        planned.push(fresh(KeyState::Next)?);
    }
    Ok((planned != keys).then_some(planned))
}

/// The set as this process uses it.
pub(crate) struct KeySet {
    signing: Option<(String, EncodingKey)>,
    verifying: HashMap<String, DecodingKey>,
    published: Value,
    loaded_at: Instant,
}

impl KeySet {
    fn new(mut keys: Vec<SigningKey>, settings: &IdentitySettings, now: Timestamp, loaded_at: Instant) -> Self {
        keys.retain(|key| {
            key.state != KeyState::Retired || later(key.state_since, settings.retired_key_lifetime()) > now
        });
        keys.sort_by(|a, b| (order(a.state), &a.kid).cmp(&(order(b.state), &b.kid)));
        let signing = keys
            .iter()
            .find(|key| key.state == KeyState::Active)
            .map(|key| (key.kid.clone(), EncodingKey::from_ed_der(&key.pkcs8)));
        let verifying = keys.iter().map(|key| (key.kid.clone(), DecodingKey::from_ed_der(&key.public))).collect();
        let published = json!({ "keys": keys.iter().map(published).collect::<Vec<_>>() });
        Self { signing, verifying, published, loaded_at }
    }

    pub(crate) fn signing(&self) -> Option<(&str, &EncodingKey)> {
        self.signing.as_ref().map(|(kid, key)| (kid.as_str(), key))
    }

    pub(crate) fn verifying(&self, kid: &str) -> Option<&DecodingKey> {
        self.verifying.get(kid)
    }

    pub(crate) fn published(&self) -> &Value {
        &self.published
    }
}

fn order(state: KeyState) -> u8 {
    match state {
        KeyState::Active => 0,
        KeyState::Next => 1,
        KeyState::Retired => 2,
    }
}

/// One key as the key set shows it (RFC 7517, RFC 8037).
fn published(key: &SigningKey) -> Value {
    json!({
        "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA",
        "kid": key.kid, "x": base64url(&key.public),
    })
}

/// Keeps the set in memory and reads it again when it must.
pub(crate) struct KeyRing {
    repository: Arc<dyn KeyRepository>,
    clock: SharedClock,
    entropy: SharedEntropy,
    settings: Arc<IdentitySettings>,
    current: RwLock<Option<Arc<KeySet>>>,
    /// Held while the set is read; holds when it was last read for an unknown key id.
    loading: tokio::sync::Mutex<Option<Instant>>,
}

impl KeyRing {
    pub(crate) fn new(
        repository: Arc<dyn KeyRepository>,
        clock: SharedClock,
        entropy: SharedEntropy,
        settings: Arc<IdentitySettings>,
    ) -> Self {
        Self {
            repository,
            clock,
            entropy,
            settings,
            current: RwLock::new(None),
            loading: tokio::sync::Mutex::default(),
        }
    }

    fn cached(&self) -> Option<Arc<KeySet>> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn age(&self, since: Instant) -> Duration {
        self.clock.instant().saturating_duration_since(since)
    }

    /// Reads the set from the store.
    pub(crate) async fn reload(&self, ctx: &Context) -> Result<Arc<KeySet>> {
        let keys = self.repository.list(ctx).await?;
        let set = Arc::new(KeySet::new(keys, &self.settings, self.clock.now(), self.clock.instant()));
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(set.clone());
        Ok(set)
    }

    /// The set, not older than allowed while the store answers; while it does not, the last one.
    pub(crate) async fn current(&self, ctx: &Context) -> Result<Arc<KeySet>> {
        let Some(set) = self.cached() else {
            let _one_at_a_time = self.loading.lock().await;
            return match self.cached() {
                Some(set) => Ok(set),
                None => self.reload(ctx).await,
            };
        };
        if self.age(set.loaded_at) < self.settings.key_cache_max_age {
            return Ok(set);
        }
        let Ok(_one_at_a_time) = self.loading.try_lock() else { return Ok(set) };
        Ok(self.reload(ctx).await.unwrap_or_else(|error| {
            tracing::warn!(error = %error, "signing keys cannot be read again; the last copy stays in use");
            set
        }))
    }

    /// The set that may know `kid`: reads it again if this one does not, though not too often,
    /// since anybody can make up key ids.
    pub(crate) async fn knowing(&self, ctx: &Context, kid: &str) -> Result<Arc<KeySet>> {
        let set = self.current(ctx).await?;
        if set.verifying(kid).is_some() {
            return Ok(set);
        }
        let mut last_miss = self.loading.lock().await;
        if let Some(newer) = self.cached().filter(|newer| newer.verifying(kid).is_some()) {
            return Ok(newer);
        }
        if last_miss.is_some_and(|at| self.age(at) < self.settings.key_miss_interval) {
            return Ok(set);
        }
        *last_miss = Some(self.clock.instant());
        self.reload(ctx).await
    }

    /// Takes the step that is due, if one is; whether it was this process that took it.
    pub(crate) async fn advance(&self, ctx: &Context, now: Timestamp) -> Result<bool> {
        for _ in 0..REPLACE_ATTEMPTS {
            let keys = self.repository.list(ctx).await?;
            let fresh = |state| generate(&*self.entropy, state, now);
            let Some(planned) = plan(&keys, &self.settings, now, fresh)? else {
                self.reload(ctx).await?;
                return Ok(false);
            };
            let mut expected: Vec<_> = keys.iter().map(|key| (key.kid.clone(), key.state)).collect();
            expected.sort_by(|a, b| a.0.cmp(&b.0));
            let active = planned.iter().find(|key| key.state == KeyState::Active).map(|key| key.kid.clone());
            if self.repository.replace(ctx, &expected, planned).await? {
                tracing::info!(keys.active = active.as_deref().unwrap_or("none"), "signing keys changed");
                self.reload(ctx).await?;
                return Ok(true);
            }
        }
        Err(Error::internal("the signing keys changed under every attempt to change them"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use inkstone_core::clock::SystemEntropy;

    const DAY: Duration = Duration::from_hours(24);
    const SECOND: Duration = Duration::from_secs(1);

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_second(secs).unwrap()
    }

    fn step(keys: &[SigningKey], now: Timestamp) -> Option<Vec<SigningKey>> {
        plan(keys, &IdentitySettings::default(), now, |state| generate(&SystemEntropy, state, now)).unwrap()
    }

    fn states(keys: &[SigningKey]) -> Vec<KeyState> {
        keys.iter().map(|key| key.state).collect()
    }

    #[test]
    fn keys_walk_from_next_to_active_to_retired_to_gone() {
        let start = at(1_000_000);
        let first = step(&[], start).unwrap();
        assert_eq!(states(&first), [KeyState::Active, KeyState::Next]);
        assert_eq!(step(&first, later(start, 89 * DAY)), None, "nothing is due");

        let rotated_at = later(start, 90 * DAY);
        let second = step(&first, rotated_at).unwrap();
        assert_eq!(states(&second), [KeyState::Retired, KeyState::Active, KeyState::Next]);
        assert_eq!(second[1].kid, first[1].kid, "the key that was published signs now");

        let lifetime = IdentitySettings::default().retired_key_lifetime();
        assert!(lifetime > IdentitySettings::default().access_token_lifetime);
        assert_eq!(step(&second, later(rotated_at, lifetime.saturating_sub(SECOND))), None);
        let third = step(&second, later(rotated_at, lifetime)).unwrap();
        assert_eq!(states(&third), [KeyState::Active, KeyState::Next]);
    }

    #[test]
    fn a_key_does_not_sign_before_it_was_published_for_a_while() {
        let start = at(1_000_000);
        let mut keys = step(&[], start).unwrap();
        let due = later(start, 90 * DAY);
        keys[1].created_at = due;
        assert_eq!(step(&keys, later(due, DAY.saturating_sub(SECOND))), None);
        assert!(step(&keys, later(due, DAY)).is_some());
    }

    #[test]
    fn a_set_that_lost_a_key_is_mended() {
        let now = at(1_000_000);
        let keys = step(&[], now).unwrap();
        let only_next = step(&keys[1..], now).unwrap();
        assert_eq!((only_next[0].kid.as_str(), only_next[0].state), (keys[1].kid.as_str(), KeyState::Active));
        let only_active = step(&keys[..1], now).unwrap();
        assert_eq!(states(&only_active), [KeyState::Active, KeyState::Next]);
    }

    #[test]
    fn the_key_id_is_the_thumbprint_of_rfc_8037_appendix_a_3() {
        let x = [
            0xd7, 0x5a, 0x98, 0x01, 0x82, 0xb1, 0x0a, 0xb7, 0xd5, 0x4b, 0xfe, 0xd3, 0xc9, 0x64, 0x07, 0x3a, 0x0e, 0xe1,
            0x72, 0xf3, 0xda, 0xa6, 0x23, 0x25, 0xaf, 0x02, 0x1a, 0x68, 0xf7, 0x07, 0x51, 0x1a,
        ];
        assert_eq!(thumbprint(&x), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }
}
