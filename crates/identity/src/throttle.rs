//! What failed sign-ins cost.
//!
//! Three counters guard each attempt, so that guessing is slow and yet nobody can lock somebody
//! else out by failing in their name (ASVS 6.1.1, 6.3.1; NIST SP 800-63B-4 §3.2.2 caps the
//! guesses at one account at 100):
//!
//! * the login *at one address*: the first to block, and the one that a single attacker meets;
//! * the login from anywhere: blocks only when many addresses guess together;
//! * the address against any login: password spraying.
//!
//! A login is counted as it was typed, whether or not an account belongs to it: a counter that
//! knew the account would tell which logins exist, and which name and address belong together.
//! With the defaults one address can try 18 times a day, and everybody together fewer than 50.

use std::net::IpAddr;

use inkstone_core::identity::ThrottlePolicy;

const DAY_SECS: u32 = 24 * 60 * 60;

/// The most failures that may cost nothing: stores remember 64 of each counter, and a policy
/// that is more generous than its memory would never block.
pub const MOST_FREE: u32 = 50;

/// The policies of the three counters. More than 50 free failures count as 50.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThrottleSettings {
    /// One login at one address.
    pub login_at_address: ThrottlePolicy,
    /// One login from anywhere.
    pub login: ThrottlePolicy,
    /// One address, any login.
    pub address: ThrottlePolicy,
}

impl Default for ThrottleSettings {
    fn default() -> Self {
        Self {
            login_at_address: ThrottlePolicy { free: 5, window_secs: DAY_SECS, base_secs: 60, max_secs: 4 * 60 * 60 },
            login: ThrottlePolicy { free: 20, window_secs: DAY_SECS, base_secs: 60, max_secs: 60 * 60 },
            address: ThrottlePolicy { free: 50, window_secs: 60 * 60, base_secs: 5, max_secs: 15 * 60 },
        }
    }
}

/// The counters of one attempt. They are keyed hashes: what people typed is not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attempt {
    pub(crate) login_at_address: String,
    pub(crate) login: String,
    pub(crate) address: Option<String>,
}

impl Attempt {
    /// The counters of `login` (folded) tried from `address`.
    pub(crate) fn new(secret: &[u8], login: &str, address: Option<IpAddr>) -> Self {
        let network = address.map_or_else(|| "none".to_owned(), network_of);
        Self {
            login_at_address: counter(secret, "login-at-address", &format!("{network} {login}")),
            login: counter(secret, "login", login),
            address: address.map(|_| counter(secret, "address", &network)),
        }
    }

    /// All counters.
    pub(crate) fn keys(&self) -> Vec<String> {
        [&self.login_at_address, &self.login].into_iter().chain(&self.address).cloned().collect()
    }

    /// All counters with what they cost.
    pub(crate) fn keys_with_policies(&self, settings: &ThrottleSettings) -> Vec<(String, ThrottlePolicy)> {
        let counters = [
            (Some(&self.login_at_address), settings.login_at_address),
            (Some(&self.login), settings.login),
            (self.address.as_ref(), settings.address),
        ];
        let bounded = |policy: ThrottlePolicy| ThrottlePolicy { free: policy.free.min(MOST_FREE), ..policy };
        counters.into_iter().filter_map(|(key, policy)| Some((key?.clone(), bounded(policy)))).collect()
    }

    /// What a success clears. Not the address: else whoever has one account could go on spraying.
    pub(crate) fn keys_to_clear(&self) -> Vec<String> {
        vec![self.login_at_address.clone(), self.login.clone()]
    }
}

/// The network that one subscriber has to themselves: an IPv4 address, or 64 bits of IPv6.
fn network_of(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
    }
}

fn counter(secret: &[u8], kind: &str, text: &str) -> String {
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret);
    let tag = aws_lc_rs::hmac::sign(&key, format!("{kind} {text}").as_bytes());
    format!("{kind}:{}", crate::tokens::base64url(tag.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(login: &str, address: &str) -> Attempt {
        Attempt::new(b"secret", login, address.parse().ok())
    }

    #[test]
    fn counters_tell_logins_and_addresses_apart() {
        let first = attempt("ada", "192.0.2.1");
        assert_eq!(first, attempt("ada", "192.0.2.1"));
        let elsewhere = attempt("ada", "192.0.2.2");
        assert_eq!(first.login, elsewhere.login);
        assert_ne!(first.login_at_address, elsewhere.login_at_address);
        assert_ne!(first.address, elsewhere.address);
        let other = attempt("bob", "192.0.2.1");
        assert_eq!(first.address, other.address);
        assert_ne!(first.login, other.login);
    }

    #[test]
    fn an_ipv6_subscriber_is_one_network_and_mapped_ipv4_is_ipv4() {
        assert_eq!(attempt("ada", "2001:db8:1:2::1"), attempt("ada", "2001:db8:1:2:ffff::9"));
        assert_ne!(attempt("ada", "2001:db8:1:2::1"), attempt("ada", "2001:db8:1:3::1"));
        assert_eq!(attempt("ada", "192.0.2.1"), attempt("ada", "::ffff:192.0.2.1"));
    }

    #[test]
    fn counters_do_not_show_what_was_typed_and_depend_on_the_secret() {
        let key = attempt("ada@example.org", "192.0.2.1");
        assert!(key.keys().iter().all(|key| !key.contains("ada") && !key.contains("192")));
        assert_ne!(key, Attempt::new(b"other", "ada@example.org", "192.0.2.1".parse().ok()));
    }

    #[test]
    fn no_policy_is_more_generous_than_the_memory_of_a_store() {
        let lax = ThrottlePolicy { free: 1000, window_secs: 1, base_secs: 1, max_secs: 1 };
        let settings = ThrottleSettings { login_at_address: lax, login: lax, address: lax };
        let policies = attempt("ada", "192.0.2.1").keys_with_policies(&settings);
        assert_eq!(policies.iter().map(|(_, policy)| policy.free).collect::<Vec<_>>(), [50, 50, 50]);
    }

    /// Guesses that are looked at within a day when somebody tries again the moment a block ends.
    fn guesses_a_day(policy: ThrottlePolicy) -> u32 {
        let (mut failures, mut at) = (0, 0);
        while at < DAY_SECS {
            failures += 1;
            at += policy.block_secs(failures);
        }
        failures
    }

    #[test]
    fn the_defaults_keep_the_promises_of_the_module() {
        let settings = ThrottleSettings::default();
        let alone = guesses_a_day(settings.login_at_address);
        let together = guesses_a_day(settings.login);
        assert!(alone <= 20, "{alone} from one address: more would block the owner everywhere");
        assert!(alone <= settings.login.free, "one address alone must not use up the account's free failures");
        assert!(together <= 50, "{together}: with name and address as two logins this must stay under 100");
    }
}
