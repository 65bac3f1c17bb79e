//! Requests that two servers in a row might cut in two ways. Each carries a whole request where one of them may see a
//! body, and the other something to answer.

/// One attack: what it is about, and its bytes.
pub(super) struct Case {
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
}

/// The mark of the number-th case, for its requests and for what hides in it.
pub(super) fn mark(number: usize) -> String {
    format!("c{number}")
}

/// All cases, numbered in their order.
pub(super) fn all() -> Vec<Case> {
    let mut cases = Cases(Vec::new());
    cases.transfer_encodings();
    cases.content_lengths();
    cases.chunks();
    cases.request_lines();
    cases.fields();
    cases.hop_by_hop();
    cases.methods();
    cases.0
}

struct Cases(Vec<Case>);

impl Cases {
    /// What hides in the next case.
    fn hidden(&self) -> String {
        format!("GET /api/v2/users/1 HTTP/1.1\r\nHost: blog\r\nX-Marker: {}\r\n\r\n", mark(self.0.len()))
    }

    fn add(&mut self, name: &str, bytes: impl Into<Vec<u8>>) {
        self.0.push(Case { name: name.escape_default().to_string(), bytes: bytes.into() });
    }

    /// A head as given, without the empty line, and a body behind it.
    fn add_head(&mut self, head: &str, body: &str) {
        let marker = mark(self.0.len());
        self.add(head, format!("{head}\r\nX-Marker: {marker}\r\n\r\n{body}"));
    }

    /// A POST with these fields. Each goes where bodies are read, and where they are not.
    fn post(&mut self, fields: &str, body: &str) {
        for path in ["/api/v2/auth/login", "/api/v2/posts"] {
            let line = format!("POST {path} HTTP/1.1\r\nHost: blog\r\nContent-Type: application/json");
            self.add_head(&format!("{line}\r\n{fields}"), body);
        }
    }

    fn transfer_encodings(&mut self) {
        for field in [
            "Transfer-Encoding: chunked",
            "Transfer-Encoding: Chunked",
            "Transfer-Encoding:chunked",
            "Transfer-Encoding:  chunked  ",
            "Transfer-Encoding:\tchunked\t",
            "Transfer-Encoding: \u{b}chunked",
            "Transfer-Encoding: \u{c}chunked",
            "Transfer-Encoding: chunked\u{b}",
            "Transfer-Encoding: xchunked",
            "Transfer-Encoding: chunkedx",
            "Transfer-Encoding: \"chunked\"",
            "Transfer-Encoding: 'chunked'",
            "Transfer-Encoding: chunked;q=1",
            "Transfer-Encoding: chunked, identity",
            "Transfer-Encoding: identity, chunked",
            "Transfer-Encoding: identity",
            "Transfer-Encoding: gzip, chunked",
            "Transfer-Encoding: chunked, chunked",
            "Transfer-Encoding: ,chunked",
            "Transfer-Encoding: chunked,",
            "Transfer-Encoding:",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
            "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding : chunked",
            "Transfer-Encoding\t: chunked",
            " Transfer-Encoding: chunked",
            "X: y\r\n Transfer-Encoding: chunked",
            "Transfer-Encoding:\r\n chunked",
            "X: y\rTransfer-Encoding: chunked",
            "X: y\nTransfer-Encoding: chunked",
            "Transfer_Encoding: chunked",
            "Transfer-Encoding\0: chunked",
            "Transfer-Encoding: chunked\0",
            "Transfer-\u{117}ncoding: chunked",
            "Content-Encoding: chunked",
        ] {
            let hidden = self.hidden();
            // The length says that all of it is the body, the encoding that nothing is, and the other way round.
            let all = format!("0\r\n\r\n{hidden}");
            self.post(&format!("Content-Length: {}\r\n{field}", all.len()), &all);
            self.post(field, &all);
            let chunk = format!("{:x}\r\n{hidden}\r\n0\r\n\r\n", hidden.len());
            self.post(&format!("{field}\r\nContent-Length: 4"), &chunk);
        }
    }

    fn content_lengths(&mut self) {
        let hidden = self.hidden();
        let length = hidden.len();
        for value in [
            format!("{length}, {length}"),
            format!("0, {length}"),
            format!("{length}, 0"),
            format!("+{length}"),
            format!("-{length}"),
            "-0".to_owned(),
            format!("00{length}"),
            format!("{length:#x}"),
            format!("{length}.0"),
            format!("{length}e0"),
            format!("{length}a"),
            format!("\"{length}\""),
            format!("{length} 0"),
            format!("0 {length}"),
            format!("{length};0"),
            format!("{length}\0"),
            format!("\u{b}{length}"),
            format!("{length}\t"),
            String::new(),
            "18446744073709551616".to_owned(),
            "18446744073709551615".to_owned(),
            "99999999999999999999999999".to_owned(),
            format!("{}", length + 1000),
            format!("{length}\r\nContent-Length: {length}"),
            format!("{length}\r\nContent-Length: 0"),
            format!("0\r\nContent-Length: {length}"),
            format!("0\r\n Content-Length: {length}"),
            format!("0\r\nContent-Length : {length}"),
            format!("0\r\nContent_Length: {length}"),
            format!("0\nContent-Length: {length}"),
            format!("0\rContent-Length: {length}"),
        ] {
            let hidden = self.hidden();
            self.post(&format!("Content-Length: {value}"), &hidden);
        }
    }

    fn chunks(&mut self) {
        for body in [
            "3\nabc\r\n0\r\n\r\n",
            "3\r\nabc\n0\r\n\r\n",
            "3\r\nabc\r\n0\n\n",
            "3\r\nabc\r\n0\r\n\n",
            "3\rabc\r\n0\r\n\r\n",
            "3\r\nabc0\r\n\r\n",
            "3\r\nabcd\r\n0\r\n\r\n",
            "3\r\nab\r\n0\r\n\r\n",
            " 3\r\nabc\r\n0\r\n\r\n",
            "3 \r\nabc\r\n0\r\n\r\n",
            "3\t\r\nabc\r\n0\r\n\r\n",
            "+3\r\nabc\r\n0\r\n\r\n",
            "-3\r\nabc\r\n0\r\n\r\n",
            "0x3\r\nabc\r\n0\r\n\r\n",
            "0003\r\nabc\r\n0\r\n\r\n",
            "00000000000000000003\r\nabc\r\n0\r\n\r\n",
            "10000000000000003\r\nabc\r\n0\r\n\r\n",
            "ffffffffffffffff\r\nabc\r\n0\r\n\r\n",
            "fffffffffffffffff3\r\nabc\r\n0\r\n\r\n",
            "3g\r\nabc\r\n0\r\n\r\n",
            "\r\nabc\r\n0\r\n\r\n",
            ";\r\nabc\r\n0\r\n\r\n",
            "3;a\r\nabc\r\n0\r\n\r\n",
            "3;a=b\r\nabc\r\n0\r\n\r\n",
            "3;a=\"b\"\r\nabc\r\n0\r\n\r\n",
            "3;a=\"\r\nabc\r\n0\r\n\r\n\"\r\n",
            "3;a\nabc\r\n0\r\n\r\n",
            "3;\0\r\nabc\r\n0\r\n\r\n",
            "3 ;a\r\nabc\r\n0\r\n\r\n",
            "3;a\rb\r\nabc\r\n0\r\n\r\n",
            "0\r\nX: y\r\n\r\n",
            "0\r\nContent-Length: 100\r\n\r\n",
            "0\r\nTransfer-Encoding: chunked\r\n\r\n",
            "0\r\nHost: other\r\n\r\n",
            "0\r\n X: y\r\n\r\n",
            "0\r\nX : y\r\n\r\n",
            "0\r\nX\r\n\r\n",
            "0\r\nX: y\n\n",
            "0\r\n\rX",
            "0\r\nGET / HTTP/1.1\r\n",
            "0;a\n\r\n\r\n",
            "00\r\n\r\n",
            "0\r\n",
        ] {
            let hidden = self.hidden();
            self.post("Transfer-Encoding: chunked", &format!("{body}{hidden}"));
        }
    }

    fn request_lines(&mut self) {
        for line in [
            "GET  /api/v2/tags HTTP/1.1",
            "GET\t/api/v2/tags\tHTTP/1.1",
            "GET /api/v2/tags  HTTP/1.1",
            "GET /api/v2/tags HTTP/1.1 ",
            " GET /api/v2/tags HTTP/1.1",
            "GET /api/v2/tags",
            "GET /api/v2/tags HTTP/0.9",
            "GET /api/v2/tags HTTP/1.0",
            "GET /api/v2/tags HTTP/1.2",
            "GET /api/v2/tags HTTP/1.10",
            "GET /api/v2/tags HTTP/01.1",
            "GET /api/v2/tags HTTP/2.0",
            "GET /api/v2/tags http/1.1",
            "GET /api/v2/tags HTTP/1.1x",
            "GET /api/v2/tags HTTQ/1.1",
            "GET /api/v2/tags HTTP/1,1",
            "GET /api/v2/tags\rHTTP/1.1",
            "GET /api/v2/tags\0 HTTP/1.1",
            "GET /api/v2/tags\u{7f} HTTP/1.1",
            "GET /api/v2/t\u{e9}gs HTTP/1.1",
            "GET /api/v2/tags#x HTTP/1.1",
            "GET /api/v2/tags x HTTP/1.1",
            "GET /api/v2/tags HTTP/1.1 HTTP/1.1",
            "GET \\api\\v2\\tags HTTP/1.1",
            "GET api/v2/tags HTTP/1.1",
            "GET //api/v2/tags HTTP/1.1",
            "GET /../api/v2/tags HTTP/1.1",
            "GET /api/v2/%0d%0aX:%20y HTTP/1.1",
            "GET /api/v2/%00 HTTP/1.1",
            "GET * HTTP/1.1",
            "OPTIONS * HTTP/1.1",
            "GET http://blog/api/v2/tags HTTP/1.1",
            "GET http://other/api/v2/tags HTTP/1.1",
            "GET http://user@blog/api/v2/tags HTTP/1.1",
            "GET https://blog/api/v2/tags HTTP/1.1",
            "GET ftp://blog/api/v2/tags HTTP/1.1",
            "GET http:///api/v2/tags HTTP/1.1",
            "G\0T /api/v2/tags HTTP/1.1",
            "get /api/v2/tags HTTP/1.1",
            "G{T /api/v2/tags HTTP/1.1",
            "PRI * HTTP/2.0",
        ] {
            let hidden = self.hidden();
            self.add_head(&format!("{line}\r\nHost: blog"), &hidden);
        }
        let hidden = self.hidden();
        self.add("blank lines first", format!("\r\n\r\n\r\nGET /api/v2/tags HTTP/1.1\r\nHost: blog\r\n\r\n{hidden}"));
        self.add("bare LF first", format!("\nGET /api/v2/tags HTTP/1.1\r\nHost: blog\r\n\r\n{hidden}"));
        self.add("bare LF everywhere", format!("GET /api/v2/tags HTTP/1.1\nHost: blog\n\n{hidden}"));
        self.add("CR for the empty line", format!("GET /api/v2/tags HTTP/1.1\r\nHost: blog\r\n\r{hidden}"));
        self.add("HTTP/0.9", format!("GET /api/v2/tags\r\n{hidden}"));
        self.add("a response", format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n{hidden}"));
        self.add("HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\u{4}\0\0\0\0\0");
        self.add("a long target", format!("GET /{} HTTP/1.1\r\nHost: blog\r\n\r\n{hidden}", "a".repeat(20_000)));
        let encoded = "POST /api/v2/auth/login HTTP/1.0\r\nHost: blog\r\nTransfer-Encoding: chunked";
        self.add_head(encoded, &format!("0\r\n\r\n{hidden}"));
        let kept =
            "POST /api/v2/auth/login HTTP/1.0\r\nHost: blog\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked";
        self.add_head(kept, &format!("0\r\n\r\n{hidden}"));
    }

    fn fields(&mut self) {
        for fields in [
            "",
            "Host: blog\r\nHost: blog",
            "Host: blog\r\nHost: other",
            "Host:",
            "Host: blog other",
            "Host: user@blog",
            "Host: blog,other",
            "Host: blog/path",
            "Host: blog:80:80",
            "Host: [::1",
            "Host: \u{7f}",
            "Host : blog",
            " Host: blog",
            "Host: blog\r\n Host: other",
            "Host: blog\r\nX: y\r\n z",
            "Host: blog\r\nX: y\r\n\tz",
            "Host: blog\r\nX: y\r z",
            "Host: blog\r\nX: y\r",
            "Host: blog\r\nX\r",
            "Host: blog\r\nX",
            "Host: blog\r\n: y",
            "Host: blog\r\nX: \0",
            "Host: blog\r\nX\0: y",
            "Host: blog\r\nX\u{1}: y",
            "Host: blog\r\nX: \u{1}",
            "Host: blog\r\nX y: z",
            "Host: blog\r\n\"X\": y",
            "Host: blog\r\nX: y\n\nGET /api/v2/users/2 HTTP/1.1",
            "Host: blog\r\nX: y\r\n\nGET /api/v2/users/2 HTTP/1.1",
            "Host: blog\r\nX: y\r\rGET /api/v2/users/2 HTTP/1.1",
            "Host: blog\r\nX: y\u{85}z",
            "Host: blog\r\nX-Request-Id: mine",
            "Host: blog\r\nX-Request-Id: mine\r\nX-Request-Id: mine",
            "Host: blog\r\nX_Request_Id: mine",
        ] {
            let hidden = self.hidden();
            let line = "GET /api/v2/tags HTTP/1.1";
            self.add_head(&[line, fields].join(if fields.is_empty() { "" } else { "\r\n" }), &hidden);
        }
        let hidden = self.hidden();
        let many = "X: y\r\n".repeat(90);
        self.add_head(&format!("GET /api/v2/tags HTTP/1.1\r\nHost: blog\r\n{many}X: y"), &hidden);
        self.add_head(&format!("GET /api/v2/tags HTTP/1.1\r\nHost: blog\r\nX: {}", "y".repeat(7_000)), &hidden);
        self.add_head(&format!("GET /api/v2/tags HTTP/1.1\r\nHost: blog\r\nX: {}", "y".repeat(40_000)), &hidden);
    }

    fn hop_by_hop(&mut self) {
        for fields in [
            "Connection: Content-Length",
            "Connection: content-length, close",
            "Connection: Transfer-Encoding",
            "Connection: Host",
            "Connection: X-Request-Id",
            "Connection: keep-alive, X-Marker",
            "Connection: close\r\nConnection: keep-alive",
            "Connection: \0",
            "Connection: upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__",
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__",
            "Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13",
            "Expect: 100-continue",
            "Expect: 100-continuE",
            "Expect: 200-ok",
            "Expect:  100-continue, x",
            "Expect: 100-continue\r\nExpect: 100-continue",
            "Keep-Alive: timeout=1",
            "Proxy-Connection: keep-alive",
            "TE: trailers, chunked",
            "Trailer: Content-Length",
        ] {
            let hidden = self.hidden();
            self.post(&format!("Content-Length: {}\r\n{fields}", hidden.len()), &hidden);
            self.post(&format!("Transfer-Encoding: chunked\r\n{fields}"), &format!("0\r\n\r\n{hidden}"));
        }
    }

    fn methods(&mut self) {
        for method in ["GET", "HEAD", "OPTIONS", "DELETE", "PUT", "TRACE", "CONNECT", "PATCH", "QUERY"] {
            let hidden = self.hidden();
            let line = format!("{method} /api/v2/tags HTTP/1.1\r\nHost: blog");
            self.add_head(&format!("{line}\r\nContent-Length: {}", hidden.len()), &hidden);
            self.add_head(&format!("{line}\r\nContent-Length: 0"), &hidden);
            self.add_head(&format!("{line}\r\nTransfer-Encoding: chunked"), &format!("0\r\n\r\n{hidden}"));
            let chunk = format!("{:x}\r\n{hidden}\r\n0\r\n\r\n", hidden.len());
            self.add_head(&format!("{line}\r\nTransfer-Encoding: chunked"), &chunk);
            self.add_head(&line, &hidden);
        }
        let hidden = self.hidden();
        self.add_head("CONNECT blog:80 HTTP/1.1\r\nHost: blog:80", &hidden);
        // More than is read before the answer, so that the rest of it is still to come then.
        let large = format!("{}{hidden}", "x".repeat(300_000));
        self.post(&format!("Content-Length: {}", large.len()), &large);
        self.post("Transfer-Encoding: chunked", &format!("{:x}\r\n{large}\r\n0\r\n\r\n", large.len()));
    }
}
