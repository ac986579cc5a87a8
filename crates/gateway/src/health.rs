//! Whether endpoints are well: the driver that feeds the pure machines of `core` with probes, resolved names and failures
//! that workers saw, and writes what they decide into [`crate::state`]. It runs on one thread, beside the workers, and is
//! the only one that writes health, ejection and addresses.

mod chronicle;
mod driver;
mod eject;
mod guard;
mod member;
pub(crate) mod names;
mod plan;
mod ramp;
mod reserve;
mod roster;
#[cfg(test)]
mod tests;

pub(crate) use driver::Driver;
