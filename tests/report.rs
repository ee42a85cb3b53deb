//! The report of a fixed record: golden text, columns, schema.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod schema;

use netbench::{
    experiment::{doubtful, summary},
    facts::{LinkCounters, Machine},
    measured::*,
    record::*,
    report,
    stats::spread,
    units::{ByteSize, CpuList, Span},
};

fn stream(bytes: u64, units: u64, tcp: bool) -> Stream {
    Stream {
        stream: 0,
        local: "198.18.0.1:40000".into(),
        peer: "198.18.0.2:41000".into(),
        bytes,
        omitted_bytes: 0,
        units,
        omitted_units: 0,
        elapsed_ns: 1_000_000_000,
        calls: 22_000,
        io: None,
        cpu: ThreadCpu {
            user_ns: 20_000_000,
            system_ns: 930_000_000,
            waiting_ns: Some(10_000_000),
            pinned: Some(CpuList(vec![0])),
            last_cpu: Some(0),
        },
        socket: SocketFacts {
            sndbuf: 2_626_560,
            rcvbuf: 6_291_456,
            mss: tcp.then_some(8948),
            congestion: tcp.then(|| "cubic".into()),
            nodelay: tcp.then_some(units > 0),
            dscp: Some(0),
            flow_label: None,
            incoming_cpu: Some(3),
            napi_id: None,
        },
        tcp: tcp.then(|| TcpInfo {
            retransmits: Some(0),
            rtt_us: Some(45),
            min_rtt_us: Some(20),
            snd_cwnd: Some(73),
            ..TcpInfo::default()
        }),
        datagrams: None,
        schedule: None,
        verified: None,
        retries: None,
    }
}

fn side(stream: Stream, latency: Option<Latency>) -> Side {
    let interval =
        Interval { start_ns: 0, end_ns: stream.elapsed_ns, bytes: stream.bytes, units: stream.units, tcp: None };
    Side {
        streams: vec![stream],
        intervals: vec![interval],
        latency,
        uncorrected: None,
        cpus: vec![],
        back: None,
        arrived: None,
    }
}

fn proved() -> PathEvidence {
    let counted = LinkCounters::default();
    let hop = |at: &str, direction: &str| HopEvidence {
        at: at.into(),
        direction: direction.into(),
        bytes: 2_926_000_000,
        packets: 45_000,
        reverse_bytes: 900_000,
        reverse_packets: 13_000,
        expected_bytes: (2_900_000_000, 3_300_000_000),
        dropped: counted.rx_dropped,
        qdisc_dropped: counted.qdisc_dropped,
        driver: Default::default(),
        ok: true,
    };
    PathEvidence {
        hops: vec![
            hop("client/eth0", "tx"),
            hop("fabric/client-0", "rx"),
            hop("fabric/server-0", "tx"),
            hop("server/eth0", "rx"),
        ],
        strays: vec![],
        below_packets: 0,
        verdict: PathVerdict::Proved,
    }
}

fn settings(length: u64) -> Settings {
    Settings {
        duration: Span(std::time::Duration::from_secs(1)),
        omit: Span(std::time::Duration::ZERO),
        streams: 1,
        length: ByteSize(length),
        whole_segments: false,
        response: ByteSize(1),
        amount: None,
        rate: None,
        transactions: None,
        burst: 0,
        verify: None,
        send: SendMode::Write,
        receive: ReceiveMode::Recv,
        tuning: Tuning::default(),
        client_cpus: Some(CpuList(vec![0])),
        server_cpus: None,
        placement: None,
    }
}

fn record() -> RunRecord {
    let mut record = RunRecord::new(
        "2026-11-22T10:00:00Z".parse().unwrap(),
        vec!["netbench".into(), "run".into(), "bridge".into()],
        TopologyRef { name: "bridge".into(), hash: "00c0ffee00c0ffee".into() },
        Machine {
            hostname: "lab1".into(),
            kernel: "6.18.44".into(),
            cpu: "AMD EPYC".into(),
            cpus: 2,
            memory_bytes: 4 << 30,
            governor: None,
        },
    );
    record.netbench = "0.1.0".into();
    record.rootless = true;
    let round = |round, headline, client: Side, server: Side| RoundRecord {
        round,
        headline,
        client,
        server,
        path: proved(),
        losses: vec![],
        bottleneck: None,
        other_way: None,
    };
    let valid = Verdict { valid: true, reasons: vec![] };

    let goodputs = [23.41e9, 22.9e9, 24.05e9];
    let tcp = TestRecord {
        test: Test::TcpStream,
        settings: settings(131_072),
        io_probe: None,
        placement: vec![],
        rounds: (1..)
            .zip(goodputs)
            .map(|(i, bits)| {
                let bytes = (bits / 8.0) as u64;
                round(i, bits, side(stream(bytes, 0, true), None), side(stream(bytes, 0, true), None))
            })
            .collect(),
        under: None,
        summary: Some(Summary {
            unit: Unit::BitsPerSecond,
            headline: spread(&goodputs).unwrap(),
            directions: None,
            retransmits: Some(0),
            datagrams: None,
            latency: None,
            uncorrected: None,
            schedule: None,
            retries: None,
            sender_cost: None,
            receiver_cost: None,
            delivery_rate: None,
            rfc6349: None,
        }),
        verdict: valid.clone(),
        warnings: Vec::new(),
        ceiling: None,
    };
    let latency = Latency {
        count: 16_780,
        min_ns: 31_000,
        mean_ns: 59_500.0,
        p50_ns: 58_943,
        p90_ns: 71_000,
        p99_ns: 96_100,
        p99_9_ns: 348_000,
        p99_99_ns: 1_230_000,
        p99_999_ns: 1_950_000,
        max_ns: 2_100_000,
    };
    let rr = TestRecord {
        test: Test::TcpRr,
        settings: settings(1),
        io_probe: None,
        placement: vec![],
        rounds: vec![round(
            1,
            16_780.0,
            side(stream(16_780, 16_780, true), Some(latency)),
            side(stream(16_780, 16_780, true), None),
        )],
        under: None,
        summary: Some(Summary {
            unit: Unit::TransactionsPerSecond,
            headline: spread(&[16_780.0]).unwrap(),
            directions: None,
            retransmits: Some(0),
            datagrams: None,
            latency: Some(latency),
            uncorrected: None,
            schedule: None,
            retries: None,
            sender_cost: None,
            receiver_cost: None,
            delivery_rate: None,
            rfc6349: None,
        }),
        verdict: valid,
        warnings: Vec::new(),
        ceiling: None,
    };
    let received = 350_000;
    let mut receiver = stream(received * 8972, received, false);
    let datagrams = Datagrams {
        sent: 360_000,
        received,
        lost: 10_000,
        jitter_ns: 3_200,
        socket_drops: Some(10_000),
        ..Datagrams::default()
    };
    receiver.datagrams = Some(datagrams);
    let reason = "client/eth0 counted 5000 bytes tx, at least 3140200000 were delivered; client/eth1 carried 3200000000 bytes and is not on it";
    let mut astray = round(1, 25.12e9, side(stream(360_000 * 8972, 360_000, false), None), side(receiver, None));
    astray.path.verdict = PathVerdict::NotProved { reason: reason.into() };
    let udp = TestRecord {
        test: Test::UdpStream,
        settings: settings(8972),
        io_probe: None,
        placement: vec![],
        rounds: vec![astray],
        under: None,
        summary: Some(Summary {
            unit: Unit::BitsPerSecond,
            headline: spread(&[25.12e9]).unwrap(),
            directions: None,
            retransmits: None,
            datagrams: Some(DatagramSummary {
                sent: 360_000,
                lost: 10_000,
                socket_drops: 10_000,
                reordered: 0,
                duplicates: 0,
                jitter_ns: 3_200,
                losses: vec![LossShare {
                    place: LossPlace::ReceivingSocket,
                    at: None,
                    datagrams: 10_000,
                    counted: 10_000,
                    at_most: false,
                }],
            }),
            latency: None,
            uncorrected: None,
            schedule: None,
            retries: None,
            sender_cost: None,
            receiver_cost: None,
            delivery_rate: None,
            rfc6349: None,
        }),
        verdict: Verdict { valid: false, reasons: vec![format!("round 1: path not proved: {reason}")] },
        warnings: Vec::new(),
        ceiling: None,
    };
    record.flows = vec![FlowRecord {
        from: "client".into(),
        to: "server".into(),
        from_address: "198.18.0.1".into(),
        to_address: "198.18.0.2".into(),
        mtu: 9000,
        tests: vec![tcp, rr, udp],
    }];
    record.warnings = vec!["UDP_STREAM client → server: 10000 datagrams dropped by the receiving socket, not by the network: it reads too slowly; try --rate".into()];
    record
}

fn plain(record: &RunRecord) -> String {
    let mut out = anstream::StripStream::new(Vec::new());
    report::text(record, &mut out).unwrap();
    String::from_utf8(out.into_inner()).unwrap()
}

#[test]
fn text_is_as_agreed_and_fits_80_columns() {
    let text = plain(&record());
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{}: {line}", line.chars().count());
        assert_eq!(line, line.trim_end());
    }
    insta::assert_snapshot!("report", text);
}

/// Each reason to doubt figures is found in the rounds of a record, alone, and told with its cause and what to try.
#[test]
fn what_makes_rounds_doubtful_is_found_in_them_and_told() {
    let of = |change: &dyn Fn(&mut TestRecord)| {
        let mut test = record().flows[0].tests[0].clone();
        for (number, round) in test.rounds.iter_mut().enumerate() {
            let load = CpuLoad { cpu: 1, softirq: 0.5, mhz: Some(2400.0 + number as f64), ..CpuLoad::default() };
            round.server.cpus = vec![load];
        }
        change(&mut test);
        doubtful::warnings(&test)
    };
    assert_eq!(of(&|_| {}), []);
    let last = |test: &mut TestRecord| test.rounds.len() - 1;
    type Case<'c> = (&'c str, &'c str, &'c dyn Fn(&mut TestRecord));
    let cases: [Case<'_>; 5] = [
        ("unsteady", "--rounds auto", &|test| test.summary.as_mut().unwrap().headline.cv = Some(0.08)),
        ("steal", "other guests", &|test| test.rounds[0].server.cpus[0].steal = 0.02),
        ("frequency_drift", "1200 to 2401 MHz", &|test| {
            let last = last(test);
            test.rounds[last].server.cpus[0].mhz = Some(1200.0);
        }),
        ("softirq_full", "CPU 1 spent 100 % in softirq", &|test| test.rounds[1].server.cpus[0].softirq = 0.995),
        ("generator_limited", "in 1 of 3 rounds", &|test| {
            let evidence = "it sent 40 % of the asked rate".to_owned();
            test.rounds[2].bottleneck = Some(Bottleneck { limit: Limit::Generator, evidence, inconclusive: None });
        }),
    ];
    for (word, says, change) in cases {
        let found = of(change);
        assert_eq!(found.iter().map(|warning| warning.word()).collect::<Vec<_>>(), [word], "{found:?}");
        let told = found[0].to_string();
        assert!(told.contains(says) && told.contains(found[0].cause()) && told.contains(found[0].next()), "{told}");
        // The report has it.
        let mut whole = record();
        whole.flows[0].tests[0].warnings = found;
        whole.warnings = summary::warnings(&whole.flows[0].tests[0]);
        assert!(plain(&whole).split_whitespace().collect::<Vec<_>>().join(" ").contains(&told), "{}", plain(&whole));
    }
}

#[test]
fn a_receiver_that_began_late_is_told_of_where_it_matters() {
    let told = |late_ns| {
        let mut test = record().flows[0].tests[0].clone();
        let io = StreamIo { late_ns: Some(late_ns), ..StreamIo::default() };
        test.rounds[0].server.streams[0].io = Some(io);
        (test.rounds[0].server.bits_per_second(), summary::warnings(&test))
    };
    let ((whole, silent), (half, warned)) = (told(10_000_000), told(1_000_000_000));
    assert_eq!(silent, Vec::<String>::new(), "one in a hundred");
    assert!((whole / half - 2.0 / 1.01).abs() < 1e-9, "{whole} {half}");
    assert!(warned.len() == 1 && warned[0].starts_with("a receiver began 1000 ms late"), "{warned:?}");
}

#[test]
fn long_names_and_long_reasons_still_fit() {
    let mut record = record();
    record.flows[0].from = "n".repeat(70);
    record.flows[0].to = "m".repeat(70);
    record.topology.name = "t".repeat(90);
    record.flows[0].tests[0].verdict = Verdict { valid: false, reasons: vec!["x".repeat(300), "y ".repeat(200)] };
    record.flows[0].tests[0].rounds[2].path.hops[3].at = "h".repeat(120);
    record.flows[0].tests[1].summary = None;
    record.interrupted = true;
    let text = plain(&record);
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    assert!(text.contains("no result") && text.contains("interrupted"));
}

#[test]
fn json_is_the_record_and_conforms_to_the_schema() {
    let record = record();
    let mut out = Vec::new();
    report::json(&record, &mut out).unwrap();
    let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
    schema::conforms("run", &value).unwrap();
    assert_eq!(serde_json::from_slice::<RunRecord>(&out).unwrap(), record);

    let mut broken = value.clone();
    broken["flows"][0]["tests"][0]["test"] = "TCP_NOTHING".into();
    assert!(schema::conforms("run", &broken).is_err());
    let mut short = value;
    short["flows"][0].as_object_mut().unwrap().remove("tests");
    assert!(schema::conforms("run", &short).unwrap_err().contains("tests is missing"));
}
