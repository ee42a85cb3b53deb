//! What the live view shows, as plain data: taken from what a run tells.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Instant,
};

use crate::{
    experiment::{
        live::Looked,
        round::Told,
        run::{Progress, Step},
    },
    measured::{Interval, StreamInterval, TcpInterval, Test},
};

/// Intervals of which the curve is drawn.
const HISTORY: usize = 512;

/// The round that runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Round {
    /// Number among all, and of how many.
    pub number: (u32, u32),
    /// Client and server.
    pub nodes: (String, String),
    /// Pairs at the same time.
    pub pairs: usize,
    /// The test.
    pub test: Test,
    /// Its round.
    pub round: u32,
    /// Length, seconds.
    pub seconds: f64,
}

/// A stream of a pair.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Row {
    /// Client and server.
    pub nodes: (String, String),
    /// By the end that gives the headline: payload bits per second, and datagrams or transactions.
    pub rate: Option<(f64, f64)>,
    /// By the sender: its connection at the end of the last interval.
    pub tcp: Option<TcpInterval>,
    /// By the sender: segments sent again since the round began.
    pub retransmits: Option<u64>,
}

/// All of it.
#[derive(Debug, Default)]
pub struct Model {
    /// What is done outside of rounds.
    pub said: String,
    /// The round.
    pub round: Option<Round>,
    /// When it began.
    pub began: Option<Instant>,
    /// All pairs together, in the last interval.
    pub sum: Option<Interval>,
    /// The same of the intervals so far: bits per second, or units.
    pub history: VecDeque<u64>,
    /// Streams by pair and number.
    pub rows: BTreeMap<(usize, u32), Row>,
    /// Hops and CPUs.
    pub looked: Looked,
    /// What the last round of each test brought, the latest last.
    pub past: Vec<String>,
}

impl Model {
    /// A word of the run about itself.
    pub fn say(&mut self, text: &str) {
        self.said = text.chars().filter(|c| !c.is_control()).collect();
    }

    /// Takes in what a run tells.
    pub fn show(&mut self, progress: Progress<'_>) {
        match progress {
            Progress::Begin(step) => self.begin(&step),
            Progress::Interval(step, interval) => {
                let value = if step.test.is_rr() { interval.units_per_second() } else { interval.bits_per_second() };
                self.history.push_back(value as u64);
                if self.history.len() > HISTORY {
                    self.history.pop_front();
                }
                self.sum = Some(*interval);
            }
            Progress::Told(_, told) => self.tell(&told),
            Progress::Seen(_, looked) => {
                self.looked.hops.clone_from(&looked.hops);
                // Too short to tell is no news.
                if !looked.cpus.is_empty() {
                    self.looked.cpus.clone_from(&looked.cpus);
                }
            }
        }
    }

    fn begin(&mut self, step: &Step<'_>) {
        self.said.clear();
        let nodes = (step.from.to_owned(), step.to.to_owned());
        self.round = Some(Round {
            number: (step.number, step.of),
            nodes,
            pairs: step.pairs,
            test: step.test,
            round: step.round,
            seconds: step.seconds,
        });
        self.began = Some(Instant::now());
        self.sum = None;
        self.history.clear();
        self.rows.clear();
        // The CPUs go on.
        self.looked.hops.clear();
    }

    fn tell(&mut self, told: &Told<'_>) {
        let whole = StreamInterval {
            stream: 0,
            bytes: told.interval.bytes,
            units: told.interval.units,
            tcp: told.interval.tcp,
        };
        // An end that does not tell its streams tells their sum.
        let streams = if told.streams.is_empty() { std::slice::from_ref(&whole) } else { told.streams };
        for stream in streams {
            let row = self.rows.entry((told.lane, stream.stream)).or_default();
            row.nodes = (told.nodes.0.to_owned(), told.nodes.1.to_owned());
            if told.is_headline {
                let piece = Interval { bytes: stream.bytes, units: stream.units, tcp: None, ..*told.interval };
                row.rate = Some((piece.bits_per_second(), piece.units_per_second()));
            }
            if told.is_sender
                && let Some(tcp) = stream.tcp
            {
                row.tcp = Some(tcp);
                if let Some(again) = tcp.retransmits {
                    *row.retransmits.get_or_insert(0) += u64::from(again);
                }
            }
        }
    }
}
