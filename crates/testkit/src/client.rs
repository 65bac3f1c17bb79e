//! A client that remembers who it is and checks the laws of every answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode};
use serde_json::Value;

use crate::laws;

/// Somebody who calls: anonymous, or with a token.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    /// More servers, and whose turn it is: for clients that go from one to the next.
    others: Arc<[String]>,
    turn: Arc<AtomicUsize>,
    token: Option<String>,
}

/// A request that is being put together.
#[derive(Debug)]
pub struct Request<'a> {
    client: &'a Client,
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Option<Vec<u8>>,
}

/// What came back, read to its end.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
}

impl Client {
    /// Anonymous, speaking to the server at `base`. Does not follow redirects.
    pub fn new(base: &str) -> Self {
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(std::time::Duration::from_mins(1))
            .danger_accept_invalid_certs(true)
            .build()
            .expect("a client");
        let base = base.trim_end_matches('/').to_owned();
        Self { http, base, others: Arc::default(), turn: Arc::default(), token: None }
    }

    /// Anonymous, asking each of these servers in turn, as through a balancer that knows nobody.
    ///
    /// # Panics
    /// When there is none.
    pub fn moving(bases: &[&str]) -> Self {
        let others = bases[1..].iter().map(|base| base.trim_end_matches('/').to_owned()).collect();
        Self { others, ..Self::new(bases[0]) }
    }

    /// Where the next request goes.
    fn next_base(&self) -> &str {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % (self.others.len() + 1);
        turn.checked_sub(1).map_or(&self.base, |other| &self.others[other])
    }

    /// The same client with connections of its own.
    #[must_use]
    pub fn another(&self) -> Self {
        Self { http: Self::new(&self.base).http, ..self.clone() }
    }

    /// The same client with an access token.
    #[must_use]
    pub fn with_token(&self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self.clone() }
    }

    /// The same client without a token.
    #[must_use]
    pub fn anonymous(&self) -> Self {
        Self { token: None, ..self.clone() }
    }

    /// The access token, if it is somebody.
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// Where the server is.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Begins a request.
    pub fn request(&self, method: Method, path: &str) -> Request<'_> {
        Request { client: self, method, path: path.to_owned(), headers: HeaderMap::new(), body: None }
    }

    /// GET.
    pub async fn get(&self, path: &str) -> Answer {
        self.request(Method::GET, path).send().await
    }

    /// POST with a JSON body.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.request(Method::POST, path).json(body).send().await
    }

    /// PATCH with a merge patch, on the version that `etag` names.
    pub async fn patch(&self, path: &str, etag: &str, body: &Value) -> Answer {
        self.request(Method::PATCH, path).header("if-match", etag).json(body).send().await
    }

    /// DELETE of the version that `etag` names.
    pub async fn delete(&self, path: &str, etag: &str) -> Answer {
        self.request(Method::DELETE, path).header("if-match", etag).send().await
    }
}

impl Request<'_> {
    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a header name");
        self.headers.append(name, HeaderValue::from_bytes(value.as_bytes()).expect("a header value"));
        self
    }

    /// Sets a JSON body.
    #[must_use]
    pub fn json(self, body: &Value) -> Self {
        let kind = if self.method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
        self.header("content-type", kind).body(serde_json::to_vec(body).expect("JSON"))
    }

    /// Sets any body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// Whether it asks for a change.
    pub(crate) fn is_write(&self) -> bool {
        !self.method.is_safe()
    }

    /// Sends it; what never got an answer is an error.
    pub async fn try_send(self) -> Result<Answer, reqwest::Error> {
        let Self { client, method, path, mut headers, body } = self;
        if let Some(token) = &client.token
            && !headers.contains_key("authorization")
        {
            headers.insert("authorization", format!("Bearer {token}").parse().expect("a token"));
        }
        let authenticated = headers.contains_key("authorization");
        let mut request = client.http.request(method.clone(), format!("{}{path}", client.next_base())).headers(headers);
        if let Some(body) = body {
            request = request.body(body);
        }
        let response = request.send().await?;
        let (status, headers) = (response.status(), response.headers().clone());
        let answer = Answer { status, headers, body: response.bytes().await?.to_vec() };
        laws::check(&method, &path, authenticated, &answer);
        Ok(answer)
    }

    /// Sends it.
    ///
    /// # Panics
    /// When no answer comes, or one that breaks a law.
    pub async fn send(self) -> Answer {
        let what = format!("{} {}", self.method, self.path);
        self.try_send().await.unwrap_or_else(|error| panic!("{what}: {error:?}"))
    }
}

impl Answer {
    /// A header's value, if it has one that is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The entity tag.
    pub fn etag(&self) -> &str {
        self.header("etag").unwrap_or_else(|| panic!("no entity tag: {self:?}"))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {} {}", self.status, self.text()))
    }

    /// The same answer, if it has this status.
    ///
    /// # Panics
    /// When it has another.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.text());
        self
    }

    /// The problem's code: the last segment of its type.
    pub fn problem(&self) -> String {
        let problem = self.json();
        problem["type"].as_str().and_then(|kind| kind.rsplit('/').next()).unwrap_or_default().to_owned()
    }

    /// Every fault as `pointer code`.
    pub fn faults(&self) -> Vec<String> {
        let problem = self.json();
        let faults = problem["errors"].as_array().cloned().unwrap_or_default();
        faults
            .iter()
            .map(|fault| {
                format!("{} {}", fault["pointer"].as_str().unwrap_or("?"), fault["code"].as_str().unwrap_or("?"))
            })
            .collect()
    }
}
