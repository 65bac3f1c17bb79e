//! Durations and sizes as people write them.

use std::time::Duration;

/// The units of a duration, largest first, in milliseconds.
const DURATIONS: [(&str, u64); 6] =
    [("w", 604_800_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// The units of a size, in bytes. Binary ones as in IEC 80000-13, decimal ones as in SI.
const SIZES: [(&str, u64); 10] = [
    ("", 1),
    ("b", 1),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
];

/// Reads `"250ms"`, `"5m"`, `"1h 30m"`, `"0s"`. A number without a unit is refused (except 0):
/// nobody should have to guess whether it means seconds.
pub(super) fn parse_duration(text: &str) -> Option<Duration> {
    if text.trim() == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text.trim();
    let mut total = 0_u64;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let (number, after) = split_number(rest)?;
        let after = after.trim_start();
        let end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (_, unit) = DURATIONS.into_iter().find(|(name, _)| *name == &after[..end])?;
        total = total.checked_add(number.checked_mul(unit)?)?;
        rest = after[end..].trim_start();
    }
    Some(Duration::from_millis(total))
}

/// Writes a duration the way [`parse_duration`] reads it.
pub(super) fn show_duration(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut parts = Vec::new();
    for (name, unit) in DURATIONS.into_iter().skip(1) {
        if rest >= unit {
            parts.push(format!("{}{name}", rest / unit));
            rest %= unit;
        }
    }
    if parts.is_empty() { "0s".to_owned() } else { parts.join(" ") }
}

/// Reads `"1 MiB"`, `"64KiB"`, `"10 MB"`, `"4096"`.
pub(super) fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = split_number(text.trim())?;
    let unit = unit.trim().to_ascii_lowercase();
    let (_, factor) = SIZES.into_iter().find(|(name, _)| *name == unit)?;
    number.checked_mul(factor)
}

/// Writes a size the way [`parse_size`] reads it.
pub(super) fn show_size(bytes: u64) -> String {
    let binary = [("TiB", 1_u64 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match binary.into_iter().find(|(_, unit)| bytes >= *unit && bytes.is_multiple_of(*unit)) {
        Some((name, unit)) => format!("{} {name}", bytes / unit),
        None => format!("{bytes} B"),
    }
}

fn split_number(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, &text[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        for (text, millis) in [
            ("0", 0),
            ("0s", 0),
            ("250ms", 250),
            ("5m", 300_000),
            ("1h 30m", 5_400_000),
            ("1h30m", 5_400_000),
            ("2 h", 7_200_000),
            ("14d", 1_209_600_000),
            ("1w", 604_800_000),
        ] {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "5", "m", "5 parsecs", "-1s", "1.5h", "99999999999999w", "18446744073709551615ms 1ms"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_are_read() {
        for (text, bytes) in [("0", 0), ("4096", 4096), ("1 MiB", 1 << 20), ("64kib", 65_536), ("10 MB", 10_000_000)] {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
        for text in ["", "MiB", "1 XB", "-1", "1.5 MiB", "99999999999 TiB"] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_shown_can_be_read(millis in 0..u64::from(u32::MAX) * 1000, bytes in 0..u64::MAX) {
            let duration = Duration::from_millis(millis);
            proptest::prop_assert_eq!(parse_duration(&show_duration(duration)), Some(duration));
            proptest::prop_assert_eq!(parse_size(&show_size(bytes)), Some(bytes));
        }
    }
}
