//! Flow control (RFC 9113, section 5.2): what we may send, and what we let the peer send.

use crate::frame::Code;

/// Bytes that we may send. A peer that lowers its initial window can make it negative.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SendWindow(i64);

/// The largest window there is.
const LARGEST: i64 = i32::MAX as i64;

impl SendWindow {
    pub(crate) const fn new(size: u32) -> Self {
        Self(size as i64)
    }

    pub(crate) fn available(self) -> usize {
        usize::try_from(self.0).unwrap_or(0)
    }

    pub(crate) fn take(&mut self, bytes: usize) {
        self.0 -= bytes as i64;
    }

    /// Widens (or, with a changed initial window, narrows) it.
    pub(crate) fn change(&mut self, by: i64) -> Result<(), Code> {
        let size = self.0 + by;
        if size > LARGEST {
            return Err(Code::FLOW_CONTROL_ERROR);
        }
        self.0 = size;
        Ok(())
    }
}

/// Bytes that the peer may still send, and what was read since it was told last.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReceiveWindow {
    size: u32,
    left: u32,
    unreported: u32,
}

impl ReceiveWindow {
    pub(crate) const fn new(size: u32) -> Self {
        Self { size, left: size, unreported: 0 }
    }

    /// A frame of `bytes` has come, padding included.
    pub(crate) fn receive(&mut self, bytes: usize) -> Result<(), Code> {
        let bytes = u32::try_from(bytes).map_err(|_too_large| Code::FLOW_CONTROL_ERROR)?;
        self.left = self.left.checked_sub(bytes).ok_or(Code::FLOW_CONTROL_ERROR)?;
        Ok(())
    }

    /// `bytes` were read. Answers by how much the peer's window is to be widened: nothing until half of it is used up, so
    /// that an update is sent for many frames at once.
    pub(crate) fn release(&mut self, bytes: usize) -> Option<u32> {
        self.unreported = self.unreported.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
        if self.unreported < self.size / 2 {
            return None;
        }
        let by = std::mem::take(&mut self.unreported);
        self.left = self.left.saturating_add(by);
        Some(by)
    }
}
