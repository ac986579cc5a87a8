//! What two processes say to each other while one hands over to the other.
//!
//! The new process finds a socket to the old one in place of its standard input, and says [`Word::Hello`]. The old one
//! answers with an [`Offer`] and, one after another, the descriptors that it announces: standard error, the sockets of
//! each listener, the admin interface's. The new one binds what is missing, looks at the endpoints and says
//! [`Word::Ready`]; told to [`Go`], it accepts connections and says [`Word::Serving`]. Until then the old one serves as
//! if nothing had happened, and does so on if the other one fails.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;

use mainstay_core::roles::Roles;
use mainstay_gateway::Remembered;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::run::wishes::Wishes;

/// Tells a process that it has a predecessor.
pub(super) const VARIABLE: &str = "MAINSTAY_UPGRADE";
/// Raised when an older process could not understand a younger one any more, or the other way round.
pub(super) const PROTOCOL: u32 = 1;
/// No message is longer.
const BYTES_MAX: u32 = 256 * 1024 * 1024;

/// What the new process says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Word {
    /// It runs.
    Hello { protocol: u32, version: String },
    /// It could serve. It has taken the sockets of these addresses, and the admin socket's.
    Ready { taken: Vec<SocketAddr>, admin: bool, admin_socket: bool },
    /// It serves.
    Serving,
}

/// What the old process has to give.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Offer {
    pub(super) protocol: u32,
    pub(super) pid: u32,
    pub(super) listeners: Vec<OfferedListener>,
    /// The admin interface over TCP.
    pub(super) admin: Option<SocketAddr>,
    pub(super) admin_socket: Option<PathBuf>,
    pub(super) endpoints: Vec<Remembered>,
}

/// A listener, of which `sockets` descriptors follow.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct OfferedListener {
    pub(super) name: String,
    pub(super) bind: SocketAddr,
    pub(super) sockets: usize,
}

/// The old process's consent, with what operators may have drained since the offer, what they have asked for for a time, and where
/// the clients of database groups are led.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Go {
    pub(super) endpoints: Vec<Remembered>,
    #[serde(default)]
    pub(super) wishes: Wishes,
    #[serde(default)]
    pub(super) led: BTreeMap<String, Roles>,
}

/// Writes a message.
pub(super) fn say(channel: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_vec(message).map_err(io::Error::other)?;
    let length = u32::try_from(text.len()).map_err(io::Error::other)?;
    channel.write_all(&length.to_be_bytes())?;
    channel.write_all(&text)
}

/// Reads a message, and nothing beyond it.
pub(super) fn hear<T: DeserializeOwned>(channel: &mut impl Read) -> io::Result<T> {
    let mut length = [0; 4];
    channel.read_exact(&mut length)?;
    let mut text = vec![0; sensible(u32::from_be_bytes(length))?];
    channel.read_exact(&mut text)?;
    understood(&text)
}

/// As [`hear`], without blocking the thread.
pub(super) async fn hear_async<T: DeserializeOwned>(channel: &mut tokio::net::UnixStream) -> io::Result<T> {
    use tokio::io::AsyncReadExt;
    let length = channel.read_u32().await?;
    let mut text = vec![0; sensible(length)?];
    channel.read_exact(&mut text).await?;
    understood(&text)
}

fn sensible(length: u32) -> io::Result<usize> {
    if length > BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a message of {length} bytes")));
    }
    usize::try_from(length).map_err(io::Error::other)
}

fn understood<T: DeserializeOwned>(text: &[u8]) -> io::Result<T> {
    serde_json::from_slice(text).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_one_by_one_and_nonsense_is_an_error() {
        let mut bytes = Vec::new();
        say(&mut bytes, &Word::Hello { protocol: PROTOCOL, version: "1".to_owned() }).expect("written");
        say(&mut bytes, &Word::Serving).expect("written");
        let mut reader = bytes.as_slice();
        assert!(matches!(hear(&mut reader), Ok(Word::Hello { protocol: PROTOCOL, .. })));
        assert!(matches!(hear(&mut reader), Ok(Word::Serving)));
        assert!(hear::<Word>(&mut reader).is_err());
        assert!(hear::<Word>(&mut &b"\xff\xff\xff\xff"[..]).is_err());
        assert!(hear::<Word>(&mut &b"\0\0\0\x02{}"[..]).is_err());
    }
}
