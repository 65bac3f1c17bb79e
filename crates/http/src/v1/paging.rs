//! Numbered pages, as v1 has them.

use http::HeaderValue;
use inkstone_core::page::{DEFAULT_LIMIT, MAX_LIMIT, Position};
use serde::Serialize;
use utoipa::IntoParams;

use super::wire::Listed;
use crate::answer;
use crate::extract::QueryReader;
use crate::extract::query::Canonical;
use crate::representation::{Builder, Representation};
use crate::wire;

/// The last page that has a number. Offsets cost what they skip; deeper, v2's cursors cost nothing.
const MAX_PAGE: u32 = 10_000;

/// What [`Paging::read`] reads.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the parameters for the API reference")]
pub(super) struct PagingParams {
    /// The number of the page, from 1.
    #[param(minimum = 1, maximum = 10_000, example = 1)]
    page: Option<u32>,
    /// Rows of a page.
    #[param(minimum = 1, maximum = 100, example = 20)]
    per_page: Option<u32>,
}

/// Which page.
#[derive(Debug, Clone, Copy)]
pub(super) struct Paging {
    page: u32,
    pub(super) per_page: u32,
}

impl Paging {
    /// Reads `page` and `per_page`.
    pub(super) fn read(query: &mut QueryReader) -> Self {
        let page = query.number("page", 1..=MAX_PAGE, 1);
        let per_page = query.number("per_page", 1..=MAX_LIMIT, DEFAULT_LIMIT);
        Self { page, per_page }
    }

    fn offset(self) -> u64 {
        u64::from(self.page - 1) * u64::from(self.per_page)
    }

    /// Where the page begins.
    pub(super) fn position(self) -> Position {
        if self.page == 1 { Position::Start } else { Position::Offset(self.offset()) }
    }

    /// The page's representation, with `Link`s to its neighbours.
    pub(super) fn show<T: Serialize>(
        self,
        list: &'static str,
        canonical: &Canonical,
        data: Vec<T>,
        total: u64,
        fields: Option<&[&str]>,
    ) -> inkstone_core::Result<Builder> {
        let Self { page, per_page } = self;
        let page = u64::from(page);
        let body = wire::to_json(&Listed { data, page, per_page, total }, fields)?;
        let builder = Representation::builder(body).route(list);
        Ok(match links(list, canonical, page, total.div_ceil(u64::from(per_page)).max(1)) {
            Some(links) => builder.header(http::header::LINK, links),
            None => builder,
        })
    }
}

fn links(list: &str, canonical: &Canonical, page: u64, last: u64) -> Option<HeaderValue> {
    let at = |number: u64| {
        let number = Some(number).filter(|number| *number > 1).map(|number| number.to_string());
        Some(answer::address(list, &canonical.with(&[("page", number)])))
    };
    // No link leads where page numbers do not reach.
    let most = u64::from(MAX_PAGE);
    answer::links(&[
        ("first", at(1)),
        ("prev", at(page - 1).filter(|_| page > 1)),
        ("next", at(page + 1).filter(|_| page < last.min(most))),
        ("last", at(last).filter(|_| last <= most)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rels(page: u64, last: u64) -> Vec<String> {
        let canonical = QueryReader::parse(None).unwrap().finish().unwrap();
        let links = links("/posts", &canonical, page, last).unwrap();
        links.to_str().unwrap().split(", ").map(str::to_owned).collect()
    }

    #[test]
    fn links_lead_to_pages_that_can_be_asked_for() {
        let [first, next, last] = [r#"</posts>; rel="first""#, r#"</posts?page=2>; rel="next""#, r#"; rel="last""#];
        assert_eq!(rels(1, 10_000), [first.to_owned(), next.to_owned(), format!("</posts?page=10000>{last}")]);
        assert_eq!(rels(1, 10_001), [first, next]);
        assert_eq!(rels(10_000, 10_001), [first, r#"</posts?page=9999>; rel="prev""#]);
    }
}
