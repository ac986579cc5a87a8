//! Where orders and certificates are kept by a node that is in no cluster: its own folder.

use std::sync::Arc;

use async_trait::async_trait;
use mainstay_runtime::tls::Answer;

use super::record::Record;
use super::shelf::Shelf;

/// Who orders, and from where they go on.
#[async_trait(?Send)]
pub trait Place {
    /// Whether this node orders now.
    fn orders(&self) -> bool;

    /// Whether a node that has nothing to order takes no part.
    fn ends(&self) -> bool;

    /// The node that orders, as far as is known.
    fn orderer(&self) -> Option<String>;

    /// Whether somebody asks for this certificate to be ordered.
    fn is_asked(&self, name: &str) -> bool;

    /// What was kept last.
    ///
    /// # Errors
    /// If it cannot be read now.
    async fn load(&self, name: &str) -> Result<Record, String>;

    /// Keeps that an order begins, and forgets that somebody asked for it.
    ///
    /// # Errors
    /// As [`Self::save`].
    async fn begin(&self, name: &str, record: &Record) -> Result<(), String>;

    /// Keeps it, and has all nodes serve what it holds.
    ///
    /// # Errors
    /// If it may not have been kept. Nothing may be ordered then.
    async fn save(&self, name: &str, record: &Record) -> Result<(), String>;

    /// Has all nodes answer an authority so, and waits until they do; with no answers, has them answer nothing any more.
    ///
    /// # Errors
    /// If they may not.
    async fn publish(&self, name: &str, answers: &[Answer]) -> Result<(), String>;
}

/// A node of its own.
#[derive(Debug)]
pub struct Own {
    node: String,
    shelf: Arc<Shelf>,
}

impl Own {
    /// The place of the node `node`.
    pub fn new(node: &str, shelf: Arc<Shelf>) -> Self {
        Self { node: node.to_owned(), shelf }
    }
}

#[async_trait(?Send)]
impl Place for Own {
    fn orders(&self) -> bool {
        true
    }

    fn ends(&self) -> bool {
        false
    }

    fn orderer(&self) -> Option<String> {
        Some(self.node.clone())
    }

    fn is_asked(&self, name: &str) -> bool {
        self.shelf.desk().is_asked(name)
    }

    async fn load(&self, name: &str) -> Result<Record, String> {
        self.shelf.read(name)
    }

    async fn begin(&self, name: &str, record: &Record) -> Result<(), String> {
        self.shelf.put(name, record)?;
        self.shelf.desk().forget_asked(name);
        Ok(())
    }

    async fn save(&self, name: &str, record: &Record) -> Result<(), String> {
        self.shelf.put(name, record)
    }

    async fn publish(&self, name: &str, answers: &[Answer]) -> Result<(), String> {
        self.shelf.answer(name, answers)
    }
}
