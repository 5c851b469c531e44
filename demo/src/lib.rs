//! The whole loop on this machine: [`Stack`] is sandbox and broker on free ports with one app
//! registered, for the demo, the end-to-end tests and the benchmarks alike.

pub mod expected;
mod port;
pub mod recordings;
mod round_robin;
mod stack;

pub use self::port::free_port;
pub use self::round_robin::RoundRobin;
pub use self::stack::{APP, Clocks, Remains, Stack, StackError, StackSettings};
