//! On MongoDB: one collection, a document for each of ours, its body as BSON.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::TryStreamExt as _;
use inkstone_core::clock::SharedClock;
use inkstone_core::{Code, Context, Error, Result};
use jiff::Timestamp;
use mongodb::bson::{Bson, Document as Doc, deserialize_from_bson, doc, serialize_to_bson};
use mongodb::options::{ClientOptions, WriteConcern};
use mongodb::{Client, Collection, IndexModel};

use crate::{Document, Documents, Listing};

/// Comes after every character of a name.
const AFTER_ALL: &str = "\u{7f}";

/// Documents in a collection of MongoDB.
#[derive(Debug, Clone)]
pub struct MongoDocuments {
    collection: Collection<Doc>,
    clock: SharedClock,
}

impl MongoDocuments {
    /// Connects, and makes the index if it is not there. `url` is `mongodb://…`; a write counts once
    /// the majority has it, and a read sees only what counts.
    ///
    /// # Errors
    /// `Internal` if the address is none or the index cannot be made.
    pub async fn connect(url: &str, database: &str, clock: SharedClock) -> Result<Self> {
        let mut options = ClientOptions::parse(url).await.map_err(Error::internal)?;
        options.write_concern = Some(WriteConcern::majority());
        options.app_name = Some("inkstone".to_owned());
        let client = Client::with_options(options).map_err(Error::internal)?;
        let collection = client.database(database).collection("documents");
        let index = IndexModel::builder().keys(doc! { "collection": 1, "at": 1, "key": 1 }).build();
        collection.create_index(index).await.map_err(Error::internal)?;
        Ok(Self { collection, clock })
    }

    /// Waits for an answer until the deadline of the call.
    async fn in_time<T>(
        &self,
        ctx: &Context,
        work: impl Future<Output = mongodb::error::Result<T>> + Send,
    ) -> Result<T> {
        let left = ctx.deadline.remaining(self.clock.instant());
        match tokio::time::timeout(left, work).await {
            Ok(answer) => answer.map_err(Error::internal),
            Err(_) => Err(late()),
        }
    }
}

fn late() -> Error {
    Error::try_later(Code::DeadlineExceeded, "The store of documents did not answer in time.", Duration::from_secs(1))
}

fn id(collection: &str, key: &str) -> Doc {
    doc! { "collection": collection, "key": key }
}

fn kept(mut found: Doc) -> Result<Document> {
    let bad = || Error::internal("a document in MongoDB is not one of ours");
    let (Some(Bson::String(collection)), Some(Bson::String(key)), Some(Bson::Int64(at)), Some(body)) =
        (found.remove("collection"), found.remove("key"), found.remove("at"), found.remove("body"))
    else {
        return Err(bad());
    };
    let at = Timestamp::from_microsecond(at).map_err(Error::internal)?;
    Ok(Document::kept(collection, key, at, deserialize_from_bson(body).map_err(Error::internal)?))
}

#[async_trait]
impl Documents for MongoDocuments {
    async fn put(&self, ctx: &Context, document: &Document) -> Result<()> {
        let (collection, key) = (document.collection(), document.key());
        let body = serialize_to_bson(document.body()).map_err(Error::internal)?;
        let whole = doc! {
            "_id": id(collection, key),
            "collection": collection,
            "key": key,
            "at": document.at().as_microsecond(),
            "body": body,
        };
        let put = self.collection.replace_one(doc! { "_id": id(collection, key) }, whole).upsert(true);
        self.in_time(ctx, put.into_future()).await.map(drop)
    }

    async fn get(&self, ctx: &Context, collection: &str, key: &str) -> Result<Option<Document>> {
        let find = self.collection.find_one(doc! { "_id": id(collection, key) });
        self.in_time(ctx, find.into_future()).await?.map(kept).transpose()
    }

    async fn list(&self, ctx: &Context, listing: &Listing) -> Result<Vec<Document>> {
        let Listing { collection, prefix, from, until, after, limit } = listing;
        // To MongoDB that is no limit.
        if *limit == 0 {
            return Ok(Vec::new());
        }
        let mut filter = doc! {
            "collection": collection,
            "at": { "$gte": from.as_microsecond(), "$lt": until.as_microsecond() },
            "key": { "$gte": prefix, "$lt": format!("{prefix}{AFTER_ALL}") },
        };
        if let Some((at, key)) = after {
            let at = at.as_microsecond();
            filter.insert("$or", [doc! { "at": { "$gt": at } }, doc! { "at": at, "key": { "$gt": key } }].to_vec());
        }
        let find = self.collection.find(filter).sort(doc! { "at": 1, "key": 1 }).limit(i64::from(*limit));
        let found: Vec<Doc> = self.in_time(ctx, async move { find.await?.try_collect().await }).await?;
        found.into_iter().map(kept).collect()
    }

    async fn remove_older(&self, ctx: &Context, collection: &str, before: Timestamp, most: u32) -> Result<u64> {
        if most == 0 {
            return Ok(0);
        }
        let old = doc! { "collection": collection, "at": { "$lt": before.as_microsecond() } };
        let find = self.collection.find(old).sort(doc! { "at": 1, "key": 1 }).limit(i64::from(most));
        let found: Vec<Doc> =
            self.in_time(ctx, async move { find.projection(doc! { "_id": 1 }).await?.try_collect().await }).await?;
        let ids: Vec<Bson> = found.into_iter().filter_map(|mut found| found.remove("_id")).collect();
        if ids.is_empty() {
            return Ok(0);
        }
        let remove = self.collection.delete_many(doc! { "_id": { "$in": ids } });
        Ok(self.in_time(ctx, remove.into_future()).await?.deleted_count)
    }
}
