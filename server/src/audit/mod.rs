//! The audit trail: one JSON line a decision, which is the access line on issuing routes as well.

mod record;
mod trail;

pub use self::{
    record::{Door, Record},
    trail::{Trail, Writer},
};
