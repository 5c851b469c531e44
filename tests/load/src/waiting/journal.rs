//! What the upstream was asked, by its own journal.

use std::time::Duration;

use valet_sandbox::{Entry, Operation};

use crate::{Outcome, printer};

/// The most queries, lists and cancels that arrived in any one second.
pub(super) fn most_in_a_second(asked: &[Entry]) -> f64 {
    let at: Vec<_> = asked.iter().filter(|entry| is_query(entry)).map(|entry| entry.at).collect();
    let mut from = 0;
    let mut most = 0;
    for (to, last) in at.iter().enumerate() {
        while last.saturating_duration_since(at[from]) >= Duration::from_secs(1) {
            from += 1;
        }
        most = most.max(to - from + 1);
    }
    most as f64
}

/// A line about it.
pub(super) fn tell(asked: &[Entry]) -> Outcome<()> {
    let count = |operation| asked.iter().filter(|entry| entry.operation == operation).count();
    let refused = asked.iter().filter(|entry| is_query(entry) && entry.status == Some(429)).count();
    printer::line(&format!(
        "upstream: {} queries and {} pages of lists, the direct clients' among them; {refused} were answered with 429",
        count(Operation::Query),
        count(Operation::List),
    ))?;
    Ok(())
}

fn is_query(entry: &Entry) -> bool {
    matches!(entry.operation, Operation::Query | Operation::List | Operation::Cancel)
}
