//! What a careful developer writes in an afternoon, on PostgreSQL: axum, a pool of sqlx, serde, and
//! the same statements as `minimal_axum`. Reads Inkstone's own database, so that both do the same
//! work on the same rows; it has no cache, no checks and no extras.
//!
//! `minimal_sqlx ADDRESS URL`

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgRow};
use sqlx::{PgPool, Row as _};

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
    where p.id = $1 and p.published_at is not null";
const RECENT: &str = "select p.id, p.slug, p.title, p.excerpt, p.published_at, u.id, u.handle, u.display_name \
    from posts p join users u on u.id = p.author_id where p.published_at <= 99999999999999999 \
    order by p.published_at desc, p.id desc limit $1 offset $2";
const TAGS: &str = "select t.id, t.name, t.slug from post_tags pt join tags t on t.id = pt.tag_id \
    where pt.post_id = $1 order by pt.position";

fn failed(error: sqlx::Error) -> StatusCode {
    eprintln!("{error}");
    StatusCode::INTERNAL_SERVER_ERROR
}

fn head(row: &PgRow) -> Post {
    Post {
        id: row.get(0),
        slug: row.get(1),
        title: row.get(2),
        excerpt: row.get(3),
        published_at: row.get(4),
        author: Author { id: row.get(5), handle: row.get(6), display_name: row.get(7) },
        markdown: None,
        html: None,
        tags: Vec::new(),
    }
}

async fn tags(pool: &PgPool, post: i64) -> Result<Vec<Tag>, StatusCode> {
    let rows = sqlx::query(TAGS).bind(post).fetch_all(pool).await.map_err(failed)?;
    Ok(rows.iter().map(|row| Tag { id: row.get(0), name: row.get(1), slug: row.get(2) }).collect())
}

async fn post(State(pool): State<PgPool>, Path(id): Path<i64>) -> Result<Json<Post>, StatusCode> {
    let row = sqlx::query(POST).bind(id).fetch_optional(&pool).await.map_err(failed)?.ok_or(StatusCode::NOT_FOUND)?;
    let mut post = head(&row);
    post.markdown = row.get(8);
    post.html = row.get(9);
    post.tags = tags(&pool, id).await?;
    Ok(Json(post))
}

#[derive(Deserialize)]
struct Page {
    #[serde(default = "ten")]
    limit: i64,
    #[serde(default)]
    offset: i64,
}

fn ten() -> i64 {
    10
}

#[derive(Serialize)]
struct Listed {
    data: Vec<Post>,
}

async fn list(State(pool): State<PgPool>, Query(page): Query<Page>) -> Result<Json<Listed>, StatusCode> {
    let rows = sqlx::query(RECENT).bind(page.limit).bind(page.offset).fetch_all(&pool).await.map_err(failed)?;
    let mut data: Vec<Post> = rows.iter().map(head).collect();
    for post in &mut data {
        post.tags = tags(&pool, post.id).await?;
    }
    Ok(Json(Listed { data }))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let usage = "usage: minimal_sqlx ADDRESS URL";
    let mut args = std::env::args().skip(1);
    let address = args.next().ok_or(usage)?;
    let url: PgConnectOptions = args.next().ok_or(usage)?.parse()?;
    // As many as Inkstone has, and no question to the server before each use.
    let pool = PgPoolOptions::new().max_connections(8).test_before_acquire(false).connect_with(url).await?;
    let router = Router::new().route("/posts", get(list)).route("/posts/{id}", get(post)).with_state(pool);
    axum::serve(tokio::net::TcpListener::bind(address).await?, router).await?;
    Ok(())
}
