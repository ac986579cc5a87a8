//! `mainstay cluster recover`: a way on for a node whose cluster lost the disks of a majority. The node does not run meanwhile.

use std::path::Path;

use mainstay_cluster::embedded::{DiskError, RecoverError, Survey};
use mainstay_cluster::identity::{Folder, Identity};
use mainstay_cluster::membership;
use mainstay_runtime::thread;
use serde::Serialize;

use crate::config;
use crate::failure::Failure;
use crate::output;

#[derive(Serialize)]
struct Told<'a> {
    cluster: &'a str,
    name: &'a str,
    term: u64,
    index: u64,
    /// Whether it was done.
    recovered: bool,
    /// Those that are not members any more, if it was.
    removed: Vec<&'a str>,
}

/// Says what the node has, and with `force` makes it the only member.
///
/// # Errors
/// If the node runs, never was a member, or what it has is damaged.
pub(super) fn recover(config: &Path, force: bool, json: bool) -> Result<(), Failure> {
    let folder = folder(config)?;
    let identity = folder.identity().map_err(|error| Failure::new(error.to_string()))?;
    let work = async { if force { membership::recover(&folder).await } else { membership::survey(&folder).await } };
    let survey = thread::run_here(work).map_err(|error| Failure::new(format!("cannot start: {error}")))?;
    let survey = survey.map_err(|error| refused(&error, &identity))?;
    let others = survey.members.iter().filter(|(node, _peer)| **node != identity.node);
    let removed: Vec<&str> = others.map(|(_node, peer)| peer.name.as_str()).collect();
    if json {
        let (term, index) = survey.last;
        let cluster = identity.cluster.as_str();
        return output::json(&Told { cluster, name: &identity.name, term, index, recovered: force, removed });
    }
    output::text(&page(&survey, &identity, &removed.join(", "), config, force))
}

fn page(survey: &Survey, identity: &Identity, others: &str, config: &Path, done: bool) -> String {
    let (term, index) = survey.last;
    let (name, file) = (&identity.name, config.display());
    if done {
        return format!(
            "{name} is the only member of cluster {} now, with what it has up to entry {index} of term {term}\n\
             next:\n  on {others}: delete `cluster` below data_dir BEFORE anything is started there; two of them together would\n  \
             go on as the old cluster beside this one\n  mainstay run -c {file}          start this node\n  \
             mainstay cluster add NAME       on this node: take the others in anew\n",
            identity.cluster
        );
    }
    format!(
        "{name} has cluster {} up to entry {index} of term {term}; other members: {others}\n\n\
         Nothing was changed. If the disks of a majority of them are lost for good:\n\
         1. run this on every node that is left, and choose the one with the greatest term, then the greatest entry\n\
         2. there: mainstay cluster recover -c {file} --force\n\n\
         It becomes a cluster of its own. What others had confirmed and this node never heard of is lost; what it had heard of and\n\
         nobody confirmed may come to be. If a majority can be started again, start it instead: then nothing is lost.\n",
        identity.cluster
    )
}

fn folder(config: &Path) -> Result<Folder, Failure> {
    let read = config::load(config)
        .map_err(|problems| Failure::rendered(config::report::render_text(config, &Err(problems))))?;
    let data_dir = read.cluster.as_ref().and(read.spec.node.data_dir.as_ref());
    let folder = data_dir.map(|data_dir| Folder::of(data_dir)).filter(Folder::has_identity);
    folder.ok_or_else(|| {
        Failure::usage(format!("with {} this node belongs to no cluster that nodes keep themselves", config.display()))
            .hint("it needs [cluster] without `etcd`, and the `data_dir` that the node was a member with")
    })
}

fn refused(error: &RecoverError, identity: &Identity) -> Failure {
    let failure = Failure::new(error.to_string());
    match error {
        RecoverError::Disk(DiskError::InUse { .. }) => failure.hint("stop the node that runs here first"),
        RecoverError::NoMember => failure.hint(format!("recover another node of cluster {}", identity.cluster)),
        RecoverError::Disk(_) | RecoverError::Identity(_) | RecoverError::Unwritten(_) => failure,
    }
}
