//! Where messages begin and end: a letter, a length, and as many bytes.

/// Letter and length.
const HEADER_BYTES: usize = 5;
/// So much of a message's content is handed out, which is more than the longest key of a connection has.
const CONTENT_BYTES: usize = 264;

/// Follows the messages of one direction.
#[derive(Clone, Debug)]
pub(crate) struct Messages {
    header: [u8; HEADER_BYTES],
    /// Bytes of the header that have come.
    seen: usize,
    /// Bytes of the content that are still to come.
    left: u32,
    /// The content of the message that is under way, while it is wanted.
    content: Vec<u8>,
    /// Something came that is no message: nothing is known any more.
    is_lost: bool,
}

impl Messages {
    pub(crate) const fn new() -> Self {
        Self { header: [0; HEADER_BYTES], seen: 0, left: 0, content: Vec::new(), is_lost: false }
    }

    /// Takes in the next bytes, and hands each message that ends in them to `ended`: its letter and, if `wanted` says so of the
    /// letter, the front of its content.
    pub(crate) fn advance(&mut self, bytes: &[u8], wanted: fn(u8) -> bool, mut ended: impl FnMut(u8, &[u8])) {
        let mut rest = bytes;
        while !rest.is_empty() && !self.is_lost {
            if self.seen < HEADER_BYTES {
                let taken = (HEADER_BYTES - self.seen).min(rest.len());
                let (now, after) = rest.split_at(taken);
                self.header[self.seen..self.seen + taken].copy_from_slice(now);
                self.seen += taken;
                rest = after;
                if self.seen < HEADER_BYTES {
                    return;
                }
                let [_letter, length @ ..] = self.header;
                let Some(left) = u32::from_be_bytes(length).checked_sub(4) else {
                    self.is_lost = true;
                    return;
                };
                self.left = left;
            }
            let taken = usize::try_from(self.left).unwrap_or(usize::MAX).min(rest.len());
            let (now, after) = rest.split_at(taken);
            let letter = self.header[0];
            if wanted(letter) {
                self.content.extend(now.iter().take(CONTENT_BYTES - self.content.len().min(CONTENT_BYTES)));
            }
            self.left -= taken as u32;
            rest = after;
            if self.left == 0 {
                ended(letter, &self.content);
                self.content.clear();
                self.seen = 0;
            }
        }
    }

    /// Whether the last byte was the last one of a message.
    pub(crate) const fn is_between(&self) -> bool {
        self.seen == 0 && !self.is_lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(letter: u8, content: &[u8]) -> Vec<u8> {
        let length = (content.len() + 4) as u32;
        [&[letter][..], &length.to_be_bytes(), content].concat()
    }

    fn follow(bytes: &[u8], size: usize) -> (Vec<(u8, Vec<u8>)>, Messages) {
        let mut messages = Messages::new();
        let mut found = Vec::new();
        for piece in bytes.chunks(size) {
            messages.advance(piece, |letter| letter == b'K', |letter, content| found.push((letter, content.to_vec())));
        }
        (found, messages)
    }

    #[test]
    fn messages_are_found_however_they_are_cut() {
        let key: Vec<u8> = (0..=255).cycle().take(400).collect();
        let bytes = [message(b'R', &[0; 4]), message(b'K', &key), message(b'1', b""), message(b'Z', b"I")].concat();
        for size in [1, 2, 3, 5, 7, 64, bytes.len()] {
            let (found, messages) = follow(&bytes, size);
            let expected = [(b'R', vec![]), (b'K', key[..264].to_vec()), (b'1', vec![]), (b'Z', vec![])];
            assert_eq!(found, expected, "in pieces of {size}");
            assert!(messages.is_between());
        }
        assert!(!follow(&bytes[..bytes.len() - 1], 16).1.is_between());
    }

    #[test]
    fn what_is_no_message_leaves_nothing_known() {
        let bytes = [message(b'Z', b"I"), b"E\0\0\0\x03".to_vec(), message(b'Z', b"I")].concat();
        let (found, messages) = follow(&bytes, 4);
        assert_eq!(found.len(), 1);
        assert!(!messages.is_between());
    }
}
