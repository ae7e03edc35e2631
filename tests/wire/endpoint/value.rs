//! Values of columns and parameters, and how they look on the wire.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tds_protocol::{RpcTypeInfo, TypeId, codec};
use uuid::Uuid;

/// A value that a parameter or a row holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Bit(bool),
    TinyInt(u8),
    SmallInt(i16),
    Int(i32),
    BigInt(i64),
    Text(String),
    Bytes(Vec<u8>),
    Uuid(Uuid),
    /// A value of another type, as it was on the wire.
    Other(u8, Bytes),
}

/// The type of a column. Every column can hold nulls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    Bit,
    TinyInt,
    SmallInt,
    Int,
    BigInt,
    /// `nvarchar(4000)`
    Text,
    /// `nvarchar(max)`
    LongText,
    /// `varbinary(8000)`
    Bytes,
    /// `varbinary(max)`
    LongBytes,
    Uuid,
}

impl Type {
    fn info(self) -> RpcTypeInfo {
        match self {
            Type::Bit => RpcTypeInfo::bit(),
            Type::TinyInt => RpcTypeInfo::tinyint(),
            Type::SmallInt => RpcTypeInfo::smallint(),
            Type::Int => RpcTypeInfo::int(),
            Type::BigInt => RpcTypeInfo::bigint(),
            Type::Text => RpcTypeInfo::nvarchar(4000),
            Type::LongText => RpcTypeInfo::nvarchar_max(),
            Type::Bytes => RpcTypeInfo::varbinary(8000),
            Type::LongBytes => RpcTypeInfo::varbinary_max(),
            Type::Uuid => RpcTypeInfo::uniqueidentifier(),
        }
    }

    /// Writes `UserType`, `Flags` and `TYPE_INFO`, as column metadata and return values begin.
    pub fn put_metadata(self, out: &mut BytesMut) {
        const NULLABLE_AND_WRITABLE: u16 = 0b101;
        out.put_u32_le(0);
        out.put_u16_le(NULLABLE_AND_WRITABLE);
        self.info().encode(out);
    }

    /// Writes a value of this type.
    pub fn put_value(self, value: &Value, out: &mut BytesMut) {
        match (self, value) {
            (Type::Text | Type::Bytes, Value::Null) => out.put_u16_le(u16::MAX),
            (Type::LongText | Type::LongBytes, Value::Null) => out.put_u64_le(u64::MAX),
            (_, Value::Null) => out.put_u8(0),
            (Type::Bit, Value::Bit(value)) => put_short(&[u8::from(*value)], out),
            (Type::TinyInt, Value::TinyInt(value)) => put_short(&[*value], out),
            (Type::SmallInt, Value::SmallInt(value)) => put_short(&value.to_le_bytes(), out),
            (Type::Int, Value::Int(value)) => put_short(&value.to_le_bytes(), out),
            (Type::BigInt, Value::BigInt(value)) => put_short(&value.to_le_bytes(), out),
            (Type::Uuid, Value::Uuid(value)) => put_short(&value.to_bytes_le(), out),
            (Type::Text, Value::Text(value)) => put_counted(&utf16(value), 8000, out),
            (Type::Bytes, Value::Bytes(value)) => put_counted(value, 8000, out),
            (Type::LongText, Value::Text(value)) => put_parts(&utf16(value), out),
            (Type::LongBytes, Value::Bytes(value)) => put_parts(value, out),
            (column, value) => panic!("{value:?} is no value of a column of type {column:?}"),
        }
    }
}

fn utf16(text: &str) -> BytesMut {
    let mut bytes = BytesMut::new();
    codec::write_utf16_string(&mut bytes, text);
    bytes
}

fn put_short(bytes: &[u8], out: &mut BytesMut) {
    out.put_u8(bytes.len().try_into().unwrap());
    out.put_slice(bytes);
}

fn put_counted(bytes: &[u8], limit: u16, out: &mut BytesMut) {
    let length = u16::try_from(bytes.len()).unwrap();
    assert!(length <= limit, "{length} bytes are too long for the column: take a long type");
    out.put_u16_le(length);
    out.put_slice(bytes);
}

fn put_parts(bytes: &[u8], out: &mut BytesMut) {
    out.put_u64_le(bytes.len().try_into().unwrap());
    // In two parts where there is enough, as a server sends long values in parts.
    let (first, second) = bytes.split_at(bytes.len() / 2);
    for part in [first, second] {
        if !part.is_empty() {
            out.put_u32_le(part.len().try_into().unwrap());
            out.put_slice(part);
        }
    }
    out.put_u32_le(0);
}

impl Value {
    /// Reads a value of a type whose `TYPE_INFO` has been read. The declared length tells long types from others.
    pub fn take(of: TypeId, declared: Option<u32>, wire: &mut impl Buf) -> Value {
        let long = of == TypeId::Xml || declared == Some(0xFFFF);
        let bytes = match of {
            TypeId::Null => None,
            TypeId::Bit | TypeId::Int1 | TypeId::Int2 | TypeId::Int4 | TypeId::Int8 => {
                Some(wire.copy_to_bytes(of.fixed_size().unwrap()))
            }
            TypeId::NVarChar | TypeId::BigVarChar | TypeId::BigVarBinary | TypeId::Xml if long => take_parts(wire),
            TypeId::NVarChar | TypeId::NChar | TypeId::BigVarChar | TypeId::BigVarBinary | TypeId::BigBinary => {
                match wire.get_u16_le() {
                    u16::MAX => None,
                    length => Some(wire.copy_to_bytes(length.into())),
                }
            }
            TypeId::IntN
            | TypeId::BitN
            | TypeId::Guid
            | TypeId::FloatN
            | TypeId::DecimalN
            | TypeId::NumericN
            | TypeId::Date
            | TypeId::Time
            | TypeId::DateTime2
            | TypeId::DateTimeOffset
            | TypeId::DateTimeN => match wire.get_u8() {
                0 => None,
                length => Some(wire.copy_to_bytes(length.into())),
            },
            other => panic!("values of type {other:?} are not read"),
        };
        let Some(mut bytes) = bytes else { return Value::Null };
        match (of, bytes.len()) {
            (TypeId::Bit | TypeId::BitN, _) => Value::Bit(bytes.get_u8() != 0),
            (TypeId::Guid, _) => Value::Uuid(Uuid::from_slice_le(&bytes).unwrap()),
            (TypeId::NVarChar | TypeId::NChar | TypeId::Xml, length) => {
                Value::Text(codec::read_utf16_string(&mut bytes, length / 2).unwrap())
            }
            (TypeId::BigVarBinary | TypeId::BigBinary, _) => Value::Bytes(bytes.into()),
            (TypeId::Int1 | TypeId::Int2 | TypeId::Int4 | TypeId::Int8 | TypeId::IntN, 1) => {
                Value::TinyInt(bytes.get_u8())
            }
            (TypeId::Int2 | TypeId::IntN, 2) => Value::SmallInt(bytes.get_i16_le()),
            (TypeId::Int4 | TypeId::IntN, 4) => Value::Int(bytes.get_i32_le()),
            (TypeId::Int8 | TypeId::IntN, 8) => Value::BigInt(bytes.get_i64_le()),
            _ => Value::Other(of as u8, bytes),
        }
    }
}

fn take_parts(wire: &mut impl Buf) -> Option<Bytes> {
    if wire.get_u64_le() == u64::MAX {
        return None;
    }
    let mut bytes = BytesMut::new();
    loop {
        match wire.get_u32_le() {
            0 => return Some(bytes.freeze()),
            length => bytes.put(wire.copy_to_bytes(length.try_into().unwrap())),
        }
    }
}

/// Rust types that a parameter is read into. A null is read into an `Option` only.
pub trait FromValue: Sized {
    fn from_value(value: &Value) -> Option<Self>;
}

macro_rules! conversions {
    ($($rust:ty => $variant:ident),*) => {$(
        impl From<$rust> for Value {
            fn from(value: $rust) -> Value {
                Value::$variant(value)
            }
        }

        impl FromValue for $rust {
            fn from_value(value: &Value) -> Option<$rust> {
                if let Value::$variant(value) = value { Some(value.clone()) } else { None }
            }
        }
    )*};
}

conversions!(bool => Bit, u8 => TinyInt, i16 => SmallInt, i32 => Int, i64 => BigInt, String => Text, Vec<u8> => Bytes, Uuid => Uuid);

impl From<&str> for Value {
    fn from(value: &str) -> Value {
        Value::Text(value.to_owned())
    }
}

impl From<&[u8]> for Value {
    fn from(value: &[u8]) -> Value {
        Value::Bytes(value.to_vec())
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Value {
        value.map_or(Value::Null, Into::into)
    }
}

impl<T: FromValue> FromValue for Option<T> {
    fn from_value(value: &Value) -> Option<Option<T>> {
        if *value == Value::Null { Some(None) } else { T::from_value(value).map(Some) }
    }
}
