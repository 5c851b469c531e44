//! The audit trail: one JSON line a decision, which is the access line on issuing routes as well, and
//! lines for what happens to the broker itself; all of them chained by signatures.

mod chain;
mod event;
mod record;
mod sink;
mod trail;
mod verify;
mod writer;

pub use self::{
    event::Event,
    record::{Door, EndUser, Record, Work},
    trail::{Metrics, OpenError, Target, Trail, Writer, key_beside},
    verify::{Finding, Report, verify},
};

#[cfg(test)]
mod tests;
