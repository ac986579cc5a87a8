//! The configuration that the nodes of a cluster share, and what stays a node's own: `[node]`, `[access]`, `[cluster]`, `[[address]]`
//! and `[[database]]`, which are taken from the node's file. All else comes from the shared text, in which those sections may stand, since any
//! node's file may be given to the cluster, but are not looked at.

use std::path::Path;

use toml::de::DeTable;

use super::access::{self, Access};
use super::address;
use super::cluster::{self, Cluster};
use super::database;
use super::node::{self, Settings};
use super::reader::{Place, Reader, Section};
use super::source::Source;
use super::{Config, Files, Problem, Severity, examine, examine_with, problem, read_file, syntax};

/// What a node's own file says of the node.
pub(super) struct Local {
    pub(super) settings: Settings,
    pub(super) cluster: Option<Cluster>,
    pub(super) addresses: Vec<address::Read>,
    pub(super) databases: Vec<database::Read>,
    pub(super) access: Option<Access>,
}

impl Local {
    /// What `root` says.
    pub(super) fn read(root: &Section<'_>) -> Self {
        let settings = node::read(root);
        let cluster = cluster::read(root, &settings);
        let addresses = root.sections("address", address::KEYS).iter().map(address::read).collect();
        let databases = root.sections("database", database::KEYS);
        let databases = databases.iter().map(|section| database::read(section, &settings, cluster.as_ref())).collect();
        let access = access::read(root, &settings, cluster.is_some());
        Self { settings, cluster, addresses, databases, access }
    }

    /// The same for the checks of another text: what is wrong with a setting is not to be shown there.
    fn elsewhere(self) -> Self {
        let nowhere = Place { path: String::new(), span: 0..0 };
        let mut addresses = self.addresses;
        addresses.iter_mut().for_each(|read| read.place = nowhere.clone());
        let databases = self.databases.into_iter().map(|read| read.elsewhere(&nowhere)).collect();
        let settings = Settings { access_log: nowhere, ..self.settings };
        Self { settings, cluster: self.cluster, addresses, databases, access: self.access }
    }
}

/// What a node serves: the local sections of its file `own`, and the rest of the shared `text`, which problems call `name`.
/// Relative paths are taken from the folder of `own`.
///
/// # Errors
/// Everything that is wrong with the shared text, or else with the local sections.
pub fn overlay(own: &Path, text: &str, name: &str) -> Result<Config, Vec<Problem>> {
    overlaid(own, text, name, Files::Trusted)
}

/// As [`overlay`], and the files that the shared text names are tried too.
///
/// # Errors
/// As [`overlay`].
pub fn check_overlay(own: &Path, text: &str, name: &str) -> Result<Config, Vec<Problem>> {
    overlaid(own, text, name, Files::Tried)
}

fn overlaid(own: &Path, text: &str, name: &str, files: Files) -> Result<Config, Vec<Problem>> {
    let file = own.display().to_string();
    let own_text = read_file(own).map_err(|fault| vec![problem::of_file(&file, fault)])?;
    let base_dir = own.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(""));
    let local = local(&own_text, &file, base_dir)?;
    examine_with(text, name, base_dir, files, Some(local))
}

fn local(text: &str, file: &str, base_dir: &Path) -> Result<Local, Vec<Problem>> {
    let (document, syntax_errors) = DeTable::parse_recoverable(text);
    let reader = Reader::new(file, base_dir, Source::new(text, !syntax_errors.is_empty()));
    syntax::report(&reader, &syntax_errors);
    let local = Local::read(&Section::root(&reader, document.get_ref()));
    let problems = reader.into_problems();
    if problems.iter().any(|problem| problem.severity == Severity::Error) {
        return Err(problems);
    }
    Ok(local.elsewhere())
}

/// What can be said of a text before any node sees it: all but what depends on a node.
///
/// # Errors
/// Everything that is wrong, warnings included.
pub fn check_text(text: &str, name: &str) -> Result<Config, Vec<Problem>> {
    let has_node = DeTable::parse_recoverable(text).0.get_ref().contains_key("node");
    if has_node {
        return examine(text, name, Path::new(""), Files::Trusted);
    }
    // What a node has to say of itself is assumed to be right.
    let mut local = local("[node]\nadmin = \"off\"\ndata_dir = \"/\"\n", name, Path::new(""))?;
    local.settings.node.name = "a-node".to_owned();
    examine_with(text, name, Path::new(""), Files::Trusted, Some(local.elsewhere()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARED: &str = "\
[node]
name = \"other\"
workers = 7
[[listener]]
name = \"web\"
bind = \"127.0.0.1:8080\"
tls = { cert = \"a.pem\", key = \"a.key\" }
[[service]]
name = \"app\"
endpoints = [\"127.0.0.1:3001\"]
";

    fn own(text: &str) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("node.toml");
        std::fs::write(&path, text).expect("written");
        (folder, path)
    }

    #[test]
    fn a_nodes_own_sections_stay_and_all_else_is_shared() {
        let (folder, path) =
            own("[node]\nname = \"lb1\"\nworkers = 2\nadmin = \"off\"\n[[listener]]\nname = \"old\"\n");
        let config = overlay(&path, SHARED, "version 3").expect("it is right");
        let floating = "[node]\nname = \"lb1\"\n[cluster]\n[[address]]\nip = \"10.0.1.100/32\"\ninterface = \"lo\"\n";
        let (_folder, with_address) = own(floating);
        let floats = overlay(&with_address, SHARED, "version 3").expect("it is right");
        assert_eq!(floats.addresses.len(), 1, "who holds an address is between the nodes' own files");
        assert_eq!((config.spec.node.name.as_str(), config.spec.node.workers), ("lb1", 2));
        assert_eq!(config.spec.listeners.len(), 1);
        let tls = config.spec.listeners[0].tls.as_ref().expect("it has TLS");
        assert_eq!(tls.certificates[0].cert, folder.path().join("a.pem"), "paths are the node's");
    }

    #[test]
    fn all_that_is_wrong_is_told_with_its_line_in_the_text_that_it_stands_in() {
        let (_folder, path) = own("[node]\nname = \"lb1\"\nadmin = \"127.0.0.1:8080\"\n");
        let text = SHARED.replace("name = \"app\"", "name = \"app\"\nbalance = \"best\"\ncolour = 3");
        let shown = |problems: Vec<Problem>| problems.iter().map(Problem::to_string).collect::<Vec<_>>();
        let problems = shown(overlay(&path, &text, "version 3").expect_err("it is wrong"));
        assert_eq!(problems.len(), 3, "{problems:#?}");
        assert!(problems[0].starts_with("version 3:6:8: listener[0].bind: the admin interface"), "{problems:#?}");
        assert!(problems[1].starts_with("version 3:10:11: service[0].balance"), "{problems:#?}");
        assert!(problems[2].starts_with("version 3:11:1: service[0].colour"), "{problems:#?}");
        // Before any node sees it, the node's part cannot be told, all else can.
        let shared = text.replace("[node]\nname = \"other\"\nworkers = 7\n", "");
        assert_eq!(shown(check_text(&shared, "lb.toml").expect_err("it is wrong")).len(), 2);
        // A file of a node is checked as that.
        assert_eq!(shown(check_text(&text.replace("= 7", "= 0"), "lb.toml").expect_err("it is wrong")).len(), 3);
    }

    #[test]
    fn a_node_of_a_cluster_may_leave_to_it_what_is_served() {
        let (_folder, path) = own("[node]\nname = \"lb1\"\n[cluster]\n");
        let own_config = super::super::load(&path).expect("it is right");
        assert!(own_config.spec.listeners.is_empty() && own_config.cluster.is_some());
        assert!(overlay(&path, SHARED, "version 3").expect("it is right").cluster.is_some(), "it stays its own");
        assert!(overlay(&path, "", "version 3").is_err(), "nothing would be served");
        let (_folder, path) = own("[node]\nname = \"lb1\"\n");
        assert!(super::super::load(&path).is_err(), "nothing would be served");
    }

    #[test]
    fn a_file_that_is_missing_here_is_told_when_files_are_tried() {
        let (_folder, path) = own("[node]\nname = \"lb1\"\n");
        let problems = check_overlay(&path, SHARED, "version 3").expect_err("there is no certificate");
        assert!(problems[0].to_string().contains("a.pem"), "{}", problems[0]);
        let (_folder, path) = own("[node]\nname = 3\n");
        let problems = overlay(&path, SHARED, "version 3").expect_err("the own file is wrong");
        assert!(problems[0].to_string().contains("node.toml:2:8: node.name"), "{}", problems[0]);
    }
}
