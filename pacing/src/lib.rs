//! Rate budgets, poll schedules, passes over lists and back-off: pure, they take the time and do no I/O.

mod agenda;
mod back_off;
mod budget;
mod forecast;
mod listing;
mod pass;
mod pressure;
mod schedule;
mod sequence;

pub use agenda::Agenda;
pub use back_off::BackOff;
pub use budget::{Quota, RateBudget};
pub use forecast::{Expected, Forecast};
pub use listing::Listing;
pub use pass::{Lengths, Pass, Progress, Stage};
pub use pressure::Pressure;
pub use schedule::PollSchedule;
pub use sequence::Sequence;
