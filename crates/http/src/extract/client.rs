//! Where a request comes from, and whether it came in the open. Proxy headers count only when a
//! trusted proxy sent them.

use std::net::{IpAddr, Ipv4Addr};

use http::{Extensions, HeaderMap};

use crate::settings::{ClientAddressHeader, Network};

/// The address at the other end of the connection. The server puts it into every request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddr(pub IpAddr);

/// Marks a request that came over TLS. The server puts it there.
#[derive(Debug, Clone, Copy)]
pub struct OverTls;

/// The client's address: that of the connection, or, behind trusted proxies, the last one in
/// `header` that no trusted proxy has.
pub fn address(
    extensions: &Extensions,
    headers: &HeaderMap,
    trusted: &[Network],
    header: ClientAddressHeader,
) -> IpAddr {
    let Some(ClientAddr(peer)) = extensions.get().copied() else {
        return IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    };
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
    let mut address = peer.to_canonical();
    if !is_trusted(address) {
        return address;
    }
    // From the nearest hop outwards; the first that is not ours is as far as the truth reaches.
    for hop in hops(headers, header).into_iter().rev() {
        match hop {
            Some(hop) => address = hop.to_canonical(),
            None => return address,
        }
        if !is_trusted(address) {
            return address;
        }
    }
    address
}

/// Whether the peer itself is a trusted proxy.
pub fn is_behind_trusted_proxy(extensions: &Extensions, trusted: &[Network]) -> bool {
    let peer = extensions.get().map(|ClientAddr(peer)| *peer);
    peer.is_some_and(|peer| trusted.iter().any(|network| network.contains(peer)))
}

/// Whether what came may have been read on its way: it is known to have come without encryption.
///
/// A trusted proxy is asked (`X-Forwarded-Proto`, or `proto` of `Forwarded`); one that does not say
/// is a matter of its configuration. From this machine itself nothing crosses a network.
pub fn is_exposed(
    extensions: &Extensions,
    headers: &HeaderMap,
    trusted: &[Network],
    header: ClientAddressHeader,
) -> bool {
    let Some(ClientAddr(peer)) = extensions.get().copied() else { return false };
    if extensions.get::<OverTls>().is_some() {
        return false;
    }
    if !is_behind_trusted_proxy(extensions, trusted) {
        return !peer.to_canonical().is_loopback();
    }
    let is_plain = |scheme: &str| scheme.eq_ignore_ascii_case("http");
    match header {
        // Proxies replace this one. Where it has become a list, each entry is somebody's word.
        ClientAddressHeader::XForwardedFor => values(headers, "x-forwarded-proto").any(|scheme| is_plain(&scheme)),
        ClientAddressHeader::Forwarded => {
            // What counts is how the client came; between proxies of ours is their own matter.
            let hops: Vec<String> = values(headers, "forwarded").collect();
            let is_ours = |hop: &String| {
                forwarded_for(hop).is_some_and(|address| trusted.iter().any(|network| network.contains(address)))
            };
            let client = hops.iter().rposition(|hop| !is_ours(hop)).unwrap_or(0);
            hops.get(client).and_then(|hop| forwarded(hop, "proto")).is_some_and(is_plain)
        }
    }
}

/// The hops as the header names them; `None` for one that is hidden or unreadable.
fn hops(headers: &HeaderMap, header: ClientAddressHeader) -> Vec<Option<IpAddr>> {
    match header {
        ClientAddressHeader::Forwarded => values(headers, "forwarded").map(|element| forwarded_for(&element)).collect(),
        ClientAddressHeader::XForwardedFor => values(headers, "x-forwarded-for").map(|hop| node(&hop)).collect(),
    }
}

/// The elements of a list header, over all of its lines.
fn values<'a>(headers: &'a HeaderMap, name: &'static str) -> impl Iterator<Item = String> + 'a {
    let lines = headers.get_all(name).iter().map(|line| line.to_str().unwrap_or("unknown"));
    lines.flat_map(|line| line.split(',').map(|element| element.trim().to_owned()))
}

fn forwarded_for(element: &str) -> Option<IpAddr> {
    node(forwarded(element, "for")?)
}

/// A parameter of an element of `Forwarded`.
fn forwarded<'a>(element: &'a str, parameter: &str) -> Option<&'a str> {
    let mut pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case(parameter))?;
    Some(value.trim().trim_matches('"'))
}

/// An address, bare or with a port; IPv6 with a port stands in brackets.
fn node(text: &str) -> Option<IpAddr> {
    if let Some(rest) = text.strip_prefix('[') {
        return rest.split_once(']')?.0.parse().ok();
    }
    text.parse().ok().or_else(|| text.rsplit_once(':')?.0.parse().ok())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn seen(header: ClientAddressHeader, peer: &str, headers: &[(&'static str, &'static str)]) -> String {
        let mut extensions = Extensions::new();
        extensions.insert(ClientAddr(peer.parse().unwrap()));
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        address(&extensions, &map, &["10.0.0.0/8".parse().unwrap()], header).to_string()
    }

    #[test]
    fn proxy_headers_count_only_from_trusted_proxies() {
        let seen = |peer: &str, headers: &[_]| seen(ClientAddressHeader::XForwardedFor, peer, headers);
        assert_eq!(seen("203.0.113.5", &[("x-forwarded-for", "198.51.100.7")]), "203.0.113.5");
        assert_eq!(seen("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(seen("10.0.0.1", &[("x-forwarded-for", "198.51.100.7")]), "198.51.100.7");
        assert_eq!(seen("::ffff:10.0.0.1", &[("x-forwarded-for", "198.51.100.7")]), "198.51.100.7");
        // What the client itself claimed stands further left and is not believed.
        assert_eq!(seen("10.0.0.1", &[("x-forwarded-for", "1.1.1.1, 198.51.100.7, 10.0.0.2")]), "198.51.100.7");
        assert_eq!(
            seen("10.0.0.1", &[("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "198.51.100.7")]),
            "198.51.100.7"
        );
        assert_eq!(seen("10.0.0.1", &[("x-forwarded-for", "1.1.1.1, rubbish")]), "10.0.0.1");
        assert_eq!(seen("10.0.0.1", &[("x-forwarded-for", "198.51.100.7:5123")]), "198.51.100.7");
    }

    #[test]
    fn what_came_without_encryption_is_exposed_unless_it_never_left_the_machine() {
        let exposed = |header, peer: &str, given: &[(&'static str, &'static str)]| {
            let mut extensions = Extensions::new();
            extensions.insert(ClientAddr(peer.parse().unwrap()));
            let headers = given
                .iter()
                .map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_static(value)));
            let headers: HeaderMap = headers.collect();
            let trusted = ["10.0.0.0/8".parse().unwrap()];
            let open = is_exposed(&extensions, &headers, &trusted, header);
            extensions.insert(OverTls);
            assert!(!is_exposed(&extensions, &headers, &trusted, header), "over TLS");
            open
        };
        for (peer, given, expected) in [
            ("203.0.113.5", None, true),
            ("203.0.113.5", Some("https"), true),
            ("127.0.0.1", None, false),
            ("127.0.0.1", Some("http"), false),
            ("::1", None, false),
            ("::ffff:127.0.0.1", None, false),
            ("10.0.0.1", None, false),
            ("10.0.0.1", Some("https"), false),
            ("10.0.0.1", Some("HTTP"), true),
            ("10.0.0.1", Some("https, http"), true),
        ] {
            let given: Vec<_> = given.into_iter().map(|scheme| ("x-forwarded-proto", scheme)).collect();
            assert_eq!(exposed(ClientAddressHeader::XForwardedFor, peer, &given), expected, "{peer} {given:?}");
        }
        for (given, expected) in [
            ("for=198.51.100.7;proto=http", true),
            ("for=198.51.100.7;proto=https", false),
            ("proto=\"http\"", true),
            ("for=198.51.100.7", false),
            ("for=1.1.1.1;proto=https, for=198.51.100.7;proto=http", true),
            ("for=198.51.100.7;proto=https, for=10.0.0.2;proto=http", false),
            ("for=10.0.0.3;proto=http, for=10.0.0.2;proto=https", true),
        ] {
            let given = [("forwarded", given), ("x-forwarded-proto", "http")];
            assert_eq!(exposed(ClientAddressHeader::Forwarded, "10.0.0.1", &given), expected, "{given:?}");
        }
    }

    #[test]
    fn forwarded_names_the_client_where_it_is_chosen() {
        let seen = |peer: &str, headers: &[_]| seen(ClientAddressHeader::Forwarded, peer, headers);
        assert_eq!(seen("203.0.113.5", &[("forwarded", "for=198.51.100.7")]), "203.0.113.5");
        assert_eq!(
            seen("10.0.0.1", &[("forwarded", r#"for=1.1.1.1, for="[2001:db8::1]:443";proto=https"#)]),
            "2001:db8::1"
        );
        assert_eq!(seen("10.0.0.1", &[("forwarded", "for=_hidden")]), "10.0.0.1");
    }

    #[test]
    fn a_header_that_the_proxy_hands_on_unread_does_not_name_the_client() {
        let both = [("forwarded", "for=1.1.1.1"), ("x-forwarded-for", "198.51.100.7")];
        assert_eq!(seen(ClientAddressHeader::XForwardedFor, "10.0.0.1", &both), "198.51.100.7");
        assert_eq!(seen(ClientAddressHeader::XForwardedFor, "10.0.0.1", &both[..1]), "10.0.0.1");
        let both = [("x-forwarded-for", "1.1.1.1"), ("forwarded", "for=198.51.100.7")];
        assert_eq!(seen(ClientAddressHeader::Forwarded, "10.0.0.1", &both), "198.51.100.7");
        assert_eq!(seen(ClientAddressHeader::Forwarded, "10.0.0.1", &both[..1]), "10.0.0.1");
    }
}
