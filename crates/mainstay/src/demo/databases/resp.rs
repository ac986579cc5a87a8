//! A client of Redis, as far as the demo needs one.

use std::io;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// An answer longer than this is none.
const ANSWER_MAX: usize = 1 << 20;

/// A connection that has shown its password.
pub(super) struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    pub(super) async fn open(port: u16, password: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        let mut client = Self { stream: BufReader::new(stream) };
        client.ask(&["AUTH", password]).await?;
        Ok(client)
    }

    /// One command, and its answer as text.
    pub(super) async fn ask(&mut self, words: &[&str]) -> io::Result<String> {
        let mut sent = format!("*{}\r\n", words.len());
        words.iter().for_each(|word| sent.push_str(&format!("${}\r\n{word}\r\n", word.len())));
        self.stream.write_all(sent.as_bytes()).await?;
        let mut line = String::new();
        if self.stream.read_line(&mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end();
        match line.split_at_checked(1) {
            Some(("+" | ":", rest)) => Ok(rest.to_owned()),
            Some(("-", rest)) => Err(io::Error::other(rest.to_owned())),
            Some(("$", length)) => {
                let length = length.parse::<usize>().unwrap_or(0);
                if length > ANSWER_MAX {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                let mut text = vec![0; length + 2];
                self.stream.read_exact(&mut text).await?;
                text.truncate(length);
                Ok(String::from_utf8_lossy(&text).into_owned())
            }
            _something_else => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}
