//! How much a request matters: four classes after Google's (Site Reliability Engineering, chapter 21, "Criticality"). What
//! matters least is shed first.

/// The class of a request. The order is that of importance: what is shed first is the least.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Criticality {
    /// Its loss is seen by nobody for a while: batch work, prefetching, retries that can wait for an hour.
    Sheddable,
    /// Its loss is seen but does little harm. What says nothing of itself is of this class.
    #[default]
    Normal,
    /// Its loss hurts users.
    High,
    /// Its loss is an outage: what the service is there for.
    Critical,
}

/// How many classes there are.
pub const CLASSES: usize = 4;

impl Criticality {
    /// All classes, the least important first.
    pub const ALL: [Self; CLASSES] = [Self::Sheddable, Self::Normal, Self::High, Self::Critical];

    /// Its place in [`Self::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The word for it in configuration, header fields, metrics and logs.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Sheddable => "sheddable",
            Self::Normal => "normal",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }

    /// Reads the word; letters may be of either case. `None` if it names no class.
    pub fn parse(word: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.word().as_bytes().eq_ignore_ascii_case(word))
    }
}

/// Which part of something limited each class may use up, 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shares(pub [f64; CLASSES]);

impl Shares {
    /// All classes may use everything.
    pub const EQUAL: Self = Self([1.0; CLASSES]);

    /// Each class leaves room for those above it.
    pub const GRADED: Self = Self([0.5, 0.8, 0.9, 1.0]);

    /// The part for `class`.
    pub fn of(&self, class: Criticality) -> f64 {
        let Self([sheddable, normal, high, critical]) = *self;
        match class {
            Criticality::Sheddable => sheddable,
            Criticality::Normal => normal,
            Criticality::High => high,
            Criticality::Critical => critical,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_they_are_written_and_ordered_by_importance() {
        for (index, class) in Criticality::ALL.into_iter().enumerate() {
            assert_eq!(class.index(), index);
            assert_eq!(Criticality::parse(class.word().as_bytes()), Some(class));
            assert_eq!(Criticality::parse(class.word().to_uppercase().as_bytes()), Some(class));
        }
        assert!(Criticality::Sheddable < Criticality::default() && Criticality::default() < Criticality::Critical);
        for wrong in [&b""[..], b"low", b"critical ", b"CRITICAL_PLUS", b"\xff"] {
            assert_eq!(Criticality::parse(wrong), None);
        }
    }

    #[test]
    fn a_class_never_leaves_less_room_than_the_one_below() {
        for shares in [Shares::EQUAL, Shares::GRADED] {
            let parts: Vec<f64> = Criticality::ALL.iter().map(|class| shares.of(*class)).collect();
            assert!(parts.is_sorted() && parts.last() == Some(&1.0), "{parts:?}");
        }
    }
}
