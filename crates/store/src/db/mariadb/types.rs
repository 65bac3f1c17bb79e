//! Values on their way to MariaDB, and columns on their way back: whole numbers, text and bytes, as
//! in SQLite.

use mysql_async::consts::ColumnType;
use mysql_async::{Column, Value as Sent};

use crate::db::Value;
use crate::db::row::Cell;

/// The character set of what is no text.
const BINARY: u16 = 63;

impl From<&Value<'_>> for Sent {
    fn from(value: &Value<'_>) -> Self {
        match value {
            Value::Null => Self::NULL,
            Value::Int(value) => Self::Int(*value),
            Value::Text(value) => Self::Bytes(value.as_bytes().to_vec()),
            Value::Bytes(value) => Self::Bytes(value.to_vec()),
        }
    }
}

/// A column of a row. Texts and bytes come in the same form; the column knows which it is.
pub(in crate::db) fn cell<'r>(column: &Column, value: &'r Sent) -> Cell<'r> {
    match value {
        Sent::NULL => Cell::Null,
        Sent::Int(value) => Cell::Int(*value),
        Sent::UInt(value) => i64::try_from(*value).map_or(Cell::Other, Cell::Int),
        Sent::Bytes(_) if is_number(column.column_type()) => Cell::Other,
        Sent::Bytes(bytes) if column.character_set() == BINARY => Cell::Bytes(bytes),
        Sent::Bytes(bytes) => Cell::Text(bytes),
        _ => Cell::Other,
    }
}

/// Numbers that are sent as text, such as sums.
fn is_number(kind: ColumnType) -> bool {
    matches!(kind, ColumnType::MYSQL_TYPE_DECIMAL | ColumnType::MYSQL_TYPE_NEWDECIMAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(kind: ColumnType, character_set: u16) -> Column {
        Column::new(kind).with_character_set(character_set)
    }

    #[test]
    fn columns_are_numbers_text_or_bytes() {
        let number = column(ColumnType::MYSQL_TYPE_LONGLONG, BINARY);
        assert!(matches!(cell(&number, &Sent::Int(-7)), Cell::Int(-7)));
        assert!(matches!(cell(&number, &Sent::UInt(7)), Cell::Int(7)));
        assert!(matches!(cell(&number, &Sent::UInt(u64::MAX)), Cell::Other));
        assert!(matches!(cell(&number, &Sent::NULL), Cell::Null));
        let bytes = || Sent::Bytes(b"a".to_vec());
        assert!(matches!(cell(&column(ColumnType::MYSQL_TYPE_VAR_STRING, 46), &bytes()), Cell::Text(b"a")));
        assert!(matches!(cell(&column(ColumnType::MYSQL_TYPE_BLOB, BINARY), &bytes()), Cell::Bytes(b"a")));
        assert!(matches!(cell(&column(ColumnType::MYSQL_TYPE_NEWDECIMAL, BINARY), &bytes()), Cell::Other));
        assert!(matches!(cell(&column(ColumnType::MYSQL_TYPE_DOUBLE, BINARY), &Sent::Double(1.0)), Cell::Other));
    }

    #[test]
    fn values_keep_their_bytes() {
        assert_eq!(Sent::from(&Value::Text("é")), Sent::Bytes("é".as_bytes().to_vec()));
        assert_eq!(Sent::from(&Value::Bytes(&[0, 255])), Sent::Bytes(vec![0, 255]));
        assert_eq!(Sent::from(&Value::Int(i64::MIN)), Sent::Int(i64::MIN));
        assert_eq!(Sent::from(&Value::Null), Sent::NULL);
    }
}
