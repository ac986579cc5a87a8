//! Where the state of alerts is kept by a node that is in no cluster: a file, or nowhere.

use std::io;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use mainstay_core::alert::{Condition, Silences, State};
use serde::{Deserialize, Serialize};

/// The largest file that is read.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Who evaluates alerts, and from where they go on.
#[async_trait(?Send)]
pub trait Place {
    /// What this node evaluates by: a number that another evaluator does not have. None if another node evaluates, or none
    /// may.
    fn evaluates(&self) -> Option<u64>;

    /// The name of the node that evaluates, as far as is known.
    fn evaluator(&self) -> Option<String>;

    /// What was kept last.
    ///
    /// # Errors
    /// If it cannot be read now.
    async fn load(&self) -> Result<State, String>;

    /// Keeps what is to be known to whoever goes on.
    ///
    /// # Errors
    /// If it may not have been kept. Nothing may be sent then.
    async fn save(&self, state: &State, silences: &Silences) -> Result<(), String>;

    /// Tells others what is wrong here, and answers what is wrong anywhere.
    fn exchange(&self, own: Vec<Condition>) -> Vec<Condition>;

    /// What the evaluator has kept, as seen from a node that is not it.
    fn watched(&self) -> State;
}

/// A node of its own.
#[derive(Debug)]
pub struct Own {
    node: String,
    file: Option<PathBuf>,
}

#[derive(Default, Serialize, Deserialize)]
struct Content {
    state: State,
    silences: Silences,
}

impl Own {
    /// The place of the node `node`; it keeps its state in `data_dir`, or forgets it when it ends.
    pub fn new(node: &str, data_dir: Option<&Path>) -> Self {
        Self { node: node.to_owned(), file: data_dir.map(|folder| folder.join("alerts.json")) }
    }

    /// The silences that were kept. A file that cannot be read is moved aside: alerts that are told again are better than none.
    pub fn silences(&self) -> Silences {
        let Some(file) = &self.file else { return Silences::new() };
        match read(file) {
            Ok(content) => content.silences,
            Err(error) => {
                tracing::error!(%error, file = %file.display(), "what was known of alerts cannot be read");
                let aside = file.with_extension("json.unreadable");
                if let Err(error) = std::fs::rename(file, &aside) {
                    tracing::error!(%error, "and it cannot be moved aside");
                }
                Silences::new()
            }
        }
    }
}

fn read(file: &Path) -> io::Result<Content> {
    match std::fs::metadata(file) {
        Ok(found) if found.len() > FILE_BYTES_MAX => return Err(io::Error::other("the file is too large")),
        Ok(_found) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Content::default()),
        Err(error) => return Err(error),
    }
    Ok(serde_json::from_slice(&std::fs::read(file)?)?)
}

fn write(file: &Path, content: &Content) -> io::Result<()> {
    let next = file.with_extension("json.new");
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(&next, serde_json::to_vec(content)?)?;
    std::fs::File::open(&next)?.sync_all()?;
    std::fs::rename(&next, file)
}

#[async_trait(?Send)]
impl Place for Own {
    fn evaluates(&self) -> Option<u64> {
        Some(1)
    }

    fn evaluator(&self) -> Option<String> {
        Some(self.node.clone())
    }

    async fn load(&self) -> Result<State, String> {
        let Some(file) = &self.file else { return Ok(State::default()) };
        // What could not be read was said when the silences were.
        Ok(read(file).map(|content| content.state).unwrap_or_default())
    }

    async fn save(&self, state: &State, silences: &Silences) -> Result<(), String> {
        let Some(file) = &self.file else { return Ok(()) };
        let content = Content { state: state.clone(), silences: silences.clone() };
        if let Err(error) = write(file, &content) {
            // A disk that is full must not keep anybody from being told; the worst is that they are told twice.
            tracing::warn!(%error, file = %file.display(), "the state of alerts is not kept");
        }
        Ok(())
    }

    fn exchange(&self, own: Vec<Condition>) -> Vec<Condition> {
        own
    }

    fn watched(&self) -> State {
        State::default()
    }
}
