//! Nodes that become one cluster, by the commands that a person would type.

use std::fs;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::place::{Place, Ports};
use super::{Gateway, command, until_it_serves, write_config};
use crate::demo::links::Links;
use crate::demo::watch::{Part, Watcher};
use crate::failure::Failure;

/// How long one of the commands may take.
const COMMAND_MAX: Duration = Duration::from_secs(30);

/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// Starts all nodes: the first one makes the cluster, the others join it. Waits until all of them agree, all vote, one
/// holds the address, and all see all endpoints.
pub(super) async fn start(
    places: &[Place],
    ports: &Ports,
    links: &Links,
    deadline: Instant,
) -> Result<Vec<Gateway>, Failure> {
    let mut nodes: Vec<Gateway> = Vec::with_capacity(places.len());
    for place in places {
        let folder = &place.folder;
        fs::create_dir(folder).map_err(|error| Failure::new(format!("cannot create {}: {error}", folder.display())))?;
        write_config(&place.config(), &place.config_text(ports, Some(links), 1))?;
        let config = place.config().display().to_string();
        match nodes.first() {
            None => drop(command(&["init", "-c", &config], COMMAND_MAX).await?),
            Some(first) => {
                let socket = first.place.socket().display().to_string();
                let token = command(&["cluster", "token", "--admin-socket", &socket], COMMAND_MAX).await?;
                command(&["join", token.trim(), "-c", &config], COMMAND_MAX).await?;
            }
        }
        let mut node = Gateway::start(place.clone())?;
        until(&mut node, ports, deadline, "there is no quorum", |part| part.quorum).await?;
        nodes.push(node);
    }
    let voters = places.len();
    for node in &mut nodes {
        until(node, ports, deadline, "not all nodes vote yet", |part| part.voters == voters && part.holder.is_some())
            .await?;
        until_it_serves(node, ports, deadline).await?;
    }
    Ok(nodes)
}

async fn until(
    node: &mut Gateway,
    ports: &Ports,
    deadline: Instant,
    otherwise: &str,
    is_so: impl Fn(&Part) -> bool,
) -> Result<(), Failure> {
    let mut watcher = Watcher::new(node.place.socket(), ports.names());
    loop {
        if let Some(status) = node.child.exited() {
            return Err(node.child.ended_early(status));
        }
        let problem = match watcher.poll().await {
            Ok(view) if view.part.as_ref().is_some_and(&is_so) => return Ok(()),
            Ok(_view) => otherwise.to_owned(),
            Err(how) => how,
        };
        if Instant::now() > deadline {
            return Err(Failure::new(format!("{} is not ready: {problem}", node.place.name())));
        }
        sleep(LOOK).await;
    }
}
