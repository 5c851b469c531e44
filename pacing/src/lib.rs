//! Rate budgets, poll schedules and back-off: pure, they take the time and do no I/O.

mod back_off;
mod budget;
mod schedule;

pub use back_off::BackOff;
pub use budget::{Quota, RateBudget};
pub use schedule::PollSchedule;
