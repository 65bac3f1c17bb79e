//! From when until when a certificate is valid: the one thing of X.509 that is needed here, so it
//! is read directly (RFC 5280 §4.1) instead of with a library for all of it.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

const SEQUENCE: u8 = 0x30;
const EXPLICIT_VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// `notBefore` and `notAfter` of a certificate in DER.
pub(super) fn validity(certificate: &[u8]) -> Option<(Timestamp, Timestamp)> {
    let (_, certificate, _) = element(certificate)?;
    let (_, mut rest, _) = element(certificate)?;
    // version (if it is there), serialNumber, signature, issuer
    let mut to_skip = if *rest.first()? == EXPLICIT_VERSION { 4 } else { 3 };
    while to_skip > 0 {
        rest = element(rest)?.2;
        to_skip -= 1;
    }
    let (SEQUENCE, validity, _) = element(rest)? else { return None };
    let (kind, not_before, rest) = element(validity)?;
    let not_before = time(kind, not_before)?;
    let (kind, not_after, _) = element(rest)?;
    Some((not_before, time(kind, not_after)?))
}

/// The first element: its tag, its content, and what comes after it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (digits, rest) =
            rest.split_at_checked(usize::from(first & 0x7f)).filter(|(digits, _)| digits.len() <= 4)?;
        (digits.iter().fold(0, |length, &digit| length << 8 | usize::from(digit)), rest)
    };
    let (content, after) = rest.split_at_checked(length)?;
    Some((tag, content, after))
}

fn time(kind: u8, text: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(text).ok()?;
    let full = match kind {
        // Two digits for the year: 50 to 99 are in the last century.
        UTC_TIME if text.get(..2)? >= "50" => format!("19{text}"),
        UTC_TIME => format!("20{text}"),
        GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    let civil = DateTime::strptime("%Y%m%d%H%M%S", full.strip_suffix('Z')?).ok()?;
    Some(civil.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dates_of_a_certificate_are_found() {
        for (from, until) in
            [((2020, 2, 3), (2031, 4, 5)), ((1999, 12, 31), (2049, 12, 31)), ((2020, 1, 1), (2051, 6, 7))]
        {
            let mut parameters = rcgen::CertificateParams::new(vec!["blog.example".to_owned()]).unwrap();
            parameters.not_before = rcgen::date_time_ymd(from.0, from.1, from.2);
            parameters.not_after = rcgen::date_time_ymd(until.0, until.1, until.2);
            let key = rcgen::KeyPair::generate().unwrap();
            let certificate = parameters.self_signed(&key).unwrap();
            let (not_before, not_after) = validity(certificate.der()).unwrap();
            let day = |(year, month, day): (i32, u8, u8)| format!("{year:04}-{month:02}-{day:02}T00:00:00Z");
            assert_eq!(not_before.to_string(), day(from));
            assert_eq!(not_after.to_string(), day(until));
        }
    }

    proptest::proptest! {
        #[test]
        fn rubbish_is_no_certificate(bytes: Vec<u8>) {
            let _neither_panics_nor_hangs = validity(&bytes);
        }
    }

    #[test]
    fn a_certificate_that_is_cut_off_has_no_dates() {
        let certified = rcgen::generate_simple_self_signed(vec!["blog.example".to_owned()]).unwrap();
        let der = certified.cert.der();
        for length in 0..der.len().min(100) {
            assert_eq!(validity(&der[..length]), None, "{length}");
        }
    }
}
