//! Which tables there are, in an order in which each refers only to those before it.

use std::sync::LazyLock;

use super::walk::Walk;
use crate::db::Statement;

/// How many rows one statement brings where each statement is a round trip.
pub(super) const TOGETHER: usize = 50;

/// A table as the migrations make it.
struct Listed {
    name: &'static str,
    /// How many columns, the first, are its primary key.
    key: usize,
    /// The names of all columns. Those of whole numbers end in `#`, those of texts that MariaDB keeps as
    /// bytes in `~`.
    columns: &'static str,
}

/// A table, how it is read, and how it is written.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) walk: Walk,
    /// Takes all columns.
    pub(super) insert: Statement,
    /// Takes those of [`TOGETHER`] rows.
    pub(super) insert_many: Statement,
    /// Takes a key: removes everything up to it.
    pub(super) remove: Statement,
}

const LIST: &[Listed] = &[
    Listed {
        name: "users",
        key: 1,
        columns: "id# handle email email_folded display_name bio avatar_url role disabled# is_public# \
                  password_hash version# created_at# updated_at#",
    },
    Listed { name: "tags", key: 1, columns: "id# name slug description version# created_at# updated_at#" },
    Listed {
        name: "posts",
        key: 1,
        columns: "id# slug title excerpt excerpt_given# author_id# status published_at# created_at# \
                  updated_at# version# words# revision# draft_revision# was_public# deleted_at#",
    },
    Listed {
        name: "revisions",
        key: 1,
        columns: "id# post_id# number# title excerpt summary words# renderer created_by# created_at# \
                  markdown html",
    },
    Listed {
        name: "publications",
        key: 1,
        columns: "id# post_id# revision# starts_at# ends_at# published_at# created_by#",
    },
    Listed { name: "post_authors", key: 2, columns: "post_id# position# user_id# published_at#" },
    Listed { name: "post_tags", key: 2, columns: "post_id# position# tag_id# published_at#" },
    Listed { name: "slug_history", key: 1, columns: "slug post_id# created_at#" },
    Listed { name: "redirects", key: 1, columns: "path~ post_id# created_at#" },
    Listed { name: "imports", key: 2, columns: "source key post_id# fingerprint" },
    Listed { name: "outbox", key: 1, columns: "change_seq# event_id kind subject entities payload request_id at#" },
    Listed { name: "outbox_cursors", key: 1, columns: "consumer change_seq# lease_owner lease_until#" },
    Listed {
        name: "idempotency_keys",
        key: 2,
        columns: "scope key fingerprint status# headers created_at# expires_at# body",
    },
    Listed { name: "audit_log", key: 1, columns: "id# at# actor_kind actor_id# action subject request_id details" },
    Listed {
        name: "sessions",
        key: 1,
        columns: "id# user_id# scopes created_at# last_used_at# expires_at# revoked_at#",
    },
    Listed { name: "refresh_tokens", key: 1, columns: "hash session_id# created_at# expires_at# used_at#" },
    Listed {
        name: "personal_tokens",
        key: 1,
        columns: "id# user_id# name hint hash scopes created_at# expires_at# last_used_at# revoked_at#",
    },
    Listed { name: "signing_keys", key: 1, columns: "kid state pkcs8 public created_at# state_since#" },
    Listed { name: "login_throttles", key: 1, columns: "key failures blocked_until# expires_at#" },
    Listed { name: "secrets", key: 1, columns: "name value" },
    Listed { name: "leases", key: 1, columns: "name owner token# held_since# held_until# done_at#" },
    Listed { name: "site", key: 1, columns: "id# settings version# updated_at#" },
];

/// The numbers that everything hangs on: copied last of all, since they make the copy whole.
const COUNTERS_LISTED: Listed = Listed { name: "counters", key: 1, columns: "name value#" };

/// Every table whose rows are copied as they are, but for the counters.
pub(super) static TABLES: LazyLock<Vec<Table>> = LazyLock::new(|| LIST.iter().map(Table::new).collect());

/// As [`COUNTERS_LISTED`].
pub(super) static COUNTERS: LazyLock<Table> = LazyLock::new(|| Table::new(&COUNTERS_LISTED));

/// Tables that number their rows, and whether rows with the highest numbers may be gone for good:
/// their numbers must not be given again, since they would mean somebody else.
pub(super) const NUMBERED: &[(&str, bool)] = &[
    ("users", false),
    ("tags", true),
    ("posts", false),
    ("revisions", false),
    ("publications", false),
    ("audit_log", false),
    ("sessions", true),
    ("personal_tokens", true),
];

/// The texts of the posts that are in the index of words. The index itself cannot be read.
pub(super) static INDEXED_TEXTS: LazyLock<Walk> = LazyLock::new(|| {
    Walk::new(
        "posts_search",
        "posts join revisions on revisions.post_id = posts.id and revisions.number = posts.revision",
        Some("posts.status <> 'deleted'"),
        1,
        "posts.id# revisions.title revisions.excerpt revisions.html",
    )
});

/// The posts that should be in the index.
pub(super) static INDEXABLE: LazyLock<Walk> =
    LazyLock::new(|| Walk::new("posts_search", "posts", Some("posts.status <> 'deleted'"), 1, "posts.id#"));

/// The posts that are.
pub(super) static INDEXED: LazyLock<Walk> =
    LazyLock::new(|| Walk::new("posts_search", "posts_search", None, 1, "posts_search.rowid#"));

/// Takes a post's number: empties the index up to it.
pub(super) const REMOVE_INDEXED: Statement =
    Statement { name: "copy.posts_search.remove", sql: "delete from posts_search where rowid <= $1" };

impl Table {
    fn new(listed: &Listed) -> Self {
        let Listed { name, key, columns } = *listed;
        // Qualified or in quotes, so that no name can be taken for a word of SQL.
        let qualified: Vec<String> = columns.split_whitespace().map(|column| format!("{name}.{column}")).collect();
        let names: Vec<String> = names(columns).iter().map(|column| format!("\"{column}\"")).collect();
        let row = |row: usize| {
            let places: Vec<String> =
                (1..=names.len()).map(|place| format!("${}", row * names.len() + place)).collect();
            format!("({})", places.join(", "))
        };
        let into = format!("insert into {name} ({}) values ", names.join(", "));
        let insert = format!("{into}{}", row(0));
        let insert_many = format!("{into}{}", (0..TOGETHER).map(row).collect::<Vec<_>>().join(", "));
        let walk = Walk::new(name, name, None, key, &qualified.join(" "));
        let remove = format!("delete from {name} where {}", walk.compare("<=", 1));
        Self {
            insert: statement(name, "insert", insert),
            insert_many: statement(name, "insert_many", insert_many),
            remove: statement(name, "remove", remove),
            walk,
        }
    }
}

fn names(columns: &'static str) -> Vec<&'static str> {
    columns.split_whitespace().map(|column| column.trim_end_matches(['#', '~'])).collect()
}

/// A statement that is made once and stays for as long as the program runs.
pub(super) fn statement(table: &str, verb: &str, sql: String) -> Statement {
    Statement { name: String::leak(format!("copy.{table}.{verb}")), sql: String::leak(sql) }
}

/// Every table that is copied or made anew, with its columns: what a schema must consist of.
pub fn tables() -> Vec<(&'static str, Vec<&'static str>)> {
    let listed = LIST.iter().chain([&COUNTERS_LISTED]);
    listed.map(|table| (table.name, names(table.columns))).collect()
}

/// The statements that bring many rows at once.
pub(super) fn many() -> Vec<&'static Statement> {
    TABLES.iter().chain([&*COUNTERS]).map(|table| &table.insert_many).collect()
}

/// Every statement of copying, for the tests that prepare each and look at its plan.
pub(super) fn statements() -> Vec<&'static Statement> {
    let mut all: Vec<&'static Statement> = vec![&REMOVE_INDEXED];
    for table in TABLES.iter().chain([&*COUNTERS]) {
        all.extend([&table.insert, &table.remove]);
        all.extend(table.walk.statements());
    }
    for walk in [&*INDEXED_TEXTS, &*INDEXABLE, &*INDEXED] {
        all.extend(walk.statements());
    }
    all
}
