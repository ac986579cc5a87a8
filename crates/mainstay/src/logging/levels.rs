//! Which levels the log has: as configured, and what somebody has asked for in their place, for a time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Parts of the node whose level can be changed alone, and what their lines are known by.
pub const COMPONENTS: [(&str, &[&str]); 14] = [
    ("addresses", &["mainstay_cluster::address"]),
    ("admin", &["mainstay_admin", "mainstay::admin"]),
    ("alerts", &["mainstay_observe::alerts"]),
    ("cluster", &["mainstay_cluster", "mainstay::cluster", "mainstay::shared_config"]),
    ("consensus", &["openraft"]),
    ("discovery", &["mainstay_gateway::discovery"]),
    ("failover", &["mainstay_failover"]),
    ("gateway", &["mainstay_gateway"]),
    ("health", &["mainstay_gateway::health"]),
    ("history", &["mainstay_observe::history"]),
    ("ledger", &["mainstay_observe::ledger"]),
    ("otlp", &["mainstay_observe::otlp"]),
    ("probes", &["mainstay_probe"]),
    ("runtime", &["mainstay_runtime"]),
];

/// The words for levels.
pub const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// What somebody has asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wish {
    level: &'static str,
    until: Instant,
}

/// Why a level cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LevelError {
    /// There is no such part.
    #[error("there is no component `{0}`")]
    Component(String),
    /// There is no such level.
    #[error("there is no level `{0}`")]
    Level(String),
    /// The log does not take it.
    #[error("the log does not take it: {0}")]
    Refused(String),
}

/// The levels of the log.
#[derive(Clone, Debug)]
pub struct Levels {
    /// What the process was started with.
    configured: String,
    all: Option<Wish>,
    components: BTreeMap<&'static str, Wish>,
}

/// One wish that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wished {
    /// The component; `None`: all that nothing else was asked for.
    pub component: Option<&'static str>,
    /// The level.
    pub level: &'static str,
    /// For how much longer.
    pub left: Duration,
}

impl Levels {
    /// As the process was started.
    pub fn new(configured: &str) -> Self {
        Self { configured: configured.to_owned(), all: None, components: BTreeMap::new() }
    }

    /// What the process was started with.
    pub fn configured(&self) -> &str {
        &self.configured
    }

    /// Has `level` hold until then, for one component or for all of them.
    ///
    /// # Errors
    /// If there is no such component or level.
    pub fn wish(&mut self, component: Option<&str>, level: &str, until: Instant) -> Result<(), LevelError> {
        let known = LEVELS.iter().find(|word| level.eq_ignore_ascii_case(word));
        let level = *known.ok_or_else(|| LevelError::Level(level.to_owned()))?;
        let wish = Wish { level, until };
        match component {
            None => self.all = Some(wish),
            Some(name) => drop(self.components.insert(component_of(name)?, wish)),
        }
        Ok(())
    }

    /// Goes back to what is configured, for one component or for everything.
    ///
    /// # Errors
    /// If there is no such component.
    pub fn end(&mut self, component: Option<&str>) -> Result<(), LevelError> {
        match component {
            None => {
                self.all = None;
                self.components.clear();
            }
            Some(name) => drop(self.components.remove(component_of(name)?)),
        }
        Ok(())
    }

    /// Ends what has had its time. Answers whether anything has.
    pub fn expire(&mut self, now: Instant) -> bool {
        let before = (self.all, self.components.len());
        self.all = self.all.filter(|wish| wish.until > now);
        self.components.retain(|_name, wish| wish.until > now);
        before != (self.all, self.components.len())
    }

    /// What was asked for and holds: for all first.
    pub fn wished(&self, now: Instant) -> Vec<Wished> {
        let told = |component, wish: &Wish| Wished {
            component,
            level: wish.level,
            left: wish.until.saturating_duration_since(now),
        };
        let all = self.all.iter().map(|wish| told(None, wish));
        let components = self.components.iter().map(|(name, wish)| told(Some(*name), wish));
        all.chain(components).filter(|wished| !wished.left.is_zero()).collect()
    }

    /// All of it as the log's filter reads it: what stands later holds where the same part is named twice.
    pub fn filter(&self) -> String {
        let base = self.all.map_or(self.configured.as_str(), |wish| wish.level);
        // The consensus library tells of every message that was lost. What people need of it the cluster says itself; who wants
        // the rest names it: `info,openraft=debug`.
        let mut filter = format!("openraft=off,{base}");
        for (name, wish) in &self.components {
            let targets =
                COMPONENTS.iter().find(|(known, _targets)| known == name).map_or(&[][..], |(_, targets)| targets);
            for target in targets {
                filter.push_str(&format!(",{target}={}", wish.level));
            }
        }
        filter
    }
}

fn component_of(name: &str) -> Result<&'static str, LevelError> {
    let found = COMPONENTS.iter().find(|(known, _targets)| *known == name);
    found.map(|(known, _targets)| *known).ok_or_else(|| LevelError::Component(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_stand_in_place_of_the_configuration_until_their_time_is_over() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut levels = Levels::new("info,mainstay_gateway=warn");
        levels.wish(Some("health"), "Debug", at(10)).expect("there is one");
        assert_eq!(levels.filter(), "openraft=off,info,mainstay_gateway=warn,mainstay_gateway::health=debug");
        levels.wish(None, "error", at(5)).expect("a level");
        assert_eq!(levels.filter(), "openraft=off,error,mainstay_gateway::health=debug");
        let left: Vec<_> = levels.wished(at(1)).iter().map(|it| (it.component, it.level, it.left.as_secs())).collect();
        assert_eq!(left, [(None, "error", 4), (Some("health"), "debug", 9)]);
        assert!(!levels.expire(at(4)));
        assert!(levels.expire(at(5)));
        assert!(levels.filter().starts_with("openraft=off,info,"));
        assert!(levels.expire(at(10)) && levels.wished(at(10)).is_empty());
    }

    #[test]
    fn what_there_is_not_is_refused() {
        let mut levels = Levels::new("info");
        let until = Instant::now();
        assert_eq!(levels.wish(Some("hobbits"), "info", until), Err(LevelError::Component("hobbits".to_owned())));
        assert_eq!(levels.wish(None, "loud", until), Err(LevelError::Level("loud".to_owned())));
        assert!(levels.end(Some("hobbits")).is_err() && levels.end(Some("gateway")).is_ok());
        assert_eq!(levels.filter(), "openraft=off,info");
    }

    #[test]
    fn the_log_understands_every_component_and_level() {
        for (name, _targets) in COMPONENTS {
            for level in LEVELS {
                let mut levels = Levels::new("info,mainstay_gateway=debug");
                levels.wish(Some(name), level, Instant::now()).expect("a component and a level");
                let filter = levels.filter();
                assert!(tracing_subscriber::EnvFilter::try_new(&filter).is_ok(), "{filter}");
            }
        }
    }
}
