//! Redis' protocol (RESP, versions 2 and 3) without I/O, as far as leading clients to servers needs it.

pub(crate) mod dialogue;
mod manner;
pub(crate) mod values;

/// An error as a server answers it. The word at its front is what clients go by.
pub(crate) fn error(word: &str, message: &str) -> Vec<u8> {
    // An end of line would end the answer.
    let message = message.replace(['\r', '\n'], " ");
    format!("-{word} {message}\r\n").into_bytes()
}
