//! The statements of every list of posts, one for each combination of what drives it, its order
//! and its direction.
//!
//! All have the same form: a walk along one index finds the ids of the page (so that rows that an
//! offset skips are never touched), and is done once; the rest fetches their cards, authors and tags.
//! The order of the rows is not said; whoever runs it sorts them. Parameters 1 to 6 are the same in all:
//! the exclusive bounds of the walk (lower key and id, upper key and id), limit, offset.

use inkstone_core::posts::PostSort;

use crate::db::Statement;

use super::row::{and_links, card};

/// What a list walks along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Drive {
    /// Every public post. For orders other than by publication: 7, 8 = published at or after, before.
    All,
    /// The public posts of a tag: 7 = its slug; 8, 9 = how many further tags and which (slugs);
    /// 10, 11 = how many authors and which (ids); for other orders 12, 13 = at or after, before.
    Tag,
    /// The public posts of a person: 7 = their id; 8, 9 = how many further authors and which;
    /// for other orders 10, 11 = at or after, before.
    Author,
    /// What holds certain words: 7 = those words; 8 = the status of the posts; 9, 10 = how many tags
    /// and which (slugs); 11, 12 = how many authors and which (ids); 13, 14 = published at or after,
    /// before, which drafts pass.
    Found,
    /// Drafts: 7, 8 = how many tags and which (slugs); 9, 10 = how many authors and which (ids).
    Drafts,
}

macro_rules! has_tags {
    ($post:literal, $count:literal, $slugs:literal) => {
        concat!(
            "($",
            $count,
            " = 0 or $",
            $count,
            " = (
                      select count(*)
                      from json_each($",
            $slugs,
            ") j
                      cross join tags t
                      cross join post_tags x
                      where t.slug = j.value and x.post_id = ",
            $post,
            " and x.tag_id = t.id))"
        )
    };
}

macro_rules! has_authors {
    ($post:literal, $count:literal, $ids:literal) => {
        concat!(
            "($",
            $count,
            " = 0 or $",
            $count,
            " = (
                      select count(*)
                      from json_each($",
            $ids,
            ") j
                      cross join post_authors x
                      where x.post_id = ",
            $post,
            " and x.user_id = cast(j.value as bigint)))"
        )
    };
}

macro_rules! page {
    ($name:expr, $walk:expr) => {
        &Statement {
            name: concat!("posts.list_", $name),
            sql: concat!(
                "with k as (",
                $walk,
                "
                limit $5 offset $6)
          select ",
                card!(),
                ", null, null, 0
          from k
          cross join posts p
          where p.id = k.id",
                and_links!("k cross join ", "k.id")
            ),
        }
    };
}

macro_rules! bounds {
    ($key:literal, $id:literal) => {
        concat!("(", $key, ", ", $id, ") > ($1, $2) and (", $key, ", ", $id, ") < ($3, $4)")
    };
}

/// What is found by its words is sorted: only the index of words knows which posts those are, and it
/// knows nothing of orders.
macro_rules! found {
    ($key:literal, $name:expr, $direction:literal) => {
        page!(
            concat!("found_", $name),
            concat!(
                "
                select l.id
                from posts_search($7) s
                cross join posts l
                where l.id = s.rowid
                  and l.status = $8
                  and (l.published_at is null or (l.published_at >= $13 and l.published_at < $14))
                  and ",
                bounds!($key, "l.id"),
                "
                  and ",
                has_tags!("l.id", 9, 10),
                "
                  and ",
                has_authors!("l.id", 11, 12),
                "
                order by ",
                $key,
                " ",
                $direction,
                ", l.id ",
                $direction
            )
        )
    };
}

/// In the order of publication the links carry the key: one walk, whatever drives it.
macro_rules! by_publication {
    ($name:literal, $direction:literal) => {
        [
            page!(
                concat!("published_", $name),
                concat!(
                    "
                select l.id
                from posts l
                where ",
                    bounds!("l.published_at", "l.id"),
                    "
                order by l.published_at ",
                    $direction,
                    ", l.id ",
                    $direction
                )
            ),
            page!(
                concat!("tag_published_", $name),
                concat!(
                    "
                select l.post_id as id
                from post_tags l
                where l.tag_id = (select t.id from tags t where t.slug = $7)
                  and ",
                    bounds!("l.published_at", "l.post_id"),
                    "
                  and ",
                    has_tags!("l.post_id", 8, 9),
                    "
                  and ",
                    has_authors!("l.post_id", 10, 11),
                    "
                order by l.published_at ",
                    $direction,
                    ", l.post_id ",
                    $direction
                )
            ),
            page!(
                concat!("author_published_", $name),
                concat!(
                    "
                select l.post_id as id
                from post_authors l
                where l.user_id = $7
                  and ",
                    bounds!("l.published_at", "l.post_id"),
                    "
                  and ",
                    has_authors!("l.post_id", 8, 9),
                    "
                order by l.published_at ",
                    $direction,
                    ", l.post_id ",
                    $direction
                )
            ),
            found!("l.published_at", concat!("published_", $name), $direction),
        ]
    };
}

/// In another order the posts of a tag or a person are sorted: reading theirs costs what they
/// wrote, while walking the whole blog for them could cost the whole blog.
macro_rules! by {
    ($key:literal, $name:literal, $direction:literal) => {
        [
            page!(
                $name,
                concat!(
                    "
                select l.id
                from posts l
                where l.status = 'published'
                  and ",
                    bounds!($key, "l.id"),
                    "
                  and l.published_at >= $7 and l.published_at < $8
                order by ",
                    $key,
                    " ",
                    $direction,
                    ", l.id ",
                    $direction
                )
            ),
            page!(
                concat!("tag_", $name),
                concat!(
                    "
                select l.id
                from post_tags d
                cross join posts l
                where d.tag_id = (select t.id from tags t where t.slug = $7)
                  and d.published_at >= $12 and d.published_at < $13
                  and l.id = d.post_id
                  and ",
                    bounds!($key, "l.id"),
                    "
                  and ",
                    has_tags!("l.id", 8, 9),
                    "
                  and ",
                    has_authors!("l.id", 10, 11),
                    "
                order by ",
                    $key,
                    " ",
                    $direction,
                    ", l.id ",
                    $direction
                )
            ),
            page!(
                concat!("author_", $name),
                concat!(
                    "
                select l.id
                from post_authors d
                cross join posts l
                where d.user_id = $7
                  and d.published_at >= $10 and d.published_at < $11
                  and l.id = d.post_id
                  and ",
                    bounds!($key, "l.id"),
                    "
                  and ",
                    has_authors!("l.id", 8, 9),
                    "
                order by ",
                    $key,
                    " ",
                    $direction,
                    ", l.id ",
                    $direction
                )
            ),
            found!($key, $name, $direction),
            page!(
                concat!("drafts_", $name),
                concat!(
                    "
                select l.id
                from posts l
                where l.status = 'draft'
                  and ",
                    bounds!($key, "l.id"),
                    "
                  and ",
                    has_tags!("l.id", 7, 8),
                    "
                  and ",
                    has_authors!("l.id", 9, 10),
                    "
                order by ",
                    $key,
                    " ",
                    $direction,
                    ", l.id ",
                    $direction
                )
            ),
        ]
    };
}

const PUBLISHED_AT: [[&Statement; 4]; 2] = [by_publication!("asc", "asc"), by_publication!("desc", "desc")];
const CREATED_AT: [[&Statement; 5]; 2] =
    [by!("l.created_at", "created_asc", "asc"), by!("l.created_at", "created_desc", "desc")];
const UPDATED_AT: [[&Statement; 5]; 2] =
    [by!("l.updated_at", "updated_asc", "asc"), by!("l.updated_at", "updated_desc", "desc")];
const TITLE: [[&Statement; 5]; 2] = [by!("l.title", "title_asc", "asc"), by!("l.title", "title_desc", "desc")];

const COUNT_ALL: Statement = Statement {
    name: "posts.count",
    sql: "select count(*) from posts l where l.published_at >= $1 and l.published_at < $2",
};

const COUNT_TAG: Statement = Statement {
    name: "posts.count_tag",
    sql: concat!(
        "select count(*)
          from post_tags l
          where l.tag_id = (select t.id from tags t where t.slug = $3)
            and l.published_at >= $1 and l.published_at < $2
            and ",
        has_tags!("l.post_id", 4, 5),
        "
            and ",
        has_authors!("l.post_id", 6, 7)
    ),
};

const COUNT_AUTHOR: Statement = Statement {
    name: "posts.count_author",
    sql: concat!(
        "select count(*)
          from post_authors l
          where l.user_id = $3
            and l.published_at >= $1 and l.published_at < $2
            and ",
        has_authors!("l.post_id", 4, 5)
    ),
};

const COUNT_FOUND: Statement = Statement {
    name: "posts.count_found",
    sql: concat!(
        "select count(*)
          from posts_search($3) s
          cross join posts l
          where l.id = s.rowid
            and l.status = $4
            and (l.published_at is null or (l.published_at >= $1 and l.published_at < $2))
            and ",
        has_tags!("l.id", 5, 6),
        "
            and ",
        has_authors!("l.id", 7, 8)
    ),
};

const COUNT_DRAFTS: Statement = Statement {
    name: "posts.count_drafts",
    sql: concat!(
        "select count(*)
          from posts l
          where l.status = 'draft'
            and ",
        has_tags!("l.id", 1, 2),
        "
            and ",
        has_authors!("l.id", 3, 4)
    ),
};

pub(crate) const STATEMENTS: &[&[&Statement]] = &[
    &PUBLISHED_AT[0],
    &PUBLISHED_AT[1],
    &CREATED_AT[0],
    &CREATED_AT[1],
    &UPDATED_AT[0],
    &UPDATED_AT[1],
    &TITLE[0],
    &TITLE[1],
    &[&COUNT_ALL, &COUNT_TAG, &COUNT_AUTHOR, &COUNT_FOUND, &COUNT_DRAFTS],
];

/// The statement that lists in this order, which is not that of publication for drafts: they have
/// not been published.
pub(super) fn list(drive: Drive, sort: PostSort, descending: bool) -> &'static Statement {
    let direction = usize::from(descending);
    let place = match drive {
        Drive::All => 0,
        Drive::Tag => 1,
        Drive::Author => 2,
        Drive::Found => 3,
        Drive::Drafts => 4,
    };
    match sort {
        PostSort::PublishedAt => PUBLISHED_AT[direction][place],
        PostSort::CreatedAt => CREATED_AT[direction][place],
        PostSort::UpdatedAt => UPDATED_AT[direction][place],
        PostSort::Title => TITLE[direction][place],
    }
}

/// The statement that counts.
pub(super) fn count(drive: Drive) -> &'static Statement {
    match drive {
        Drive::All => &COUNT_ALL,
        Drive::Tag => &COUNT_TAG,
        Drive::Author => &COUNT_AUTHOR,
        Drive::Found => &COUNT_FOUND,
        Drive::Drafts => &COUNT_DRAFTS,
    }
}
