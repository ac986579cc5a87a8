//! The backend behind all proxies: it answers from memory, so that as much as can be of its core is left to the load.

use crate::measure;
use crate::process::Process;
use crate::site::Site;
use anyhow::{Context as _, Result};
use std::path::Path;
use std::process::{Command, Stdio};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Most bytes of a request's head; a longer one ends the connection.
const HEAD_MAX: usize = 16 * 1024;

/// Starts this program again as the origin, on the core of the load.
pub(crate) fn start(site: &Site) -> Result<Process> {
    let program = std::env::current_exe().context("cannot find this program")?;
    let mut command = Command::new(program);
    command.arg("origin").args(site.origin_ports.iter().map(u16::to_string)).stdin(Stdio::null());
    let mut process = Process::start("the origin", measure::LOAD_CORE, &mut command)?;
    process.wait_for(&site.origins(), Path::new("standard error"))?;
    Ok(process)
}

/// Serves until it is killed.
pub(crate) fn run(ports: &[u16]) -> Result<()> {
    measure::raise_file_limit(measure::FILES)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let bodies: &'static Bodies = Box::leak(Box::new(Bodies::new()));
    runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for port in ports {
            let listener = TcpListener::bind(("127.0.0.1", *port)).await?;
            tasks.spawn(accept(listener, bodies));
        }
        while tasks.join_next().await.is_some() {}
        Ok(())
    })
}

async fn accept(listener: TcpListener, bodies: &'static Bodies) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(async move {
                    // A connection that breaks is the proxy's affair, which the load generator counts.
                    drop(serve(stream, bodies).await);
                });
            }
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
        }
    }
}

/// The whole answers, made once.
struct Bodies {
    small: Vec<u8>,
    large: Vec<u8>,
    huge: Vec<u8>,
}

impl Bodies {
    fn new() -> Bodies {
        let answer = |size: usize| {
            let mut bytes = format!(
                "HTTP/1.1 200 OK\r\nServer: origin\r\nDate: Sat, 01 Jan 2000 00:00:00 GMT\r\n\
                 Content-Type: application/octet-stream\r\nContent-Length: {size}\r\n\r\n"
            )
            .into_bytes();
            bytes.resize(bytes.len() + size, b'x');
            bytes
        };
        Bodies { small: answer(1024), large: answer(100 * 1024), huge: answer(10 * 1024 * 1024) }
    }
}

/// Bytes that follow a head: what is sent to the origin as to a collector of telemetry has a body.
fn body_length(head: &[u8]) -> usize {
    let Some(start) = memchr::memmem::find(head, b"ontent-length: ") else { return 0 };
    let digits = head.iter().skip(start + 15).take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |length: usize, digit| length.saturating_mul(10).saturating_add(usize::from(digit - b'0')))
}

/// Reads past so many bytes, of which `buffer` may have some.
async fn skip(stream: &mut TcpStream, buffer: &mut Vec<u8>, mut count: usize) -> std::io::Result<()> {
    loop {
        let here = count.min(buffer.len());
        buffer.drain(..here);
        count -= here;
        if count == 0 {
            return Ok(());
        }
        if stream.read_buf(buffer).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
}

async fn serve(mut stream: TcpStream, bodies: &'static Bodies) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(4096);
    loop {
        while let Some(end) = memchr::memmem::find(&buffer, b"\r\n\r\n") {
            let head = &buffer[..end + 4];
            let answer = if head.starts_with(b"GET /100k") {
                &bodies.large
            } else if head.starts_with(b"GET /10m") {
                &bodies.huge
            } else {
                &bodies.small
            };
            let close = memchr::memmem::find(head, b"onnection: close").is_some();
            stream.write_all(answer).await?;
            if close {
                return stream.shutdown().await;
            }
            let body = body_length(head);
            buffer.drain(..end + 4);
            skip(&mut stream, &mut buffer, body).await?;
        }
        if buffer.len() > HEAD_MAX || stream.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
    }
}
