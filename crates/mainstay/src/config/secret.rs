//! Secrets, which stand anywhere but in the configuration.

use mainstay_observe::secret::Secret;

use super::keys;
use super::problem::Fault;
use super::reader::{Item, Reader};

/// Where a secret is that the configuration must not hold itself.
pub(super) fn secret(item: &Item<'_>) -> Option<Secret> {
    if !item.is_table() {
        let fault = Fault::new("a secret does not belong into the configuration");
        item.error(fault.hint("write { file = \"PATH\" } or { env = \"NAME\" }"));
        return None;
    }
    let section = item.section(&keys::SECRET)?;
    let secret = match (section.item("file"), section.item("env")) {
        (Some(file), None) => file.path().map(Secret::File),
        (None, Some(name)) => name.text().map(|name| Secret::Environment(name.to_owned())),
        (Some(_), Some(_)) | (None, None) => {
            item.error(Fault::new("one of `file` and `env` says where the secret is"));
            None
        }
    }?;
    item.reader.named(item.place.clone(), secret.clone());
    Some(secret)
}

/// Whether all secrets that a document names can be read. A node serves without them, and it may not be this process's user or
/// environment that it runs with: hence only a warning.
pub(super) fn check_files(reader: &Reader<'_>) {
    for (place, secret) in reader.secrets() {
        let Err(reason) = secret.read() else { continue };
        let hint = match &secret {
            Secret::File(_) => {
                "write the secret into it, readable by Mainstay's user only; paths are relative to the configuration's folder"
            }
            Secret::Environment(_) => "set it for the node; nothing is wrong if only the node's own environment has it",
        };
        reader.warn(&place, Fault::new(reason).hint(hint));
    }
}
