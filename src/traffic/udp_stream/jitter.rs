//! Variation of the transit time.

/// RFC 3550 6.4.1 interarrival jitter, once per receive call: datagrams of one batch have one arrival time.
#[derive(Debug, Default)]
pub struct Jitter {
    /// Sixteen times the estimate, as in the RFC's appendix A.8: integers without rounding loss.
    scaled: u64,
    transit: Option<i64>,
}

impl Jitter {
    #[inline]
    /// A datagram stamped then arrived now.
    pub fn observe(&mut self, arrived: u64, stamped: u64) {
        let transit = arrived.wrapping_sub(stamped) as i64;
        if let Some(before) = self.transit.replace(transit) {
            let difference = transit.wrapping_sub(before).unsigned_abs();
            self.scaled = self.scaled.saturating_add(difference).saturating_sub((self.scaled + 8) >> 4);
        }
    }

    /// The estimate.
    pub fn nanos(&self) -> u64 {
        self.scaled >> 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The estimator of RFC 3550 A.8, in floating point.
    #[test]
    fn jitter_is_rfc_3550s() {
        let transits = [5_000u64, 9_000, 2_000, 2_000, 40_000, 7_000, 7_500];
        let (mut jitter, mut model) = (Jitter::default(), 0.0f64);
        for (i, transit) in transits.iter().enumerate() {
            jitter.observe(1_000_000 * i as u64 + transit, 1_000_000 * i as u64);
            if i > 0 {
                let difference = transit.abs_diff(transits[i - 1]) as f64;
                model += (difference - model) / 16.0;
            }
        }
        assert!((jitter.nanos() as f64 - model).abs() <= 8.0, "{} {model}", jitter.nanos());
        let mut steady = Jitter::default();
        (0..100).for_each(|i| steady.observe(i * 1000 + 77, i * 1000));
        assert_eq!(steady.nanos(), 0);
    }
}
