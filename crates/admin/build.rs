//! Writes down which files the dashboard consists of, so that they become a part of the binary. Without a built dashboard
//! (`make dashboard`, which needs npm) the list is empty, and a node serves its plain page instead.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let dist = root.join("../../dashboard/dist");
    let dist = fs::canonicalize(&dist).unwrap_or(dist);
    println!("cargo:rerun-if-changed=build.rs");
    if dist.is_dir() {
        println!("cargo:rerun-if-changed={}", dist.display());
    }
    let mut files = Vec::new();
    // A half-built dashboard (its page comes last of all) is none.
    if dist.join("index.html.gz").is_file() {
        gather(&dist, &mut files)?;
        files.sort();
    }
    let mut list = String::from("&[\n");
    for file in &files {
        let name = file.strip_prefix(&dist).unwrap_or(file).display().to_string();
        let compressed = PathBuf::from(format!("{}.gz", file.display()));
        let gzip = match compressed.is_file() {
            true => format!("Some(include_bytes!({compressed:?}))"),
            false => "None".to_owned(),
        };
        let _written = writeln!(list, "    File {{ name: {name:?}, plain: include_bytes!({file:?}), gzip: {gzip} }},");
    }
    list.push(']');
    fs::write(PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("dashboard_files.rs"), list)
}

fn gather(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let is_hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if path.is_dir() {
            gather(&path, files)?;
        } else if !is_hidden && path.extension().is_none_or(|extension| extension != "gz") {
            files.push(path);
        }
    }
    Ok(())
}
