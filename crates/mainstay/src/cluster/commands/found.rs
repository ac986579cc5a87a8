//! `mainstay init` and `mainstay join`: what a node has before it runs.

use std::io::Read;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use mainstay_cluster::identity::{Folder, Identity, IdentityError, JoinToken, NodeKey};
use mainstay_cluster::membership::{self, JoinReply, JoinRequest};
use mainstay_cluster::peer::client::{self, JoinError};
use mainstay_runtime::thread;
use serde::Serialize;

use super::{InitArgs, JoinArgs, NodeArgs};
use crate::config::cluster::{Cluster, Engine, parse_node_address};
use crate::config::{self, Config};
use crate::failure::Failure;
use crate::output;

/// How long one address is waited for.
const JOIN_LIMIT: Duration = Duration::from_secs(15);
/// Letters that are read from standard input, at most.
const TOKEN_BYTES_MAX: u64 = 16 * 1024;

#[derive(Serialize)]
struct Made<'a> {
    cluster: &'a str,
    node: u64,
    name: &'a str,
    address: &'a str,
    voter: bool,
    folder: String,
}

/// Makes a new cluster.
///
/// # Errors
/// If the node belongs to one, or its files cannot be written.
pub fn init(args: &InitArgs) -> Result<ExitCode, Failure> {
    let (config, folder, address) = place(&args.node)?;
    let name = &config.spec.node.name;
    let identity = membership::found(&folder, name, &address, SystemTime::now()).map_err(|error| unwritten(&error))?;
    tell(&args.node, &identity, &folder, |file| {
        format!(
            "made cluster {}: this node, {name}, is its first (node 1, reached at {address})\n\
             keys and certificates are in {}: back them up, and give them to nobody\n\
             next:\n  mainstay run -c {file}              start this node\n  \
             mainstay cluster add NAME      on this node, once it runs: for each further one\n",
            identity.cluster,
            folder.path().display(),
        )
    })
}

/// Brings the node into a cluster.
///
/// # Errors
/// If the node belongs to one, the token is not valid, or nobody answers.
pub fn join(args: &JoinArgs) -> Result<ExitCode, Failure> {
    let (config, folder, address) = place(&args.node)?;
    let token = read_token(&args.token)?;
    // Found out before the token is used up.
    folder.make().and_then(|()| folder.put("probe", b"")).map_err(|error| unwritten(&error))?;
    let key = NodeKey::new().map_err(|error| Failure::new(error.to_string()))?;
    let voter = config.cluster.as_ref().is_none_or(|cluster| cluster.voter);
    let request = JoinRequest::new(&token, &key, &config.spec.node.name, &address, voter);
    let reply = ask(&token, &request)?;
    let identity = membership::settle(&folder, &token, &request, &key, reply).map_err(|error| unwritten(&error))?;
    let _left_over = std::fs::remove_file(folder.path().join("probe"));
    tell(&args.node, &identity, &folder, |file| {
        format!(
            "joined cluster {}: this node, {}, is node {} of it (reached at {address})\n\
             next:\n  mainstay run -c {file}              start this node: it is taken in once it runs\n  \
             mainstay cluster status        on any node: see it come\n",
            identity.cluster, identity.name, identity.node,
        )
    })
}

fn tell(
    args: &NodeArgs,
    identity: &Identity,
    folder: &Folder,
    text: impl FnOnce(String) -> String,
) -> Result<ExitCode, Failure> {
    if args.json {
        output::json(&Made {
            cluster: identity.cluster.as_str(),
            node: identity.node.0,
            name: &identity.name,
            address: &identity.address,
            voter: identity.voter,
            folder: folder.path().display().to_string(),
        })?;
    } else {
        output::text(&text(args.config.display().to_string()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Configuration, folder and address of a node that belongs to no cluster yet.
fn place(args: &NodeArgs) -> Result<(Config, Folder, String), Failure> {
    let config = config::load(&args.config)
        .map_err(|problems| Failure::rendered(config::report::render_text(&args.config, &Err(problems))))?;
    let Some(cluster) = &config.cluster else {
        return Err(Failure::usage(format!("{} has no table [cluster]", args.config.display()))
            .hint("write [cluster] into it; all of its keys are optional"));
    };
    let data_dir = match (&cluster.engine, &config.spec.node.data_dir) {
        (Engine::Embedded, Some(data_dir)) => data_dir,
        (Engine::Etcd(_), _) => {
            return Err(Failure::usage("with etcd a node takes part by its configuration alone")
                .hint("start it with `mainstay run`; leave `etcd` out to let the nodes themselves agree"));
        }
        (Engine::Memory | Engine::Embedded, _) => {
            return Err(Failure::usage("the node needs a folder for its keys and for what the cluster agrees on")
                .hint("set `data_dir` under [node], such as data_dir = \"/var/lib/mainstay\""));
        }
    };
    let folder = Folder::of(data_dir);
    if folder.has_identity() {
        let whose = folder
            .identity()
            .map_or_else(|error| error.to_string(), |own| format!("node {} of cluster {}", own.node, own.cluster));
        return Err(Failure::new(format!("this node belongs to a cluster already: {whose}")).hint(format!(
            "start it with `mainstay run`. To leave that cluster for ever: `mainstay cluster remove {}` on another node \
             of it, stop this one, and delete {}",
            config.spec.node.name,
            folder.path().display()
        )));
    }
    let address = own_address(args, cluster, &config.spec.node.name)?;
    Ok((config, folder, address))
}

fn own_address(args: &NodeArgs, cluster: &Cluster, name: &str) -> Result<String, Failure> {
    if let Some(text) = &args.address {
        return parse_node_address(text).map_err(|why| Failure::usage(format!("--address: {why}")));
    }
    if let Some(address) = cluster.address_of(name) {
        return Ok(address.to_owned());
    }
    if !cluster.listen.ip().is_unspecified() {
        return Ok(cluster.listen.to_string());
    }
    Err(Failure::usage("it is not clear where other nodes reach this one")
        .hint(format!("give --address HOST:PORT, or `peers = [\"{name}=HOST:PORT\"]` under [cluster]")))
}

fn read_token(text: &str) -> Result<JoinToken, Failure> {
    let mut read = String::new();
    let text = if text == "-" {
        let taken = std::io::stdin().take(TOKEN_BYTES_MAX).read_to_string(&mut read);
        taken.map_err(|error| Failure::new(format!("cannot read the token: {error}")))?;
        &read
    } else {
        text
    };
    JoinToken::parse(text).map_err(|error| {
        Failure::usage(error.to_string()).hint("make one with `mainstay cluster add NAME` on a node of the cluster")
    })
}

fn ask(token: &JoinToken, request: &JoinRequest) -> Result<JoinReply, Failure> {
    let message = request.encode().map_err(|error| Failure::new(error.to_string()))?;
    let mut failed = Vec::new();
    for address in &token.addresses {
        let asked = thread::run_here(client::join(token, address, message.clone(), JOIN_LIMIT));
        match asked.map_err(|error| Failure::new(format!("cannot start: {error}")))? {
            Ok(answer) => return JoinReply::decode(&answer).map_err(Failure::new),
            Err(error @ JoinError::Refused { .. }) => return Err(Failure::new(error.to_string())),
            Err(error @ JoinError::Failed { .. }) => failed.push(error.to_string()),
        }
    }
    Err(Failure::new(format!("no node of the cluster could be asked: {}", failed.join("; ")))
        .hint("can this machine reach them on that port? is a node running there? `mainstay cluster status` shows where they are"))
}

fn unwritten(error: &IdentityError) -> Failure {
    Failure::new(error.to_string()).hint("may this user write to the node's `data_dir`?")
}
