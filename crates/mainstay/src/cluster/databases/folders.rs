//! The way to a server's data.

use std::error::Error;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use mainstay_runtime::user::User;

use crate::config::database::Server;

/// Lets the server's user pass to its folders, which are its own.
pub(super) fn open_way(node: Option<&Path>, server: &Server, user: Option<User>) -> Result<(), String> {
    let (Some(node), Some(user)) = (node, user) else { return Ok(()) };
    for folder in [&server.data_dir, &server.state_dir] {
        let Some(parent) = folder.parent() else { continue };
        fs::create_dir_all(parent).map_err(|error| format!("cannot make {}: {error}", parent.display()))?;
        for on_the_way in parent.ancestors().collect::<Vec<_>>().into_iter().rev() {
            let about = fs::metadata(on_the_way).map_err(|error| format!("{}: {error}", on_the_way.display()))?;
            let mode = about.mode() & 0o7777;
            let passes = mode & 0o001 != 0
                || (about.uid() == user.uid && mode & 0o100 != 0)
                || (about.gid() == user.gid && mode & 0o010 != 0);
            if passes {
                continue;
            }
            if !on_the_way.starts_with(node) {
                return Err(format!(
                    "the server's user cannot pass through {}: `chmod o+x` it, or choose another `data_dir` and \
                     `state_dir` under [database.server]",
                    on_the_way.display()
                ));
            }
            // Passing is not reading: what the node keeps there has its own permissions.
            fs::set_permissions(on_the_way, fs::Permissions::from_mode(mode | 0o011)).map_err(|error| {
                format!("cannot let the server's user pass through {}: {error}", on_the_way.display())
            })?;
        }
    }
    Ok(())
}

/// An error with everything below it.
pub(super) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}
