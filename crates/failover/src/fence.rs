//! What keeps an old primary from acknowledging writes when its own agent cannot: further rungs of the fencing ladder, beside
//! the agent, which stops its server before the deadline, and the guard process ([`mainstay_cluster::guard`]), which does when
//! the agent does not.

pub mod leftover;
pub mod port;
pub mod stonith;
pub mod watchdog;
