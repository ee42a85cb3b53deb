//! Figures with their unit, at most twelve characters wide.

use crate::{
    record::{Unit, compare::Figure},
    stats::Spread,
};

/// `23.41 Gbit/s`, `12345 trans/s`
pub fn headline(value: f64, unit: Unit) -> String {
    unit.amount(value)
}

/// Nanoseconds with three significant digits.
pub fn time(nanos: f64) -> String {
    let (value, unit) = match nanos {
        0.0 => return "0 ns".to_owned(),
        n if n >= 1e9 => (n / 1e9, "s"),
        n if n >= 1e6 => (n / 1e6, "ms"),
        n if n >= 1e3 => (n / 1e3, "µs"),
        n => (n, "ns"),
    };
    let digits = if value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    format!("{value:.digits$} {unit}")
}

/// A figure of a comparison.
pub fn figure(value: f64, figure: Figure) -> String {
    match figure {
        Figure::Goodput => headline(value, Unit::BitsPerSecond),
        Figure::Transactions => headline(value, Unit::TransactionsPerSecond),
        Figure::P50 | Figure::P99 | Figure::Cpu => time(value),
    }
}

/// `23.10 – 23.70 Gbit/s (93 %)`; without an interval the range, and that it is one.
pub fn interval(spread: &Spread, unit: Unit) -> String {
    match spread.interval {
        Some(i) => format!("{} ({:.0} %)", between(i.low, i.high, unit), (i.coverage * 100.0).floor()),
        None if spread.samples > 1 => format!("range {}", between(spread.min, spread.max, unit)),
        None => "one round".to_owned(),
    }
}

/// Two figures, with one unit where it is the same.
fn between(low: f64, high: f64, unit: Unit) -> String {
    let (low, high) = (headline(low, unit), headline(high, unit));
    let shared = match (low.split_once(' '), high.split_once(' ')) {
        (Some((number, of_low)), Some((_, of_high))) if of_low == of_high => number,
        _ => low.as_str(),
    };
    format!("{shared} – {high}")
}

/// As `text`, with no more than `room` characters.
pub fn cut(text: &str, room: usize) -> String {
    match text.chars().count() <= room {
        true => text.to_owned(),
        false => text.chars().take(room.saturating_sub(1)).chain(['…']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_has_one_unit_where_it_can() {
        let text = |low, high| between(low, high, Unit::BitsPerSecond);
        assert_eq!(text(23.1e9, 23.7e9), "23.10 – 23.70 Gbit/s");
        assert_eq!(text(923.1e6, 1.7e9), "923.10 Mbit/s – 1.70 Gbit/s");
    }

    #[test]
    fn figures_fit() {
        assert_eq!(headline(23.41e9, Unit::BitsPerSecond), "23.41 Gbit/s");
        assert_eq!(headline(999.0, Unit::BitsPerSecond), "1.00 kbit/s");
        assert_eq!(headline(17_000.4, Unit::TransactionsPerSecond), "17000 trans/s");
        assert_eq!((time(0.412), time(58_940.0), time(2e9)), ("0.41 ns".into(), "58.9 µs".into(), "2.00 s".into()));
        assert_eq!(cut("abcdef", 4), "abc…");
    }
}
