//! A straight line by least squares, with what it leaves unexplained.

/// `y = intercept + slope · x`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Line {
    /// At x = 0.
    pub intercept: f64,
    /// By x.
    pub slope: f64,
    /// Share of the variance of y that it explains, 0 to 1.
    pub r_squared: f64,
    /// Standard deviation of the residuals (n − 2 degrees of freedom), in the unit of y; 0 for two points.
    pub residual: f64,
}

impl Line {
    /// y at x.
    pub fn at(&self, x: f64) -> f64 {
        self.intercept + self.slope * x
    }
}

/// The line with the least sum of squares; `None` for fewer than two different x or a point that is not finite.
pub fn least_squares(points: &[(f64, f64)]) -> Option<Line> {
    if points.iter().any(|(x, y)| !x.is_finite() || !y.is_finite()) {
        return None;
    }
    let n = points.len() as f64;
    let mean = |pick: fn(&(f64, f64)) -> f64| points.iter().map(pick).sum::<f64>() / n;
    let (mx, my) = (mean(|p| p.0), mean(|p| p.1));
    // Around the means: 1/S is small and nearly equal, its squares would cancel.
    let sxx: f64 = points.iter().map(|(x, _)| (x - mx).powi(2)).sum();
    let sxy: f64 = points.iter().map(|(x, y)| (x - mx) * (y - my)).sum();
    let syy: f64 = points.iter().map(|(_, y)| (y - my).powi(2)).sum();
    if points.len() < 2 || sxx <= f64::EPSILON * mx * mx * n {
        return None;
    }
    let slope = sxy / sxx;
    let line = Line { intercept: my - slope * mx, slope, r_squared: 0.0, residual: 0.0 };
    let left: f64 = points.iter().map(|(x, y)| (y - line.at(*x)).powi(2)).sum();
    let r_squared = if syy > 0.0 { (1.0 - left / syy).clamp(0.0, 1.0) } else { 1.0 };
    let residual = if points.len() > 2 { (left / (n - 2.0)).sqrt() } else { 0.0 };
    Some(Line { r_squared, residual, ..line })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_exactly_and_a_cloud_as_in_the_book() {
        let line = least_squares(&[(1.0, 3.0), (2.0, 5.0), (3.0, 7.0)]).unwrap();
        assert!((line.intercept - 1.0).abs() < 1e-12 && (line.slope - 2.0).abs() < 1e-12);
        assert!((line.r_squared - 1.0).abs() < 1e-12 && line.residual < 1e-9);
        // The first of Anscombe's quartet (1973): y = 3.0001 + 0.5001 x, R² = 0.6665, s = 1.2366.
        let x = [10.0, 8.0, 13.0, 9.0, 11.0, 14.0, 6.0, 4.0, 12.0, 7.0, 5.0];
        let y = [8.04, 6.95, 7.58, 8.81, 8.33, 9.96, 7.24, 4.26, 10.84, 4.82, 5.68];
        let points: Vec<(f64, f64)> = x.into_iter().zip(y).collect();
        let line = least_squares(&points).unwrap();
        for (seen, book) in
            [(line.intercept, 3.0001), (line.slope, 0.5001), (line.r_squared, 0.6665), (line.residual, 1.2366)]
        {
            assert!((seen - book).abs() < 1e-4, "{seen} {book}");
        }
    }

    #[test]
    fn no_line_through_one_place() {
        assert_eq!(least_squares(&[(1.0, 1.0)]), None);
        assert_eq!(least_squares(&[(1.0, 1.0), (1.0, 2.0)]), None);
        assert_eq!(least_squares(&[(1.0, f64::NAN), (2.0, 2.0)]), None);
        assert_eq!(least_squares(&[]), None);
    }
}
