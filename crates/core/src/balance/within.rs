//! Picks among a few candidates, such as those of a shard. The list is short, so that walking it costs less than keeping
//! tables for it would.

use super::{Balancer, Loads, Policy, Wanted};
use crate::random::{Rng, mix};

impl Balancer {
    /// A candidate of `within`, by the balancer's policy.
    pub(super) fn pick_within(
        &self,
        within: &[usize],
        wanted: &Wanted<'_>,
        loads: &impl Loads,
        rng: &mut Rng,
    ) -> Option<usize> {
        let may =
            |index: &usize| self.weights.get(*index).is_some_and(|it| *it > 0) && !wanted.excluded.contains(index);
        let listed = || within.iter().copied().filter(may);
        match (self.policy, wanted.key) {
            (Policy::LeastRequest | Policy::PeakEwma, _) => {
                let first = self.draw_among(listed, rng)?;
                let second = self.draw_among(|| listed().filter(|index| *index != first), rng);
                Some(second.map_or(first, |second| self.cheaper(first, second, loads)))
            }
            (Policy::Hash, Some(key)) => {
                let room = self.bound.map(|factor| self.room_within(factor, listed, loads));
                let has_room = |index: &usize| {
                    room.as_ref().is_none_or(|room| room.is_left_at(*index, self.weights[*index], loads))
                };
                let takes = |index: &usize| self.shares[*index].takes(key, self.candidates[*index].identity);
                let best = listed().filter(takes).filter(has_room).max_by(|a, b| self.score(key, *a, *b));
                best.or_else(|| listed().max_by(|a, b| self.score(key, *a, *b)))
            }
            (Policy::Hash, None) | (Policy::Random | Policy::RoundRobin, _) => self.draw_among(listed, rng),
        }
    }

    /// Weighted rendezvous hashing: the candidate with the largest `-weight / ln(hash)` (Schindelhauer, Schomaker 2005).
    fn score(&self, key: u64, a: usize, b: usize) -> std::cmp::Ordering {
        let score = |index: usize| {
            let candidate = self.candidates[index];
            let unit = ((mix(key ^ mix(candidate.identity)) >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
            -f64::from(candidate.weight) / unit.ln()
        };
        score(a).total_cmp(&score(b))
    }
}
