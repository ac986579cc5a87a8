//! Where a frame goes: an interface and a hardware address, as sockets of the family `AF_PACKET` want it (`man 7 packet`).

use rustix::net::addr::{SocketAddrArg, SocketAddrLen, SocketAddrOpaque};

const FAMILY_PACKET: u16 = 17;
/// Everybody on the link.
const BROADCAST: [u8; 6] = [0xff; 6];

/// The C structure `sockaddr_ll`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct Destination {
    family: u16,
    /// In network order.
    protocol: u16,
    index: i32,
    hardware_kind: u16,
    packet_kind: u8,
    address_bytes: u8,
    address: [u8; 8],
}

impl Destination {
    /// Everybody on an interface's link, for frames of this protocol.
    pub(super) fn everybody(index: u32, protocol: u16) -> Self {
        let mut address = [0; 8];
        address[..6].copy_from_slice(&BROADCAST);
        Self {
            family: FAMILY_PACKET,
            protocol: protocol.to_be(),
            index: i32::try_from(index).unwrap_or_default(),
            hardware_kind: 0,
            packet_kind: 0,
            address_bytes: 6,
            address,
        }
    }
}

// SAFETY: the structure has the layout of C's `sockaddr_ll`, 20 bytes of integers without padding, of which every bit
// pattern is valid; its family says what it is. The pointer is to `self`, which outlives the call of `f`, and the length
// is that of the structure.
unsafe impl SocketAddrArg for Destination {
    unsafe fn with_sockaddr<R>(&self, f: impl FnOnce(*const SocketAddrOpaque, SocketAddrLen) -> R) -> R {
        f(std::ptr::from_ref(self).cast(), size_of::<Self>() as SocketAddrLen)
    }
}

#[cfg(test)]
mod tests {
    use std::mem::{align_of, offset_of};

    use super::*;

    #[test]
    fn the_layout_is_that_of_the_system() {
        assert_eq!((size_of::<Destination>(), align_of::<Destination>()), (20, 4));
        assert_eq!(
            [
                offset_of!(Destination, family),
                offset_of!(Destination, protocol),
                offset_of!(Destination, index),
                offset_of!(Destination, hardware_kind),
                offset_of!(Destination, packet_kind),
                offset_of!(Destination, address_bytes),
                offset_of!(Destination, address),
            ],
            [0, 2, 4, 8, 10, 11, 12]
        );
        let destination = Destination::everybody(7, 0x0806);
        let bytes = |pointer: *const SocketAddrOpaque, length: SocketAddrLen| {
            // SAFETY: `with_sockaddr` promises that so many bytes can be read there.
            unsafe { std::slice::from_raw_parts(pointer.cast::<u8>(), length as usize) }.to_vec()
        };
        // SAFETY: the closure reads within the promise.
        let seen = unsafe { destination.with_sockaddr(bytes) };
        assert_eq!(seen[..4], [17, 0, 0x08, 0x06]);
        assert_eq!(seen[12..18], BROADCAST);
    }
}
