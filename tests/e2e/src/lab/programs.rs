//! PostgreSQL's programs, of which those that copy and rewind can be struck in the middle of their work.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::signal_tree;

/// What becomes of a program that is struck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strike {
    /// It is killed, alone.
    Kill,
    /// It is killed, and whoever waits for it is not told: for a machine that is about to lose its power.
    Hang,
}

/// A folder with the programs, for `bin_dir`.
#[derive(Debug)]
pub struct Programs {
    folder: TempDir,
}

impl Programs {
    /// The installed ones, two of them behind a script that does as it is told.
    ///
    /// # Panics
    /// If PostgreSQL is not installed.
    pub fn new() -> Self {
        let installed = installed();
        let folder = tempfile::tempdir().expect("a temporary directory");
        for (path, mode) in [(folder.path().to_owned(), 0o755), (folder.path().join("orders"), 0o777)] {
            fs::create_dir_all(&path).expect("a folder");
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("it is ours");
        }
        for entry in fs::read_dir(&installed).expect("programs").flatten() {
            symlink(entry.path(), folder.path().join(entry.file_name())).expect("a link");
        }
        // They are seen to be in the middle by what they say, and by what is there of the copy.
        let middles = [
            ("pg_rewind", "", "grep -q 'need to copy' \"$said\""),
            ("pg_basebackup", "--max-rate=2M", "test -e \"$2/base/1\""),
        ];
        for (name, further, is_in_the_middle) in middles {
            let text = script(&installed.join(name), &folder.path().join("orders"), name, further, is_in_the_middle);
            let path = folder.path().join(name);
            fs::remove_file(&path).expect("the link");
            fs::write(&path, text).expect("a script");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is ours");
        }
        Self { folder }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The next run of this program is struck once it is in the middle of its work.
    ///
    /// # Panics
    /// If the order cannot be written.
    pub fn strike(&self, program: &str, strike: Strike) {
        let word = match strike {
            Strike::Kill => "kill",
            Strike::Hang => "hang",
        };
        let _not_struck_before = fs::remove_file(self.order(&format!("{program}.struck")));
        let order = self.order(program);
        fs::write(&order, word).expect("the folder is ours");
        // Whoever runs the program takes the order away.
        fs::set_permissions(&order, fs::Permissions::from_mode(0o666)).expect("it is ours");
    }

    /// Whether this program was struck since it was told to be.
    pub fn was_struck(&self, program: &str) -> bool {
        self.order(&format!("{program}.struck")).exists()
    }

    /// Ends the script that hangs: its machine is off.
    pub fn end(&self, program: &str) {
        let pid = fs::read_to_string(self.order(&format!("{program}.struck"))).unwrap_or_default();
        if let Ok(pid) = pid.trim().parse() {
            signal_tree(pid, "KILL");
        }
    }

    fn order(&self, name: &str) -> PathBuf {
        self.folder.path().join("orders").join(name)
    }
}

impl Default for Programs {
    fn default() -> Self {
        Self::new()
    }
}

/// Runs the program as it is, unless there is an order.
fn script(program: &Path, orders: &Path, name: &str, further: &str, is_in_the_middle: &str) -> String {
    let (program, order) = (program.display(), orders.join(name).display().to_string());
    format!(
        "#!/bin/sh\n\
         PATH=/usr/bin:/bin\n\
         how=$(cat {order} 2>/dev/null) || exec {program} \"$@\"\n\
         said={order}.said\n\
         {program} \"$@\" {further} 2>\"$said\" & pid=$!\n\
         while kill -0 $pid 2>/dev/null && ! {is_in_the_middle}; do sleep 0.01; done\n\
         # It failed by itself before that, which is not what is asked for.\n\
         {is_in_the_middle} || {{ wait $pid; ended=$?; cat \"$said\" >&2; exit $ended; }}\n\
         kill -9 $pid\n\
         wait $pid\n\
         cat \"$said\" >&2\n\
         rm -f {order} \"$said\"\n\
         echo $$ >{order}.new && mv {order}.new {order}.struck\n\
         test $how = hang && exec sleep 120\n\
         exit 137\n"
    )
}

/// Where the latest version is installed.
fn installed() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<(u32, PathBuf)> = versions
        .filter_map(|version| Some((version.file_name().to_str()?.parse().ok()?, version.path().join("bin"))))
        .filter(|(_, programs)| programs.join("initdb").is_file())
        .collect();
    found.sort();
    found.pop().map(|(_, programs)| programs).expect("initdb is missing: `apt-get install postgresql`")
}
