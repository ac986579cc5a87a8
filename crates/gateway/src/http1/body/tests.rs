//! Chunked bodies, whole and cut at every byte.

use super::*;

/// Data of a body, and what followed it.
type Decoded = (Vec<u8>, Vec<u8>);

/// Decodes `pieces`; the data and what was left, or the refusal. `None` data means that the body has not ended.
fn decode(pieces: &[&[u8]]) -> Result<Option<Decoded>, Malformed> {
    let mut decoder = Decoder::default();
    decoder.start(Framing::Chunked);
    let (mut data, mut input) = (Vec::new(), Vec::new());
    for piece in pieces {
        input.extend_from_slice(piece);
        loop {
            match decoder.next(&input)? {
                Piece::Starved => break,
                Piece::End { length } => {
                    assert!(decoder.is_done());
                    return Ok(Some((data, input.split_off(length))));
                }
                Piece::Framing { length } => drop(input.drain(..length)),
                Piece::Data { length } => data.extend(input.drain(..length)),
            }
        }
    }
    Ok(None)
}

#[test]
fn bodies_decode_however_they_are_cut() {
    let body = b"3\r\nabc\r\nA;x=\"y\"\r\n0123456789\r\n0\r\nX-T: v\r\n\r\nNEXT";
    let expected = Ok(Some((b"abc0123456789".to_vec(), b"NEXT".to_vec())));
    assert_eq!(decode(&[body]), expected);
    for cut in 0..body.len() - 4 {
        let (first, second) = body.split_at(cut);
        assert_eq!(decode(&[first, second]), expected, "cut at {cut}");
    }
    let bytes: Vec<&[u8]> = body.chunks(1).collect();
    assert_eq!(decode(&bytes).map(|it| it.map(|(data, _left)| data)), Ok(Some(b"abc0123456789".to_vec())));
}

#[test]
fn anything_irregular_is_refused() {
    for body in [
        &b"\r\n"[..],
        b" 3\r\nabc\r\n0\r\n\r\n",
        b"3 \r\nabc\r\n0\r\n\r\n",
        b"3\nabc\r\n",
        b"0x3\r\nabc",
        b"+3\r\nabc",
        b"-1\r\n",
        b"g\r\n",
        b";\r\n",
        b"3\r\nabcd\r\n",
        b"3\r\nabc\n0\r\n\r\n",
        b"3\r\nabc0\r\n\r\n",
        b"3;\nabc",
        b"3;\x00\r\nabc",
        b"1234567890abcdef\r\n",
        b"0\r\nX-T : v\r\n\r\n",
        b"0\r\n: v\r\n\r\n",
        b"0\r\nnocolon\r\n\r\n",
        b"0\r\nX: a\x00\r\n\r\n",
        b"0\r\nX: a\n\r\n",
        b"0\r\n\n",
    ] {
        assert_eq!(decode(&[body]), Err(Malformed), "{:?}", String::from_utf8_lossy(body));
    }
    let extension = [b"1;".as_slice(), &b"x".repeat(300), b"\r\na\r\n0\r\n\r\n"].concat();
    assert_eq!(decode(&[&extension]), Err(Malformed));
    let trailers = [b"0\r\n".as_slice(), &b"X: 12345678\r\n".repeat(1000), b"\r\n"].concat();
    assert_eq!(decode(&[&trailers]), Err(Malformed));
}

#[test]
fn trailers_that_could_harm_are_not_forwarded() {
    for name in
        ["Content-Length", "Transfer-Encoding", "Host", "Authorization", "Cookie", "Set-Cookie", "Connection", "TE"]
    {
        assert!(!may_trail(name.as_bytes()), "{name}");
    }
    for name in ["grpc-status", "Server-Timing", "X-Checksum", "Content-Digest", "ETag"] {
        assert!(may_trail(name.as_bytes()), "{name}");
    }
}
