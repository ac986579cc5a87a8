//! How often an endpoint's attempts are cancelled because another endpoint, asked later, has answered first.

/// The part of an endpoint's last attempts that was lost to others. It happens to everybody now and then; to a slow endpoint it
/// happens nearly always, and then nobody sees how slow it is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Lost(f32);

impl Lost {
    /// What an attempt counts.
    const WEIGHT: f32 = 0.125;
    /// Parts below this are none.
    const LEAST: f32 = 0.01;

    /// One more was lost. Answers the part, 0 to 1.
    pub(super) fn lose(&mut self) -> f32 {
        self.0 += (1.0 - self.0) * Self::WEIGHT;
        self.0
    }

    /// One was answered.
    pub(super) fn answered(&mut self) {
        if self.0 > 0.0 {
            let rest = self.0 * (1.0 - Self::WEIGHT);
            self.0 = if rest < Self::LEAST { 0.0 } else { rest };
        }
    }
}
