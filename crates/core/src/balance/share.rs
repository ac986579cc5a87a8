//! How much of its weight an endpoint gets.

use crate::random::mix;

/// A share of an endpoint's weight, in thousandths: 0 to 1000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(u16);

impl Share {
    /// Nothing: the endpoint is not picked.
    pub const NONE: Self = Self(0);
    /// All of it.
    pub const FULL: Self = Self(1000);
    /// The least that is not nothing.
    pub const LEAST: Self = Self(1);

    /// So many thousandths; what is above 1000 counts as 1000.
    pub const fn permille(permille: u16) -> Self {
        Self(if permille > 1000 { 1000 } else { permille })
    }

    /// A share from 0 to 1; what is outside counts as the nearer end. A positive one is never rounded to nothing.
    pub fn ratio(ratio: f64) -> Self {
        if ratio.is_nan() || ratio <= 0.0 {
            return Self::NONE;
        }
        // At most 1000, so that nothing is cut off.
        Self(((ratio.min(1.0) * 1000.0).round() as u16).max(1))
    }

    /// In thousandths.
    pub const fn as_permille(self) -> u16 {
        self.0
    }

    /// From 0 to 1.
    pub fn as_ratio(self) -> f64 {
        f64::from(self.0) / 1000.0
    }

    /// Both shares at once. Two that are not nothing do not come to nothing.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        if self.0 == 0 || other.0 == 0 {
            return Self::NONE;
        }
        let product = self.0 as u32 * other.0 as u32 / 1000;
        Self(if product == 0 { 1 } else { product as u16 })
    }

    /// This share of `weight`, in thousandths of a unit.
    pub fn of(self, weight: u32) -> u32 {
        weight.saturating_mul(u32::from(self.0))
    }

    /// Whether a candidate with this share takes the key. A larger share takes the keys of a smaller one and more, so that
    /// keys come back to a recovering endpoint one after another and stay.
    pub(super) fn takes(self, key: u64, identity: u64) -> bool {
        self.0 >= 1000 || mix(key ^ mix(identity ^ 0x5a5a)) % 1000 < u64::from(self.0)
    }
}
