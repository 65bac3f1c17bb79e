//! Small secrets of the installation.

use async_trait::async_trait;
use inkstone_core::identity::SecretRepository;
use inkstone_core::{Context, Result};

use crate::db::{Statement, Variant};
use crate::store::Store;

const GET: Statement = Statement { name: "secrets.get", sql: "select value from secrets where name = $1" };

const INSERT: Statement = Statement {
    name: "secrets.insert",
    sql: "insert into secrets (name, value) values ($1, $2) on conflict (name) do nothing",
};

pub(super) const MARIADB: &[Variant] = &[Variant {
    name: "secrets.insert",
    sql: &["insert into secrets (name, value) values ($1, $2) on duplicate key update name = values(name)"],
}];

const PUT: Statement = Statement {
    name: "secrets.put",
    sql: "insert into secrets (name, value)
          values ($1, $2)
          on conflict (name) do update
          set value = excluded.value",
};

const REMOVE: Statement = Statement { name: "secrets.remove", sql: "delete from secrets where name = $1" };

pub(super) const STATEMENTS: &[&Statement] = &[&GET, &INSERT, &PUT, &REMOVE];

#[async_trait]
impl SecretRepository for Store {
    async fn get_or_insert(&self, ctx: &Context, name: &str, fresh: Vec<u8>) -> Result<Vec<u8>> {
        // Mostly it is there, also where a database takes no changes for now.
        if let Some(kept) = self.get(ctx, name).await? {
            return Ok(kept);
        }
        let name = name.to_owned();
        self.db()
            .write(ctx, "secrets.get_or_insert", move |conn| {
                Box::pin(async move {
                    conn.execute(&INSERT, &[(&name).into(), (&fresh).into()]).await?;
                    conn.fetch_one(&GET, &[(&name).into()]).await
                })
            })
            .await
    }

    async fn get(&self, ctx: &Context, name: &str) -> Result<Option<Vec<u8>>> {
        let name = name.to_owned();
        self.db()
            .read(ctx, "secrets.get", move |conn| {
                Box::pin(async move { conn.fetch_optional(&GET, &[(&name).into()]).await })
            })
            .await
    }

    async fn put(&self, ctx: &Context, name: &str, value: Vec<u8>) -> Result<()> {
        let name = name.to_owned();
        self.db()
            .write(ctx, "secrets.put", move |conn| {
                Box::pin(async move {
                    conn.execute(&PUT, &[(&name).into(), (&value).into()]).await?;
                    Ok(())
                })
            })
            .await
    }

    async fn remove(&self, ctx: &Context, name: &str) -> Result<bool> {
        let name = name.to_owned();
        self.db()
            .write(ctx, "secrets.remove", move |conn| {
                Box::pin(async move { Ok(conn.execute(&REMOVE, &[(&name).into()]).await? > 0) })
            })
            .await
    }
}
