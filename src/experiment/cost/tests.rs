use super::*;
use crate::measured::{CpuLoad, SocketFacts, Stream, TcpInfo, ThreadCpu};

fn sender(bytes: u64, cpu: u32, tcp: TcpInfo) -> Side {
    let cpu = ThreadCpu { user_ns: bytes / 10, system_ns: bytes / 5, last_cpu: Some(cpu), ..ThreadCpu::default() };
    let stream = Stream {
        stream: 0,
        local: String::new(),
        peer: String::new(),
        bytes,
        omitted_bytes: 0,
        units: 0,
        omitted_units: 0,
        elapsed_ns: 1_000_000_000,
        calls: 0,
        io: None,
        cpu,
        socket: SocketFacts::default(),
        tcp: Some(tcp),
        datagrams: None,
        schedule: None,
        verified: None,
        retries: None,
    };
    let load = |cpu, softirq| CpuLoad { cpu, softirq, ..CpuLoad::default() };
    let cpus = vec![load(0, 0.1), load(1, 0.7), load(2, 0.9)];
    Side { streams: vec![stream], cpus, ..Side::default() }
}

#[test]
fn service_demand_is_netperfs() {
    // netperf: 30 % of one CPU at 1 GB/s: 30 × 10,000 / 976,562.5 KiB/s = 0.3072 µs/KiB.
    let cost = side(&[&sender(1_000_000_000, 1, TcpInfo::default())]).unwrap();
    assert!((cost.service_demand_us_per_kib - 0.3072).abs() < 1e-9, "{cost:?}");
    assert!((cost.user_ns_per_byte - 0.1).abs() < 1e-9 && (cost.system_ns_per_byte - 0.2).abs() < 1e-9);
    assert_eq!(cost.softirq, Some(0.7), "of the CPU that it ran on");
    assert_eq!(side(&[]), None);
    assert_eq!(softirq(&sender(1, 9, TcpInfo::default())), None);
}

#[test]
fn rfc_6349_by_its_formulas() {
    let tcp = TcpInfo {
        bytes_retransmitted: Some(1_000_000),
        rtt_us: Some(32),
        min_rtt_us: Some(25),
        delivery_rate: Some(1_000),
        ..TcpInfo::default()
    };
    let side = sender(99_000_000, 0, tcp);
    assert_eq!(delivery_rate(&side), Some(8_000.0));
    let mut test: TestRecord = serde_json::from_str(
        r#"{"test": "TCP_STREAM", "settings": {"duration": "1s", "omit": "0s", "streams": 1, "length": "128k", "response": "1",
            "rate": null, "transactions": null, "send": "write", "receive": "recv", "tuning": {"spin": false, "nodelay": null}, "client_cpus": null,
            "server_cpus": null}, "rounds": [], "summary": null, "verdict": {"valid": true, "reasons": []},
            "ceiling": {"at": "a/eth0", "source": "port", "rate": "10gbit", "payload_bytes": 1448, "wire_bytes": 1538,
            "bits_per_second": 100.0, "achieved": 80.0, "profile": null, "pass": null}}"#,
    )
    .unwrap();
    let figures = rfc6349(&test, &[&side]).unwrap();
    assert_eq!(figures.efficiency_percent, 99.0);
    assert!((figures.buffer_delay_percent.unwrap() - 28.0).abs() < 1e-9);
    assert_eq!(figures.transfer_time_ratio, Some(1.25));
    test.ceiling = None;
    assert_eq!(rfc6349(&test, &[&side]).unwrap().transfer_time_ratio, None);
}
