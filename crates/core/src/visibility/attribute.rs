//! Types and values of search attributes (spec 06 §5).

use alloc::{string::String, vec::Vec};

use sempre_api::v1::enums::IndexedValueType;

use crate::Timestamp;

/// The type of a search attribute.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum AttributeType {
    /// Words, found by any of them.
    Text,
    /// One exact string.
    Keyword,
    /// A 64-bit integer.
    Int,
    /// A floating-point number.
    Double,
    /// True or false.
    Bool,
    /// A point in time.
    Datetime,
    /// Several exact strings.
    KeywordList,
}

impl AttributeType {
    /// Every type, in the order of the API's numbers.
    pub const ALL: [Self; 7] = [Self::Text, Self::Keyword, Self::Int, Self::Double, Self::Bool, Self::Datetime, Self::KeywordList];

    /// From the API's number; `None` for unspecified and unknown ones.
    pub fn from_api(kind: i32) -> Option<Self> {
        Some(match IndexedValueType::try_from(kind).ok()? {
            IndexedValueType::Unspecified => return None,
            IndexedValueType::Text => Self::Text,
            IndexedValueType::Keyword => Self::Keyword,
            IndexedValueType::Int => Self::Int,
            IndexedValueType::Double => Self::Double,
            IndexedValueType::Bool => Self::Bool,
            IndexedValueType::Datetime => Self::Datetime,
            IndexedValueType::KeywordList => Self::KeywordList,
        })
    }

    /// The API's number.
    pub fn to_api(self) -> IndexedValueType {
        match self {
            Self::Text => IndexedValueType::Text,
            Self::Keyword => IndexedValueType::Keyword,
            Self::Int => IndexedValueType::Int,
            Self::Double => IndexedValueType::Double,
            Self::Bool => IndexedValueType::Bool,
            Self::Datetime => IndexedValueType::Datetime,
            Self::KeywordList => IndexedValueType::KeywordList,
        }
    }

    /// By the name in payload metadata: the short one, or that of the API's enum, which newer SDKs send.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| name == kind.name() || name == kind.to_api().as_str_name())
    }

    /// The name in payload metadata (`type`) and in texts.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "Text",
            Self::Keyword => "Keyword",
            Self::Int => "Int",
            Self::Double => "Double",
            Self::Bool => "Bool",
            Self::Datetime => "Datetime",
            Self::KeywordList => "KeywordList",
        }
    }
}

/// The value of a search attribute, or one that a filter compares with.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    /// Of a `Text` attribute.
    Text(String),
    /// Of a `Keyword` attribute, and one element of a `KeywordList`.
    Keyword(String),
    /// Of an `Int` attribute.
    Int(i64),
    /// Of a `Double` attribute; never NaN.
    Double(f64),
    /// Of a `Bool` attribute.
    Bool(bool),
    /// Of a `Datetime` attribute.
    Datetime(Timestamp),
    /// Of a `KeywordList` attribute; never in a filter.
    KeywordList(Vec<String>),
}
