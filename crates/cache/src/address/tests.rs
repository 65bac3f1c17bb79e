//! Every form of an address, and what is refused.

use super::*;
use crate::access::Identity;

#[test]
fn every_form_is_understood_and_none_shows_its_password() {
    for (text, shown) in [
        ("redis://cache.example", "redis://cache.example:6379"),
        ("valkey://cache.example", "valkey://cache.example:6379"),
        ("rediss://ink:p%40ss@cache.example:6380/2", "rediss://…@cache.example:6380"),
        ("redis://:secret@cache.example", "redis://…@cache.example:6379"),
        ("redis://[::1]", "redis://[::1]:6379"),
        ("rediss://[::1]:1", "rediss://[::1]:1"),
        ("redis+sentinel://u:secret@a,b:26380/mymaster/1", "redis+sentinel://…@a:26379,b:26380"),
        ("rediss+sentinel://a/mymaster", "rediss+sentinel://a:26379"),
        ("redis+cluster://a", "redis+cluster://a:6379"),
        ("rediss+cluster://u:secret@a:7000,b:7001", "rediss+cluster://…@a:7000,b:7001"),
        ("memcached://a,[::1]:11212", "memcached://a:11211,[::1]:11212"),
        ("memcached://u:secret@a", "memcached://…@a:11211"),
    ] {
        let address: Address = text.parse().unwrap();
        assert_eq!(address.to_string(), shown);
        assert!(!format!("{address:?}").contains("secret"), "{address:?}");
    }
}

#[test]
fn what_is_no_address_is_refused_without_repeating_its_password() {
    for (text, why) in [
        ("", "must be an address"),
        ("redis", "must be an address"),
        ("redis://", "must be an address"),
        ("redis://:6379", "must be an address"),
        ("redis://a:port", "must be an address"),
        ("redis://[::1", "must be an address"),
        ("memcached://a,,b", "must be an address"),
        ("redis+cluster://u:secret@:1", "must be an address"),
        ("redis://a,b", "names one host"),
        ("redis://a/x", "no database"),
        ("redis://a/-1", "no database"),
        ("redis://a/1/2", "number of a database"),
        ("redis+sentinel://a", "must name the master"),
        ("redis+sentinel://a/m/x", "no database"),
        ("redis+cluster://a/1", "a cluster has no databases"),
        ("memcached://a/1", "Memcached has no databases"),
        ("memcached://:secret@a", "without a user"),
        ("memcacheds://a", "over TLS"),
        ("ftp://a", "no kind of cache"),
        // Whoever is named must be able to show it: else the server would take the default user.
        ("redis://secret@a", "without a password"),
        ("redis+sentinel://secret:@a/m", "without a password"),
        // What a library would take as leave not to look at the certificate.
        ("rediss://a/#insecure", "no options"),
        ("rediss://u:secret#1@a", "%23"),
        ("redis://a?protocol=resp3", "no options"),
        ("redis://u:%ff@a", "not UTF-8"),
        ("redis://u:12/secret@a", "%2F"),
        ("redis://:1/2/secret@a", "%2F"),
    ] {
        let error = text.parse::<Address>().expect_err(text);
        assert!(error.to_string().contains(why), "{text}: {error}");
        assert_eq!(error.part, Part::Address, "{text}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}

#[test]
fn what_belongs_to_an_address_must_fit_it() {
    let pem = || Some(b"-----BEGIN CERTIFICATE-----".to_vec());
    let identity =
        |certificate: &[u8], key: &[u8]| Some(Identity { certificate: certificate.to_vec(), key: key.to_vec() });
    let sentinel = |password: &str| Some(Credentials { user: "watch".into(), password: password.into() });
    let password = |text: &str| Access { password: Some(text.into()), ..Access::default() };
    for (text, access, part, why) in [
        ("redis://u:secret@a", password("secret"), Part::Password, "has a password too"),
        ("redis://u@a", password(""), Part::Password, "is empty"),
        ("redis://a", Access { sentinel: sentinel("secret"), ..Access::default() }, Part::Sentinel, "sentinels"),
        ("redis+sentinel://a/m", Access { sentinel: sentinel(""), ..Access::default() }, Part::Sentinel, "password"),
        ("redis://a", Access { authorities: pem(), ..Access::default() }, Part::Authorities, "rediss"),
        ("memcached://a", Access { authorities: pem(), ..Access::default() }, Part::Authorities, "Memcached"),
        ("redis://a", Access { identity: identity(b"", b""), ..Access::default() }, Part::Identity, "rediss"),
        ("rediss://a", Access { authorities: Some(b"rubbish".into()), ..Access::default() }, Part::Authorities, "PEM"),
        ("rediss://a", Access { authorities: pem(), ..Access::default() }, Part::Authorities, "cannot be used"),
        ("rediss://a", Access { identity: identity(b"", b""), ..Access::default() }, Part::Identity, "no certificate"),
        (
            "rediss://a",
            Access { identity: identity(&pem().unwrap(), b"secret"), ..Access::default() },
            Part::Identity,
            "no private key",
        ),
    ] {
        let error = Address::new(text, &access).expect_err(text);
        assert_eq!((error.part, error.to_string().contains(why)), (part, true), "{text}: {error}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
    for (text, access) in [
        ("redis://u@a", password("secret")),
        ("redis://a", password("secret")),
        ("redis+sentinel://a/m", Access { sentinel: sentinel("secret"), ..Access::default() }),
    ] {
        Address::new(text, &access).unwrap();
    }
}
