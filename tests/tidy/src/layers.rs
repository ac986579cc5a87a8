//! Which crate may import which, held against `cargo metadata`.

use crate::{Finding, rules};
use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// The part of `cargo metadata` that the checks read.
#[derive(Deserialize)]
pub struct Metadata {
    packages: Vec<Package>,
    workspace_members: Vec<String>,
    resolve: Option<Resolve>,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<NodeDependency>,
}

#[derive(Deserialize)]
struct NodeDependency {
    pkg: String,
    dep_kinds: Vec<DependencyKind>,
}

#[derive(Deserialize)]
struct DependencyKind {
    kind: Option<String>,
}

/// Asks cargo for the metadata of a workspace.
pub fn read(root: &Path) -> Result<Metadata> {
    let mut command = Command::new(env!("CARGO"));
    // What only other systems need has not been downloaded by a build on this one.
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    command.args(["metadata", "--format-version", "1", "--offline", "--filter-platform", &platform]).current_dir(root);
    let output = command.output().context("cannot run cargo metadata")?;
    ensure!(output.status.success(), "cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).context("cannot read the output of cargo metadata")
}

/// Imports from the same or a higher layer, crates on no layer, and dependencies that belong to another crate.
pub fn check(metadata: &Metadata) -> Vec<Finding> {
    let mut findings = Vec::new();
    let members: Vec<&Package> =
        metadata.packages.iter().filter(|it| metadata.workspace_members.contains(&it.id)).collect();
    for package in &members {
        let Some(own) = layer(&package.name) else {
            findings.push(Finding::new(&package.name, 0, "on no layer: add it to rules::LAYERS"));
            continue;
        };
        for dependency in &package.dependencies {
            // A crate that names itself asks for its own features in its tests.
            let is_other = dependency.name != package.name;
            let is_member = is_other && members.iter().any(|member| member.name == dependency.name);
            if is_member && layer(&dependency.name).is_some_and(|below| below >= own) {
                let what = format!("imports `{}`, which is not on a lower layer", dependency.name);
                findings.push(Finding::new(&package.name, 0, what));
            }
            findings.extend(check_owned(package, dependency));
        }
    }
    findings
}

/// The tools of the repository, on the layers above the binary, may use whatever they need.
fn check_owned(package: &Package, dependency: &Dependency) -> Option<Finding> {
    let (_, owners, why) = rules::OWNED.iter().find(|(name, _, _)| *name == dependency.name)?;
    let is_tool = layer(&package.name) > layer("mainstay");
    let is_test = dependency.kind.as_deref() == Some("dev");
    if is_tool || is_test || owners.contains(&package.name.as_str()) {
        return None;
    }
    Some(Finding::new(&package.name, 0, format!("imports `{}`: {why}", dependency.name)))
}

/// Whatever `mainstay-core` reaches, other than for its tests, that brings I/O, a clock or a runtime.
pub fn check_core(metadata: &Metadata) -> Vec<Finding> {
    let names: BTreeMap<&str, &str> = metadata.packages.iter().map(|it| (it.id.as_str(), it.name.as_str())).collect();
    let nodes: BTreeMap<&str, &Node> =
        metadata.resolve.iter().flat_map(|resolve| &resolve.nodes).map(|node| (node.id.as_str(), node)).collect();
    let Some(core) = metadata.packages.iter().find(|it| it.name == "mainstay-core") else {
        return vec![Finding::new("mainstay-core", 0, "is missing from the workspace")];
    };
    let mut reached = BTreeSet::new();
    let mut next = vec![core.id.as_str()];
    while let Some(id) = next.pop() {
        if !reached.insert(id) {
            continue;
        }
        let Some(node) = nodes.get(id) else { continue };
        let shipped = node.deps.iter().filter(|it| it.dep_kinds.iter().any(|kind| kind.kind.as_deref() != Some("dev")));
        next.extend(shipped.map(|it| it.pkg.as_str()));
    }
    let bad = reached.iter().filter_map(|id| names.get(id)).filter(|name| rules::CORE_NEVER.contains(name));
    bad.map(|name| Finding::new("mainstay-core", 0, format!("reaches `{name}`: core decides and does nothing else")))
        .collect()
}

fn layer(name: &str) -> Option<usize> {
    rules::LAYERS.iter().position(|names| names.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A workspace of the named crates, each with its direct dependencies.
    fn workspace(crates: &[(&str, &[&str])]) -> Metadata {
        let package = |(name, dependencies): &(&str, &[&str])| Package {
            id: name.to_string(),
            name: name.to_string(),
            dependencies: dependencies.iter().map(|it| Dependency { name: it.to_string(), kind: None }).collect(),
        };
        let node = |(name, dependencies): &(&str, &[&str])| Node {
            id: name.to_string(),
            deps: dependencies
                .iter()
                .map(|it| NodeDependency { pkg: it.to_string(), dep_kinds: vec![DependencyKind { kind: None }] })
                .collect(),
        };
        Metadata {
            packages: crates.iter().map(package).collect(),
            workspace_members: crates
                .iter()
                .map(|it| it.0.to_string())
                .filter(|it| it.starts_with("mainstay"))
                .collect(),
            resolve: Some(Resolve { nodes: crates.iter().map(node).collect() }),
        }
    }

    fn texts(findings: Vec<Finding>) -> Vec<String> {
        findings.into_iter().map(|finding| finding.to_string()).collect()
    }

    #[test]
    fn an_import_from_above_or_beside_is_found() {
        let upward = workspace(&[("mainstay-runtime", &["mainstay-gateway"]), ("mainstay-gateway", &[])]);
        assert_eq!(
            texts(check(&upward)),
            ["mainstay-runtime: imports `mainstay-gateway`, which is not on a lower layer"]
        );
        let beside = workspace(&[("mainstay-gateway", &["mainstay-cluster"]), ("mainstay-cluster", &[])]);
        assert_eq!(check(&beside).len(), 1);
        let downward = workspace(&[("mainstay-probe", &["mainstay-runtime"]), ("mainstay-runtime", &[])]);
        assert!(check(&downward).is_empty());
    }

    #[test]
    fn a_crate_on_no_layer_is_found() {
        assert_eq!(
            texts(check(&workspace(&[("mainstay-new", &[])])))[0],
            "mainstay-new: on no layer: add it to rules::LAYERS"
        );
    }

    #[test]
    fn a_dependency_of_another_crate_is_found() {
        assert_eq!(check(&workspace(&[("mainstay-gateway", &["toml"])])).len(), 1);
        assert!(check(&workspace(&[("mainstay", &["toml"]), ("mainstay-e2e", &["toml"])])).is_empty());
    }

    #[test]
    fn a_runtime_behind_core_is_found_through_others() {
        let metadata = workspace(&[("mainstay-core", &["small"]), ("small", &["tokio"]), ("tokio", &[])]);
        assert_eq!(
            texts(check_core(&metadata)),
            ["mainstay-core: reaches `tokio`: core decides and does nothing else"]
        );
        assert!(check_core(&workspace(&[("mainstay-core", &["small"]), ("small", &[])])).is_empty());
    }
}
