//! What operators have asked for for a time, of the log's levels and of sampling, on its way to the process that takes over.

use std::time::Duration;

use mainstay_core::sampling::Rate;
use mainstay_gateway::Gateway;
use serde::{Deserialize, Serialize};

use crate::logging;

/// All that holds now. A process that knows less of it, or more, understands the rest.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Wishes {
    #[serde(default)]
    levels: Vec<Level>,
    #[serde(default)]
    sampling: Vec<Sampling>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Level {
    component: Option<String>,
    level: String,
    left_ms: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Sampling {
    route: Option<String>,
    one_in: u32,
    left_ms: u64,
}

impl Wishes {
    /// Those of this process.
    pub(super) fn of(gateway: &Gateway) -> Self {
        let levels = logging::facts().wished.into_iter().map(|wished| Level {
            component: wished.component.map(str::to_owned),
            level: wished.level.to_owned(),
            left_ms: millis(wished.left),
        });
        let sampling = gateway.sampling().into_iter().filter_map(|sampling| {
            let (Rate(one_in), left) = sampling.wished?;
            Some(Sampling { route: sampling.route, one_in, left_ms: millis(left) })
        });
        Self { levels: levels.collect(), sampling: sampling.collect() }
    }

    /// Has them hold in this process, for as long as is left.
    pub(super) fn heed(&self, gateway: &Gateway) {
        for Level { component, level, left_ms } in &self.levels {
            if let Err(error) = logging::wish(component.as_deref(), level, Duration::from_millis(*left_ms)) {
                tracing::warn!(%error, "a level of the log is as configured again: this version does not know it");
            }
        }
        for Sampling { route, one_in, left_ms } in &self.sampling {
            let left = Duration::from_millis(*left_ms);
            if let Err(error) = gateway.wish_sampling(route.as_deref(), Rate(*one_in), left) {
                tracing::warn!(%error, "sampling is as configured again");
            }
        }
    }
}

fn millis(left: Duration) -> u64 {
    u64::try_from(left.as_millis()).unwrap_or(u64::MAX)
}
