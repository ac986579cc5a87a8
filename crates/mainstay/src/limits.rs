//! Limits that the system puts on the process.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// How many file descriptors may be open: the soft and the hard limit. Without a limit, the largest number.
pub fn open_files() -> (u64, u64) {
    let limit = getrlimit(Resource::Nofile);
    (limit.current.unwrap_or(u64::MAX), limit.maximum.unwrap_or(u64::MAX))
}

/// Raises the soft limit of open file descriptors to the hard one: each connection takes one, and the usual soft limit of
/// 1,024 is there for programs that use `select`. Answers the limit that holds now.
///
/// # Errors
/// What the system says; the limit stays as it was.
pub fn raise_open_files() -> io::Result<u64> {
    let (soft, hard) = open_files();
    if soft >= hard {
        return Ok(soft);
    }
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    Ok(hard)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_reaches_the_hard_one() {
        let raised = raise_open_files().expect("raising up to the hard limit needs no right");
        assert_eq!(open_files(), (raised, raised));
    }
}
