//! The body of an answer that may come from either side.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};

/// Bytes at hand, or whatever the router answers with. The bytes need no box of their own, which
/// the router's body would cost.
#[derive(Debug)]
pub enum FrontBody {
    /// Bytes that are there already; `None` once they are handed out, or if there are none.
    Ready(Option<Bytes>),
    /// The router's body.
    Router(Body),
}

impl FrontBody {
    /// All of these bytes.
    pub(super) fn of(bytes: &Bytes) -> Self {
        if bytes.is_empty() { Self::empty() } else { Self::Ready(Some(bytes.clone())) }
    }

    /// Nothing.
    pub(super) fn empty() -> Self {
        Self::Ready(None)
    }
}

impl http_body::Body for FrontBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        match self.get_mut() {
            Self::Ready(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Router(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Ready(bytes) => bytes.is_none(),
            Self::Router(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Ready(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Router(body) => body.size_hint(),
        }
    }
}
