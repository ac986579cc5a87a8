//! A gRPC client by tonic behind a timeout, a bulkhead and a breaker that knows gRPC's statuses. First the server is
//! there, then the address leads to nobody and the breaker opens.
//!
//! `cargo run -p mainstay-resilience --example tonic_client`

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use mainstay_resilience::{BoxError, BreakerLayer, BulkheadLayer, TimeoutLayer, Verdict, breaker, bulkhead};
use tonic::body::Body;
use tonic::codegen::http::Response;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tower::ServiceBuilder;

type Judged = fn(&Result<Response<Body>, BoxError>) -> Verdict;

/// A call that fails before it has a message is answered with its status in the head ("trailers only"). UNAVAILABLE (14) says
/// that the server is not there; other statuses are the call's own affair.
fn status(result: &Result<Response<Body>, BoxError>) -> Verdict {
    match result {
        Ok(response) if response.headers().get("grpc-status").is_some_and(|status| status == "14") => Verdict::Failure,
        Ok(_response) => Verdict::Success,
        Err(_error) => Verdict::Failure,
    }
}

async fn ask(channel: Channel, breaker: &BreakerLayer<Judged>, calls: u32) {
    let service = ServiceBuilder::new()
        .layer(TimeoutLayer::new(Duration::from_secs(1)))
        .layer(breaker.clone())
        .layer(BulkheadLayer::new(bulkhead::Policy::fixed(10)))
        .service(channel);
    let mut client = HealthClient::new(service);
    for call in 1..=calls {
        let said = match client.check(HealthCheckRequest { service: String::new() }).await {
            Ok(answer) => format!("{:?}", answer.into_inner().status()),
            Err(status) => status.message().to_owned(),
        };
        println!("{call}: {said} (breaker {})", breaker.phase().word());
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    let policy = breaker::Policy { consecutive: Some(3), ..breaker::Policy::default() };
    let breaker = BreakerLayer::new(policy).judged_by(status as Judged);
    let incoming = TcpIncoming::bind(([127, 0, 0, 1], 0).into())?;
    let channel = Endpoint::from_shared(format!("http://{}", incoming.local_addr()?))?.connect_lazy();
    let (_reporter, health) = tonic_health::server::health_reporter();
    let server = Server::builder().add_service(health).serve_with_incoming(incoming);
    tokio::select! {
        ended = server => ended?,
        () = ask(channel, &breaker, 3) => {}
    }
    // A port that was just free.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    println!("nobody is at {nobody}");
    ask(Endpoint::from_shared(format!("http://{nobody}"))?.connect_lazy(), &breaker, 6).await;
    println!("breaker: {:?}", breaker.counts());
    Ok(())
}
