mod accepted;
mod addresses;
mod admission;
mod balance;
mod breakers;
mod broken;
mod cells;
mod checks;
mod cluster;
mod databases;
mod degraded;
mod events;
mod isolation;
mod objectives;
mod otlp;
mod probes;
mod refused;
mod repository;
mod retries;
mod sessions;

use std::path::Path;

use super::{Config, Problem, parse};

/// A listener and a service, to which tests add.
pub(super) const SMALL: &str = "[[listener]]\nname = \"web\"\nbind = \"127.0.0.1:8080\"\n[[service]]\nname = \"app\"\nendpoints = [\"127.0.0.1:3001\"]\n";

fn read(text: &str) -> Result<Config, Vec<Problem>> {
    parse(text, "m.toml", Path::new("/etc/mainstay"))
}

/// The problems of a text as they are shown, errors and warnings.
pub(super) fn shown(text: &str) -> Vec<String> {
    let problems = match read(text) {
        Ok(config) => config.warnings,
        Err(problems) => problems,
    };
    problems.iter().map(Problem::to_string).collect()
}

pub(super) fn good(text: &str) -> Config {
    read(text).unwrap_or_else(|problems| {
        panic!("refused: {:#?}\n{text}", problems.iter().map(Problem::to_string).collect::<Vec<_>>())
    })
}
