//! Numbered pages, as v1 has them.

use http::HeaderValue;
use inkstone_core::page::{DEFAULT_LIMIT, MAX_LIMIT, Position};
use serde::Serialize;

use super::wire::Listed;
use crate::answer;
use crate::extract::QueryReader;
use crate::extract::query::Canonical;
use crate::representation::{Builder, Representation};
use crate::wire;

/// The last page that has a number. Offsets cost what they skip; deeper, v2's cursors cost nothing.
const MAX_PAGE: u32 = 10_000;

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
    answer::links(&[
        ("first", at(1)),
        ("prev", at(page - 1).filter(|_| page > 1)),
        ("next", at(page + 1).filter(|_| page < last)),
        ("last", at(last)),
    ])
}
