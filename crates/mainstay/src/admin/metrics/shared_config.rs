//! The families about the configuration that the nodes of a cluster share.

use std::fmt;

use mainstay_core::release::Version;

use super::Families;

/// Every stage of a release, by its name.
const STAGES: [&str; 9] =
    ["validating", "canary", "baking", "spreading", "rolling-back", "done", "vetoed", "rolled-back", "aborted"];

/// What is said of the shared configuration.
#[derive(Clone, Debug, Default)]
pub struct SharedFacts {
    /// What this node serves; 0: its own file.
    pub serves: Version,
    /// What the cluster serves, as far as this node knows.
    pub current: Option<Version>,
    /// The version that was released last, and how far that is.
    pub release: Option<(Version, &'static str)>,
}

impl Families<'_, '_> {
    pub(super) fn shared_config(&mut self, facts: Option<&SharedFacts>) -> fmt::Result {
        let Some(facts) = facts else { return Ok(()) };
        let one = |version: Option<Version>| version.map(|version| ([], version as f64));
        let name = (
            "mainstay_cluster_config_version",
            "Version of the cluster's configuration that this node serves; 0: its own file.",
        );
        self.gauge::<0>(name, None, one(Some(facts.serves)))?;
        let name = (
            "mainstay_cluster_config_current_version",
            "Version that all nodes serve unless a release says otherwise.",
        );
        self.gauge::<0>(name, None, one(facts.current))?;
        let name = ("mainstay_cluster_config_release_version", "Version that was released last.");
        self.gauge::<0>(name, None, one(facts.release.map(|(version, _stage)| version)))?;
        let rows = STAGES.into_iter().filter_map(|stage| {
            let (_version, present) = facts.release?;
            Some(([("stage", stage)], f64::from(u8::from(stage == present))))
        });
        self.gauge(
            ("mainstay_cluster_config_release_stage", "1 for the stage that the last release is at."),
            None,
            rows,
        )
    }
}
