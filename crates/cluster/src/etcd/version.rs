//! Which versions of etcd keep the promises.

/// The first releases of their lines in which a member that has lost the leadership no longer ends leases on behalf of the
/// one that has it, and no watch skips changes.
const SOUND: &[(u32, u32, u32)] = &[(3, 4, 31), (3, 5, 13)];

/// What is wrong with a version of etcd, for the operator; `None` if nothing that is known.
pub fn fault_of(version: &str) -> Option<String> {
    let Some((major, minor, patch)) = parse(version) else {
        return Some(format!("etcd says that its version is {version:?}, which cannot be read: use 3.5.13 or newer"));
    };
    let sound = match SOUND.iter().find(|line| (line.0, line.1) == (major, minor)) {
        Some(line) => patch >= line.2,
        None => (major, minor) > (3, 5),
    };
    (!sound).then(|| {
        format!(
            "etcd {version} may end a lease that was renewed, and may lose changes that are watched: upgrade to 3.4.31, \
             3.5.13 or newer"
        )
    })
}

fn parse(version: &str) -> Option<(u32, u32, u32)> {
    // A pre-release counts as the release that it leads to.
    let numbers = version.split(['-', '+']).next()?;
    let mut parts = numbers.split('.').map(|part| part.parse().ok());
    let parsed = (parts.next()??, parts.next()??, parts.next()??);
    parts.next().is_none().then_some(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_versions_are_warned_of() {
        for sound in ["3.4.31", "3.4.40", "3.5.13", "3.5.13-rc.1", "3.6.0", "3.7.2", "4.0.0"] {
            assert_eq!(fault_of(sound), None, "{sound}");
        }
        for faulty in ["3.4.23", "3.4.30", "3.5.0", "3.5.12", "3.3.31", "2.3.8", "", "etcd", "3.5", "3.5.13.1"] {
            assert!(fault_of(faulty).is_some(), "{faulty}");
        }
    }
}
