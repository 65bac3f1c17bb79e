//! Documents: what has no columns, is never joined, and is found by its name or its time.
//!
//! A spike at the seam where another kind of store fits: entries of an audit log, payloads of
//! events, old revisions. One small port, [`Documents`]; the implementation that costs nothing lies
//! on the blog's own database ([`StoreDocuments`]), others are behind the features `mongodb` and
//! `dynamodb`. What each costs, and when it is right, is in `docs/decisions/0018-documents.md`.
//!
//! To add one: implement the port, and name it in `tests/conformance.rs`.

mod document;
#[cfg(feature = "dynamodb")]
mod dynamo;
#[cfg(feature = "mongodb")]
mod mongo;
mod store;

use async_trait::async_trait;
use inkstone_core::{Context, Result};
use jiff::Timestamp;

pub use document::{Document, MAX_BODY_BYTES, Unfit};
#[cfg(feature = "dynamodb")]
pub use dynamo::{DynamoAddress, DynamoDocuments};
#[cfg(feature = "mongodb")]
pub use mongo::MongoDocuments;
pub use store::StoreDocuments;

/// What is asked of one collection: documents from a time on and before another, in the order of
/// their times and then of their keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// Which collection.
    pub collection: String,
    /// Only keys that begin with this.
    pub prefix: String,
    /// From this time on.
    pub from: Timestamp,
    /// Before this time.
    pub until: Timestamp,
    /// Only after this document of the page before: its time and its key.
    pub after: Option<(Timestamp, String)>,
    /// At most so many.
    pub limit: u32,
}

/// A store of documents. A document that was put is there for every later call, a list included.
#[async_trait]
pub trait Documents: Send + Sync {
    /// Puts a document there, in the place of the one of that collection and key.
    ///
    /// # Errors
    /// When the store cannot be reached in time or refuses; then it may have happened or not.
    async fn put(&self, ctx: &Context, document: &Document) -> Result<()>;

    /// The document of this key.
    ///
    /// # Errors
    /// When the store cannot be reached in time.
    async fn get(&self, ctx: &Context, collection: &str, key: &str) -> Result<Option<Document>>;

    /// A page of a collection.
    ///
    /// # Errors
    /// As [`Documents::get`].
    async fn list(&self, ctx: &Context, listing: &Listing) -> Result<Vec<Document>>;

    /// Removes documents of a collection from before a time, the oldest first, at most so many; how
    /// many it were.
    ///
    /// # Errors
    /// As [`Documents::put`].
    async fn remove_older(&self, ctx: &Context, collection: &str, before: Timestamp, most: u32) -> Result<u64>;
}
