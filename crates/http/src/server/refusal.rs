//! Requests that the server itself turns away, before any application sees them.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode};

macro_rules! refusals {
    ($($(#[doc = $doc:literal])+ $name:ident = $status:ident, $detail:literal;)+) => {
        /// Why a request was turned away.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Refusal { $($(#[doc = $doc])+ $name,)+ }

        impl Refusal {
            /// Every reason there is.
            pub const ALL: &'static [Refusal] = &[$(Refusal::$name,)+];

            /// The status to answer with.
            pub fn status(self) -> StatusCode {
                match self { $(Refusal::$name => StatusCode::$status,)+ }
            }

            /// One sentence for whoever sent it. Holds nothing of the request.
            pub fn detail(self) -> &'static str {
                match self { $(Refusal::$name => $detail,)+ }
            }
        }
    };
}

refusals! {
    /// The request line is not `METHOD target HTTP/1.x`.
    RequestLine = BAD_REQUEST, "The request line cannot be read.";
    /// The target is of no form of RFC 9112 section 3.2, or has a byte that no URI has.
    Target = BAD_REQUEST, "The request target is not valid.";
    /// Another version than HTTP/1.0 and HTTP/1.1.
    Version = HTTP_VERSION_NOT_SUPPORTED, "This connection speaks HTTP/1.1.";
    /// A line that ends with a bare LF: a way to smuggle requests past proxies (RFC 9112 section 2.2).
    LineEnd = BAD_REQUEST, "Lines must end with CR LF.";
    /// A field line that has no name, a space before its colon, is folded, or has a control character in its value.
    Field = BAD_REQUEST, "A header field cannot be read.";
    /// No Host (RFC 9112 section 3.2), nor `:authority` in HTTP/2.
    NoHost = BAD_REQUEST, "The Host header is missing.";
    /// More than one Host.
    ManyHosts = BAD_REQUEST, "There is more than one Host header.";
    /// Host is not a host and an optional port.
    BadHost = BAD_REQUEST, "The Host header is not valid.";
    /// Host names another site than the target does.
    HostMismatch = BAD_REQUEST, "The Host header and the request target name different hosts.";
    /// Content-Length is not one decimal number.
    ContentLength = BAD_REQUEST, "The Content-Length header is not valid.";
    /// Transfer-Encoding is not `chunked`, stands twice, or comes with HTTP/1.0.
    TransferEncoding = BAD_REQUEST, "The Transfer-Encoding header is not supported.";
    /// Both, which two servers may understand in two ways (RFC 9112 section 6.3).
    TwoLengths = BAD_REQUEST, "Content-Length and Transfer-Encoding cannot stand together.";
    /// The head is larger than the limit.
    HeadTooLarge = REQUEST_HEADER_FIELDS_TOO_LARGE, "The header fields are too large.";
    /// The head has more fields than the limit.
    TooManyFields = REQUEST_HEADER_FIELDS_TOO_LARGE, "There are too many header fields.";
    /// The target is longer than the limit.
    UriTooLong = URI_TOO_LONG, "The request target is too long.";
    /// TRACE or CONNECT, which this server implements nowhere.
    Method = METHOD_NOT_ALLOWED, "This method is not allowed here.";
    /// The head did not arrive in time.
    HeadTimeout = REQUEST_TIMEOUT, "The request did not arrive in time.";
    /// Too many bytes wait for slow clients.
    Busy = SERVICE_UNAVAILABLE, "The server is busy. Try again in a moment.";
}

/// Makes the answer to a refused request: the application's own problem details.
pub type ProblemWriter = Arc<dyn Fn(Refusal) -> Response<Bytes> + Send + Sync>;

/// The methods that some resource of this server knows, for `Allow`.
const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// The answer with the fields that HTTP itself asks for.
pub(super) fn answer(writer: &ProblemWriter, refusal: Refusal) -> Response<Bytes> {
    let mut response = writer(refusal);
    *response.status_mut() = refusal.status();
    let headers = response.headers_mut();
    if refusal == Refusal::Method && !headers.contains_key(http::header::ALLOW) {
        headers.insert(http::header::ALLOW, HeaderValue::from_static(METHODS));
    }
    if refusal == Refusal::Busy && !headers.contains_key(http::header::RETRY_AFTER) {
        headers.insert(http::header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// The answer as bytes on an HTTP/1.1 connection that ends with it.
pub(super) fn answer_bytes(writer: &ProblemWriter, refusal: Refusal, date: &HeaderValue) -> Bytes {
    let response = answer(writer, refusal);
    let status = response.status();
    let mut bytes = Vec::with_capacity(512 + response.body().len());
    bytes.extend_from_slice(b"HTTP/1.1 ");
    bytes.extend_from_slice(status.as_str().as_bytes());
    bytes.push(b' ');
    bytes.extend_from_slice(status.canonical_reason().unwrap_or("Error").as_bytes());
    bytes.extend_from_slice(b"\r\ndate: ");
    bytes.extend_from_slice(date.as_bytes());
    bytes.extend_from_slice(b"\r\n");
    for (name, value) in response.headers() {
        if name == http::header::CONNECTION || name == http::header::CONTENT_LENGTH {
            continue;
        }
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"connection: close\r\ncontent-length: ");
    bytes.extend_from_slice(response.body().len().to_string().as_bytes());
    bytes.extend_from_slice(b"\r\n\r\n");
    bytes.extend_from_slice(response.body());
    Bytes::from(bytes)
}
