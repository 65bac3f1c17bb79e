//! On DynamoDB: one table. The collection is the partition, the key the sort key; a local index
//! has the same partition sorted by time.
//!
//! A local index, unlike a global one, can be read as it is now, which the port promises; its price
//! is that one collection holds 10 GB at most. The body is JSON in text: it is never looked into.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::Credentials;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::create_table::CreateTableError;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, DeleteRequest, KeySchemaElement, KeyType, LocalSecondaryIndex,
    Projection, ProjectionType, ScalarAttributeType, WriteRequest,
};
use inkstone_core::clock::SharedClock;
use inkstone_core::{Code, Context, Error, Result};
use jiff::Timestamp;

use crate::{Document, Documents, Listing};

/// The index by time.
const BY_TIME: &str = "by_time";
/// What one request removes at most.
const BATCH: usize = 25;

type Item = HashMap<String, AttributeValue>;

/// Where a table is. Without an endpoint and credentials, where the machine's own settings say.
#[derive(Debug, Clone)]
pub struct DynamoAddress {
    /// The table.
    pub table: String,
    /// The region, such as `eu-central-1`.
    pub region: String,
    /// Another endpoint than the region's.
    pub endpoint: Option<String>,
    /// Key and secret.
    pub credentials: Option<(String, String)>,
}

/// Documents in a table of DynamoDB.
#[derive(Debug, Clone)]
pub struct DynamoDocuments {
    client: Client,
    table: String,
    clock: SharedClock,
}

impl DynamoDocuments {
    /// Gets ready, and makes the table if it is not there.
    ///
    /// # Errors
    /// `Internal` if the table cannot be made.
    pub async fn connect(address: DynamoAddress, clock: SharedClock) -> Result<Self> {
        let mut config = aws_config::defaults(BehaviorVersion::latest()).region(Region::new(address.region));
        if let Some(endpoint) = address.endpoint {
            config = config.endpoint_url(endpoint);
        }
        if let Some((key, secret)) = address.credentials {
            config = config.credentials_provider(Credentials::new(key, secret, None, None, "inkstone"));
        }
        let client = Client::new(&config.load().await);
        let documents = Self { client, table: address.table, clock };
        documents.create().await?;
        Ok(documents)
    }

    async fn create(&self) -> Result<()> {
        let text = |name: &str| {
            AttributeDefinition::builder().attribute_name(name).attribute_type(ScalarAttributeType::S).build()
        };
        let key = |name: &str, kind| KeySchemaElement::builder().attribute_name(name).key_type(kind).build();
        let built = (|| {
            let index = LocalSecondaryIndex::builder()
                .index_name(BY_TIME)
                .key_schema(key("c", KeyType::Hash)?)
                .key_schema(key("t", KeyType::Range)?)
                .projection(Projection::builder().projection_type(ProjectionType::All).build())
                .build()?;
            Ok::<_, aws_sdk_dynamodb::error::BuildError>(
                self.client
                    .create_table()
                    .table_name(&self.table)
                    .billing_mode(BillingMode::PayPerRequest)
                    .attribute_definitions(text("c")?)
                    .attribute_definitions(text("k")?)
                    .attribute_definitions(text("t")?)
                    .key_schema(key("c", KeyType::Hash)?)
                    .key_schema(key("k", KeyType::Range)?)
                    .local_secondary_indexes(index),
            )
        })();
        match built.map_err(Error::internal)?.send().await {
            Err(SdkError::ServiceError(error))
                if matches!(error.err(), CreateTableError::ResourceInUseException(_)) =>
            {
                Ok(())
            }
            outcome => outcome.map(drop).map_err(Error::internal),
        }
    }

    /// Waits for an answer until the deadline of the call.
    async fn in_time<T, E>(&self, ctx: &Context, work: impl Future<Output = Result<T, E>> + Send) -> Result<T>
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        let left = ctx.deadline.remaining(self.clock.instant());
        match tokio::time::timeout(left, work).await {
            Ok(answer) => answer.map_err(Error::internal),
            Err(_) => Err(late()),
        }
    }

    /// Asks the index by time, from one place to another, page by page, until there are enough.
    async fn ask(
        &self,
        ctx: &Context,
        collection: &str,
        from: &str,
        until: &str,
        prefix: &str,
        limit: usize,
    ) -> Result<Vec<Item>> {
        let mut found = Vec::new();
        let mut last = None;
        loop {
            let mut query = self
                .client
                .query()
                .table_name(&self.table)
                .index_name(BY_TIME)
                .consistent_read(true)
                .key_condition_expression("c = :c and t between :from and :until")
                .expression_attribute_values(":c", text(collection))
                .expression_attribute_values(":from", text(from))
                .expression_attribute_values(":until", text(until))
                .set_exclusive_start_key(last);
            if prefix.is_empty() {
                query = query.limit(i32::try_from(limit - found.len()).unwrap_or(i32::MAX));
            } else {
                query = query.filter_expression("begins_with(k, :p)").expression_attribute_values(":p", text(prefix));
            }
            let page = self.in_time(ctx, query.send()).await?;
            found.extend(page.items.unwrap_or_default());
            last = page.last_evaluated_key;
            if found.len() >= limit || last.is_none() {
                found.truncate(limit);
                return Ok(found);
            }
        }
    }
}

fn late() -> Error {
    Error::try_later(Code::DeadlineExceeded, "The store of documents did not answer in time.", Duration::from_secs(1))
}

fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

/// A time as text that sorts as the times do.
fn sortable(at: Timestamp) -> String {
    format!("{:020}", at.as_microsecond().cast_unsigned() ^ (1 << 63))
}

fn key_of(collection: &str, key: &str) -> Item {
    HashMap::from([("c".to_owned(), text(collection)), ("k".to_owned(), text(key))])
}

fn kept(item: &Item) -> Result<Document> {
    let bad = || Error::internal("an item in DynamoDB is not one of ours");
    let get = |name: &str| item.get(name).and_then(|value| value.as_s().ok()).ok_or_else(bad);
    let micros = get("at")?.parse().map_err(|_| bad())?;
    let at = Timestamp::from_microsecond(micros).map_err(Error::internal)?;
    let body = serde_json::from_str(get("body")?).map_err(Error::internal)?;
    Ok(Document::kept(get("c")?.clone(), get("k")?.clone(), at, body))
}

#[async_trait]
impl Documents for DynamoDocuments {
    async fn put(&self, ctx: &Context, document: &Document) -> Result<()> {
        let put = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(key_of(document.collection(), document.key())))
            .item("t", text(format!("{}#{}", sortable(document.at()), document.key())))
            .item("at", text(document.at().as_microsecond().to_string()))
            .item("body", text(document.body().to_string()));
        self.in_time(ctx, put.send()).await.map(drop)
    }

    async fn get(&self, ctx: &Context, collection: &str, key: &str) -> Result<Option<Document>> {
        let get =
            self.client.get_item().table_name(&self.table).set_key(Some(key_of(collection, key))).consistent_read(true);
        self.in_time(ctx, get.send()).await?.item.as_ref().map(kept).transpose()
    }

    async fn list(&self, ctx: &Context, listing: &Listing) -> Result<Vec<Document>> {
        let Listing { collection, prefix, from, until, after, limit } = listing;
        let begin = match after {
            // The next text that there can be.
            Some((at, key)) if at >= from => format!("{}#{key}\u{1}", sortable(*at)),
            _ => sortable(*from),
        };
        // Everything of that time stands behind it.
        let end = sortable(*until);
        if *limit == 0 || begin > end {
            return Ok(Vec::new());
        }
        let found = self.ask(ctx, collection, &begin, &end, prefix, *limit as usize).await?;
        found.iter().map(kept).collect()
    }

    async fn remove_older(&self, ctx: &Context, collection: &str, before: Timestamp, most: u32) -> Result<u64> {
        if most == 0 {
            return Ok(0);
        }
        let old = self.ask(ctx, collection, "0", &sortable(before), "", most as usize).await?;
        let mut removed = 0;
        for batch in old.chunks(BATCH) {
            let requests = batch.iter().map(|item| {
                let key = item.iter().filter(|(name, _)| ["c", "k"].contains(&name.as_str()));
                let key: Item = key.map(|(name, value)| (name.clone(), value.clone())).collect();
                let remove = DeleteRequest::builder().set_key(Some(key)).build().map_err(Error::internal)?;
                Ok(WriteRequest::builder().delete_request(remove).build())
            });
            let requests = requests.collect::<Result<Vec<_>>>()?;
            let asked = requests.len();
            let write = self.client.batch_write_item().request_items(&self.table, requests);
            let left = self.in_time(ctx, write.send()).await?.unprocessed_items.unwrap_or_default();
            let left: usize = left.values().map(Vec::len).sum();
            removed += (asked - left) as u64;
            if left > 0 {
                // It asks for patience; whoever tidies up comes again.
                break;
            }
        }
        Ok(removed)
    }
}
