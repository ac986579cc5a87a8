//! Errors that clients of PostgreSQL understand.

/// An `ErrorResponse` after which the connection ends. The code is one of PostgreSQL's (its documentation, appendix A).
pub(crate) fn fatal(code: &str, message: &str, hint: &str) -> Vec<u8> {
    let mut fields = Vec::with_capacity(64 + message.len() + hint.len());
    for (kind, text) in [(b'S', "FATAL"), (b'V', "FATAL"), (b'C', code), (b'M', message), (b'H', hint)] {
        if text.is_empty() {
            continue;
        }
        fields.push(kind);
        // A zero would end the field, and what follows would be taken for another one.
        fields.extend(text.bytes().filter(|byte| *byte != 0));
        fields.push(0);
    }
    fields.push(0);
    let length = u32::try_from(fields.len() + 4).unwrap_or(u32::MAX);
    [&b"E"[..], &length.to_be_bytes(), &fields].concat()
}

/// Whether what a server began its answer with is an error that says "not now": it starts, or stops.
pub(crate) fn is_cannot_connect_now(answer: &[u8]) -> bool {
    let Some((b'E', rest)) = answer.split_first() else { return false };
    rest.get(4..).unwrap_or_default().split(|byte| *byte == 0).any(|field| field == b"C57P03")
}

/// The server starts or stops: try again.
pub(crate) const CANNOT_CONNECT_NOW: &str = "57P03";
/// An administrator has ended the connection.
pub(crate) const ADMIN_SHUTDOWN: &str = "57P01";
/// Nobody knows whether what was under way was carried out.
pub(crate) const RESOLUTION_UNKNOWN: &str = "08007";
/// The client breaks the protocol.
pub(crate) const PROTOCOL_VIOLATION: &str = "08P01";
/// The client may not come in this way.
pub(crate) const INVALID_AUTHORIZATION: &str = "28000";
/// Nothing has moved for too long.
pub(crate) const IDLE_TIMEOUT: &str = "57P05";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_its_fields_and_length() {
        let bytes = fatal("57P03", "the group \0x has no primary", "try again");
        let expected = b"SFATAL\0VFATAL\0C57P03\0Mthe group x has no primary\0Htry again\0\0";
        assert_eq!(&bytes[..5], [b'E', 0, 0, 0, expected.len() as u8 + 4]);
        assert_eq!(&bytes[5..], expected);
        assert!(is_cannot_connect_now(&bytes));
        assert!(!is_cannot_connect_now(&fatal("57P01", "C57P03", "")));
        assert!(!is_cannot_connect_now(b"S") && !is_cannot_connect_now(b"") && !is_cannot_connect_now(b"E\0"));
    }
}
