//! What is asked of a database, and of which kind it is.

/// One SQL statement: written once, by hand, named `resource.verb`.
#[derive(Debug)]
pub struct Statement {
    /// Names it in logs, errors and plans, such as `posts.find_by_slug`.
    pub name: &'static str,
    /// The text. Parameters are `$1`, `$2`, … without gaps; each may stand more than once.
    pub sql: &'static str,
}

/// What MariaDB runs instead of a [`Statement`], where the subset of SQL that the databases share does
/// not reach. Stands beside it, under its name.
#[derive(Debug)]
pub(crate) struct Variant {
    /// The statement's.
    pub(crate) name: &'static str,
    /// The texts, run one after the other with the parameters of the statement; what the last one
    /// gives is what the statement gives.
    pub(crate) sql: &'static [&'static str],
}

/// Which kind of database it is, for the few who must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// SQLite.
    Sqlite,
    /// PostgreSQL.
    Postgres,
    /// MariaDB or MySQL.
    MariaDb,
}
