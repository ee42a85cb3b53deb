//! A record in other tools' formats. All are pure: a record in, text out.

mod csv;
mod influx;
mod junit;
mod markdown;
mod openmetrics;
mod rows;

use std::{fmt, io, io::Write, str::FromStr};

use crate::record::{
    FlowRecord, RunRecord, TestRecord,
    kept::{Kept, Kind},
};

/// What a record can be exported as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// The record, indented.
    Json,
    /// The record in one line.
    Jsonl,
    /// A row a round (RFC 4180).
    Csv,
    /// A table for a page or an issue.
    Markdown,
    /// A test case a test, for CI.
    Junit,
    /// OpenMetrics text, also for node_exporter's textfile collector.
    Openmetrics,
    /// InfluxDB line protocol, a point a round.
    Influx,
    /// As `iperf3 -J` reports, a document a round of a stream test.
    Iperf3,
}

impl Format {
    /// All, in the order in which they are listed to people.
    pub const ALL: [Self; 8] = [
        Self::Json,
        Self::Jsonl,
        Self::Csv,
        Self::Markdown,
        Self::Junit,
        Self::Openmetrics,
        Self::Influx,
        Self::Iperf3,
    ];

    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Jsonl => "jsonl",
            Self::Csv => "csv",
            Self::Markdown => "markdown",
            Self::Junit => "junit",
            Self::Openmetrics => "openmetrics",
            Self::Influx => "influx",
            Self::Iperf3 => "iperf3",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = || Self::ALL.map(Self::name).join(", ");
        Self::ALL.into_iter().find(|format| format.name() == text).ok_or_else(|| format!("it is one of {}", names()))
    }
}

/// Writes runs, each with the number that it has in a store, if it has one. All formats but `json` take any number of them.
///
/// # Errors
/// Those of `out`, and that `json` was asked for more than one.
pub fn export(format: Format, runs: &[(Option<i64>, RunRecord)], out: &mut impl Write) -> io::Result<()> {
    match format {
        Format::Json => runs.iter().try_for_each(|(_, record)| super::json(record, out)),
        Format::Jsonl => runs.iter().try_for_each(|(_, record)| {
            serde_json::to_writer(&mut *out, record)?;
            writeln!(out)
        }),
        Format::Csv => csv::write(runs, out),
        Format::Markdown => markdown::write(runs, out),
        Format::Junit => junit::write(runs, out),
        Format::Openmetrics => openmetrics::write(runs, out),
        Format::Influx => influx::write(runs, out),
        Format::Iperf3 => runs.iter().try_for_each(|(_, record)| super::iperf3::documents(record, out)),
    }
}

/// Has a kind this format?
pub fn fits(format: Format, kind: Kind) -> bool {
    match format {
        Format::Json | Format::Jsonl | Format::Csv | Format::Markdown => true,
        Format::Junit => matches!(kind, Kind::Run | Kind::OffloadVerify | Kind::MtuProbe),
        Format::Openmetrics | Format::Influx | Format::Iperf3 => kind == Kind::Run,
    }
}

/// The formats that a kind has, for people.
pub fn formats_of(kind: Kind) -> String {
    let names: Vec<&str> = Format::ALL.into_iter().filter(|format| fits(*format, kind)).map(Format::name).collect();
    names.join(", ")
}

/// Writes outcomes that are no runs, all of one kind unless the format is `jsonl`, which takes runs too.
///
/// # Errors
/// Those of `out`, and a format that does not [fit](fits).
pub fn others(format: Format, all: &[(Option<i64>, Kept)], out: &mut impl Write) -> io::Result<()> {
    match format {
        Format::Json => all.iter().try_for_each(|(_, kept)| {
            serde_json::to_writer_pretty(&mut *out, kept)?;
            writeln!(out)
        }),
        Format::Jsonl => all.iter().try_for_each(|(_, kept)| {
            serde_json::to_writer(&mut *out, kept)?;
            writeln!(out)
        }),
        Format::Csv => rows::csv(all, out),
        Format::Markdown => rows::markdown(all, out),
        Format::Junit => rows::junit(all, out),
        format => Err(io::Error::other(format!("{format} is a format of runs"))),
    }
}

fn tests(record: &RunRecord) -> impl Iterator<Item = (&FlowRecord, &TestRecord)> {
    record.flows.iter().flat_map(|flow| flow.tests.iter().map(move |test| (flow, test)))
}
