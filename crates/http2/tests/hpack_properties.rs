//! What holds for any fields, any bytes and any order of changes to the tables' sizes.

use mainstay_http2::hpack::{
    DEFAULT_TABLE_BYTES, Decoder, Encoder, Error, FIELD_OVERHEAD, Indexing, Limits, Outcome, indexing_for,
};
use proptest::prelude::*;

const NO_LIMIT: Limits = Limits { list_bytes: usize::MAX };

type Fields = Vec<(Vec<u8>, Vec<u8>)>;

#[derive(Debug, Clone)]
struct Step {
    /// Sizes that the decoding side announces before the block.
    sizes: Vec<usize>,
    fields: Vec<(Vec<u8>, Vec<u8>, Indexing)>,
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => "[a-z-]{1,12}".prop_map(String::into_bytes),
        3 => "[ -~]{0,60}".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..40),
        1 => (any::<u8>(), 0..5000_usize).prop_map(|(byte, length)| vec![byte; length]),
    ]
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::sample::select(vec![
            ":method",
            ":path",
            ":status",
            "accept-encoding",
            "cookie",
            "via",
            "x-a",
            "x-b",
            "server",
            "www-authenticate",
        ])
        .prop_map(|name| name.as_bytes().to_vec()),
        text(),
    ]
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::sample::select(vec!["GET", "POST", "/", "/index.html", "404", "418", "gzip, deflate", "", "one", "two"])
            .prop_map(|value| value.as_bytes().to_vec()),
        text(),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let indexing = prop::sample::select(vec![Indexing::Index, Indexing::Index, Indexing::Without, Indexing::Never]);
    let sizes = prop::collection::vec(prop_oneof![0..200_usize, 0..6000_usize], 0..3);
    (prop_oneof![3 => Just(Vec::new()), 1 => sizes], prop::collection::vec((name(), value(), indexing), 1..12))
        .prop_map(|(sizes, fields)| Step { sizes, fields })
}

fn encode(encoder: &mut Encoder, step: &Step) -> Vec<u8> {
    let mut block = Vec::new();
    encoder.begin(&mut block);
    for (name, value, indexing) in &step.fields {
        encoder.field(&mut block, name, value, *indexing);
    }
    block
}

fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<Fields, Error> {
    let mut fields = Vec::new();
    decoder.decode(block, NO_LIMIT, |name, value| fields.push((name.to_vec(), value.to_vec())))?;
    Ok(fields)
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(steps in prop::collection::vec(step(), 1..12)) {
        let mut encoder = Encoder::new();
        let mut decoder = Decoder::new(DEFAULT_TABLE_BYTES);
        // Another implementation, which has no limit that could be lowered.
        let mut other = fluke_hpack::Decoder::new();
        other.set_max_allowed_table_size(DEFAULT_TABLE_BYTES);
        for step in &steps {
            for &size in &step.sizes {
                decoder.set_max_table(size);
                encoder.set_max_table(size);
            }
            let block = encode(&mut encoder, step);
            let sent: Fields = step.fields.iter().map(|(name, value, _)| (name.clone(), value.clone())).collect();
            prop_assert_eq!(decode(&mut decoder, &block), Ok(sent.clone()));
            let seen: Fields = other.decode(&block).map_err(|error| TestCaseError::fail(format!("{error:?}")))?;
            prop_assert_eq!(seen, sent);
        }
    }

    #[test]
    fn what_another_encoder_writes_is_decoded(lists in prop::collection::vec(prop::collection::vec((name(), value()), 0..12), 1..12)) {
        let mut encoder = fluke_hpack::Encoder::new();
        let mut decoder = Decoder::new(DEFAULT_TABLE_BYTES);
        for list in lists {
            let block = encoder.encode(list.iter().map(|(name, value)| (&name[..], &value[..])));
            prop_assert_eq!(decode(&mut decoder, &block), Ok(list));
        }
    }

    #[test]
    fn arbitrary_bytes_are_decoded_or_refused(blocks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..8)) {
        let mut decoder = Decoder::new(DEFAULT_TABLE_BYTES);
        for block in blocks {
            let limit = 1000;
            let mut size = 0;
            let outcome = decoder.decode(&block, Limits { list_bytes: limit }, |name, value| {
                size += name.len() + value.len() + FIELD_OVERHEAD;
            });
            prop_assert!(size <= limit);
            if outcome.is_err() {
                break;
            }
        }
    }

    #[test]
    fn a_changed_block_is_decoded_or_refused(step in step(), at in any::<prop::sample::Index>(), bits in 1..=255_u8) {
        let mut block = encode(&mut Encoder::new(), &step);
        prop_assume!(!block.is_empty());
        let at = at.index(block.len());
        block[at] ^= bits;
        let _ = decode(&mut Decoder::new(DEFAULT_TABLE_BYTES), &block);
        let _ = decode(&mut Decoder::new(DEFAULT_TABLE_BYTES), &block[..at]);
    }
}

#[test]
fn a_list_too_large_leaves_the_table_in_step() {
    let mut encoder = Encoder::new();
    let mut decoder = Decoder::new(DEFAULT_TABLE_BYTES);
    let mut block = Vec::new();
    for nth in 0..20 {
        encoder.field(&mut block, format!("x-{nth}").as_bytes(), b"some value", Indexing::Index);
    }
    let mut seen = 0;
    let outcome = decoder.decode(&block, Limits { list_bytes: 5 * 50 }, |_, _| seen += 1);
    assert_eq!((outcome, seen), (Ok(Outcome::TooLarge), 5));

    let mut block = Vec::new();
    encoder.field(&mut block, b"x-0", b"some value", Indexing::Index);
    assert_eq!(block.len(), 1, "the repeated field is one byte");
    assert_eq!(decode(&mut decoder, &block), Ok(vec![(b"x-0".to_vec(), b"some value".to_vec())]));
}

#[test]
fn a_bomb_is_handed_over_up_to_the_limit_only() {
    let mut encoder = Encoder::new();
    let mut block = Vec::new();
    encoder.field(&mut block, b"x", &[b'a'; 4000], Indexing::Index);
    block.resize(block.len() + 16_384, 0x80 | 62);
    let mut handed = 0;
    let outcome = Decoder::new(DEFAULT_TABLE_BYTES).decode(&block, Limits { list_bytes: 65_536 }, |_, value| {
        handed += value.len();
    });
    assert_eq!((outcome, handed), (Ok(Outcome::TooLarge), 16 * 4000));
}

#[test]
fn errors() {
    let refused: &[(&str, &[u8], Error)] = &[
        ("index 0", &[0x80], Error::Index),
        ("beyond both tables", &[0x80 | 62], Error::Index),
        ("far beyond both tables", &[0xff, 0xff, 0xff, 0xff, 0x7f], Error::Index),
        ("a name's index beyond both tables", &[0x7f, 0x00, 0x01, b'a'], Error::Index),
        ("an endless integer", &[0xff, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01], Error::Integer),
        ("an integer cut off", &[0xff, 0x80], Error::Truncated),
        ("no name", &[0x40], Error::Truncated),
        ("no value", &[0x40, 0x01, b'a'], Error::Truncated),
        ("a value cut off", &[0x40, 0x01, b'a', 0x02, b'b'], Error::Truncated),
        ("a length beyond everything", &[0x40, 0x7f, 0xff, 0xff, 0xff, 0xff, 0x07], Error::Truncated),
        ("EOS", &[0x40, 0x01, b'a', 0x84, 0xff, 0xff, 0xff, 0xff], Error::Huffman),
        ("padding of zeros", &[0x40, 0x01, b'a', 0x81, 0x18], Error::Huffman),
        ("padding of a byte", &[0x40, 0x01, b'a', 0x82, 0x1f, 0xff], Error::Huffman),
        ("a size above the limit", &[0x3f, 0xe2, 0x1f], Error::SizeUpdate),
        ("a size after a field", &[0x82, 0x20], Error::SizeUpdate),
    ];
    for (case, block, error) in refused {
        assert_eq!(decode(&mut Decoder::new(DEFAULT_TABLE_BYTES), block), Err(*error), "{case}");
    }
}

#[test]
fn a_lowered_size_is_acknowledged() {
    let lowered = || {
        let mut decoder = Decoder::new(DEFAULT_TABLE_BYTES);
        decoder.set_max_table(100);
        decoder.set_max_table(200);
        decoder
    };
    assert_eq!(decode(&mut lowered(), &[0x82]), Err(Error::SizeUpdateMissing));
    assert_eq!(
        decode(&mut lowered(), &[0x3f, 0xa9, 0x01, 0x82]),
        Err(Error::SizeUpdateMissing),
        "200, but 100 was owed"
    );
    assert!(decode(&mut lowered(), &[0x3f, 0x45, 0x82]).is_ok(), "100");
    assert!(decode(&mut lowered(), &[0x3f, 0x45, 0x3f, 0xa9, 0x01, 0x82]).is_ok(), "100, then 200");
    assert_eq!(decode(&mut lowered(), &[0x20, 0x3f, 0xaa, 0x01, 0x82]), Err(Error::SizeUpdate), "201");
    // The encoder writes just that.
    let mut encoder = Encoder::new();
    encoder.set_max_table(100);
    encoder.set_max_table(200);
    let mut block = Vec::new();
    encoder.begin(&mut block);
    assert_eq!(block, [0x3f, 0x45, 0x3f, 0xa9, 0x01]);
    block.clear();
    encoder.begin(&mut block);
    assert!(block.is_empty());
}

#[test]
fn secrets_stay_out_of_the_table() {
    let mut encoder = Encoder::new();
    let mut block = Vec::new();
    for name in [b"authorization".as_slice(), b"x-api-key"] {
        encoder.field(&mut block, name, b"Basic abc", indexing_for(name));
    }
    let mut decoder = Decoder::new(DEFAULT_TABLE_BYTES);
    let mut marked = 0;
    decoder.decode_fields(&block, NO_LIMIT, |field| marked += usize::from(field.never_indexed)).unwrap();
    assert_eq!(marked, 2);
    assert_eq!(decode(&mut decoder, &[0x80 | 62]), Err(Error::Index), "nothing was stored");
}

#[test]
fn statuses() {
    for status in 100..=999 {
        let mut block = Vec::new();
        Encoder::new().status(&mut block, status);
        let text = status.to_string().into_bytes();
        assert_eq!(decode(&mut Decoder::new(DEFAULT_TABLE_BYTES), &block), Ok(vec![(b":status".to_vec(), text)]));
    }
}
