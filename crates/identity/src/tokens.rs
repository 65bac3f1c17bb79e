//! The forms of tokens: opaque secrets, and access tokens (JWT as RFC 9068 profiles it).
//!
//! Opaque secrets look like `ink_pat_<43 characters><6 characters>`: a prefix that tells people
//! and secret scanners what they have found, 256 random bits, and a checksum, so that a typo or a
//! made-up token is turned away without asking the store. The store knows them by SHA-256 only.
//!
//! Access tokens are checked as RFC 8725 asks: one algorithm, an explicit type, a key that is
//! looked up among our own by its id, and nothing in the header trusted beyond that: `jku`,
//! `x5u` and `jwk` are never read.

use base64::Engine as _;
use inkstone_core::access::Scopes;
use inkstone_core::clock::Entropy;
use inkstone_core::identity::SecretHash;
use inkstone_core::users::UserId;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The longest access token that is looked at, in bytes. Ours have about 600.
pub const MAX_ACCESS_TOKEN_BYTES: usize = 4096;

/// The `typ` of an access token (RFC 9068 §2.1).
pub const ACCESS_TOKEN_TYPE: &str = "at+jwt";

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// 62^43 is just above 2^256.
const BODY_CHARS: usize = 43;
/// 62^6 is above 2^32.
const CHECKSUM_CHARS: usize = 6;

/// What an opaque secret is for. The prefixes keep one kind from being taken for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SecretKind {
    /// Renews a session once.
    Refresh,
    /// Stands for its owner, as far as its scopes go.
    Personal,
    /// Makes the first administrator, once.
    Setup,
}

impl SecretKind {
    /// Every kind.
    pub const ALL: [SecretKind; 3] = [SecretKind::Refresh, SecretKind::Personal, SecretKind::Setup];

    /// What every secret of this kind begins with.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Refresh => "ink_rt_",
            Self::Personal => "ink_pat_",
            Self::Setup => "ink_setup_",
        }
    }

    /// Makes a new secret and the hash to keep of it.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn mint(self, entropy: &dyn Entropy) -> inkstone_core::Result<(String, SecretHash)> {
        let mut bytes = [0_u8; 32];
        entropy.fill(&mut bytes)?;
        let mut text = format!("{}{}", self.prefix(), base62(&bytes, BODY_CHARS));
        let checksum = checksum(&text);
        text.push_str(&checksum);
        let hash = hash_secret(&text);
        Ok((text, hash))
    }

    /// The hash under which the store would know `text`, if it is a secret of this kind at all.
    pub fn recognise(self, text: &str) -> Option<SecretHash> {
        let body = text.strip_prefix(self.prefix())?;
        let well_formed =
            body.len() == BODY_CHARS + CHECKSUM_CHARS && body.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !well_formed {
            return None;
        }
        let (start, given) = text.split_at(text.len() - CHECKSUM_CHARS);
        (checksum(start) == given).then(|| hash_secret(text))
    }
}

/// The first characters of a secret, to recognise it by: the prefix and four more.
pub(crate) fn hint(kind: SecretKind, secret: &str) -> String {
    secret.chars().take(kind.prefix().len() + 4).collect()
}

/// SHA-256. Enough for 256 random bits, which nobody can try out; passwords are another matter.
pub(crate) fn hash_secret(text: &str) -> SecretHash {
    Sha256::digest(text.as_bytes()).into()
}

fn checksum(text: &str) -> String {
    let digest: SecretHash = Sha256::digest(text.as_bytes()).into();
    base62(&digest[..4], CHECKSUM_CHARS)
}

/// `bytes` as a big-endian number in base 62, with leading zeros up to `width`.
fn base62(bytes: &[u8], width: usize) -> String {
    let mut number = bytes.to_vec();
    let mut digits = vec![b'0'; width];
    for digit in digits.iter_mut().rev() {
        let mut rest = 0_u32;
        for byte in &mut number {
            let value = rest * 256 + u32::from(*byte);
            // Both fit: the rest is below 62, so value / 62 is below 256.
            *byte = u8::try_from(value / 62).unwrap_or(u8::MAX);
            rest = value % 62;
        }
        *digit = ALPHABET[rest as usize];
    }
    digits.into_iter().map(char::from).collect()
}

pub(crate) fn base64url(bytes: &[u8]) -> String {
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

/// What an access token says (RFC 9068 §2.2), and `sid`: the session behind it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claims {
    pub(crate) iss: String,
    pub(crate) sub: String,
    pub(crate) aud: String,
    pub(crate) exp: i64,
    pub(crate) iat: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) nbf: Option<i64>,
    pub(crate) jti: String,
    pub(crate) client_id: String,
    pub(crate) scope: String,
    pub(crate) sid: String,
}

/// What is left of an access token once it has been checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AccessToken {
    pub(crate) user: UserId,
    pub(crate) session: i64,
    pub(crate) scopes: Scopes,
}

/// What an access token must say to be accepted here and now.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expected<'a> {
    pub(crate) issuer: &'a str,
    pub(crate) audience: &'a str,
    /// Seconds since 1970.
    pub(crate) now: i64,
    pub(crate) leeway_secs: i64,
}

/// Why an access token was turned away: for our log, never for the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rejected(pub(crate) &'static str);

/// Signs an access token.
pub(crate) fn sign(claims: &Claims, kid: &str, key: &EncodingKey) -> inkstone_core::Result<String> {
    let mut header = Header::new(Algorithm::EdDSA);
    header.typ = Some(ACCESS_TOKEN_TYPE.to_owned());
    header.kid = Some(kid.to_owned());
    jsonwebtoken::encode(&header, claims, key).map_err(inkstone_core::Error::internal)
}

/// The id of the key that signed, as the header claims it, once the header is one that we could
/// have written.
pub(crate) fn claimed_key(token: &str) -> Result<String, Rejected> {
    if token.len() > MAX_ACCESS_TOKEN_BYTES {
        return Err(Rejected("too long"));
    }
    let header = jsonwebtoken::decode_header(token).map_err(|_| Rejected("no header that can be read"))?;
    if header.alg != Algorithm::EdDSA {
        return Err(Rejected("another algorithm"));
    }
    let typ = header.typ.as_deref().unwrap_or_default().to_ascii_lowercase();
    // RFC 7515 §4.1.9: the long form of the media type means the same.
    if typ.strip_prefix("application/").unwrap_or(&typ) != ACCESS_TOKEN_TYPE {
        return Err(Rejected("another type of token"));
    }
    if header.crit.is_some() || header.zip.is_some() || header.enc.is_some() {
        return Err(Rejected("a header that asks for what we do not do"));
    }
    header.kid.ok_or(Rejected("no key id"))
}

/// Checks signature and claims of a token.
pub(crate) fn verify(token: &str, key: &DecodingKey, expected: Expected<'_>) -> Result<AccessToken, Rejected> {
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.set_issuer(&[expected.issuer]);
    validation.set_audience(&[expected.audience]);
    validation.set_required_spec_claims(&["iss", "aud", "sub"]);
    // The library would ask the ambient clock; ours is an argument. See below.
    validation.validate_exp = false;
    validation.validate_nbf = false;
    let claims = jsonwebtoken::decode::<Claims>(token, key, &validation)
        .map_err(|error| {
            Rejected(match error.kind() {
                jsonwebtoken::errors::ErrorKind::InvalidSignature => "wrong signature",
                jsonwebtoken::errors::ErrorKind::InvalidIssuer => "another issuer",
                jsonwebtoken::errors::ErrorKind::InvalidAudience => "another audience",
                _ => "claims that cannot be read",
            })
        })?
        .claims;
    if claims.exp <= expected.now.saturating_sub(expected.leeway_secs) {
        return Err(Rejected("expired"));
    }
    let latest = expected.now.saturating_add(expected.leeway_secs);
    if claims.iat > latest || claims.nbf.is_some_and(|nbf| nbf > latest) {
        return Err(Rejected("from the future"));
    }
    if claims.jti.is_empty() || claims.client_id.is_empty() {
        return Err(Rejected("an empty claim"));
    }
    let user = claims.sub.parse().map_err(|_| Rejected("a subject that is no account"))?;
    let session = claims.sid.parse().map_err(|_| Rejected("a session id that is none"))?;
    // A scope that this version does not know (any more) narrows; it must not lock people out.
    let scopes = claims.scope.split_ascii_whitespace().filter_map(inkstone_core::access::Scope::parse).collect();
    Ok(AccessToken { user: UserId(user), session, scopes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base62_is_the_number_in_full_width() {
        assert_eq!(base62(&[0; 32], 43), "0".repeat(43));
        assert_eq!(base62(&[61], 2), "0z");
        assert_eq!(base62(&[62], 2), "10");
        assert_eq!(base62(&[1, 0], 3), "048");
        // 2^256 - 1 needs all 43 digits and no more: dividing on leaves nothing.
        let largest = base62(&[0xff; 32], 44);
        assert!(largest.starts_with('0') && !largest.starts_with("00"));
    }

    #[derive(Debug)]
    struct Counting(std::sync::atomic::AtomicU8);
    impl Entropy for Counting {
        fn fill(&self, bytes: &mut [u8]) -> inkstone_core::Result<()> {
            bytes.fill(self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
            Ok(())
        }
    }

    #[test]
    fn a_secret_is_recognised_as_its_own_kind_only_and_not_after_any_change() {
        let entropy = Counting(std::sync::atomic::AtomicU8::new(0));
        for kind in SecretKind::ALL {
            let (secret, hash) = kind.mint(&entropy).unwrap();
            assert_eq!(secret.len(), kind.prefix().len() + 49);
            for other in SecretKind::ALL {
                assert_eq!(other.recognise(&secret), (other == kind).then_some(hash), "{other:?} of {secret}");
            }
            for at in 0..secret.len() {
                let mut changed = secret.clone().into_bytes();
                changed[at] = if changed[at] == b'x' { b'y' } else { b'x' };
                let changed = String::from_utf8(changed).unwrap();
                assert_eq!(kind.recognise(&changed), None, "{changed}");
            }
            assert_eq!(kind.recognise(&secret[..secret.len() - 1]), None);
            assert_eq!(kind.recognise(&format!("{secret}0")), None);
            assert_eq!(kind.recognise(&format!(" {secret}")), None);
        }
    }
}
