//! The program that this process is, by the path that leads to a newer one once that has been installed.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// The path by which this process was started. `/proc/self/exe` would not do: it names the file itself, also after
/// another one has taken its place.
pub(super) fn own() -> Option<PathBuf> {
    let name = std::env::args_os().next().filter(|name| !name.is_empty());
    let path = std::env::var_os("PATH").unwrap_or_default();
    name.and_then(|name| started_as(&name, &path)).or_else(|| std::env::current_exe().ok())
}

fn started_as(name: &OsStr, path: &OsStr) -> Option<PathBuf> {
    let name = Path::new(name);
    if name.components().count() > 1 || name.is_absolute() {
        return std::path::absolute(name).ok().filter(|program| program.is_file());
    }
    let found = std::env::split_paths(path).map(|folder| folder.join(name)).find(|program| program.is_file());
    std::path::absolute(found?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_kept_and_names_are_looked_up() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (program, link) = (folder.path().join("program-2"), folder.path().join("program"));
        std::fs::write(&program, "").expect("written");
        std::os::unix::fs::symlink(&program, &link).expect("linked");
        assert_eq!(started_as(link.as_os_str(), OsStr::new("")), Some(link.clone()));
        assert_eq!(started_as(OsStr::new("program"), folder.path().as_os_str()), Some(link));
        assert_eq!(started_as(OsStr::new("program"), OsStr::new("/nonexistent")), None);
        assert_eq!(started_as(OsStr::new("/nonexistent/program"), OsStr::new("")), None);
    }
}
