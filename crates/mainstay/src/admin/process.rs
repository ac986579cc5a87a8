//! What the process itself uses, as the kernel counts it.

use std::time::Duration;

/// What the process uses. A number that the system does not tell is zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// User and system time.
    pub cpu: Duration,
    /// Memory that is resident.
    pub resident_bytes: u64,
    /// Open file descriptors.
    pub open_files: u64,
    /// How many may be open.
    pub open_files_max: u64,
    /// Parts of it that have ended by a panic.
    pub defects: u64,
}

impl Usage {
    /// Reads the numbers of this process.
    pub fn read() -> Self {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        Self {
            cpu: cpu_time(&stat).unwrap_or_default(),
            resident_bytes: resident_bytes(&status).unwrap_or_default(),
            open_files: std::fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64),
            open_files_max: crate::limits::open_files().0,
            defects: mainstay_runtime::defect::noted().count,
        }
    }
}

/// Fields 14 and 15 of `stat`, in ticks. The second field is a name in parentheses that may hold anything.
fn cpu_time(stat: &str) -> Option<Duration> {
    // The kernel shows these times in hundredths of a second on every architecture that we build for (USER_HZ).
    const TICKS_A_SECOND: u64 = 100;
    let (_name, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(Duration::from_millis((user + system).saturating_mul(1000 / TICKS_A_SECOND)))
}

fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses_does_not_confuse() {
        let stat = "4 (a) b (c) S 1 4 4 0 -1 4194560 9 0 0 0 150 50 0 0 20 0 1 0 5 6 7";
        assert_eq!(cpu_time(stat), Some(Duration::from_secs(2)));
        assert_eq!(cpu_time(""), None);
        assert_eq!(resident_bytes("VmPeak:\t 9 kB\nVmRSS:\t  12 kB\n"), Some(12288));
    }

    #[test]
    fn this_process_uses_something() {
        let usage = Usage::read();
        assert!(usage.resident_bytes > 100_000 && usage.open_files >= 3 && usage.open_files_max >= usage.open_files);
    }
}
