//! The limit for cached reads: hyper answers every request with the same bytes.
//!
//! `bare_hyper ADDRESS BODY [HEADERS]`: serves the file BODY as JSON. HEADERS is a file of header
//! lines (`name: value`) that every answer carries too, so that both servers send the same bytes;
//! without it the answer has only what hyper and JSON need.

use std::convert::Infallible;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let usage = "usage: bare_hyper ADDRESS BODY [HEADERS]";
    let mut args = std::env::args().skip(1);
    let address = args.next().ok_or(usage)?;
    let body = Bytes::from(std::fs::read(args.next().ok_or(usage)?)?);
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(file) = args.next() {
        for line in std::fs::read_to_string(file)?.lines() {
            let (name, value) = line.split_once(": ").ok_or("a header line has a colon and a space")?;
            headers.append(HeaderName::try_from(name)?, HeaderValue::try_from(value)?);
        }
    }
    let listener = tokio::net::TcpListener::bind(address).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (body, headers) = (body.clone(), headers.clone());
        tokio::spawn(async move {
            let answer = service_fn(move |_| {
                let mut response = Response::new(Full::new(body.clone()));
                *response.headers_mut() = headers.clone();
                async { Ok::<_, Infallible>(response) }
            });
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
        });
    }
}
