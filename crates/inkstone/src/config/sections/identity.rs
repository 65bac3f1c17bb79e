//! `[identity]`: lifetimes, what a hash costs, what failed sign-ins cost.

use std::num::NonZeroUsize;
use std::time::Duration;

use inkstone_core::identity::ThrottlePolicy;
use inkstone_identity::IdentitySettings;
use inkstone_identity::password::HashingSettings;
use inkstone_identity::throttle::{MOST_FREE, ThrottleSettings};

use super::{DAY, HOUR, MIB, MINUTE, SECOND, YEAR};
use crate::config::read::Reader;

pub(super) fn read(reader: &mut Reader, public_url: &str) -> IdentitySettings {
    let given = |text: String| Some(text).filter(|text| !text.is_empty());
    let refresh_idle = reader.duration("identity.session_idle", MINUTE..=YEAR);
    let refresh_absolute = reader.duration("identity.session", MINUTE..=10 * YEAR);
    if refresh_idle > refresh_absolute {
        reader.fault("identity.session_idle", "must not be longer than identity.session");
    }
    let key_rotation_period = reader.duration("identity.key_rotation", HOUR..=10 * YEAR);
    let key_publish_lead = reader.duration("identity.key_publish_lead", Duration::ZERO..=30 * DAY);
    if key_publish_lead >= key_rotation_period {
        reader.fault("identity.key_publish_lead", "must be shorter than identity.key_rotation");
    }
    IdentitySettings {
        issuer: given(reader.text("identity.issuer")).unwrap_or_else(|| public_url.to_owned()),
        audience: given(reader.text("identity.audience")).unwrap_or_else(|| format!("{public_url}/api")),
        client_id: reader.required_text("identity.client_id"),
        site_name: reader.required_text("identity.site_name"),
        access_token_lifetime: reader.duration("identity.access_token", MINUTE..=DAY),
        refresh_idle,
        refresh_absolute,
        key_rotation_period,
        key_publish_lead,
        key_cache_max_age: reader.duration("identity.key_cache", SECOND..=DAY),
        key_miss_interval: reader.duration("identity.key_miss", SECOND..=HOUR),
        clock_leeway: reader.duration("identity.clock_leeway", Duration::ZERO..=MINUTE),
        setup_lifetime: reader.duration("identity.setup", MINUTE..=30 * DAY),
        touch_interval: reader.duration("identity.touch", MINUTE..=DAY),
        hashing: hashing(reader),
        throttle: ThrottleSettings {
            login_at_address: throttle(reader, "login_at_address"),
            login: throttle(reader, "login"),
            address: throttle(reader, "address"),
        },
    }
}

fn throttle(reader: &mut Reader, counter: &str) -> ThrottlePolicy {
    let name = |part: &str| format!("identity.throttle.{counter}.{part}");
    let mut secs = |part: &str, most: Duration| {
        let duration = reader.duration(&name(part), SECOND..=most);
        u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
    };
    let (window_secs, base_secs, max_secs) = (secs("window", 30 * DAY), secs("base", DAY), secs("max", DAY));
    let free = reader.integer(&name("free"), 1..=MOST_FREE);
    if base_secs > max_secs {
        reader.fault(&name("base"), format!("must not be longer than {}", name("max")));
    }
    ThrottlePolicy { free, window_secs, base_secs, max_secs }
}

fn hashing(reader: &mut Reader) -> HashingSettings {
    let threads: usize = reader.integer("identity.hashing.threads", 0..=1024);
    // OWASP's floor for Argon2id: below 19 MiB and two passes a hash is too cheap to guess.
    let memory = reader.size("identity.hashing.memory", 19 * MIB..=1024 * MIB);
    HashingSettings {
        memory_kib: u32::try_from(memory / 1024).unwrap_or(u32::MAX),
        passes: reader.integer("identity.hashing.passes", 2..=64),
        lanes: reader.integer("identity.hashing.lanes", 1..=16),
        workers: NonZeroUsize::new(threads).map_or_else(|| HashingSettings::default().workers, NonZeroUsize::get),
        queue: reader.integer("identity.hashing.queue", 1..=100_000),
    }
}
