//! `valet-server usage`: what was transcribed through the relay, and about what it costs.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use jiff::{Span, Timestamp, civil::Date, tz::TimeZone};
use serde_json::json;
use valet_clock::{Clock, SystemClock};
use valet_server::{
    config::{Environment, Price, Source},
    ledger::{Grouping, Row, Usage},
};

use super::{Done, INVALID, failed, read_config};

/// Sum up what was transcribed through the relay: tasks, recordings, seconds of audio, and what they cost.
///
/// What a task used is counted on the day of its submit, once the task has ended. The cost is the seconds times
/// relay.price of the configuration: an estimate, not an invoice.
#[derive(Debug, Args)]
pub(super) struct Report {
    /// The configuration file.
    #[arg(long, value_name = "FILE", env = "VALET_SERVER_CONFIG")]
    config: PathBuf,
    /// The first day, in UTC [default: the first of this month].
    #[arg(long, value_name = "YYYY-MM-DD")]
    from: Option<Date>,
    /// The last day, in UTC [default: today].
    #[arg(long, value_name = "YYYY-MM-DD")]
    to: Option<Date>,
    /// What a line is of.
    #[arg(long, value_enum, default_value = "app")]
    by: By,
    /// Print one JSON document instead of a table.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum By {
    /// An app.
    App,
    /// An app's end user.
    Subject,
    /// A day of UTC.
    Day,
    /// A model.
    Model,
}

impl By {
    fn grouping(self) -> Grouping {
        match self {
            Self::App => Grouping::App,
            Self::Subject => Grouping::Subject,
            Self::Day => Grouping::Day,
            Self::Model => Grouping::Model,
        }
    }

    fn columns(self) -> &'static [&'static str] {
        match self {
            Self::App => &["app"],
            Self::Subject => &["app", "issuer", "subject"],
            Self::Day => &["day"],
            Self::Model => &["model"],
        }
    }
}

impl Report {
    pub(super) fn run(self) -> Done {
        let config = read_config(&Source { path: self.config, environment: Environment::of_process() })?;
        let Some(relay) = config.relay else {
            return Err((INVALID, "there is no [relay] in the configuration: nothing is counted".into()));
        };
        let seconds = i64::try_from(SystemClock.unix().as_secs()).map_err(failed)?;
        let today = Timestamp::from_second(seconds).map_err(failed)?.to_zoned(TimeZone::UTC).date();
        let (from, to) = (self.from.unwrap_or_else(|| today.first_of_month()), self.to.unwrap_or(today));
        if from > to {
            return Err((INVALID, format!("--from {from} is after --to {to}")));
        }
        let usage = Usage::read(&relay.state, from, to, self.by.grouping()).map_err(|error| {
            let state = relay.state.display();
            failed(format!("the ledger in {state} cannot be read: {error}; a broker's first start makes it"))
        })?;
        if usage.unread > 0 {
            eprintln!(
                "valet-server: {} lines of the ledger cannot be read, and are not counted",
                usage.unread
            );
        }
        let kept = today.checked_sub(Span::new().days(i64::from(relay.keep_days))).map_err(failed)?;
        if from < kept {
            eprintln!("valet-server: days before {kept} are not kept any more (relay.keep_days)");
        }
        if self.json {
            println!("{:#}", document(&usage, (from, to), self.by, &relay.price));
        } else {
            table(&usage, (from, to), self.by, &relay.price);
        }
        Ok(())
    }
}

fn document(usage: &Usage, (from, to): (Date, Date), by: By, price: &Price) -> serde_json::Value {
    let row = |(group, row): (&Vec<String>, &Row)| {
        let mut object = numbers(row, price);
        for (column, value) in by.columns().iter().zip(group) {
            object[*column] = json!(value);
        }
        object
    };
    json!({
        "from": from.to_string(),
        "to": to.to_string(),
        "currency": price.currency,
        "rows": usage.rows.iter().map(row).collect::<Vec<_>>(),
        "total": numbers(&total(usage), price),
    })
}

fn numbers(row: &Row, price: &Price) -> serde_json::Value {
    json!({
        "tasks": row.submitted,
        "open": row.submitted.saturating_sub(row.ended),
        "failed": row.failed,
        "unknown": row.unknown,
        "recordings": row.urls,
        "seconds": row.seconds,
        "cost": cost(row, price),
    })
}

fn total(usage: &Usage) -> Row {
    usage.rows.values().fold(Row::default(), |sum, row| Row {
        submitted: sum.submitted + row.submitted,
        ended: sum.ended + row.ended,
        failed: sum.failed + row.failed,
        unknown: sum.unknown + row.unknown,
        urls: sum.urls + row.urls,
        seconds: sum.seconds + row.seconds,
    })
}

fn cost(row: &Row, price: &Price) -> f64 {
    row.seconds as f64 * price.per_second
}

/// A table whose columns are as wide as what is in them: names to the left, numbers to the right.
fn table(usage: &Usage, (from, to): (Date, Date), by: By, price: &Price) {
    let names = by.columns();
    let heads = ["tasks", "open", "failed", "unknown", "recordings", "seconds", &price.currency];
    let cells = |row: &Row| {
        let open = row.submitted.saturating_sub(row.ended);
        let counts = [row.submitted, open, row.failed, row.unknown, row.urls, row.seconds];
        counts.map(|count| count.to_string()).into_iter().chain([format!("{:.2}", cost(row, price))])
    };
    let mut lines = vec![names.iter().chain(&heads).map(ToString::to_string).collect::<Vec<_>>()];
    for (group, row) in &usage.rows {
        lines.push(group.iter().map(|name| plain(name)).chain(cells(row)).collect());
    }
    let sum = names.iter().enumerate().map(|(place, _)| if place == 0 { "total" } else { "" }.to_owned());
    lines.push(sum.chain(cells(&total(usage))).collect());
    let width =
        |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..lines[0].len()).map(width).collect();
    println!("{from} to {to}");
    for line in &lines {
        let padded = line.iter().zip(&widths).enumerate().map(|(place, (cell, width))| {
            if place < names.len() { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        println!("{}", padded.collect::<Vec<_>>().join("  ").trim_end());
    }
}

/// A name as a terminal may have it: an end user can be called anything.
fn plain(name: &str) -> String {
    name.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
