//! Header blocks of HTTP/2, several on one connection, with changes of the table's limit between them. What was decoded
//! must come back when it is encoded and decoded again.
#![no_main]

use mainstay_http2::hpack::{DEFAULT_TABLE_BYTES, Decoder, Encoder, FIELD_OVERHEAD, Indexing, Limits, Outcome};

const LIMIT: usize = 2048;

/// This in place of a block's length means that a new limit follows.
const NEW_LIMIT: u8 = 0xff;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut decoder = Decoder::new(DEFAULT_TABLE_BYTES);
    let (mut encoder, mut second) = (Encoder::new(), Decoder::new(DEFAULT_TABLE_BYTES));
    let mut rest = bytes;
    while let [length, after @ ..] = rest {
        if *length == NEW_LIMIT {
            let [limit, after @ ..] = after else { break };
            let bytes = usize::from(*limit) * 32;
            decoder.set_max_table(bytes);
            encoder.set_max_table(bytes);
            second.set_max_table(bytes);
            rest = after;
            continue;
        }
        let (block, after) = after.split_at(usize::from(*length).min(after.len()));
        rest = after;
        let mut fields = Vec::new();
        let mut size = 0;
        let outcome = decoder.decode_fields(block, Limits { list_bytes: LIMIT }, |field| {
            size += field.name.len() + field.value.len() + FIELD_OVERHEAD;
            fields.push((field.name.to_vec(), field.value.to_vec(), field.never_indexed));
        });
        assert!(size <= LIMIT, "more was handed over than the limit allows");
        if outcome.is_err() {
            return;
        }
        again(&mut encoder, &mut second, &fields);
    }
});

fn again(encoder: &mut Encoder, decoder: &mut Decoder, fields: &[(Vec<u8>, Vec<u8>, bool)]) {
    let mut block = Vec::new();
    encoder.begin(&mut block);
    for (name, value, never) in fields {
        let indexing = if *never { Indexing::Never } else { Indexing::Index };
        encoder.field(&mut block, name, value, indexing);
    }
    let mut expected = fields.iter();
    let outcome = decoder.decode_fields(&block, Limits { list_bytes: LIMIT }, |field| {
        let (name, value, never) = expected.next().expect("no field is added");
        assert_eq!((field.name, field.value, field.never_indexed), (&name[..], &value[..], *never));
    });
    assert_eq!(outcome, Ok(Outcome::Complete));
    assert!(expected.next().is_none(), "no field is lost");
}
