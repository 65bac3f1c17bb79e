use super::*;

const LIMITS: HeadLimits = HeadLimits { bytes: 1024, fields: 8, uri_bytes: 256 };

fn scan(text: &[u8]) -> Result<(), Refusal> {
    HeadScanner::new(LIMITS).scan(text).map_err(|stop| stop.refusal)
}

/// The same bytes must give the same verdict however the network cuts them.
fn scan_cut(text: &[u8], size: usize) -> Result<(), Refusal> {
    let mut scanner = HeadScanner::new(LIMITS);
    text.chunks(size).try_for_each(|chunk| scanner.scan(chunk).map_err(|stop| stop.refusal))
}

fn refused_heads() -> Vec<(Vec<u8>, Refusal)> {
    let head = |line: &str, fields: &str| format!("{line}\r\n{fields}\r\n").into_bytes();
    let get = |fields: &str| head("GET / HTTP/1.1", fields);
    vec![
        (get(""), Refusal::NoHost),
        (get("Host: a\r\nHost: a\r\n"), Refusal::ManyHosts),
        (get("Host: a\r\nhOST: b\r\n"), Refusal::ManyHosts),
        (get("Host:\r\n"), Refusal::BadHost),
        (get("Host: a b\r\n"), Refusal::BadHost),
        (get("Host: user@a\r\n"), Refusal::BadHost),
        (get("Host: a,b\r\n"), Refusal::BadHost),
        (get("Host: a:123456\r\n"), Refusal::BadHost),
        (get("Host: a:b\r\n"), Refusal::BadHost),
        (get("Host: [::1\r\n"), Refusal::BadHost),
        (get("Host: [::1]a\r\n"), Refusal::BadHost),
        (get("Host: a/b\r\n"), Refusal::BadHost),
        (get("Host: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n"), Refusal::TwoLengths),
        (get("Host: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n"), Refusal::TwoLengths),
        (get("Host: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n"), Refusal::ContentLength),
        (get("Host: a\r\nContent-Length: 1, 1\r\n"), Refusal::ContentLength),
        (get("Host: a\r\nContent-Length: +1\r\n"), Refusal::ContentLength),
        (get("Host: a\r\nContent-Length: -1\r\n"), Refusal::ContentLength),
        (get("Host: a\r\nContent-Length: 0x1\r\n"), Refusal::ContentLength),
        (get("Host: a\r\nContent-Length:\r\n"), Refusal::ContentLength),
        (get("Host: a\r\nContent-Length: 9999999999999999999\r\n"), Refusal::ContentLength),
        (get("Host: a\r\nTransfer-Encoding: xchunked\r\n"), Refusal::TransferEncoding),
        (get("Host: a\r\nTransfer-Encoding: gzip, chunked\r\n"), Refusal::TransferEncoding),
        (get("Host: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"), Refusal::TransferEncoding),
        (head("GET / HTTP/1.0", "Transfer-Encoding: chunked\r\n"), Refusal::TransferEncoding),
        (get("Host : a\r\n"), Refusal::Field),
        (get("Host: a\r\nX: a\r\n b\r\n"), Refusal::Field),
        (get(" Host: a\r\n"), Refusal::Field),
        (get("Host: a\r\nno colon\r\n"), Refusal::Field),
        (get("Host: a\r\n: empty\r\n"), Refusal::Field),
        (get("Host: a\r\nX: a\0b\r\n"), Refusal::Field),
        (get("Host: a\r\nX: a\rb\r\n"), Refusal::Field),
        (b"GET / HTTP/1.1\nHost: a\n\n".to_vec(), Refusal::LineEnd),
        (b"GET / HTTP/1.1\r\nHost: a\n\r\n".to_vec(), Refusal::LineEnd),
        (b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), Refusal::LineEnd),
        (b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), Refusal::RequestLine),
        (head("GET /", "Host: a\r\n"), Refusal::RequestLine),
        (head("GET  HTTP/1.1", "Host: a\r\n"), Refusal::Target),
        (head("G(T / HTTP/1.1", "Host: a\r\n"), Refusal::RequestLine),
        (head("GET / HTTQ/1.1", "Host: a\r\n"), Refusal::RequestLine),
        (head("GET / HTTP/2.0", "Host: a\r\n"), Refusal::Version),
        (head("PRI * HTTP/2.0", ""), Refusal::Version),
        (head("GET / HTTP/1.2", "Host: a\r\n"), Refusal::Version),
        (head("GET /a b HTTP/1.1", "Host: a\r\n"), Refusal::Target),
        (head("GET a HTTP/1.1", "Host: a\r\n"), Refusal::Target),
        (head("GET * HTTP/1.1", "Host: a\r\n"), Refusal::Target),
        (head("GET /#a HTTP/1.1", "Host: a\r\n"), Refusal::Target),
        (head("GET ftp://a/ HTTP/1.1", "Host: a\r\n"), Refusal::Target),
        (head("GET http:///x HTTP/1.1", "Host: a\r\n"), Refusal::Target),
        (head("GET http://u@a/ HTTP/1.1", "Host: a\r\n"), Refusal::Target),
        (head("GET http://a/ HTTP/1.1", "Host: b\r\n"), Refusal::HostMismatch),
        (head("CONNECT / HTTP/1.1", "Host: a\r\n"), Refusal::Target),
        (get(&format!("Host: a\r\n{}", "X: 1\r\n".repeat(8))), Refusal::TooManyFields),
        (get(&format!("Host: a\r\nX: {}\r\n", "1".repeat(1024))), Refusal::HeadTooLarge),
        (head(&format!("GET /{} HTTP/1.1", "a".repeat(256)), "Host: a\r\n"), Refusal::UriTooLong),
        (head(&format!("GET /{} HTTP/1.1", "a".repeat(2048)), "Host: a\r\n"), Refusal::UriTooLong),
    ]
}

#[test]
fn every_bad_head_is_refused_however_it_is_cut() {
    for (text, refusal) in refused_heads() {
        let shown = String::from_utf8_lossy(&text).into_owned();
        assert_eq!(scan(&text), Err(refusal), "{shown:?}");
        for size in [1, 2, 3, 7] {
            assert_eq!(scan_cut(&text, size), Err(refusal), "{shown:?} cut at {size}");
        }
    }
}

#[test]
fn good_heads_pass_however_they_are_cut() {
    let good: &[&str] = &[
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
        "GET /p?q=%20&r[]=1 HTTP/1.1\r\nhost:example.org:8080\r\nX: \t a\u{e9} \r\n\r\n",
        "GET http://EXAMPLE.org/x HTTP/1.1\r\nHost: example.org\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
        "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n\n\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nanything",
    ];
    for text in good {
        for size in [1, 2, 5, text.len()] {
            assert_eq!(scan_cut(text.as_bytes(), size), Ok(()), "{text:?} cut at {size}");
        }
    }
}

#[test]
fn requests_before_a_bad_one_pass() {
    let first = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nHost\n";
    let stream = [&first[..], b"GET / HTTP/1.1\r\n\r\n"].concat();
    let stop = HeadScanner::new(LIMITS).scan(&stream).unwrap_err();
    assert_eq!(stop, Stop { passed: first.len(), refusal: Refusal::NoHost });
}

#[test]
fn a_head_is_open_from_its_first_byte_to_its_last() {
    let mut scanner = HeadScanner::new(LIMITS);
    assert!(!scanner.is_in_head());
    scanner.scan(b"G").unwrap();
    assert!(scanner.is_in_head());
    scanner.scan(b"ET / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r").unwrap();
    assert!(scanner.is_in_head());
    scanner.scan(b"\n").unwrap();
    assert!(!scanner.is_in_head());
    scanner.scan(b"xy").unwrap();
    assert!(!scanner.is_in_head());
}
