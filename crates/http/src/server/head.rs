//! Reads along with the HTTP/1 parser and stops what it would let pass.
//!
//! hyper accepts a request without Host, takes bare LF for a line end, and drops `Content-Length` in silence when
//! `Transfer-Encoding` stands beside it, so that no layer above could tell. Where two servers in a row disagree
//! about any of these, one client's bytes become another's request. Hence the heads are checked here as bytes,
//! by stricter rules than hyper's: what passes is understood by both in the same way.
//!
//! A chunked body is not followed to its end. The connection closes after it, and nothing behind it is ever read as
//! a request.

use memchr::{memchr, memrchr};

use super::refusal::Refusal;

/// What a request's head may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct HeadLimits {
    pub(super) bytes: usize,
    pub(super) fields: u16,
    pub(super) uri_bytes: usize,
}

/// Where in the stream of bytes the reader is.
#[derive(Debug)]
enum Place {
    /// Before or in a head.
    Head,
    /// In a body of which so many bytes are to come.
    Body(u64),
    /// In the last request of this connection.
    Rest,
}

/// What is known of a head so far.
#[derive(Debug, Default)]
struct Head {
    bytes: usize,
    blank_lines: u8,
    request_line: bool,
    is_http_11: bool,
    fields: u16,
    has_host: bool,
    content_length: Option<u64>,
    is_chunked: bool,
    /// The authority of a target in absolute form, in lower case.
    authority: Option<Box<[u8]>>,
    is_connect: bool,
}

/// Follows the requests of one connection.
#[derive(Debug)]
pub(super) struct HeadScanner {
    limits: HeadLimits,
    place: Place,
    head: Head,
    /// A line that began in an earlier read. Empty nearly always.
    carry: Vec<u8>,
    /// A head has ended since this was last asked.
    has_passed: bool,
}

/// A request that may not pass, and how much of the bytes belongs to requests before it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stop {
    pub(super) passed: usize,
    pub(super) refusal: Refusal,
}

impl HeadScanner {
    pub(super) fn new(limits: HeadLimits) -> Self {
        Self { limits, place: Place::Head, head: Head::default(), carry: Vec::new(), has_passed: false }
    }

    /// Whether a head has begun and not ended.
    pub(super) fn is_in_head(&self) -> bool {
        matches!(self.place, Place::Head) && self.head.bytes > 0
    }

    /// Whether a head has ended since the last time.
    pub(super) fn take_passed(&mut self) -> bool {
        std::mem::take(&mut self.has_passed)
    }

    /// Reads on.
    pub(super) fn scan(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        let mut at = 0;
        let mut head_began = 0;
        while at < bytes.len() {
            match &mut self.place {
                Place::Rest => return Ok(()),
                Place::Body(left) => {
                    let here = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len() - at);
                    at += here;
                    *left -= here as u64;
                    if *left == 0 {
                        self.place = Place::Head;
                    }
                }
                Place::Head => {
                    if self.head.bytes == 0 {
                        head_began = at;
                    }
                    at += self.scan_line(&bytes[at..]).map_err(|refusal| Stop { passed: head_began, refusal })?;
                }
            }
        }
        Ok(())
    }

    /// Reads to the end of the line or of the bytes, and says how many those were.
    fn scan_line(&mut self, bytes: &[u8]) -> Result<usize, Refusal> {
        let end = memchr(b'\n', bytes);
        let taken = end.map_or(bytes.len(), |end| end + 1);
        self.head.bytes += taken;
        if !self.head.request_line && self.carry.len() + taken > self.limits.uri_bytes + LONGEST_REQUEST_LINE_REST {
            return Err(Refusal::UriTooLong);
        }
        if self.head.bytes > self.limits.bytes {
            return Err(Refusal::HeadTooLarge);
        }
        let Some(end) = end else {
            self.carry.extend_from_slice(bytes);
            return Ok(taken);
        };
        let ended = if self.carry.is_empty() {
            self.head.read_line(&bytes[..end], self.limits)?
        } else {
            self.carry.extend_from_slice(&bytes[..end]);
            let ended = self.head.read_line(&self.carry, self.limits)?;
            self.carry.clear();
            ended
        };
        if ended {
            let head = std::mem::take(&mut self.head);
            self.has_passed = true;
            self.place = match head.content_length {
                _ if head.is_chunked || head.is_connect => Place::Rest,
                None | Some(0) => Place::Head,
                Some(length) => Place::Body(length),
            };
        }
        Ok(taken)
    }
}

/// Room for a method, a version and the spaces between.
const LONGEST_REQUEST_LINE_REST: usize = 64;

impl Head {
    /// Takes one line without its LF, and says whether the head ends with it.
    fn read_line(&mut self, line: &[u8], limits: HeadLimits) -> Result<bool, Refusal> {
        let Some((b'\r', line)) = line.split_last() else { return Err(Refusal::LineEnd) };
        if !self.request_line {
            return self.read_request_line(line, limits).map(|()| false);
        }
        if line.is_empty() {
            return self.check().map(|()| true);
        }
        self.read_field(line, limits).map(|()| false)
    }

    fn read_request_line(&mut self, line: &[u8], limits: HeadLimits) -> Result<(), Refusal> {
        if line.is_empty() {
            // RFC 9112 section 2.2: one empty line before a request is forgiven.
            self.blank_lines += 1;
            return if self.blank_lines > 1 { Err(Refusal::RequestLine) } else { Ok(()) };
        }
        self.request_line = true;
        let (Some(first), Some(last)) = (memchr(b' ', line), memrchr(b' ', line)) else {
            return Err(Refusal::RequestLine);
        };
        if first == last {
            return Err(Refusal::RequestLine);
        }
        let (method, target, version) = (&line[..first], &line[first + 1..last], &line[last + 1..]);
        if !is_token(method) {
            return Err(Refusal::RequestLine);
        }
        self.is_http_11 = match version {
            b"HTTP/1.1" => true,
            b"HTTP/1.0" => false,
            other if other.starts_with(b"HTTP/") => return Err(Refusal::Version),
            _ => return Err(Refusal::RequestLine),
        };
        if target.len() > limits.uri_bytes {
            return Err(Refusal::UriTooLong);
        }
        self.is_connect = method == b"CONNECT";
        self.authority = authority_of(method, target)?;
        Ok(())
    }

    fn read_field(&mut self, line: &[u8], limits: HeadLimits) -> Result<(), Refusal> {
        self.fields += 1;
        if self.fields > limits.fields {
            return Err(Refusal::TooManyFields);
        }
        let colon = memchr(b':', line).ok_or(Refusal::Field)?;
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        // Also catches a folded line, which begins with a space, and a space before the colon.
        if !is_token(name) || has_control(value) {
            return Err(Refusal::Field);
        }
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => self.read_host(value.trim_ascii()),
            14 if name.eq_ignore_ascii_case(b"content-length") => self.read_content_length(value.trim_ascii()),
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => self.read_transfer_encoding(value.trim_ascii()),
            _ => Ok(()),
        }
    }

    fn read_host(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.has_host {
            return Err(Refusal::ManyHosts);
        }
        self.has_host = true;
        if !is_authority(value) {
            return Err(Refusal::BadHost);
        }
        match &self.authority {
            Some(authority) if !authority.eq_ignore_ascii_case(value) => Err(Refusal::HostMismatch),
            _ => Ok(()),
        }
    }

    fn read_content_length(&mut self, value: &[u8]) -> Result<(), Refusal> {
        // Eighteen digits cannot overflow, and no body is that long.
        let is_number = !value.is_empty() && value.len() <= 18 && value.iter().all(u8::is_ascii_digit);
        if !is_number || self.content_length.is_some() {
            return Err(Refusal::ContentLength);
        }
        let length = value.iter().fold(0_u64, |length, digit| length * 10 + u64::from(digit - b'0'));
        self.content_length = Some(length);
        Ok(())
    }

    fn read_transfer_encoding(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.is_chunked || !value.eq_ignore_ascii_case(b"chunked") {
            return Err(Refusal::TransferEncoding);
        }
        self.is_chunked = true;
        Ok(())
    }

    /// The rules that need the whole head.
    fn check(&self) -> Result<(), Refusal> {
        if self.is_chunked && self.content_length.is_some() {
            return Err(Refusal::TwoLengths);
        }
        if self.is_chunked && !self.is_http_11 {
            return Err(Refusal::TransferEncoding);
        }
        if self.is_http_11 && !self.has_host {
            return Err(Refusal::NoHost);
        }
        Ok(())
    }
}

/// Checks the target's form and returns the authority that it names, if it is in absolute form.
fn authority_of(method: &[u8], target: &[u8]) -> Result<Option<Box<[u8]>>, Refusal> {
    let is_uri = target.iter().all(|byte| matches!(byte, 0x21..=0x7e) && !matches!(byte, b'#' | b'<' | b'>' | b'`'));
    if !is_uri {
        return Err(Refusal::Target);
    }
    if method == b"CONNECT" {
        return if is_authority(target) { Ok(None) } else { Err(Refusal::Target) };
    }
    if target.first() == Some(&b'/') || (target == b"*" && method == b"OPTIONS") {
        return Ok(None);
    }
    let rest = [&b"http://"[..], b"https://"]
        .into_iter()
        .find_map(|scheme| {
            let (start, rest) = target.split_at_checked(scheme.len())?;
            start.eq_ignore_ascii_case(scheme).then_some(rest)
        })
        .ok_or(Refusal::Target)?;
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    if !is_authority(&rest[..end]) {
        return Err(Refusal::Target);
    }
    Ok(Some(rest[..end].to_ascii_lowercase().into()))
}

/// Whether this is a host with an optional port: a name as DNS has it, an IPv4 address, or an IPv6 one in brackets.
/// No user name, nothing percent-encoded.
pub(super) fn is_authority(value: &[u8]) -> bool {
    let (host, port) = if value.first() == Some(&b'[') {
        let Some(end) = memchr(b']', value) else { return false };
        let is_address =
            end > 1 && value[1..end].iter().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.'));
        (is_address, &value[end + 1..])
    } else {
        let end = memchr(b':', value).unwrap_or(value.len());
        let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'~');
        (end > 0 && value[..end].iter().all(is_name), &value[end..])
    };
    let is_port = match port.split_first() {
        None => true,
        Some((b':', digits)) => digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit),
        Some(_) => false,
    };
    host && is_port
}

/// RFC 9110 section 5.6.2.
fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| TOKEN[usize::from(*byte)])
}

const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        table[byte as usize] = byte.is_ascii_alphanumeric();
        byte += 1;
    }
    let others = b"!#$%&'*+-.^_`|~";
    let mut at = 0;
    while at < others.len() {
        table[others[at] as usize] = true;
        at += 1;
    }
    table
};

/// Control characters other than tab. Counted without an early exit, so that many bytes are looked at at once.
fn has_control(value: &[u8]) -> bool {
    value.iter().filter(|byte| byte.is_ascii_control() && **byte != b'\t').count() > 0
}

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;
