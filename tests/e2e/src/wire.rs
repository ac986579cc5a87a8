//! A client that sends exactly the bytes it is given and reads what comes back.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use crate::http::{Body, Framing, Head, Reader};

/// A connection to the gateway.
#[derive(Debug)]
pub struct Wire<S = TcpStream> {
    reader: Reader<S>,
}

/// A response that came whole.
#[derive(Clone, Debug)]
pub struct Response {
    /// Its status.
    pub status: u16,
    /// Its head.
    pub head: Head,
    /// Its body.
    pub body: Body,
    /// Interim responses that came before it.
    pub interim: Vec<Head>,
}

impl Response {
    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.get(name)
    }

    /// The gateway's own reason for an error.
    pub fn reason(&self) -> &str {
        self.head.get("x-mainstay-error").unwrap_or_default()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body.bytes).into_owned()
    }

    /// The body as JSON, which is what the test backend answers with.
    ///
    /// # Panics
    /// If it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body.bytes)
            .unwrap_or_else(|error| panic!("status {}, no JSON ({error}): {}", self.status, self.text()))
    }
}

/// Why there is no whole response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Broken {
    /// No connection.
    Connect(String),
    /// Closed before the first byte of a response.
    Closed,
    /// Reset, at any time.
    Reset,
    /// Nothing came in time.
    Timeout,
    /// The connection ended in the middle of a response (the status, if a head had come).
    Truncated(Option<u16>),
    /// What came is not HTTP.
    Malformed(String),
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl Wire<TcpStream> {
    /// Connects, with a limit of 10 s on connecting and on each read and write.
    ///
    /// # Panics
    /// If there is no connection.
    pub fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address, Duration::from_secs(10)).unwrap_or_else(|error| panic!("{address}: {error}"))
    }

    /// Connects, with `limit` on connecting and on each read and write.
    ///
    /// # Errors
    /// If there is no connection.
    pub fn try_connect(address: SocketAddr, limit: Duration) -> Result<Self, Broken> {
        let stream = TcpStream::connect_timeout(&address, limit).map_err(|error| Broken::Connect(error.to_string()))?;
        let set = stream.set_nodelay(true).and(stream.set_read_timeout(Some(limit)));
        set.and(stream.set_write_timeout(Some(limit))).map_err(|error| Broken::Connect(error.to_string()))?;
        Ok(Self::over(stream))
    }

    /// Connects from a given local address, to be another client.
    ///
    /// # Panics
    /// If there is no connection.
    pub fn connect_from(local: std::net::IpAddr, address: SocketAddr) -> Self {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::new(local, 0).into()).expect("a local address");
        socket.connect(&address.into()).expect("a connection");
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a read limit");
        Self::over(stream)
    }

    /// Sends FIN; reading goes on.
    pub fn finish(&mut self) {
        let _gone_already = self.reader.stream().shutdown(Shutdown::Write);
    }

    /// Changes the limit on each read.
    ///
    /// # Panics
    /// If the socket refuses.
    pub fn set_read_limit(&mut self, limit: Duration) {
        self.reader.stream().set_read_timeout(Some(limit)).expect("a read limit");
    }
}

impl<S: Read + Write> Wire<S> {
    /// A client over a stream that stands.
    pub fn over(stream: S) -> Self {
        Self { reader: Reader::new(stream) }
    }

    /// The stream.
    pub fn stream(&mut self) -> &mut S {
        self.reader.stream()
    }

    /// The stream, for another protocol; what was read of it is lost.
    pub fn into_stream(self) -> S {
        self.reader.into_stream()
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// If the connection is gone.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.reader.stream().write_all(bytes.as_ref())?;
        self.reader.stream().flush()
    }

    /// The next final response to a request that is not HEAD.
    ///
    /// # Errors
    /// Why there is none.
    pub fn response(&mut self) -> Result<Response, Broken> {
        self.response_to("GET")
    }

    /// The next final response to a request with this method (it decides whether there is a body).
    ///
    /// # Errors
    /// Why there is none.
    pub fn response_to(&mut self, method: &str) -> Result<Response, Broken> {
        let mut interim = Vec::new();
        loop {
            let (status, head) = self.head()?;
            if (100..200).contains(&status) && status != 101 {
                interim.push(head);
                assert!(interim.len() < 1_000, "a flood of interim responses");
                continue;
            }
            let empty = method == "HEAD" || status == 101 || status == 204 || status == 304;
            let framing = if empty { Ok(Framing::Length(0)) } else { head.response_framing() };
            let framing = framing.map_err(Broken::Malformed)?;
            let body = self.reader.body(framing, 64 * 1024 * 1024).map_err(|error| broken(&error, Some(status)))?;
            return Ok(Response { status, head, body, interim });
        }
    }

    /// The next head, interim or final.
    ///
    /// # Errors
    /// Why there is none.
    pub fn head(&mut self) -> Result<(u16, Head), Broken> {
        let bytes = self.reader.head().map_err(|error| broken(&error, None))?.ok_or(Broken::Closed)?;
        let head = Head::parse(&bytes).map_err(Broken::Malformed)?;
        let mut words = head.line.splitn(3, ' ');
        let version = words.next().unwrap_or_default();
        let status = words.next().filter(|word| word.len() == 3).and_then(|word| word.parse().ok());
        match status {
            Some(status) if version == "HTTP/1.1" || version == "HTTP/1.0" => Ok((status, head)),
            _other => Err(Broken::Malformed(head.line)),
        }
    }

    /// Sends and reads one exchange.
    ///
    /// # Panics
    /// If there is no whole response.
    pub fn exchange(&mut self, request: impl AsRef<[u8]>) -> Response {
        let bytes = request.as_ref();
        let method = String::from_utf8_lossy(bytes.split(|byte| *byte == b' ').next().unwrap_or_default()).into_owned();
        self.send(bytes).expect("the request is sent");
        let what = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned();
        self.response_to(&method).unwrap_or_else(|broken| panic!("{broken} after {what:?}"))
    }

    /// Reads exactly so many bytes, for tunnels.
    ///
    /// # Errors
    /// If they do not come.
    pub fn exact(&mut self, count: usize) -> Result<Vec<u8>, Broken> {
        let body = self.reader.body(Framing::Length(count as u64), count);
        body.map(|body| body.bytes).map_err(|error| broken(&error, None))
    }

    /// Everything up to the end of the stream.
    ///
    /// # Errors
    /// If it is reset, or does not end in time.
    pub fn rest(&mut self) -> Result<Vec<u8>, Broken> {
        let body = self.reader.body(Framing::Close, 64 * 1024 * 1024);
        body.map(|body| body.bytes).map_err(|error| broken(&error, None))
    }

    /// Whether the peer closes without sending another byte.
    pub fn is_closed(&mut self) -> bool {
        match self.rest() {
            Ok(bytes) => bytes.is_empty(),
            Err(broken) => broken == Broken::Reset,
        }
    }
}

fn broken(error: &io::Error, status: Option<u16>) -> Broken {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Broken::Timeout,
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted => Broken::Reset,
        io::ErrorKind::UnexpectedEof => Broken::Truncated(status),
        _other => Broken::Malformed(error.to_string()),
    }
}

/// One request on a connection of its own.
///
/// # Panics
/// If there is no whole response.
pub fn get(address: SocketAddr, path: &str) -> Response {
    Wire::connect(address).exchange(format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"))
}
