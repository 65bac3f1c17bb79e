//! What a careful developer writes in an afternoon: axum, rusqlite called in place on a
//! connection per thread, serde. Reads Inkstone's own database file, so that both do the
//! same work on the same rows; it has no cache, no checks and no extras.
//!
//! `minimal_axum ADDRESS DATABASE`

use std::cell::RefCell;
use std::sync::OnceLock;

use axum::extract::{Path, Query};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, params};
use serde::{Deserialize, Serialize};

static DATABASE: OnceLock<String> = OnceLock::new();

thread_local! {
    static CONNECTION: RefCell<Option<Connection>> = const { RefCell::new(None) };
}

fn with<T>(work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, StatusCode> {
    CONNECTION.with_borrow_mut(|slot| {
        if slot.is_none() {
            let path = DATABASE.get().ok_or(StatusCode::INTERNAL_SERVER_ERROR)?;
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let connection = Connection::open_with_flags(path, flags).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
            connection.set_prepared_statement_cache_capacity(64);
            let _ = connection.pragma_update(None, "mmap_size", 256 << 20);
            *slot = Some(connection);
        }
        let connection = slot.as_ref().ok_or(StatusCode::INTERNAL_SERVER_ERROR)?;
        work(connection).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
    })
}

#[derive(Serialize)]
struct Post {
    id: i64,
    slug: String,
    title: String,
    excerpt: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    markdown: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    html: Option<String>,
    published_at: i64,
    author: Author,
    tags: Vec<Tag>,
}

#[derive(Serialize)]
struct Author {
    id: i64,
    handle: String,
    display_name: String,
}

#[derive(Serialize)]
struct Tag {
    id: i64,
    name: String,
    slug: String,
}

const POST: &str = "select p.id, p.slug, p.title, p.excerpt, p.published_at, u.id, u.handle, u.display_name, r.markdown, r.html \
    from posts p join users u on u.id = p.author_id join revisions r on r.post_id = p.id and r.number = p.revision \
    where p.id = ?1 and p.published_at is not null";
const RECENT: &str = "select p.id, p.slug, p.title, p.excerpt, p.published_at, u.id, u.handle, u.display_name \
    from posts p join users u on u.id = p.author_id where p.published_at <= 99999999999999999 \
    order by p.published_at desc, p.id desc limit ?1 offset ?2";
const TAGGED: &str = "select p.id, p.slug, p.title, p.excerpt, p.published_at, u.id, u.handle, u.display_name \
    from post_tags pt join posts p on p.id = pt.post_id join users u on u.id = p.author_id \
    where pt.tag_id = (select id from tags where slug = ?3) and pt.published_at is not null \
    order by pt.published_at desc, pt.post_id desc limit ?1 offset ?2";
const TAGS: &str = "select t.id, t.name, t.slug from post_tags pt join tags t on t.id = pt.tag_id \
    where pt.post_id = ?1 order by pt.position";

fn head(row: &rusqlite::Row<'_>) -> rusqlite::Result<Post> {
    Ok(Post {
        id: row.get(0)?,
        slug: row.get(1)?,
        title: row.get(2)?,
        excerpt: row.get(3)?,
        published_at: row.get(4)?,
        author: Author { id: row.get(5)?, handle: row.get(6)?, display_name: row.get(7)? },
        markdown: None,
        html: None,
        tags: Vec::new(),
    })
}

fn tags(connection: &Connection, post: i64) -> rusqlite::Result<Vec<Tag>> {
    connection
        .prepare_cached(TAGS)?
        .query_map(params![post], |row| Ok(Tag { id: row.get(0)?, name: row.get(1)?, slug: row.get(2)? }))?
        .collect()
}

async fn post(Path(id): Path<i64>) -> Result<Json<Post>, StatusCode> {
    let found = with(|connection| {
        let found = connection
            .prepare_cached(POST)?
            .query_row(params![id], |row| {
                let mut post = head(row)?;
                post.markdown = row.get(8)?;
                post.html = row.get(9)?;
                Ok(post)
            })
            .optional()?;
        found.map(|mut post| tags(connection, id).map(|tags| { post.tags = tags; post })).transpose()
    })?;
    found.map(Json).ok_or(StatusCode::NOT_FOUND)
}

#[derive(Deserialize)]
struct Page {
    #[serde(default = "ten")]
    limit: i64,
    #[serde(default)]
    offset: i64,
    tag: Option<String>,
}

fn ten() -> i64 {
    10
}

#[derive(Serialize)]
struct Listed {
    data: Vec<Post>,
}

async fn list(Query(page): Query<Page>) -> Result<Json<Listed>, StatusCode> {
    let data = with(|connection| {
        let mut posts: Vec<Post> = match &page.tag {
            None => connection.prepare_cached(RECENT)?.query_map(params![page.limit, page.offset], head)?.collect::<Result<_, _>>()?,
            Some(tag) => {
                connection.prepare_cached(TAGGED)?.query_map(params![page.limit, page.offset, tag], head)?.collect::<Result<_, _>>()?
            }
        };
        for post in &mut posts {
            post.tags = tags(connection, post.id)?;
        }
        Ok(posts)
    })?;
    Ok(Json(Listed { data }))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let address = args.next().ok_or("usage: minimal_axum ADDRESS DATABASE")?;
    let _ = DATABASE.set(args.next().ok_or("usage: minimal_axum ADDRESS DATABASE")?);
    let router = Router::new().route("/posts", get(list)).route("/posts/{id}", get(post));
    axum::serve(tokio::net::TcpListener::bind(address).await?, router).await?;
    Ok(())
}
