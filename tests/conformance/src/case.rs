//! The cases, read from the scripts beside this crate.

use std::fs;
use std::path::{Path, PathBuf};

/// What a proxy must be able to do for a case to make sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// A listener on which every connection begins with a PROXY protocol header.
    ProxyProtocol,
}

/// One script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// The script's name without `.vtc`; what stands before the first `-` is its group.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// One line: what is asked.
    pub asks: String,
    /// The document and section that ask it.
    pub section: String,
    /// What the proxy must be able to do.
    pub needs: Vec<Need>,
}

impl Case {
    /// The group.
    pub fn group(&self) -> &str {
        self.name.split('-').next().unwrap_or_default()
    }
}

/// Every case, by group and name.
///
/// # Panics
/// If a script cannot be read or does not begin as it should.
pub fn all() -> Vec<Case> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    let entries = fs::read_dir(dir).expect("the directory of the cases");
    let paths = entries.map(|entry| entry.expect("an entry of the directory").path());
    let scripts = paths.filter(|path| path.extension().is_some_and(|extension| extension == "vtc"));
    let mut cases: Vec<Case> =
        scripts.map(|path| read(&path).unwrap_or_else(|what| panic!("{}: {what}", path.display()))).collect();
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    cases
}

/// A script begins with `varnishtest "what is asked"`, then `# section: RFC ...`, and perhaps `# needs: ...`.
fn read(path: &Path) -> Result<Case, String> {
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    let mut lines = text.lines();
    let title = lines.next().and_then(|line| line.strip_prefix("varnishtest \"")?.strip_suffix('"'));
    let asks = title.ok_or("the first line is not `varnishtest \"what is asked\"`")?.to_owned();
    let section = lines.next().and_then(|line| line.strip_prefix("# section: "));
    let section = section.ok_or("the second line is not `# section: RFC ...`")?.to_owned();
    let mut needs = Vec::new();
    for line in lines.filter_map(|line| line.strip_prefix("# needs: ")) {
        needs.push(match line {
            "proxy-protocol" => Need::ProxyProtocol,
            other => return Err(format!("needs `{other}`, which nothing is known about")),
        });
    }
    let name = path.file_stem().and_then(|stem| stem.to_str()).ok_or("no name")?.to_owned();
    Ok(Case { name, path: path.to_owned(), asks, section, needs })
}
