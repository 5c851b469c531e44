//! The client against a scripted broker and service over real sockets, by a clock that stands still.
#![expect(clippy::unwrap_used, reason = "these are tests")]

mod support;

mod answers;
mod budget;
mod lists;
mod long_polls;
mod many;
mod relay_submits;
mod results;
mod scheduler;
mod secrecy;
mod submits;
mod tokens;
mod uploads;
mod waits;
