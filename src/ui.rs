//! The only printer: data to stdout, talk to stderr, one progress line or the live view where a person looks on.

pub mod live;
pub mod text;

use std::{
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

use crate::{
    experiment::run::{Progress, Step},
    measured::Interval,
};

/// A line is redrawn at most this often.
const REDRAW: Duration = Duration::from_millis(100);

/// A single line on stderr that is overwritten while a run goes on. Silent when stderr is no terminal.
pub struct ProgressLine {
    shown: bool,
    terminal: bool,
    began: Instant,
    drawn: Option<Instant>,
}

impl Default for ProgressLine {
    fn default() -> Self {
        Self { shown: false, terminal: io::stderr().is_terminal(), began: Instant::now(), drawn: None }
    }
}

impl ProgressLine {
    /// Shows where the run is.
    pub fn show(&mut self, progress: Progress<'_>) {
        if let Progress::Begin(_) = progress {
            self.began = Instant::now();
            self.drawn = None;
        }
        if !self.terminal || self.drawn.is_some_and(|at| at.elapsed() < REDRAW) {
            return;
        }
        let text = match progress {
            Progress::Begin(step) => line(&step, None, 0.0),
            Progress::Told(..) | Progress::Seen(..) => return,
            Progress::Interval(step, interval) => line(&step, Some(interval), self.began.elapsed().as_secs_f64()),
        };
        self.draw(&text);
    }

    /// Shows a word of its own, such as `applying bridge`.
    pub fn say(&mut self, text: &str) {
        if self.terminal {
            self.draw(text);
        }
    }

    /// Takes the line away.
    pub fn clear(&mut self) {
        if self.shown {
            let _ = write!(io::stderr(), "\r\x1b[K");
            self.shown = false;
        }
    }

    fn draw(&mut self, text: &str) {
        let text: String = text.chars().filter(|c| !c.is_control()).take(79).collect();
        // Carriage return and erase to the end of the line; a terminal that is gone is no reason to stop measuring.
        let _ = write!(io::stderr(), "\r{text}\x1b[K").and_then(|()| io::stderr().flush());
        (self.shown, self.drawn) = (true, Some(Instant::now()));
    }
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Where a run goes on before somebody's eyes: the live view where it was asked for and can be, a line otherwise.
#[derive(Default)]
pub struct Display {
    line: ProgressLine,
    view: Option<live::View>,
}

impl Display {
    /// The live view, where it can be. Where not, the reason is said, and there is the line.
    pub fn live(signals: live::Signals) -> Self {
        let view = live::View::open(signals);
        if let Err(reason) = &view {
            text::talk(&format!("warning: no live view: {reason}; without one it goes on as usual"));
        }
        Self { line: ProgressLine::default(), view: view.ok() }
    }

    fn view(&mut self) -> Option<&live::View> {
        // It ends by itself when the program is asked to.
        if self.view.as_ref().is_some_and(|view| !view.is_up()) {
            self.view = None;
        }
        self.view.as_ref()
    }

    /// Shows where the run is.
    pub fn show(&mut self, progress: Progress<'_>) {
        match self.view() {
            Some(view) => view.model().show(progress),
            None => self.line.show(progress),
        }
    }

    /// Shows a word of its own, such as `applying bridge`.
    pub fn say(&mut self, text: &str) {
        match self.view() {
            Some(view) => view.model().say(text),
            None => self.line.say(text),
        }
    }

    /// Takes line and view away, and gives the terminal back.
    pub fn clear(&mut self) {
        self.view = None;
        self.line.clear();
    }
}

fn line(step: &Step<'_>, interval: Option<&Interval>, elapsed: f64) -> String {
    let Step { number, of, from, to, pairs, test, round, seconds } = *step;
    let rate = match interval {
        None => "…".to_owned(),
        Some(interval) if test.is_rr() => format!("{:.0} trans/s", interval.units_per_second()),
        Some(interval) => format!("{:.2} Gbit/s", interval.bits_per_second() / 1e9),
    };
    let others = if pairs > 1 { format!(" and {} pairs", pairs - 1) } else { String::new() };
    format!("[{number}/{of}] {from} → {to}{others} {test} round {round}: {rate}  {elapsed:.0} of {seconds:.0} s")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measured::Test;

    #[test]
    fn the_line_says_where_we_are_and_how_fast() {
        let step = Step {
            number: 2,
            of: 6,
            from: "client",
            to: "server",
            pairs: 1,
            test: Test::TcpStream,
            round: 1,
            seconds: 3.0,
        };
        let interval = Interval { start_ns: 0, end_ns: 1_000_000_000, bytes: 1_175_000_000, units: 0, tcp: None };
        assert_eq!(
            line(&step, Some(&interval), 1.02),
            "[2/6] client → server TCP_STREAM round 1: 9.40 Gbit/s  1 of 3 s"
        );
        let rr = Step { test: Test::UdpRr, ..step };
        let interval = Interval { units: 17_000, ..interval };
        assert!(line(&rr, Some(&interval), 0.0).contains("17000 trans/s"));
    }
}
