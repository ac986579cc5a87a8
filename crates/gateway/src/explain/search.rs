//! Which of the requests that are remembered are wanted.

use std::time::Duration;

use super::ring::{Record, Ring, Scene};
use super::{Explanation, tell};

/// Records of one worker that are looked through at most, so that nobody's search holds up requests for long.
const LOOKED_AT_MAX: usize = 20_000;

/// Which requests are wanted: those that fit everything that is said.
#[derive(Clone, Debug, Default)]
pub struct Search {
    /// The route's name.
    pub route: Option<String>,
    /// The service's name.
    pub service: Option<String>,
    /// An endpoint that was asked, by its name.
    pub endpoint: Option<String>,
    /// The lowest and the highest status.
    pub status: Option<(u16, u16)>,
    /// Those that took at least this long.
    pub min_duration: Duration,
    /// Those that were answered with 5xx, by the gateway for a reason of its own, or not at all.
    pub errors: bool,
    /// What id, host or path contain.
    pub text: Option<String>,
    /// Those that began before this moment of the gateway's clock, in nanoseconds.
    pub before: Option<u64>,
    /// How many, at most.
    pub limit: usize,
}

impl Search {
    fn fits(&self, record: &Record) -> bool {
        let status = record.ending.status;
        let is_error = status >= 500 || status == 0 || record.ending.error.is_some();
        self.before.is_none_or(|before| record.started.as_nanos() < before)
            && record.duration >= self.min_duration
            && self.status.is_none_or(|(least, most)| (least..=most).contains(&status))
            && (!self.errors || is_error)
            && self.text.as_ref().is_none_or(|text| contains(record, text.as_bytes()))
            && self.route.as_ref().is_none_or(|name| route(record) == Some(name))
    }

    fn fits_told(&self, told: &Explanation) -> bool {
        let service = told.target.as_ref().map(|target| &target.service);
        let asked = |name: &String| {
            told.choices.iter().filter_map(|choice| choice.attempt.as_ref()).any(|attempt| attempt.endpoint == *name)
        };
        self.service.as_ref().is_none_or(|name| service == Some(name)) && self.endpoint.as_ref().is_none_or(asked)
    }
}

fn route(record: &Record) -> Option<&String> {
    let Scene(state) = &**record.scene.as_ref()?;
    Some(&state.routes.get(record.route?)?.spec.name)
}

fn contains(record: &Record, text: &[u8]) -> bool {
    let texts = [record.id.get(), record.host.get(), record.path.get()];
    texts.iter().any(|known| memchr::memmem::find(known, text).is_some())
}

/// The requests in `ring` that are wanted, the newest first.
pub(crate) fn search(ring: &Ring, wanted: &Search, worker: usize, present: tell::Present) -> Vec<Explanation> {
    let records = ring.newest_first().take(LOOKED_AT_MAX).filter(|record| wanted.fits(record));
    let told = records.filter_map(|record| tell::tell(record, worker, present));
    told.filter(|told| wanted.fits_told(told)).take(wanted.limit).collect()
}
