//! Points in time and spans, in integer nanoseconds.

use core::ops::{Add, Sub};

/// Nanoseconds since 1970 (UTC). Enough until the year 2262.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Timestamp(pub i64);

/// A length of time in nanoseconds; never negative where it comes from [`Span::from_api`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Span(pub i64);

const NANOS: i64 = 1_000_000_000;

impl Timestamp {
    /// Whole milliseconds since 1970.
    pub const fn millis(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// The point `ms` milliseconds after 1970.
    pub const fn from_millis(ms: i64) -> Self {
        Self(ms * 1_000_000)
    }

    /// As the API writes it.
    pub fn to_api(self) -> sempre_api::Timestamp {
        sempre_api::Timestamp { seconds: self.0.div_euclid(NANOS), nanos: self.0.rem_euclid(NANOS) as i32 }
    }

    /// From the API; saturates outside the range.
    pub fn from_api(t: &sempre_api::Timestamp) -> Self {
        Self(t.seconds.saturating_mul(NANOS).saturating_add(i64::from(t.nanos)))
    }

    /// The span from `earlier` to this; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Span {
        Span(self.0.saturating_sub(earlier.0).max(0))
    }
}

impl Span {
    /// No time.
    pub const ZERO: Self = Self(0);
    /// The cap of every duration a client gives: 100 years of 365 days (spec 09 §3).
    pub const MAX: Self = Self::seconds(100 * 365 * 24 * 3600);

    /// A span of whole seconds.
    pub const fn seconds(seconds: i64) -> Self {
        Self(seconds * NANOS)
    }

    /// A span of whole milliseconds.
    pub const fn millis(ms: i64) -> Self {
        Self(ms * 1_000_000)
    }

    /// True for zero.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// `None` when zero: an unset timeout.
    pub fn some(self) -> Option<Self> {
        (self.0 > 0).then_some(self)
    }

    /// From the API, capped at [`Span::MAX`]; `Err` for negative or sign-mismatched values.
    pub fn from_api(d: Option<&sempre_api::Duration>) -> Result<Self, InvalidSpan> {
        let Some(d) = d else { return Ok(Self::ZERO) };
        if d.seconds < 0 || d.nanos < 0 {
            return Err(if d.seconds > 0 || d.nanos > 0 { InvalidSpan::MixedSigns } else { InvalidSpan::Negative });
        }
        Ok(Self(d.seconds.saturating_mul(NANOS).saturating_add(i64::from(d.nanos))).min(Self::MAX))
    }

    /// As the API writes it.
    pub fn to_api(self) -> sempre_api::Duration {
        sempre_api::Duration { seconds: self.0 / NANOS, nanos: (self.0 % NANOS) as i32 }
    }

    /// As the API writes it; `None` for zero.
    pub fn to_api_option(self) -> Option<sempre_api::Duration> {
        self.some().map(Self::to_api)
    }
}

/// Why a duration of a request is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InvalidSpan {
    /// Below zero.
    Negative,
    /// Seconds and nanos of different signs.
    MixedSigns,
}

impl core::fmt::Display for InvalidSpan {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Negative => "negative duration",
            Self::MixedSigns => "duration has seconds and nanos with different signs",
        })
    }
}

impl Add<Span> for Timestamp {
    type Output = Timestamp;
    fn add(self, span: Span) -> Timestamp {
        Timestamp(self.0.saturating_add(span.0))
    }
}

impl Sub<Span> for Timestamp {
    type Output = Timestamp;
    fn sub(self, span: Span) -> Timestamp {
        Timestamp(self.0.saturating_sub(span.0))
    }
}
