//! What is kept of stream ids.

use std::hash::Hasher;

/// Streams reset by us lately: what the peer had sent before it learned of that is ignored.
#[derive(Debug)]
pub(super) struct Recent {
    ids: [u32; 128],
    at: usize,
}

impl Default for Recent {
    fn default() -> Self {
        Self { ids: [0; 128], at: 0 }
    }
}

impl Recent {
    pub(super) fn add(&mut self, stream: u32) {
        self.ids[self.at % 128] = stream;
        self.at = self.at.wrapping_add(1);
    }

    pub(super) fn has(&self, stream: u32) -> bool {
        self.ids.contains(&stream)
    }
}

/// Stream ids are small, different and not chosen to collide: they are their own hash, spread by a multiplication.
#[derive(Default)]
pub(super) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }
    fn write_u32(&mut self, id: u32) {
        self.0 = (self.0 ^ u64::from(id)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}
