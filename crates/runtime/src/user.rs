//! Users of this machine.

use std::io;

/// A user: its number, and that of its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    /// The user's number.
    pub uid: u32,
    /// That of its group.
    pub gid: u32,
}

/// The user of this name in `/etc/passwd`, or with the numbers `UID:GID`. Users that only a directory service knows are not
/// found by name.
///
/// # Errors
/// The list cannot be read.
pub fn find(name: &str) -> io::Result<Option<User>> {
    if let Some(user) = numbered(name) {
        return Ok(Some(user));
    }
    Ok(listed(&std::fs::read_to_string("/etc/passwd")?, name))
}

/// Whether this process may do everything.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn numbered(text: &str) -> Option<User> {
    let (uid, gid) = text.split_once(':')?;
    Some(User { uid: uid.parse().ok()?, gid: gid.parse().ok()? })
}

/// `name:password:UID:GID:...`, passwd(5).
fn listed(list: &str, name: &str) -> Option<User> {
    list.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        match fields.as_slice() {
            [known, _password, uid, gid, ..] if *known == name => {
                Some(User { uid: uid.parse().ok()?, gid: gid.parse().ok()? })
            }
            _other => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_by_name_and_by_number() {
        let list = "root:x:0:0:root:/root:/bin/sh\n# a comment\nbroken:x:y\nnobody:x:65534:65533::/:/bin/false\n";
        assert_eq!(listed(list, "nobody"), Some(User { uid: 65534, gid: 65533 }));
        assert_eq!(listed(list, "root"), Some(User { uid: 0, gid: 0 }));
        assert_eq!((listed(list, "broken"), listed(list, "nob"), listed(list, "")), (None, None, None));
        assert_eq!(find("7:8").expect("no list is read"), Some(User { uid: 7, gid: 8 }));
        assert_eq!((numbered("7"), numbered("7:"), numbered(":7"), numbered("-1:7")), (None, None, None, None));
    }
}
