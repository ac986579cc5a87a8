//! Alerts are decided in [`mainstay_core::alert`]; here is what carries that out: who is told and how ([`settings`],
//! [`message`], [`send`]), the loop that feeds the machine ([`driver`]), where its state is kept ([`keep`], [`cluster`]), and
//! what others see and ask of it ([`desk`]).

pub mod clock;
pub mod cluster;
pub mod desk;
pub mod driver;
pub mod keep;
pub mod machine;
pub mod message;
pub mod send;
pub mod settings;

#[cfg(test)]
mod tests;
