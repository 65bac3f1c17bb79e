//! Values on their way to PostgreSQL, and columns on their way back: whole numbers, text and
//! bytes, as in SQLite.

use std::error::Error as StdError;

use bytes::BytesMut;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};

use crate::db::Value;
use crate::db::row::Cell;

type Failure = Box<dyn StdError + Sync + Send>;

impl Value<'_> {
    /// The type under which a statement that is not prepared takes it. Unknown means that the
    /// statement decides.
    pub(super) fn postgres_type(&self) -> Type {
        match self {
            Self::Null => Type::UNKNOWN,
            Self::Int(_) => Type::INT8,
            Self::Text(_) => Type::TEXT,
            Self::Bytes(_) => Type::BYTEA,
        }
    }
}

impl ToSql for Value<'_> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Failure> {
        match (self, ty) {
            (Value::Null, _) => Ok(IsNull::Yes),
            (Value::Int(value), &Type::INT8) => value.to_sql(ty, out),
            (Value::Int(value), &Type::INT4) => i32::try_from(*value)?.to_sql(ty, out),
            (Value::Int(value), &Type::INT2) => i16::try_from(*value)?.to_sql(ty, out),
            (Value::Text(value), &(Type::TEXT | Type::VARCHAR | Type::NAME | Type::UNKNOWN)) => value.to_sql(ty, out),
            (Value::Bytes(value), &Type::BYTEA) => value.to_sql(ty, out),
            // No value in the message: it goes into the log.
            (_, ty) => Err(format!("a value does not fit a parameter of the type {ty}").into()),
        }
    }

    // What fits depends on the value, too.
    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

impl<'a> FromSql<'a> for Cell<'a> {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, Failure> {
        Ok(match *ty {
            Type::INT8 => Self::Int(i64::from_sql(ty, raw)?),
            Type::INT4 => Self::Int(i32::from_sql(ty, raw)?.into()),
            Type::INT2 => Self::Int(i16::from_sql(ty, raw)?.into()),
            Type::TEXT | Type::VARCHAR | Type::NAME | Type::BPCHAR | Type::UNKNOWN => Self::Text(raw),
            Type::BYTEA => Self::Bytes(raw),
            _ => Self::Other,
        })
    }

    fn from_sql_null(_: &Type) -> Result<Self, Failure> {
        Ok(Self::Null)
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(value: Value<'_>, ty: &Type) -> Option<Vec<u8>> {
        let mut out = BytesMut::new();
        value.to_sql(ty, &mut out).ok().map(|_| out.to_vec())
    }

    #[test]
    fn numbers_take_the_width_of_their_parameter_or_are_refused() {
        assert_eq!(sent(Value::Int(7), &Type::INT8), Some(vec![0, 0, 0, 0, 0, 0, 0, 7]));
        assert_eq!(sent(Value::Int(-1), &Type::INT4), Some(vec![255; 4]));
        assert_eq!(sent(Value::Int(i64::MAX), &Type::INT4), None);
        assert_eq!(sent(Value::Int(7), &Type::TEXT), None);
        assert_eq!(sent(Value::Text("7"), &Type::INT8), None);
        assert_eq!(sent(Value::Bytes(b"7"), &Type::TEXT), None);
    }

    #[test]
    fn columns_are_numbers_text_or_bytes() {
        assert!(matches!(Cell::from_sql(&Type::INT4, &[0, 0, 0, 7]), Ok(Cell::Int(7))));
        assert!(matches!(Cell::from_sql(&Type::TEXT, b"a"), Ok(Cell::Text(b"a"))));
        assert!(matches!(Cell::from_sql(&Type::BYTEA, b"a"), Ok(Cell::Bytes(b"a"))));
        assert!(matches!(Cell::from_sql(&Type::FLOAT8, &[0; 8]), Ok(Cell::Other)));
        assert!(matches!(Cell::from_sql_null(&Type::INT8), Ok(Cell::Null)));
    }
}
