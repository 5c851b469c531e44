//! A target, and the line that says whether it is met.

use std::fmt;

/// What a figure must be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bound {
    /// At least so much.
    AtLeast(f64),
    /// At most so much.
    AtMost(f64),
}

/// A measured figure beside its target.
#[derive(Debug)]
pub(crate) struct Verdict {
    /// What was measured.
    pub(crate) name: String,
    /// The figure; `None` if too few runs counted.
    pub(crate) measured: Option<f64>,
    /// What it must be.
    pub(crate) bound: Bound,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Bound::AtLeast(target) | Bound::AtMost(target)) = self.bound;
        let Some(measured) = self.measured else {
            return write!(
                f,
                "{}: measured nothing (too few runs counted), target {target:.2}, short",
                self.name
            );
        };
        let met = match self.bound {
            Bound::AtLeast(least) => measured >= least,
            Bound::AtMost(most) => measured <= most,
        };
        let word = if met { "ok" } else { "short" };
        write!(f, "{}: measured {measured:.3}, target {target:.2}, {word}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(measured: Option<f64>, bound: Bound) -> String {
        Verdict { name: "speed".into(), measured, bound }.to_string()
    }

    #[test]
    fn a_target_is_met_at_its_bound_and_missed_beyond_it() {
        assert_eq!(line(Some(0.8), Bound::AtLeast(0.8)), "speed: measured 0.800, target 0.80, ok");
        assert_eq!(line(Some(0.7), Bound::AtLeast(0.8)), "speed: measured 0.700, target 0.80, short");
        assert_eq!(line(Some(1.5), Bound::AtMost(1.5)), "speed: measured 1.500, target 1.50, ok");
        assert_eq!(line(Some(1.6), Bound::AtMost(1.5)), "speed: measured 1.600, target 1.50, short");
    }

    #[test]
    fn what_was_not_measured_is_short() {
        assert!(line(None, Bound::AtMost(1.5)).ends_with("short"));
    }
}
