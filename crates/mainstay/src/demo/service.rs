//! One of the small HTTP servers behind the demo's gateway, in a process of its own so that it can be killed and hung.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use mainstay_runtime::task::{self, Kind};
use mainstay_runtime::thread::run_here;
use tokio::net::{TcpListener, TcpStream};

use crate::failure::Failure;

/// The header by which an answer says which endpoint made it.
pub(crate) const ENDPOINT_HEADER: &str = "x-demo-endpoint";

/// Health checks ask here.
pub(crate) const HEALTH: &str = "/health";

/// The demo steers the server here: `PUT /control/delay/400`, `PUT /control/errors/on`.
pub(crate) const CONTROL: &str = "/control/";

/// Orders are posted below this.
pub(crate) const ORDERS: &str = "/orders/";

/// Open connections; further ones are closed at once.
const CONNECTIONS_MAX: usize = 1024;

/// How the server is started.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The port on 127.0.0.1.
    #[arg(long)]
    port: u16,
    /// The endpoint's name.
    #[arg(long)]
    name: String,
    /// A line with its number is appended to this file for each order.
    #[arg(long)]
    orders: PathBuf,
    /// The process to end with.
    #[arg(long)]
    parent: u32,
}

struct Server {
    name: String,
    delay: Cell<Duration>,
    errors: Cell<bool>,
    orders: RefCell<File>,
    connections: Cell<usize>,
}

/// Serves until the process is ended.
///
/// # Errors
/// If the port or the file cannot be had.
pub fn serve(args: &Args) -> Result<(), Failure> {
    super::children::end_with(args.parent)?;
    let orders = OpenOptions::new().append(true).create(true).open(&args.orders);
    let orders = orders.map_err(|error| Failure::new(format!("{}: {error}", args.orders.display())))?;
    let server = Rc::new(Server {
        name: args.name.clone(),
        delay: Cell::new(Duration::ZERO),
        errors: Cell::new(false),
        orders: RefCell::new(orders),
        connections: Cell::new(0),
    });
    let bind = SocketAddr::from((Ipv4Addr::LOCALHOST, args.port));
    let failed =
        |error: std::io::Error| Failure::new(format!("endpoint {}: cannot listen on {bind}: {error}", args.name));
    run_here(accept(server, bind)).map_err(failed)?.map_err(failed)
}

async fn accept(server: Rc<Server>, bind: SocketAddr) -> std::io::Result<()> {
    let listener = TcpListener::bind(bind).await?;
    loop {
        match listener.accept().await {
            Ok((stream, _peer)) if server.connections.get() < CONNECTIONS_MAX => {
                server.connections.set(server.connections.get() + 1);
                task::spawn_local(Kind::Demo, connection(Rc::clone(&server), stream));
            }
            // Too many connections: this one is closed by being dropped.
            Ok(_refused) => {}
            // Out of file descriptors, most likely; a pause lets some be closed.
            Err(_error) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn connection(server: Rc<Server>, stream: TcpStream) {
    // Without it the kernel may hold an answer back for 40 ms; the answers only come later then.
    let _refused = stream.set_nodelay(true);
    let service = service_fn(|request| {
        let server = Rc::clone(&server);
        async move { Ok::<_, Infallible>(server.answer(&request).await) }
    });
    // An error means that the peer left, which is its right.
    let _left = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    server.connections.set(server.connections.get().saturating_sub(1));
}

impl Server {
    async fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let path = request.uri().path();
        if let Some(command) = path.strip_prefix(CONTROL) {
            return self.respond(self.steer(command), format!("{command}\n"));
        }
        if self.delay.get() > Duration::ZERO {
            tokio::time::sleep(self.delay.get()).await;
        }
        if path == HEALTH {
            return self.respond(StatusCode::OK, "ok\n".to_owned());
        }
        if self.errors.get() {
            return self.respond(StatusCode::SERVICE_UNAVAILABLE, "broken by the demo\n".to_owned());
        }
        match (request.method(), path.strip_prefix(ORDERS)) {
            (&Method::POST, Some(order)) => self.take(order, path),
            _other => self.respond(StatusCode::OK, format!("{path}\n")),
        }
    }

    /// Writes the order down before confirming it, so that a confirmed order can be found however this process ends.
    fn take(&self, order: &str, path: &str) -> Response<Full<Bytes>> {
        match self.orders.borrow_mut().write_all(format!("{order}\n").as_bytes()) {
            Ok(()) => self.respond(StatusCode::OK, format!("{path}\n")),
            Err(error) => self.respond(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
        }
    }

    fn steer(&self, command: &str) -> StatusCode {
        match command.split_once('/') {
            Some(("delay", ms)) => match ms.parse() {
                Ok(ms) => self.delay.set(Duration::from_millis(ms)),
                Err(_not_a_number) => return StatusCode::BAD_REQUEST,
            },
            Some(("errors", "on")) => self.errors.set(true),
            Some(("errors", "off")) => self.errors.set(false),
            _unknown => return StatusCode::NOT_FOUND,
        }
        StatusCode::OK
    }

    fn respond(&self, status: StatusCode, body: String) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = status;
        if let Ok(name) = self.name.parse() {
            response.headers_mut().insert(ENDPOINT_HEADER, name);
        }
        response
    }
}
