//! The command line as it is run: the binary against a sandbox, over real sockets.
#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it must be")]

// What a run does, and what the next one finds.
mod runs;
// Runs that are killed at every step.
mod crash;
// The commands about tokens and tasks.
mod account;
// The same with tokens of a relay.
mod pipes;
mod relay;

// Where a run is cut off.
mod cut;
mod harness;
