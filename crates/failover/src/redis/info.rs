//! What `INFO` tells.

use std::net::SocketAddr;

use mainstay_core::database::{Before, Lsn};

/// Nobody can listen there: a replica of this address is a replica of nobody.
pub(super) const NOBODY: (&str, &str) = ("127.0.0.1", "0");

/// What a server is and has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Info {
    /// It reads its data from the disk, or what a primary sent.
    pub(super) loads: bool,
    pub(super) is_primary: bool,
    /// As replica: whom it follows; `None`: nobody.
    pub(super) upstream: Option<Upstream>,
    /// As replica: it has what its primary sent, and streams.
    pub(super) is_linked: bool,
    /// The replication id.
    pub(super) id: String,
    pub(super) position: Lsn,
    /// The id before, and where it ended.
    pub(super) before: Option<(String, Lsn)>,
    /// It keeps what replicas may have missed. One that does not yet gets another id with its first replica.
    pub(super) has_backlog: bool,
    /// How far the replicas that stream have acknowledged.
    pub(super) acknowledged: Vec<Lsn>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Upstream {
    pub(super) host: String,
    pub(super) port: String,
}

impl Upstream {
    pub(super) fn is(&self, address: SocketAddr) -> bool {
        self.host == address.ip().to_string() && self.port == address.port().to_string()
    }
}

pub(super) fn parse(text: &str) -> Info {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::trim));
    let number = |name: &str| field(name).and_then(|value| value.parse::<Lsn>().ok());
    let is_primary = field("role") == Some("master");
    let upstream = field("master_host").zip(field("master_port")).filter(|of| *of != NOBODY);
    let upstream = upstream.map(|(host, port)| Upstream { host: host.to_owned(), port: port.to_owned() });
    // The second id is valid for what comes before its offset; -1 says that there is none.
    let before = field("master_replid2").zip(number("second_repl_offset"));
    let before = before.map(|(id, begin)| (id.to_owned(), begin.saturating_sub(1)));
    let replicas = text.lines().filter(|line| line.starts_with("slave") && line.contains(",state=online,"));
    let offset = |line: &str| line.split(',').find_map(|part| part.strip_prefix("offset=")?.parse().ok());
    Info {
        loads: field("loading").is_some_and(|loading| loading != "0"),
        is_primary,
        upstream,
        is_linked: field("master_link_status") == Some("up"),
        id: field("master_replid").unwrap_or_default().to_owned(),
        position: number("master_repl_offset").unwrap_or(0),
        before,
        has_backlog: field("repl_backlog_active") == Some("1"),
        acknowledged: replicas.filter_map(offset).collect(),
    }
}

/// The beginning of a replication id, as the planner knows it.
pub(super) fn name(id: &str) -> Option<u64> {
    u64::from_str_radix(id.get(..16)?, 16).ok()
}

pub(super) fn before(info: &Info) -> Option<Before> {
    let (id, at) = info.before.as_ref()?;
    Some(Before { system: name(id)?, at: *at })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRIMARY: &str = "loading:0\r\nrole:master\r\nconnected_slaves:2\r\n\
        slave0:ip=127.0.0.1,port=1,state=online,offset=70,lag=0\r\nslave1:ip=127.0.0.1,port=2,state=wait_bgsave,offset=0,lag=0\r\n\
        master_replid:06e4916a4210e71c31194671bca6e8be298bb30f\r\n\
        master_replid2:992c03dfeb97330f11085f6ae515b55e5a9aa108\r\nmaster_repl_offset:90\r\nsecond_repl_offset:51\r\n";

    #[test]
    fn a_primary() {
        let info = parse(PRIMARY);
        assert!(info.is_primary && !info.loads && info.upstream.is_none());
        assert_eq!((info.position, info.acknowledged.as_slice()), (90, [70].as_slice()));
        assert_eq!(name(&info.id), Some(0x06e4_916a_4210_e71c));
        assert_eq!(before(&info), Some(Before { system: 0x992c_03df_eb97_330f, at: 50 }));
    }

    #[test]
    fn replicas_of_somebody_and_of_nobody() {
        let replica = "role:slave\r\nmaster_host:10.0.0.1\r\nmaster_port:6379\r\nmaster_link_status:up\r\n\
            master_repl_offset:5\r\nmaster_replid2:0000\r\nsecond_repl_offset:-1\r\n";
        let info = parse(replica);
        assert!(info.upstream.as_ref().is_some_and(|of| of.is("10.0.0.1:6379".parse().expect("an address"))));
        assert!(info.is_linked && !info.is_primary && info.before.is_none());
        let detached = replica.replace("10.0.0.1", "127.0.0.1").replace("6379", "0");
        assert_eq!(parse(&detached).upstream, None);
        assert_eq!(name(""), None);
    }
}
