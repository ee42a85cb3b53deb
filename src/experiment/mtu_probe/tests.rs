use std::time::Duration;

use super::*;

/// A path that exists only here.
struct Path {
    local: u32,
    icmp: Option<u32>,
    silent: u32,
    lossy: u32,
    /// What becomes of a packet that is lost by chance.
    chance: Sample,
}

impl Path {
    fn answer(&self, size: u32, packet: u32) -> Sample {
        let lost = self.lossy > 0 && packet % self.lossy == 1;
        match size {
            size if size > self.local => Sample::Refused { mtu: Some(self.local) },
            size if self.icmp.is_some_and(|mtu| size > mtu) => {
                Sample::TooBig { offender: Some("198.18.0.9".parse().unwrap()), mtu: self.icmp.unwrap() }
            }
            size if size > self.silent => Sample::Lost,
            _ if lost => self.chance,
            _ => Sample::Arrived { after: Duration::from_micros(50) },
        }
    }
}

fn search(path: &Path, known: Known) -> Found {
    let mut search = Search::new(known);
    let mut sample = None;
    loop {
        match search.next(sample) {
            Action::Send { size } => sample = Some(path.answer(size, search.packets)),
            Action::Done(found) => return found,
        }
    }
}

fn known(declared: Option<u32>, guesses: &[u32]) -> Known {
    Known { floor: 576, ceiling: 65_535, declared, guesses: guesses.to_vec() }
}

const OPEN: u32 = u32::MAX;

#[test]
fn a_path_as_declared_takes_few_packets() {
    let path = Path { local: 9000, icmp: None, silent: OPEN, lossy: 0, chance: Sample::Lost };
    let found = search(&path, known(Some(9000), &[9000]));
    assert_eq!((found.largest, found.packets), (Some(9000), 2));
    assert_eq!(found.stopped, Some((9005, Stop::Local { mtu: Some(9000) })));
    // The first packet of each size is lost, or finds the own device's queue full.
    for chance in [Sample::Lost, Sample::NoBuffer] {
        let path = Path { lossy: 2, chance, ..path };
        assert_eq!(search(&path, known(Some(9000), &[9000])).largest, Some(9000));
    }
}

#[test]
fn every_size_is_found_whatever_stops_it() {
    for mtu in [576, 577, 1279, 1280, 1399, 1450, 1499, 1500, 1501, 4000, 8999] {
        let silent = Path { local: 9000, icmp: None, silent: mtu, lossy: 0, chance: Sample::Lost };
        let icmp = Path { local: 9000, icmp: Some(mtu), silent: OPEN, lossy: 0, chance: Sample::Lost };
        let local = Path { local: mtu, icmp: None, silent: OPEN, lossy: 0, chance: Sample::Lost };
        for guesses in [&[][..], &[9000, 1500]] {
            for path in [&silent, &icmp, &local] {
                let found = search(path, known(Some(9000), guesses));
                assert_eq!(found.largest, Some(mtu), "{mtu}: {found:?}");
                assert_eq!(found.stopped.unwrap().0, mtu + 1, "{mtu}: {found:?}");
            }
            let found = search(&silent, known(None, guesses));
            assert_eq!(found.largest, Some(mtu), "{mtu}: {found:?}");
            assert!(found.packets < 60, "{found:?}");
        }
        assert!(search(&icmp, known(Some(9000), &[])).packets <= 4, "the router names the size");
    }
}

#[test]
fn a_dead_path_is_left_soon() {
    let path = Path { local: 9000, icmp: None, silent: 0, lossy: 0, chance: Sample::Lost };
    let found = search(&path, known(Some(9000), &[1500]));
    assert_eq!((found.largest, found.packets), (None, 2 * TRIES));
    assert_eq!(found.stopped, Some((576, Stop::Silence)));
}

#[test]
fn more_than_declared_is_found_too() {
    let path = Path { local: 9000, icmp: None, silent: OPEN, lossy: 0, chance: Sample::Lost };
    let found = search(&path, known(Some(1500), &[9000]));
    assert_eq!(found.largest, Some(9000), "{found:?}");
    // Room for a VLAN tag is no more than declared.
    let path = Path { local: 9000, icmp: None, silent: 1504, lossy: 0, chance: Sample::Lost };
    let found = search(&path, known(Some(1500), &[9000, 1500]));
    assert_eq!((found.largest, found.stopped.map(|stop| stop.0)), (Some(1500), Some(1505)), "{found:?}");
}

#[test]
fn the_ceiling_ends_it() {
    let path = Path { local: OPEN, icmp: None, silent: OPEN, lossy: 0, chance: Sample::Lost };
    let found = search(&path, known(None, &[65_535]));
    assert_eq!((found.largest, found.stopped), (Some(65_535), None));
}
