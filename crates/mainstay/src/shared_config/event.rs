//! What the admin interface says of the shared configuration; `mainstay config` reads the same types.

use mainstay_cluster::config::{Meta, Record, View};
use mainstay_core::release::{Sample, Stage, Terms, Version, Vote};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What `POST /api/v1/config` takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApplyRequest {
    /// The text.
    pub text: String,
    /// Who applies it.
    #[serde(default)]
    pub author: String,
    /// Why.
    #[serde(default)]
    pub note: String,
    /// How it is released.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub terms: Terms,
}

/// What `POST /api/v1/config/rollback` takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RollbackRequest {
    /// To which version; the one that was current before if absent.
    #[serde(default)]
    #[schema(value_type = Option<u64>)]
    pub version: Option<Version>,
    /// Who asks for it.
    #[serde(default)]
    pub author: String,
    /// How it is released.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub terms: Terms,
}

/// What `POST /api/v1/config/abort` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Aborted {
    /// The version whose release ends.
    #[schema(value_type = u64)]
    pub version: Version,
}

/// How a release goes, step by step; the last one is [`Event::Ended`] or [`Event::Failed`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = ReleaseEvent)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// The version is written down.
    Proposed {
        /// Its number.
        #[schema(value_type = u64)]
        version: Version,
        /// What nodes serve meanwhile.
        #[schema(value_type = u64)]
        from: Version,
        /// The version whose text it has, if it is a way back.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schema(value_type = Option<u64>)]
        same_as: Option<Version>,
    },
    /// It goes on.
    Progress(Progress),
    /// It is over.
    Ended(Progress),
    /// It did not begin, or is not seen any more.
    Failed {
        /// Why.
        error: String,
        /// What to do.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hint: Option<String>,
    },
}

/// How far a release is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Progress {
    /// The version.
    #[schema(value_type = u64)]
    pub version: Version,
    /// What nodes go back to.
    #[schema(value_type = u64)]
    pub from: Version,
    /// How far it is.
    #[schema(value_type = Object)]
    pub stage: Stage,
    /// The same in words.
    pub said: String,
    /// Since it was asked for, by the clocks of the nodes that wrote it down.
    pub elapsed_ms: u64,
    /// Live nodes.
    pub nodes: usize,
    /// Those that have voted.
    pub voted: usize,
    /// Those that serve it.
    pub serving: usize,
    /// What the canary's clients saw of it, all requests together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub canary: Option<Sample>,
}

impl Progress {
    /// What a view says of its release.
    pub fn of(view: &View, record: &Record) -> Self {
        let release = &record.release;
        let canary = match &release.stage {
            Stage::Baking { node } => view.reports.get(node).filter(|(_, report)| report.about == release.version),
            _other => None,
        };
        let serves = |node: &&String| {
            view.reports.get(*node).is_some_and(|(_revision, report)| report.serves == release.version)
        };
        Self {
            version: release.version,
            from: release.from,
            stage: release.stage.clone(),
            said: release.stage.to_string(),
            elapsed_ms: record.changed_unix_ms.saturating_sub(record.begun_unix_ms),
            nodes: view.nodes.len(),
            voted: view.nodes.iter().filter(|node| view.votes.contains_key(*node)).count(),
            serving: view.nodes.iter().filter(serves).count(),
            canary: canary.and_then(|(_revision, report)| report.since.first()).map(|all| all.sample),
        }
    }

    /// Whether the version is served by all nodes now.
    pub fn is_success(&self) -> bool {
        matches!(self.stage, Stage::Done { .. })
    }
}

/// What `GET /api/v1/config` answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Overview {
    /// Who answers.
    pub node: String,
    /// What it serves; 0: its own file.
    #[schema(value_type = u64)]
    pub serves: Version,
    /// What all nodes serve unless a release says otherwise; `None`: the cluster has no configuration.
    #[schema(value_type = Option<u64>)]
    pub current: Option<Version>,
    /// The last release.
    pub release: Option<Progress>,
    /// All live nodes.
    pub nodes: Vec<NodeOverview>,
    /// Whether the node has reached the coordinator since it has started; if not, all but `serves` is unknown.
    pub connected: bool,
}

/// One node, as it said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeOverview {
    /// Its name.
    pub node: String,
    /// What it serves; `None`: it has not said.
    #[schema(value_type = Option<u64>)]
    pub serves: Option<Version>,
    /// What it should serve.
    #[schema(value_type = Option<u64>)]
    pub wanted: Option<Version>,
    /// What it says of the version that is being released.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    /// `"Accept"` or `{"Veto": [REASON]}`.
    #[schema(value_type = Option<utoipa::openapi::schema::Value>)]
    pub vote: Option<Vote>,
    /// Why it does not serve what it should.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

impl Overview {
    /// What `node`, which serves `serves`, knows.
    pub fn of(node: &str, serves: Version, view: Option<&View>) -> Self {
        let of_node = |view: &View, name: &String| {
            let report = view.reports.get(name).map(|(_revision, report)| report);
            NodeOverview {
                node: name.clone(),
                serves: report.map(|report| report.serves),
                wanted: view.wanted(name),
                vote: view.votes.get(name).cloned(),
                failure: report.and_then(|report| report.failure.clone()),
            }
        };
        Self {
            node: node.to_owned(),
            serves,
            current: view.and_then(|view| view.current).map(|current| current.version),
            release: view.and_then(|view| {
                let (_revision, record) = view.record.as_ref()?;
                Some(Progress::of(view, record))
            }),
            nodes: view.map(|view| view.nodes.iter().map(|name| of_node(view, name)).collect()).unwrap_or_default(),
            connected: view.is_some(),
        }
    }
}

/// What `GET /api/v1/config/versions` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct History {
    /// The version that all nodes serve.
    #[schema(value_type = Option<u64>)]
    pub current: Option<Version>,
    /// Those that are kept, the oldest first.
    #[schema(value_type = Vec<Object>)]
    pub versions: Vec<Meta>,
}

/// What `GET /api/v1/config/versions/N` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Shown {
    /// What is known of it.
    #[schema(value_type = Object)]
    pub meta: Meta,
    /// Its text.
    pub text: String,
}
