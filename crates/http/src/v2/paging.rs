//! Pages by cursor, as v2 has them.

use inkstone_core::page::{DEFAULT_LIMIT, Key, MAX_LIMIT, Page, Position};
use serde::Serialize;
use utoipa::IntoParams;

use super::wire::Listed;
use crate::answer;
use crate::app::App;
use crate::extract::QueryReader;
use crate::extract::query::Canonical;
use crate::problem::Result;
use crate::representation::{Builder, Representation};
use crate::wire;

/// What [`Paging::read`] reads.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the parameters for the API reference")]
pub(super) struct PagingParams {
    /// Rows of a page.
    #[param(minimum = 1, maximum = 100, example = 20)]
    limit: Option<u32>,
    /// `next` of the page before.
    #[param(max_length = 4096)]
    cursor: Option<String>,
    /// `exact` counts the rows of all pages.
    #[param(pattern = "^exact$")]
    count: Option<String>,
}

/// What a request says about pages, before the cursor is opened.
#[derive(Debug, Clone)]
pub(super) struct Paging {
    pub(super) limit: u32,
    cursor: Option<String>,
    /// Whether the rows of all pages shall be counted.
    pub(super) wants_total: bool,
}

impl Paging {
    /// Reads `limit`, `cursor` and `count`.
    pub(super) fn read(query: &mut QueryReader) -> Self {
        Self {
            limit: query.number("limit", 1..=MAX_LIMIT, DEFAULT_LIMIT),
            cursor: query.cursor("cursor"),
            wants_total: query.word("count", &["exact"]).is_some(),
        }
    }

    /// Opens the cursor, which belongs to this list and these filters only.
    pub(super) fn position(&self, app: &App, list: &str, canonical: &Canonical) -> Result<Position> {
        app.edge.cursors().open(&canonical.binding(list), self.cursor.as_deref())
    }
}

/// The representation of a page, with `Link`s to its neighbours.
pub(super) fn show<R, T: Serialize>(
    app: &App,
    list: &'static str,
    canonical: &Canonical,
    page: &Page<R>,
    present: impl Fn(&R) -> T,
    total: Option<u64>,
    fields: Option<&[&str]>,
) -> inkstone_core::Result<Builder> {
    let binding = canonical.binding(list);
    let cursors = app.edge.cursors();
    let next = page.next.as_ref().map(|key: &Key| cursors.after(&binding, key));
    let prev = page.prev.as_ref().map(|key: &Key| cursors.before(&binding, key));
    let at = |cursor: Option<String>| answer::address(list, &canonical.with(&[("cursor", cursor)]));
    let links = answer::links(&[
        ("first", Some(at(None))),
        ("prev", prev.map(|cursor| at(Some(cursor)))),
        ("next", next.clone().map(|cursor| at(Some(cursor)))),
    ]);
    let body = Listed { data: page.items.iter().map(present).collect::<Vec<T>>(), next, total };
    let builder = Representation::builder(wire::to_json(&body, fields)?).route(list);
    Ok(match links {
        Some(links) => builder.header(http::header::LINK, links),
        None => builder,
    })
}
