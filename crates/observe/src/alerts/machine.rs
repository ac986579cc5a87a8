//! How busy the machine is, as the kernel counts it.

/// The processors' time since the machine started, in ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Processors {
    busy: u64,
    all: u64,
}

impl Processors {
    /// Reads it; none where the system does not tell.
    pub fn read() -> Option<Self> {
        Self::parse(&std::fs::read_to_string("/proc/stat").ok()?)
    }

    fn parse(stat: &str) -> Option<Self> {
        let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
        // user, nice, system, idle, iowait, irq, softirq, steal; what follows is a part of user and nice.
        let fields: Vec<u64> = line.split_whitespace().take(8).filter_map(|field| field.parse().ok()).collect();
        let all: u64 = fields.iter().sum();
        let idle: u64 = fields.iter().skip(3).take(2).sum();
        (fields.len() == 8).then_some(Self { busy: all - idle, all })
    }

    /// Percent of the time since `earlier` that was used.
    pub fn percent_since(self, earlier: Self) -> Option<f64> {
        let all = self.all.checked_sub(earlier.all).filter(|all| *all > 0)?;
        Some(self.busy.saturating_sub(earlier.busy) as f64 * 100.0 / all as f64)
    }
}

/// Percent of the machine's memory that is in use and could not be had back.
pub fn memory_percent() -> Option<f64> {
    of_memory(&std::fs::read_to_string("/proc/meminfo").ok()?)
}

fn of_memory(text: &str) -> Option<f64> {
    let field = |name: &str| -> Option<f64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    let (all, left) = (field("MemTotal:")?, field("MemAvailable:")?);
    (all > 0.0).then(|| (all - left) * 100.0 / all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_numbers() {
        let earlier = Processors::parse("cpu  10 0 10 80 0 0 0 0 0 0\ncpu0 1 2 3\n").unwrap();
        let later = Processors::parse("cpu  50 0 30 110 10 0 0 0 7 0\n").unwrap();
        assert_eq!(later.percent_since(earlier), Some(60.0));
        assert_eq!(later.percent_since(later), None);
        assert_eq!(of_memory("MemTotal: 1000 kB\nMemFree: 1 kB\nMemAvailable: 50 kB\n"), Some(95.0));
        assert!(Processors::read().is_some() && memory_percent().is_some());
    }
}
