//! On the blog's own database: `jsonb` under PostgreSQL, JSON in text under SQLite and MariaDB. Costs
//! no dependency, no second server, and no second backup.

use async_trait::async_trait;
use inkstone_core::{Context, Result};
use inkstone_store::db::{Db, Dialect, FromRow, Row, Statement};
use jiff::Timestamp;

use crate::{Document, Documents, Listing};

/// What one kind of database is asked.
#[derive(Debug)]
struct Statements {
    create: &'static [Statement],
    put: Statement,
    get: Statement,
    list: Statement,
    remove_older: Statement,
}

macro_rules! put {
    ($body:literal) => {
        Statement {
            name: "documents.put",
            sql: concat!(
                "insert into documents (collection, \"key\", at, body) values ($1, $2, $3, ",
                $body,
                ") on conflict (collection, \"key\") do update set at = excluded.at, body = excluded.body"
            ),
        }
    };
}

macro_rules! get {
    ($body:literal) => {
        Statement {
            name: "documents.get",
            sql: concat!(
                "select d.collection, d.key, d.at, ",
                $body,
                " from documents d where d.collection = $1 and d.key = $2"
            ),
        }
    };
}

macro_rules! list {
    ($body:literal) => {
        Statement {
            name: "documents.list",
            sql: concat!(
                "select d.collection, d.key, d.at, ",
                $body,
                " from documents d
                 where d.collection = $1 and (d.at, d.key) > ($2, $3) and d.at < $4 and d.key >= $5 and d.key < $6
                 order by d.at, d.key
                 limit $7"
            ),
        }
    };
}

const CREATE_INDEX: Statement = Statement {
    name: "documents.create_index",
    sql: "create index if not exists documents_collection_at_key_idx on documents (collection, at, key)",
};

const REMOVE_OLDER: Statement = Statement {
    name: "documents.remove_older",
    sql: "delete from documents
          where (collection, key) in (
              select d.collection, d.key
              from documents d
              where d.collection = $1 and d.at < $2
              order by d.at, d.key
              limit $3)",
};

static SQLITE: Statements = Statements {
    create: &[
        Statement {
            name: "documents.create",
            sql: "create table if not exists documents (
                      collection text    not null,
                      key        text    not null,
                      at         integer not null,
                      body       text    not null,
                      constraint documents_pkey primary key (collection, key),
                      constraint documents_body_check check (json_valid(body))
                  ) strict, without rowid",
        },
        CREATE_INDEX,
    ],
    put: put!("$4"),
    get: get!("d.body"),
    list: list!("d.body"),
    remove_older: REMOVE_OLDER,
};

static POSTGRES: Statements = Statements {
    create: &[
        Statement {
            name: "documents.create",
            sql: r#"create table if not exists documents (
                      collection text collate "C" not null,
                      key        text collate "C" not null,
                      at         bigint           not null,
                      body       jsonb            not null,
                      constraint documents_pkey primary key (collection, key)
                  )"#,
        },
        CREATE_INDEX,
    ],
    put: put!("cast(cast($4 as text) as jsonb)"),
    get: get!("cast(d.body as text)"),
    list: list!("cast(d.body as text)"),
    remove_older: REMOVE_OLDER,
};

/// Its own type `json` is text with that check, too.
static MARIADB: Statements = Statements {
    create: &[Statement {
        name: "documents.create",
        sql: r#"create table if not exists documents (
                  collection varchar(255) not null,
                  "key"      varchar(255) not null,
                  at         bigint       not null,
                  body       longtext     not null,
                  constraint documents_pkey primary key (collection, "key"),
                  constraint documents_body_check check (json_valid(body)),
                  index documents_collection_at_key_idx (collection, at, "key")
              ) engine = innodb default character set utf8mb4 collate utf8mb4_nopad_bin"#,
    }],
    put: put!("$4"),
    get: get!("d.body"),
    list: list!("d.body"),
    remove_older: Statement {
        name: "documents.remove_older",
        sql: r#"delete from documents where collection = $1 and at < $2 order by at, "key" limit $3"#,
    },
};

/// Comes after every character of a name.
const AFTER_ALL: &str = "\u{7f}";

/// Documents in a table beside the blog's.
#[derive(Debug, Clone)]
pub struct StoreDocuments {
    db: Db,
    statements: &'static Statements,
}

impl StoreDocuments {
    /// Makes the table if it is not there. Were this more than a spike, a migration would do so.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn prepare(db: Db, ctx: &Context) -> Result<Self> {
        let statements = match db.dialect() {
            Dialect::Sqlite => &SQLITE,
            Dialect::Postgres => &POSTGRES,
            Dialect::MariaDb => &MARIADB,
        };
        db.write(ctx, "documents.prepare", move |conn| {
            Box::pin(async move {
                for statement in statements.create {
                    conn.execute(statement, &[]).await?;
                }
                Ok(())
            })
        })
        .await?;
        Ok(Self { db, statements })
    }
}

struct Kept(Document);

impl FromRow for Kept {
    fn from_row(row: &Row<'_>) -> Result<Self> {
        let body = serde_json::from_str(row.str(3)?).map_err(|_| row.bad(3, "is not JSON"))?;
        Ok(Self(Document::kept(row.text(0)?, row.text(1)?, row.time(2)?, body)))
    }
}

#[async_trait]
impl Documents for StoreDocuments {
    async fn put(&self, ctx: &Context, document: &Document) -> Result<()> {
        let statement = &self.statements.put;
        let (document, body) = (document.clone(), document.body().to_string());
        self.db
            .write(ctx, "documents.put", move |conn| {
                Box::pin(async move {
                    let values =
                        [document.collection().into(), document.key().into(), document.at().into(), (&body).into()];
                    conn.execute(statement, &values).await?;
                    Ok(())
                })
            })
            .await
    }

    async fn get(&self, ctx: &Context, collection: &str, key: &str) -> Result<Option<Document>> {
        let statement = &self.statements.get;
        let (collection, key) = (collection.to_owned(), key.to_owned());
        let found: Option<Kept> = self
            .db
            .read(ctx, "documents.get", move |conn| {
                Box::pin(async move { conn.fetch_optional(statement, &[(&collection).into(), (&key).into()]).await })
            })
            .await?;
        Ok(found.map(|kept| kept.0))
    }

    async fn list(&self, ctx: &Context, listing: &Listing) -> Result<Vec<Document>> {
        let Listing { collection, prefix, from, until, after, limit } = listing.clone();
        // After everything of the microsecond before.
        let begin = from.as_microsecond() - 1;
        let (at, key) = match after {
            Some((at, key)) if at >= from => (at.as_microsecond(), key),
            _ => (begin, AFTER_ALL.to_owned()),
        };
        let end = format!("{prefix}{AFTER_ALL}");
        let statement = &self.statements.list;
        let found: Vec<Kept> = self
            .db
            .read(ctx, "documents.list", move |conn| {
                Box::pin(async move {
                    let values = [
                        (&collection).into(),
                        at.into(),
                        (&key).into(),
                        until.into(),
                        (&prefix).into(),
                        (&end).into(),
                        limit.into(),
                    ];
                    conn.fetch_all(statement, &values).await
                })
            })
            .await?;
        Ok(found.into_iter().map(|kept| kept.0).collect())
    }

    async fn remove_older(&self, ctx: &Context, collection: &str, before: Timestamp, most: u32) -> Result<u64> {
        let (collection, statement) = (collection.to_owned(), &self.statements.remove_older);
        self.db
            .write(ctx, "documents.remove_older", move |conn| {
                Box::pin(
                    async move { conn.execute(statement, &[(&collection).into(), before.into(), most.into()]).await },
                )
            })
            .await
    }
}
