//! Statements on their way to the server: prepared once a connection, and sent without waiting for those before them.

use deadpool_postgres::ClientWrapper;
use futures_util::future::{join, join_all};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Error, Row, Statement as Prepared};

use crate::db::{self, FromRow, Statement, Value};

/// A statement that was put off.
pub(super) struct Later {
    statement: &'static Statement,
    values: Vec<Kept>,
}

impl Later {
    pub(super) fn new(statement: &'static Statement, values: &[Value<'_>]) -> Self {
        Self { statement, values: values.iter().map(Kept::from).collect() }
    }
}

/// A value that outlives what it was made from.
enum Kept {
    Null,
    Int(i64),
    Text(Box<str>),
    Bytes(Box<[u8]>),
}

impl From<&Value<'_>> for Kept {
    fn from(value: &Value<'_>) -> Self {
        match *value {
            Value::Null => Self::Null,
            Value::Int(value) => Self::Int(value),
            Value::Text(text) => Self::Text(text.into()),
            Value::Bytes(bytes) => Self::Bytes(bytes.into()),
        }
    }
}

impl Kept {
    fn as_value(&self) -> Value<'_> {
        match self {
            Self::Null => Value::Null,
            Self::Int(value) => Value::Int(*value),
            Self::Text(text) => Value::Text(text),
            Self::Bytes(bytes) => Value::Bytes(bytes),
        }
    }
}

/// A statement whose answer somebody waits for.
pub(super) struct Ask<'a> {
    pub(super) statement: &'static Statement,
    pub(super) values: &'a [Value<'a>],
    pub(super) answer: Answer,
}

/// What is wanted of an answer.
#[derive(Clone, Copy)]
pub(super) enum Answer {
    Rows,
    Count,
}

/// What the server said.
#[derive(Default)]
pub(super) struct Answered {
    rows: Vec<Row>,
    /// Rows that were touched.
    pub(super) count: u64,
}

/// What failed, and why.
pub(super) type Failed = (&'static str, Error);

/// Sends what was put off and what is asked, in this order and at once: none waits for another.
pub(super) async fn ask_all(
    client: &ClientWrapper,
    later: &[Later],
    last: Option<Ask<'_>>,
    unprepared: bool,
) -> Result<Answered, Failed> {
    // Prepared first: what is sent after that is sent in its order, and waits for nothing.
    let mut prepared = Vec::with_capacity(later.len());
    for Later { statement, .. } in later {
        prepared.push(prepare(client, statement, unprepared).await?);
    }
    let last = match last {
        Some(ask) => Some((prepare(client, ask.statement, unprepared).await?, ask)),
        None => None,
    };
    let last = async {
        let Some((prepared, Ask { statement, values, answer })) = last else { return Ok(Answered::default()) };
        ask(client, statement, prepared, values, answer).await
    };
    if later.is_empty() {
        return last.await;
    }
    let later = later.iter().zip(prepared).map(|(Later { statement, values }, prepared)| async move {
        let values: Vec<Value<'_>> = values.iter().map(Kept::as_value).collect();
        ask(client, statement, prepared, &values, Answer::Count).await
    });
    let (later, last) = join(join_all(later), last).await;
    // After the first that fails all fail.
    later.into_iter().find(Result::is_err).unwrap_or(last)
}

/// None for a statement that is sent as text.
pub(super) async fn prepare(
    client: &ClientWrapper,
    statement: &'static Statement,
    unprepared: bool,
) -> Result<Option<Prepared>, Failed> {
    if unprepared {
        return Ok(None);
    }
    let prepared = client.prepare_cached(statement.sql).await;
    prepared.map(Some).map_err(|error| (statement.name, error))
}

/// Sends one statement, and waits for its answer.
pub(super) async fn ask(
    client: &ClientWrapper,
    statement: &'static Statement,
    prepared: Option<Prepared>,
    values: &[Value<'_>],
    answer: Answer,
) -> Result<Answered, Failed> {
    let outcome = if let Some(prepared) = prepared {
        let values: Vec<&(dyn ToSql + Sync)> = values.iter().map(|value| value as &(dyn ToSql + Sync)).collect();
        match answer {
            Answer::Rows => client.query(&prepared, &values).await.map(Answered::rows),
            Answer::Count => client.execute(&prepared, &values).await.map(Answered::count),
        }
    } else {
        let values: Vec<(&(dyn ToSql + Sync), Type)> =
            values.iter().map(|value| (value as &(dyn ToSql + Sync), value.postgres_type())).collect();
        match answer {
            Answer::Rows => client.query_typed(statement.sql, &values).await.map(Answered::rows),
            Answer::Count => client.execute_typed(statement.sql, &values).await.map(Answered::count),
        }
    };
    outcome.map_err(|error| (statement.name, error))
}

impl Answered {
    fn rows(rows: Vec<Row>) -> Self {
        Self { rows, count: 0 }
    }

    fn count(count: u64) -> Self {
        Self { rows: Vec::new(), count }
    }

    /// Its rows, read as answers to this statement.
    pub(super) fn read<T: FromRow>(&self, statement: &'static Statement) -> Result<Vec<T>, inkstone_core::Error> {
        self.rows.iter().map(|row| T::from_row(&db::Row::postgres(statement, row))).collect()
    }
}
