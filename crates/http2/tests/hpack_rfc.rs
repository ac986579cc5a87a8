//! The examples of RFC 7541 Appendix C.

use mainstay_http2::hpack::{DEFAULT_TABLE_BYTES, Decoder, Encoder, Indexing, Limits, Outcome};

type Fields = Vec<(String, String)>;

/// Consecutive blocks of one direction of a connection, with the fields of each.
struct Example {
    section: &'static str,
    table_bytes: usize,
    /// Whether every string is Huffman code, as our encoder writes it.
    huffman: bool,
    blocks: &'static [&'static str],
    lists: &'static [&'static [(&'static str, &'static str)]],
}

const REQUESTS: &[&[(&str, &str)]] = &[
    &[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "www.example.com")],
    &[
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "www.example.com"),
        ("cache-control", "no-cache"),
    ],
    &[
        (":method", "GET"),
        (":scheme", "https"),
        (":path", "/index.html"),
        (":authority", "www.example.com"),
        ("custom-key", "custom-value"),
    ],
];

const RESPONSES: &[&[(&str, &str)]] = &[
    &[
        (":status", "302"),
        ("cache-control", "private"),
        ("date", "Mon, 21 Oct 2013 20:13:21 GMT"),
        ("location", "https://www.example.com"),
    ],
    &[
        (":status", "307"),
        ("cache-control", "private"),
        ("date", "Mon, 21 Oct 2013 20:13:21 GMT"),
        ("location", "https://www.example.com"),
    ],
    &[
        (":status", "200"),
        ("cache-control", "private"),
        ("date", "Mon, 21 Oct 2013 20:13:22 GMT"),
        ("location", "https://www.example.com"),
        ("content-encoding", "gzip"),
        ("set-cookie", "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"),
    ],
];

const EXAMPLES: &[Example] = &[
    Example {
        section: "C.2.1",
        table_bytes: DEFAULT_TABLE_BYTES,
        huffman: false,
        blocks: &["400a637573746f6d2d6b65790d637573746f6d2d686561646572"],
        lists: &[&[("custom-key", "custom-header")]],
    },
    Example {
        section: "C.2.2",
        table_bytes: DEFAULT_TABLE_BYTES,
        huffman: false,
        blocks: &["040c2f73616d706c652f70617468"],
        lists: &[&[(":path", "/sample/path")]],
    },
    Example {
        section: "C.2.3",
        table_bytes: DEFAULT_TABLE_BYTES,
        huffman: false,
        blocks: &["100870617373776f726406736563726574"],
        lists: &[&[("password", "secret")]],
    },
    Example {
        section: "C.2.4",
        table_bytes: DEFAULT_TABLE_BYTES,
        huffman: false,
        blocks: &["82"],
        lists: &[&[(":method", "GET")]],
    },
    Example {
        section: "C.3",
        table_bytes: DEFAULT_TABLE_BYTES,
        huffman: false,
        blocks: &[
            "828684410f7777772e6578616d706c652e636f6d",
            "828684be58086e6f2d6361636865",
            "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
        ],
        lists: REQUESTS,
    },
    Example {
        section: "C.4",
        table_bytes: DEFAULT_TABLE_BYTES,
        huffman: true,
        blocks: &[
            "828684418cf1e3c2e5f23a6ba0ab90f4ff",
            "828684be5886a8eb10649cbf",
            "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
        ],
        lists: REQUESTS,
    },
    Example {
        section: "C.5",
        table_bytes: 256,
        huffman: false,
        blocks: &[
            "4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d54\
             6e1768747470733a2f2f7777772e6578616d706c652e636f6d",
            "4803333037c1c0bf",
            "88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738666f6f\
             3d4153444a4b48514b425a584f5157454f50495541585157454f49553b206d61782d6167653d333630303b2076\
             657273696f6e3d31",
        ],
        lists: RESPONSES,
    },
    Example {
        section: "C.6",
        table_bytes: 256,
        huffman: true,
        blocks: &[
            "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f\
             0b97c8e9ae82ae43d3",
            "4883640effc1c0bf",
            "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335df\
             dfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
        ],
        lists: RESPONSES,
    },
];

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).expect("digits"), 16).expect("digits"))
        .collect()
}

fn decode(decoder: &mut Decoder, block: &[u8]) -> Fields {
    let mut fields = Vec::new();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("ASCII");
    let outcome = decoder
        .decode(block, Limits { list_bytes: 65_536 }, |name, value| fields.push((text(name), text(value))))
        .expect("a valid block");
    assert_eq!(outcome, Outcome::Complete);
    fields
}

fn owned(list: &[(&str, &str)]) -> Fields {
    list.iter().map(|(name, value)| ((*name).to_string(), (*value).to_string())).collect()
}

#[test]
fn decoding() {
    for example in EXAMPLES {
        let mut decoder = Decoder::new(example.table_bytes);
        for (nth, (block, list)) in example.blocks.iter().zip(example.lists).enumerate() {
            assert_eq!(decode(&mut decoder, &bytes(block)), owned(list), "{} block {}", example.section, nth + 1);
        }
    }
}

#[test]
fn encoding_gives_the_same_bytes() {
    for example in EXAMPLES.iter().filter(|example| example.huffman) {
        let mut encoder = Encoder::new();
        encoder.set_max_table(example.table_bytes);
        let mut size_update = Vec::new();
        encoder.begin(&mut size_update);
        for (nth, (block, list)) in example.blocks.iter().zip(example.lists).enumerate() {
            let mut out = Vec::new();
            encoder.begin(&mut out);
            for (name, value) in *list {
                encoder.field(&mut out, name.as_bytes(), value.as_bytes(), Indexing::Index);
            }
            // As Huffman code, "307" has three bytes as well; ours leaves it as it is.
            let block = block.replace("4883640eff", "4803333037");
            assert_eq!(out, bytes(&block), "{} block {}", example.section, nth + 1);
        }
    }
}
