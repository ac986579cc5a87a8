//! What a header block costs: nanoseconds to encode and to decode typical ones, on one thread.
//!
//! `cargo run --release -p mainstay-http2 --example hpack_cost`
#![allow(clippy::print_stdout, reason = "the figures are what it is for")]

use std::hint::black_box;
use std::time::Instant;

use mainstay_http2::hpack::{DEFAULT_TABLE_BYTES, Decoder, Encoder, Limits, indexing_for};

type List = &'static [(&'static str, &'static str)];

const REQUEST: List = &[
    (":method", "GET"),
    (":scheme", "https"),
    (":authority", "shop.example.com"),
    (":path", "/products/1234?colour=green"),
    ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"),
    ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    ("accept-encoding", "gzip, deflate, br"),
    ("x-request-id", "3f2a9c1e-77b0-4d55-9c41-0f6a1be2d9aa"),
];

const RESPONSE: List = &[
    (":status", "200"),
    ("content-type", "text/html; charset=utf-8"),
    ("content-length", "1024"),
    ("date", "Mon, 21 Oct 2013 20:13:21 GMT"),
    ("server", "nginx/1.22.1"),
    ("cache-control", "max-age=3600"),
    ("etag", "\"65f2c1a0-400\""),
    ("vary", "accept-encoding"),
];

/// The least of several rounds, in nanoseconds a call: what others do on the machine only adds.
fn least(mut call: impl FnMut()) -> f64 {
    const CALLS: u32 = 20_000;
    let round = |call: &mut dyn FnMut()| {
        let begun = Instant::now();
        for _ in 0..CALLS {
            call();
        }
        begun.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS)
    };
    (0..50).map(|_| round(&mut call)).fold(f64::INFINITY, f64::min)
}

fn encode(encoder: &mut Encoder, list: List, out: &mut Vec<u8>) {
    out.clear();
    encoder.begin(out);
    for (name, value) in list {
        encoder.field(out, name.as_bytes(), value.as_bytes(), indexing_for(name.as_bytes()));
    }
}

fn main() {
    for (kind, list) in [("request", REQUEST), ("response", RESPONSE)] {
        let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new(DEFAULT_TABLE_BYTES));
        let limits = Limits { list_bytes: 65_536 };
        let (mut first, mut block) = (Vec::new(), Vec::new());
        encode(&mut encoder, list, &mut first);
        let encoding = least(|| encode(&mut encoder, black_box(list), &mut block));
        let mut read = |block: &[u8]| {
            let outcome = decoder.decode(black_box(block), limits, |name, value| {
                black_box((name, value));
            });
            black_box(outcome).is_ok()
        };
        assert!(read(&first) && read(&block), "what is encoded can be decoded");
        let decoding = least(|| {
            read(&block);
        });
        println!("{kind:>8}: 8 fields, first {} bytes, then {} bytes", first.len(), block.len());
        println!("{kind:>8}: encoding {encoding:.0} ns, decoding {decoding:.0} ns");
    }
}
