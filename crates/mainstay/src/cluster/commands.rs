//! `mainstay init`, `mainstay join` and `mainstay cluster`.

mod found;
mod members;
mod recover;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::client::AdminArgs;

pub use found::{init, join};
pub use members::cluster;

/// Arguments of `mainstay init`.
#[derive(Debug, Args)]
pub struct InitArgs {
    #[command(flatten)]
    node: NodeArgs,
}

/// Arguments of `mainstay join`.
#[derive(Debug, Args)]
pub struct JoinArgs {
    /// The token, or - to read it from standard input
    #[arg(value_name = "TOKEN")]
    token: String,
    #[command(flatten)]
    node: NodeArgs,
}

/// Which node it is.
#[derive(Debug, Args)]
struct NodeArgs {
    /// The node's configuration file, with [cluster], and `data_dir` under [node]
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// Where other nodes reach this one [default: as `peers` says, else `listen` if that is one address]
    #[arg(long, value_name = "HOST:PORT")]
    address: Option<String>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `mainstay cluster`.
#[derive(Debug, Args)]
pub struct ClusterArgs {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Who belongs to the cluster, who leads, and who is down
    Status,
    /// All nodes with their versions, and how long ago each was heard of
    Nodes,
    /// Make a token for one new node and say what to run there
    Add {
        /// The new node's name
        name: String,
        #[command(flatten)]
        token: TokenArgs,
    },
    /// Make a token for one new node and print nothing else
    Token {
        #[command(flatten)]
        token: TokenArgs,
    },
    /// Send a node away for ever; a node that waits to vote takes its place
    Remove {
        /// Its name
        name: String,
        /// Two voters may be left, of which neither may fail
        #[arg(long)]
        two: bool,
    },
    /// Go on with this node alone when the disks of a majority are lost for good; the node must not run
    Recover {
        /// The node's configuration file
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
        /// Do it; without, only say what the node has
        #[arg(long)]
        force: bool,
    },
}

#[derive(Debug, Args)]
struct TokenArgs {
    /// How long it can be used: 30m, 1h, 2d; from a minute to a week
    #[arg(long = "for", value_name = "TIME", default_value = "1h")]
    life: String,
    /// The node never votes, and cannot let others in
    #[arg(long)]
    no_vote: bool,
    /// The node takes the place of this one, which is removed once it has
    #[arg(long, value_name = "NAME")]
    replace: Option<String>,
}
