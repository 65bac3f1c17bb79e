//! One error for the whole domain, and the one table of stable codes.
//!
//! A [`Code`] is what clients may rely on; the presentation layer maps it to a status and a
//! problem type. Internal text stays in [`Error::Internal`] and goes to the log, never out.

use std::borrow::Cow;
use std::time::Duration;

use crate::access::Scope;

/// The domain's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong, as the business sees it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The input broke rules: all of them, each with its place.
    #[error("the input is not valid: {} faults", .0.len())]
    Invalid(Vec<Fault>),
    /// A stable code with a sentence for people.
    #[error("{}: {detail}", code.as_str())]
    Refused {
        /// Which refusal.
        code: Code,
        /// What exactly, in words that may leave the process.
        detail: Cow<'static, str>,
    },
    /// Refused for now: too much load, a dependency that is down, a rate limit.
    #[error("{}: {detail}", code.as_str())]
    TryLater {
        /// Which refusal.
        code: Code,
        /// What exactly, in words that may leave the process.
        detail: Cow<'static, str>,
        /// When to come back.
        retry_after: Duration,
    },
    /// The token at hand was made for less than this.
    #[error("the token lacks the scope {}", .0.as_str())]
    LacksScope(Scope),
    /// Not the caller's fault. The source is logged once, where it is handled.
    #[error("internal error")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// A refusal with a sentence.
    pub fn refused(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::Refused { code, detail: detail.into() }
    }

    /// A refusal that may be retried after a while.
    pub fn try_later(code: Code, detail: impl Into<Cow<'static, str>>, retry_after: Duration) -> Self {
        Self::TryLater { code, detail: detail.into(), retry_after }
    }

    /// One single fault in the input.
    pub fn invalid(pointer: impl Into<String>, code: FaultCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::Invalid(vec![Fault::at(pointer, code, detail)])
    }

    /// Wraps what must not leave the process.
    pub fn internal(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Internal(source.into())
    }

    /// `what` is not there, or the caller may not know that it is.
    pub fn not_found(what: &'static str) -> Self {
        Self::refused(Code::NotFound, format!("There is no such {what}."))
    }

    /// The stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::Invalid(_) => Code::Invalid,
            Self::Refused { code, .. } | Self::TryLater { code, .. } => *code,
            Self::LacksScope(_) => Code::InsufficientScope,
            Self::Internal(_) => Code::Internal,
        }
    }

    /// Whether the same call can succeed later without being changed.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::TryLater { .. })
    }
}

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal, $title:literal;)+) => {
        /// The stable error codes: the last path segment of a problem's `type`, and the
        /// source of the page that explains it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code { $($(#[doc = $doc])+ $name,)+ }

        impl Code {
            /// Every code there is, in the order of the table.
            pub const ALL: &'static [Code] = &[$(Code::$name,)+];

            /// The stable text.
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$name => $text,)+ }
            }

            /// A short title that stays the same from one occurrence to the next.
            pub fn title(self) -> &'static str {
                match self { $(Code::$name => $title,)+ }
            }

            /// What it means and what to do, for the page behind the problem's `type`.
            pub fn meaning(self) -> &'static str {
                match self { $(Code::$name => concat!($($doc),+),)+ }
            }
        }
    };
}

codes! {
    /// The request body is not well-formed JSON in UTF-8, or repeats a key, or nests too deeply.
    Malformed = "malformed", "The body cannot be read";
    /// A query parameter is unknown, repeated, or has a value that is not allowed.
    BadQuery = "bad-query", "The query is not valid";
    /// The cursor was not made by this server for this query, or was altered.
    BadCursor = "bad-cursor", "The cursor is not valid";
    /// A request header has a value that cannot be understood.
    BadHeader = "bad-header", "A header is not valid";
    /// The request breaks the rules of HTTP itself, such as a missing or doubled Host.
    BadRequest = "bad-request", "The request is not valid HTTP";
    /// The body is well-formed, but one or more of its fields break a rule. Every fault is listed under `errors`.
    Invalid = "invalid", "Some fields are not valid";
    /// There are no credentials, or they are unknown, expired or revoked.
    Unauthenticated = "unauthenticated", "Sign in first";
    /// The name and password do not belong together, or the account is disabled.
    BadCredentials = "bad-credentials", "Wrong name or password";
    /// The caller is known, but their role or their token's scopes do not allow this.
    Forbidden = "forbidden", "Not allowed";
    /// The token at hand was not made for this. The detail names the scope that it lacks.
    InsufficientScope = "insufficient-scope", "The token does not allow this";
    /// A password or token came over a connection without encryption, though this site is reached by HTTPS. Somebody may have read it on the way: replace it, and use HTTPS.
    InsecureTransport = "insecure-transport", "Use HTTPS";
    /// There is nothing here, or nothing that the caller may know of.
    NotFound = "not-found", "Not found";
    /// What was here was public once and has been deleted on purpose.
    Gone = "gone", "Gone";
    /// The API version in the path does not exist. The live versions are listed in the detail.
    UnknownVersion = "unknown-version", "Unknown API version";
    /// This connection speaks another version of HTTP than the request asks for.
    HttpVersion = "http-version", "Unsupported version of HTTP";
    /// The resource does not support this method. `Allow` lists those that it does.
    MethodNotAllowed = "method-not-allowed", "Method not allowed";
    /// None of the media types in `Accept` can be produced.
    NotAcceptable = "not-acceptable", "Not acceptable";
    /// The body's media type or content coding is not supported.
    UnsupportedMediaType = "unsupported-media-type", "Unsupported media type";
    /// The body is larger than the limit.
    TooLarge = "too-large", "Too large";
    /// The request target is longer than the limit.
    UriTooLong = "uri-too-long", "The address is too long";
    /// The headers are larger, or more, than the limit.
    HeadersTooLarge = "headers-too-large", "The headers are too large";
    /// A unique value (a slug, a handle, an e-mail address) is taken already.
    Taken = "taken", "Already taken";
    /// The state of the resource does not allow this change.
    Conflict = "conflict", "Conflict";
    /// A request with the same idempotency key is being processed right now.
    IdempotencyInProgress = "idempotency-in-progress", "The same request is in progress";
    /// The idempotency key was used before with another request.
    IdempotencyKeyReused = "idempotency-key-reused", "The idempotency key belongs to another request";
    /// The resource is not in the state that `If-Match` or `If-None-Match` expects. Fetch it again and repeat the change on what you see.
    PreconditionFailed = "precondition-failed", "The resource has changed";
    /// This change must name, in `If-Match`, the version that it is based on.
    PreconditionRequired = "precondition-required", "If-Match is required";
    /// The body came too slowly.
    RequestTimeout = "request-timeout", "The request took too long to arrive";
    /// A rate limit is used up. `Retry-After` says when to try again.
    RateLimited = "rate-limited", "Too many requests";
    /// The server sheds load, or drains before it stops. `Retry-After` says when to try again.
    Overloaded = "overloaded", "Overloaded";
    /// Something that the server depends on is not available, and nothing stale can be served instead.
    Unavailable = "unavailable", "Temporarily unavailable";
    /// The store has no space left. Reads go on; writes are refused until there is space.
    StorageFull = "storage-full", "The storage is full";
    /// A part of the store is damaged, and what it holds is not shown rather than shown wrong. Everything else is. It does not heal by itself: whoever runs the server has to repair it, or to restore a backup.
    StorageDamaged = "storage-damaged", "A part of the storage is damaged";
    /// The deadline passed before the answer was ready. A write may or may not have happened: ask again with the same idempotency key.
    DeadlineExceeded = "deadline-exceeded", "The deadline passed";
    /// An error that is ours. The log has the whole story under the request id.
    Internal = "internal", "Internal error";
}

/// One broken rule and where it was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// JSON pointer (RFC 6901) into the body; for queries and headers, their name.
    pub pointer: String,
    /// The stable code of the rule.
    pub code: FaultCode,
    /// The rule in words.
    pub detail: Cow<'static, str>,
}

impl Fault {
    /// A fault at a place.
    pub fn at(pointer: impl Into<String>, code: FaultCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { pointer: pointer.into(), code, detail: detail.into() }
    }

    /// A fault whose place the caller of the parser knows: see [`Fault::under`].
    pub fn here(code: FaultCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::at("", code, detail)
    }

    /// The same fault, one level deeper: `pointer` goes in front.
    #[must_use]
    pub fn under(mut self, pointer: &str) -> Self {
        self.pointer.insert_str(0, pointer);
        self
    }
}

/// The stable codes of broken rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaultCode {
    /// A field is missing.
    Required,
    /// The field is not known, or may not be set here.
    UnknownField,
    /// The value has another JSON type.
    WrongType,
    /// A key stands twice in one object.
    DuplicateKey,
    /// Shorter than allowed.
    TooShort,
    /// Longer than allowed.
    TooLong,
    /// More entries than allowed.
    TooMany,
    /// Out of the allowed range.
    OutOfRange,
    /// Does not have the required form.
    BadFormat,
    /// Holds characters that are not allowed, such as NUL.
    BadCharacter,
    /// Not one of the allowed values.
    NotAllowed,
    /// The same value stands twice.
    Duplicate,
    /// Names something that does not exist.
    Unknown,
    /// Taken already.
    Taken,
    /// A password that is too common or too easily guessed.
    Guessable,
}

impl FaultCode {
    /// The stable text.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::UnknownField => "unknown-field",
            Self::WrongType => "wrong-type",
            Self::DuplicateKey => "duplicate-key",
            Self::TooShort => "too-short",
            Self::TooLong => "too-long",
            Self::TooMany => "too-many",
            Self::OutOfRange => "out-of-range",
            Self::BadFormat => "bad-format",
            Self::BadCharacter => "bad-character",
            Self::NotAllowed => "not-allowed",
            Self::Duplicate => "duplicate",
            Self::Unknown => "unknown",
            Self::Taken => "taken",
            Self::Guessable => "guessable",
        }
    }
}
