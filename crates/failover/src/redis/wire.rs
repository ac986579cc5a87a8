//! Redis' protocol (RESP2) as far as an agent speaks it: a command, and its answer.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use crate::Error;

/// Bytes of an answer, at most.
const ANSWER_MAX: usize = 8 << 20;
/// Arrays within arrays, at most.
const DEPTH_MAX: usize = 4;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Text(String),
    Bytes(Vec<u8>),
    Integer(i64),
    Nothing,
    List(Vec<Reply>),
    /// The server refuses.
    Refusal(String),
}

impl Reply {
    pub(super) fn text(self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text),
            Self::Bytes(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
            Self::Integer(_) | Self::Nothing | Self::List(_) | Self::Refusal(_) => None,
        }
    }
}

/// Both kinds of sockets.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

/// A connection that has logged in.
pub(super) struct Client {
    stream: Box<dyn Stream>,
    unread: Vec<u8>,
}

impl Client {
    pub(super) async fn local(path: &Path, user: &str, password: &str, limit: Duration) -> Result<Self, Error> {
        let stream = async { Ok(Box::new(UnixStream::connect(path).await?) as Box<dyn Stream>) };
        Self::open(stream, user, password, limit).await
    }

    pub(super) async fn remote(at: SocketAddr, user: &str, password: &str, limit: Duration) -> Result<Self, Error> {
        let stream = async { Ok(Box::new(TcpStream::connect(at).await?) as Box<dyn Stream>) };
        Self::open(stream, user, password, limit).await
    }

    async fn open(
        stream: impl Future<Output = io::Result<Box<dyn Stream>>>,
        user: &str,
        password: &str,
        limit: Duration,
    ) -> Result<Self, Error> {
        let late = |_elapsed| Error::Late { what: "a connection to Redis".to_owned(), limit };
        let stream = tokio::time::timeout(limit, stream).await.map_err(late)?;
        let mut client = Self { stream: stream.map_err(Error::system("cannot reach Redis"))?, unread: Vec::new() };
        client.ask("its login", &["AUTH", user, password], limit).await?;
        Ok(client)
    }

    /// What is answered to a command; `what` it is stands in errors instead of the command, which may hold a password.
    pub(super) async fn ask(&mut self, what: &str, command: &[&str], limit: Duration) -> Result<Reply, Error> {
        let late = |_elapsed| Error::Late { what: what.to_owned(), limit };
        let reply = tokio::time::timeout(limit, self.exchange(command)).await.map_err(late)?;
        match reply.map_err(Error::system(format!("Redis went away while it was asked for {what}")))? {
            Reply::Refusal(said) => Err(Error::Refused { what: what.to_owned(), said }),
            reply => Ok(reply),
        }
    }

    /// The answers to several commands, which are sent together. A refusal is an answer here.
    pub(super) async fn ask_all(&mut self, what: &str, all: &[Vec<u8>], limit: Duration) -> Result<Vec<Reply>, Error> {
        let late = |_elapsed| Error::Late { what: what.to_owned(), limit };
        let exchange = async {
            self.stream.write_all(&all.concat()).await?;
            let mut replies = Vec::with_capacity(all.len());
            for _ in all {
                replies.push(self.reply().await?);
            }
            Ok(replies)
        };
        let replies = tokio::time::timeout(limit, exchange).await.map_err(late)?;
        replies.map_err(Error::system(format!("Redis went away while it was asked for {what}")))
    }

    async fn exchange(&mut self, command: &[&str]) -> io::Result<Reply> {
        let words: Vec<&[u8]> = command.iter().map(|word| word.as_bytes()).collect();
        self.stream.write_all(&packed(&words)).await?;
        self.reply().await
    }

    async fn reply(&mut self) -> io::Result<Reply> {
        loop {
            if let Some((reply, used)) = parse(&self.unread, 0)? {
                self.unread.drain(..used);
                return Ok(reply);
            }
            if self.unread.len() > ANSWER_MAX {
                return Err(io::Error::other("the answer is too long"));
            }
            if self.stream.read_buf(&mut self.unread).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// A command on the wire.
pub(super) fn packed(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// An answer and how many bytes it took; `None`: there is more to come.
fn parse(bytes: &[u8], depth: usize) -> io::Result<Option<(Reply, usize)>> {
    let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let Some(end) = bytes.windows(2).position(|pair| pair == b"\r\n") else { return Ok(None) };
    let (Some(kind), Some(line)) = (bytes.first(), bytes.get(1..end)) else { return Err(wrong("an empty answer")) };
    let text = String::from_utf8_lossy(line).into_owned();
    let number = || text.parse::<i64>().map_err(|_error| wrong("a length that is no number"));
    let begin = end + 2;
    match kind {
        b'+' => Ok(Some((Reply::Text(text), begin))),
        b'-' => Ok(Some((Reply::Refusal(text), begin))),
        b':' => Ok(Some((Reply::Integer(number()?), begin))),
        b'$' => {
            let Ok(length) = usize::try_from(number()?) else { return Ok(Some((Reply::Nothing, begin))) };
            if length > ANSWER_MAX {
                return Err(wrong("an answer that is too long"));
            }
            let Some(whole) = bytes.get(begin..begin + length + 2) else { return Ok(None) };
            let Some(text) = whole.strip_suffix(b"\r\n") else { return Err(wrong("a text that does not end")) };
            Ok(Some((Reply::Bytes(text.to_vec()), begin + length + 2)))
        }
        b'*' => {
            let Ok(count) = usize::try_from(number()?) else { return Ok(Some((Reply::Nothing, begin))) };
            if depth >= DEPTH_MAX || count > ANSWER_MAX {
                return Err(wrong("an answer that is too deep"));
            }
            let (mut list, mut at) = (Vec::new(), begin);
            for _ in 0..count {
                let Some((reply, used)) = parse(bytes.get(at..).unwrap_or_default(), depth + 1)? else {
                    return Ok(None);
                };
                list.push(reply);
                at += used;
            }
            Ok(Some((Reply::List(list), at)))
        }
        _ => Err(wrong("an answer of an unknown kind")),
    }
}

/// Reads bytes as they come from a server: one answer after the other, and each text as what a server says of itself.
#[cfg(any(test, feature = "fuzz"))]
pub(crate) fn fuzz(mut bytes: &[u8]) {
    while let Ok(Some((reply, used))) = parse(bytes, 0) {
        let (answer, rest) = bytes.split_at(used);
        // It is there with its last byte and not before, however it came in pieces.
        for end in [answer.len() / 2, answer.len() - 1] {
            let before = parse(answer.get(..end).unwrap_or_default(), 0);
            assert!(matches!(before, Ok(None)), "{before:?} after {end} bytes of {reply:?}");
        }
        fuzz_texts(reply);
        bytes = rest;
    }
}

#[cfg(any(test, feature = "fuzz"))]
fn fuzz_texts(reply: Reply) {
    if let Reply::List(list) = reply {
        return list.into_iter().for_each(fuzz_texts);
    }
    let info = super::info::parse(&reply.text().unwrap_or_default());
    let (_name, _before) = (super::info::name(&info.id), super::info::before(&info));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn answers_and_others() -> impl Strategy<Value = Vec<u8>> {
        let text = prop::collection::vec(any::<u8>(), 0..20);
        let line = "[-+:$*?][-0-9a-z]{0,4}\r\n".prop_map(String::into_bytes);
        let bulk = text.clone().prop_map(|text| [format!("${}\r\n", text.len()).as_bytes(), &text, b"\r\n"].concat());
        prop_oneof![1 => text, 3 => line, 3 => bulk]
    }

    proptest! {
        #[test]
        fn no_bytes_of_a_server_do_harm(parts in prop::collection::vec(answers_and_others(), 0..8)) {
            fuzz(&parts.concat());
        }
    }

    #[test]
    fn answers() {
        let cases: [(&[u8], Reply); 6] = [
            (b"+OK\r\n", Reply::Text("OK".to_owned())),
            (b"-NOAUTH no\r\n", Reply::Refusal("NOAUTH no".to_owned())),
            (b":-3\r\n", Reply::Integer(-3)),
            (b"$5\r\na\r\nbc\r\n", Reply::Bytes(b"a\r\nbc".to_vec())),
            (b"$-1\r\n", Reply::Nothing),
            (b"*2\r\n$1\r\n0\r\n*1\r\n$1\r\nk\r\n", {
                let text = |text: &str| Reply::Bytes(text.as_bytes().to_vec());
                Reply::List(vec![text("0"), Reply::List(vec![text("k")])])
            }),
        ];
        for (bytes, expected) in cases {
            for end in 0..bytes.len() {
                assert_eq!(parse(&bytes[..end], 0).expect("a beginning"), None, "{expected:?} up to {end}");
            }
            assert_eq!(parse(bytes, 0).expect("an answer"), Some((expected, bytes.len())));
        }
    }

    #[test]
    fn what_is_no_answer() {
        for bytes in [&b"\r\n"[..], b"?1\r\n", b":x\r\n", b"$999999999\r\n", b"*999999999\r\n", b"$1\r\nabc"] {
            assert!(parse(bytes, 0).is_err(), "{bytes:?}");
        }
        let deep = b"*1\r\n".repeat(10);
        assert!(parse(&deep, 0).is_err());
    }
}
