//! Drawing: a frame with axes, and scales.

use super::markup::Html;

/// Width of every drawing, in units of its view box.
pub const WIDTH: f64 = 900.0;
/// Room for the labels of the y axis.
pub const LEFT: f64 = 110.0;
/// Room at the right.
pub const RIGHT: f64 = 20.0;

/// A number as an attribute: short, and a point stays on its pixel.
pub fn n(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}

/// From values to places.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
    log: bool,
}

impl Scale {
    /// Linear; a span of nothing is widened.
    pub fn linear(low: f64, high: f64, from: f64, to: f64) -> Self {
        Self { low, high: if high > low { high } else { low + 1.0 }, from, to, log: false }
    }

    /// Logarithmic, of positive values.
    pub fn log(low: f64, high: f64, from: f64, to: f64) -> Self {
        let low = low.max(1e-9);
        Self { low, high: if high > low { high } else { low * 10.0 }, from, to, log: true }
    }

    /// The place of a value.
    pub fn at(&self, value: f64) -> f64 {
        let share = match self.log {
            true => (value.max(self.low).ln() - self.low.ln()) / (self.high.ln() - self.low.ln()),
            false => (value - self.low) / (self.high - self.low),
        };
        self.from + share.clamp(-0.05, 1.05) * (self.to - self.from)
    }

    /// Round values within, about `count` of them.
    pub fn ticks(&self, count: usize) -> Vec<f64> {
        if self.log {
            let powers = (self.low.log10().floor() as i32)..=(self.high.log10().ceil() as i32);
            let all = powers.flat_map(|power| [1.0, 2.0, 5.0].map(|digit| digit * 10_f64.powi(power)));
            let within: Vec<f64> = all.filter(|v| (self.low..=self.high).contains(v)).collect();
            let step = within.len().div_ceil(count.max(1)).max(1);
            return within.into_iter().step_by(step).collect();
        }
        let rough = (self.high - self.low) / count.max(1) as f64;
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|digit| digit * power).find(|step| *step >= rough);
        let step = step.unwrap_or(power * 10.0);
        let first = (self.low / step).ceil() as i64;
        let ticks = (first..).map(|i| i as f64 * step).take_while(|v| *v <= self.high * (1.0 + 1e-9));
        ticks.take(50).collect()
    }
}

/// A drawing with a name and a description for those who do not see it.
pub fn drawing(html: &mut Html, name: &str, description: &str, height: f64, inside: impl FnOnce(&mut Html)) {
    let view = format!("0 0 {} {}", n(WIDTH), n(height));
    let label = format!("{name}. {description}");
    html.within("svg", &[("viewBox", &view), ("role", "img"), ("aria-label", &label)], inside);
}

/// A line.
pub fn line(html: &mut Html, class: &'static str, from: (f64, f64), to: (f64, f64)) {
    let (x1, y1, x2, y2) = (n(from.0), n(from.1), n(to.0), n(to.1));
    html.within("line", &[("class", class), ("x1", &x1), ("y1", &y1), ("x2", &x2), ("y2", &y2)], |_| {});
}

/// Words; `anchor` is `start`, `middle` or `end`.
pub fn words(html: &mut Html, class: &str, anchor: &str, at: (f64, f64), text: &str) {
    html.leaf("text", &[("class", class), ("text-anchor", anchor), ("x", &n(at.0)), ("y", &n(at.1))], text);
}

/// A path through points, closed or not.
pub fn path(html: &mut Html, class: &str, points: &[(f64, f64)], closed: bool) {
    let mut d = String::new();
    for (at, (x, y)) in points.iter().enumerate() {
        d.push(if at == 0 { 'M' } else { 'L' });
        d.push_str(&format!("{} {}", n(*x), n(*y)));
    }
    if closed {
        d.push('Z');
    }
    html.within("path", &[("class", class), ("d", &d)], |_| {});
}

/// Horizontal lines with their values at the left.
pub fn y_axis(html: &mut Html, scale: &Scale, say: &dyn Fn(f64) -> String) {
    for tick in scale.ticks(5) {
        let y = scale.at(tick);
        line(html, "axis", (LEFT, y), (WIDTH - RIGHT, y));
        words(html, "dim", "end", (LEFT - 6.0, y + 4.0), &say(tick));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_reach_from_end_to_end() {
        let linear = Scale::linear(0.0, 10.0, 100.0, 0.0);
        assert_eq!((linear.at(0.0), linear.at(5.0), linear.at(10.0)), (100.0, 50.0, 0.0));
        assert_eq!(linear.ticks(5), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        let log = Scale::log(10.0, 1000.0, 0.0, 100.0);
        assert!((log.at(100.0) - 50.0).abs() < 1e-9);
        assert!(log.ticks(10).contains(&100.0));
        assert_eq!(Scale::linear(3.0, 3.0, 0.0, 1.0).at(3.0), 0.0);
    }
}
