//! What a watchdog's driver is asked for by `ioctl` (the kernel's `Documentation/watchdog/watchdog-api.rst`), which neither std nor
//! rustix has calls for.

use std::ffi::c_int;
use std::fs::File;
use std::io;

use rustix::ioctl::{Getter, Opcode, Updater, ioctl, opcode};

/// `WDIOC_SETTIMEOUT`: reads the seconds that are wanted, and writes those that are granted.
const SET_TIMEOUT: Opcode = opcode::read_write::<c_int>(b'W', 6);
/// `WDIOC_GETTIMEOUT`: writes the seconds after which it resets the machine.
const GET_TIMEOUT: Opcode = opcode::read::<c_int>(b'W', 7);

/// A watchdog's driver. The kernel's is the one that there is; tests have another one, since a machine that has a watchdog would be
/// reset by a test that is ended in the middle.
pub(super) trait Driver: std::fmt::Debug + Send {
    /// Asks for a time in seconds.
    ///
    /// # Errors
    /// What the system says; not every driver can set its time.
    fn set_timeout(&self, device: &File, seconds: c_int) -> io::Result<()>;

    /// The time in force, in seconds.
    ///
    /// # Errors
    /// What the system says.
    fn timeout(&self, device: &File) -> io::Result<c_int>;
}

/// The kernel's.
#[derive(Debug)]
pub(super) struct Kernel;

impl Driver for Kernel {
    fn set_timeout(&self, device: &File, mut seconds: c_int) -> io::Result<()> {
        // SAFETY: the kernel's `linux/watchdog.h` defines this number with one `int` that is read and written, which is what the
        // pointer is to, and `seconds` outlives the call. A file that is no watchdog refuses the number and touches nothing, unless
        // another driver uses it too: then that driver takes as many bytes, as the number says, and the operator has named a device
        // that is none.
        unsafe { ioctl(device, Updater::<SET_TIMEOUT, c_int>::new(&mut seconds)) }?;
        Ok(())
    }

    fn timeout(&self, device: &File) -> io::Result<c_int> {
        // SAFETY: the same header defines this number with one `int` that is written. Its bytes are taken only if the call succeeds,
        // and every bit pattern is an `int`.
        let seconds = unsafe { ioctl(device, Getter::<GET_TIMEOUT, c_int>::new()) }?;
        Ok(seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_the_kernels_header() {
        // `cc -include linux/watchdog.h` on x86_64; most other machines have the same ones.
        #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
        assert_eq!((SET_TIMEOUT, GET_TIMEOUT), (0xc004_5706, 0x8004_5707));
    }

    #[test]
    fn a_file_that_is_no_watchdog_refuses() {
        let file = tempfile::tempfile().unwrap();
        let refused = |done: io::Result<()>| done.unwrap_err().raw_os_error();
        let not_a_device = Some(rustix::io::Errno::NOTTY.raw_os_error());
        assert_eq!(refused(Kernel.set_timeout(&file, 6)), not_a_device);
        assert_eq!(refused(Kernel.timeout(&file).map(drop)), not_a_device);
    }
}
