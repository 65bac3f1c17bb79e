//! W3C Trace Context: which distributed trace a request belongs to.

use http::{HeaderMap, HeaderName};

/// The header.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// A position in a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace; never all zero.
    pub trace_id: u128,
    /// The caller's span; never all zero.
    pub parent_id: u64,
    /// Whether the caller records.
    pub is_sampled: bool,
}

/// The caller's position; `None` where the header is absent, doubled or not valid, and a new trace begins.
pub fn parent(headers: &HeaderMap) -> Option<TraceParent> {
    let mut lines = headers.get_all(TRACEPARENT).iter();
    let (line, None) = (lines.next()?, lines.next()) else { return None };
    parse(line.to_str().ok()?)
}

/// Reads a `traceparent`. Versions after 00 may say more at the end; what we know of them comes first.
pub fn parse(text: &str) -> Option<TraceParent> {
    let version = hex(text.get(..2)?)?;
    let known = text.get(..55)?;
    let rest = text.get(55..)?;
    let ends_well = if version == 0 { rest.is_empty() } else { rest.is_empty() || rest.starts_with('-') };
    if version == 0xff || !ends_well {
        return None;
    }
    let mut parts = known.split('-').skip(1);
    let (trace_id, parent_id, flags) = (parts.next()?, parts.next()?, parts.next()?);
    if (trace_id.len(), parent_id.len(), flags.len(), parts.next()) != (32, 16, 2, None) {
        return None;
    }
    let trace_id = hex(trace_id).filter(|id| *id != 0)?;
    let parent_id = u64::try_from(hex(parent_id)?).ok().filter(|id| *id != 0)?;
    Some(TraceParent { trace_id, parent_id, is_sampled: hex(flags)? & 1 == 1 })
}

/// Lower-case digits only, as the standard has it.
fn hex(text: &str) -> Option<u128> {
    let lower = text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    if lower { u128::from_str_radix(text, 16).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traceparents_are_read_as_the_standard_has_it() {
        let trace = "0af7651916cd43dd8448eb211c80319c";
        let span = "b7ad6b7169203331";
        let good = parse(&format!("00-{trace}-{span}-01")).unwrap();
        assert_eq!(
            format!("{:032x}-{:016x}-{}", good.trace_id, good.parent_id, good.is_sampled),
            format!("{trace}-{span}-true")
        );
        for valid in [
            format!("00-{trace}-{span}-00"),
            format!("00-{trace}-{span}-ff"),
            format!("01-{trace}-{span}-01"),
            format!("cc-{trace}-{span}-01-what-the-future-holds"),
            format!("cc-{trace}-{span}-01-"),
        ] {
            assert!(parse(&valid).is_some(), "{valid}");
        }
        let zeros = "0".repeat(32);
        for invalid in [
            String::new(),
            "00".into(),
            "00-".into(),
            format!("ff-{trace}-{span}-01"),
            format!("0-{trace}-{span}-01"),
            format!("000-{trace}-{span}-01"),
            format!("0G-{trace}-{span}-01"),
            format!("00-{zeros}-{span}-01"),
            format!("00-{trace}-{}-01", &zeros[..16]),
            format!("00-{}-{span}-01", trace.to_uppercase()),
            format!("00-{trace}-{}-01", span.to_uppercase()),
            format!("00-{trace}-{span}-0"),
            format!("00-{trace}-{span}-0x"),
            format!("00-{trace}-{span}-01-more"),
            format!("00-{trace}-{span}-01."),
            format!("cc-{trace}-{span}-01.more"),
            format!("cc-{trace}-{span}-011"),
            format!("00-{trace}-{span}"),
            format!("00-{trace}{span}-01"),
            format!("00_{trace}_{span}_01"),
            format!(" 00-{trace}-{span}-01"),
            format!("00-{}-{span}-01", &trace[1..]),
            format!("00-{trace}a-{}-01", &span[1..]),
            format!("00-{trace}-{span}-+1"),
            format!("00-{}-{span}-01", "é".repeat(16)),
        ] {
            assert!(parse(&invalid).is_none(), "{invalid}");
        }
    }
}
