//! How much few failures say: bounds of a rate of failures.

use serde::{Deserialize, Serialize};

/// Failures in a time without any, at most, at 95 % confidence: `-ln(0.05)`, rounded as usual.
pub const RULE_OF_THREE: f64 = 3.0;

/// Half of what lies outside of an interval at 95 %.
const TAIL: f64 = 0.025;
/// Beyond so many failures the tails are taken from the cube root's normal approximation (Wilson and Hilferty).
const EXACT_MAX: u32 = 500;

/// Bounds of a rate, a second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Range {
    /// Not less than that.
    pub least: f64,
    /// Not more than that.
    pub most: f64,
}

/// Bounds at 95 % of a rate that led to `failures` in `seconds`: with chi-squared quantiles, `X(0.025; 2n) / 2T` and
/// `X(0.975; 2n + 2) / 2T`, for a test that ends by time; without failures 0 and the rule of three. `None` if no time passed.
pub fn failure_rate(failures: u32, seconds: f64) -> Option<Range> {
    if seconds <= 0.0 {
        return None;
    }
    if failures == 0 {
        return Some(Range { least: 0.0, most: RULE_OF_THREE / seconds });
    }
    // A chi-squared variable of 2k degrees is twice a gamma variable of shape k.
    Some(Range {
        least: gamma_quantile(failures, TAIL) / seconds,
        most: gamma_quantile(failures + 1, 1.0 - TAIL) / seconds,
    })
}

/// Where a gamma variable of this whole shape stays below with this probability.
fn gamma_quantile(shape: u32, probability: f64) -> f64 {
    let k = f64::from(shape);
    if shape > EXACT_MAX {
        let z = if probability < 0.5 { -1.959_964 } else { 1.959_964 };
        let cube = 1.0 - 1.0 / (9.0 * k) + z / (3.0 * k.sqrt());
        return k * cube.powi(3);
    }
    let (mut low, mut high) = (0.0, k + 20.0 * k.sqrt() + 20.0);
    for _halving in 0..100 {
        let middle = 0.5 * (low + high);
        if gamma_below(shape, middle) < probability {
            low = middle;
        } else {
            high = middle;
        }
    }
    0.5 * (low + high)
}

/// The probability that a gamma variable of this whole shape is below `x`: that a Poisson variable of mean `x` reaches it.
fn gamma_below(shape: u32, x: f64) -> f64 {
    let (mut term, mut sum) = ((-x).exp(), 0.0);
    for index in 0..shape {
        sum += term;
        term *= x / f64::from(index + 1);
    }
    1.0 - sum
}
