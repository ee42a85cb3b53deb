//! The store on a real disk: several writers, writers that are killed, files that are damaged or somebody else's.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Barrier,
    time::Duration,
};

use netbench::{
    facts::Machine,
    record::{
        RunRecord, TopologyRef,
        kept::{Kept, Kind},
    },
    store::{Filter, Pick, Store, StoreError},
};

/// Set for a child of the test that does nothing but append.
const WRITER: &str = "NETBENCH_TEST_WRITER";

/// A folder of the test, removed with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("netbench-store-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("it is there");
        Self(path)
    }

    fn store(&self) -> PathBuf {
        self.0.join("deeper/runs.db")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

fn record(topology: &str) -> RunRecord {
    let topology = TopologyRef { name: topology.into(), hash: "0".into() };
    let mut record =
        RunRecord::new("2026-11-22T10:00:00Z".parse().expect("it is there"), vec![], topology, Machine::default());
    // As long as a run of some rounds.
    record.warnings.push("x".repeat(20_000));
    record
}

/// A process that appends until it is killed and says the number of each run that was kept.
fn writer(store: &Path, name: &str) -> Child {
    let mut command = Command::new(std::env::current_exe().expect("it is there"));
    command.args(["--exact", "append_when_asked", "--nocapture"]).env(WRITER, store).env("NETBENCH_TEST_NAME", name);
    command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it is there")
}

/// No test of its own: the body of [`writer`].
#[test]
fn append_when_asked() {
    let Some(path) = std::env::var_os(WRITER) else { return };
    let name = std::env::var("NETBENCH_TEST_NAME").expect("it is there");
    let mut store = Store::open(Path::new(&path)).expect("it is there");
    loop {
        let run = store.append(&record(&name)).expect("it is there");
        let mut out = std::io::stdout().lock();
        writeln!(out, "\nkept {run}").and_then(|()| out.flush()).expect("it is there");
    }
}

/// The next run that a writer says it has kept.
fn kept(lines: &mut impl Iterator<Item = std::io::Result<String>>) -> Option<i64> {
    lines.map_while(Result::ok).find_map(|line| line.strip_prefix("kept ")?.parse().ok())
}

fn assert_whole(path: &Path) {
    let found: String = rusqlite::Connection::open(path)
        .expect("it is there")
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .expect("it is there");
    assert_eq!(found, "ok");
}

#[test]
fn what_was_kept_survives_kill_9_at_any_moment() {
    let folder = Folder::new("kill");
    let mut all = Vec::new();
    for round in 0..12_u64 {
        let mut child = writer(&folder.store(), "killed");
        let mut lines = BufReader::new(child.stdout.take().expect("it is there")).lines();
        all.push(kept(&mut lines).expect("the writer keeps one"));
        // Any moment of an append: they take less than a millisecond or some, one after the other.
        std::thread::sleep(Duration::from_micros(700 * round));
        child.kill().expect("it is there");
        child.wait().expect("it is there");
        all.extend(std::iter::from_fn(|| kept(&mut lines)));
        let store = Store::open(&folder.store()).expect("it is there");
        for run in &all {
            assert!(store.get(Pick::Number(*run)).expect("it is there").is_some(), "run {run} was kept and is gone");
        }
    }
    assert_whole(&folder.store());
    let store = Store::open(&folder.store()).expect("it is there");
    // One more may have been kept than its writer had time to say, each time.
    assert!(store.count().expect("it is there") >= all.len() as u64);
    let listed = store.list(&Filter { limit: u32::MAX, ..Filter::default() }).expect("it is there");
    assert_eq!(listed.len() as u64, store.count().expect("it is there"));
}

#[test]
fn two_writers_lose_nothing() {
    let folder = Folder::new("two");
    // Both make the file, too.
    let mut writers = ["a", "b"].map(|name| writer(&folder.store(), name));
    let mut lines = writers.each_mut().map(|child| BufReader::new(child.stdout.take().expect("it is there")).lines());
    let mut all = Vec::new();
    for _ in 0..40 {
        all.extend(lines.each_mut().map(|lines| kept(lines).expect("both go on")));
    }
    for child in &mut writers {
        child.kill().expect("it is there");
        child.wait().expect("it is there");
    }
    let store = Store::open(&folder.store()).expect("it is there");
    all.sort_unstable();
    let said = all.len();
    all.dedup();
    assert_eq!(all.len(), said, "no number twice");
    for name in ["a", "b"] {
        let of = Filter { topology: Some(name.into()), limit: u32::MAX, ..Filter::default() };
        assert!(store.list(&of).expect("it is there").len() >= 40);
    }
    assert_whole(&folder.store());
}

/// Who opens a file while others make it, write it or let go of it waits for them, and never takes it for a foreign or a damaged one.
#[test]
fn all_that_make_the_file_at_once_have_it() {
    let folder = Folder::new("rush");
    for round in 0..60 {
        let path = folder.0.join(format!("{round}.db"));
        let start = Barrier::new(4);
        let open = |name: &str| {
            start.wait();
            [(); 3].map(|()| {
                let kept = Store::open(&path).and_then(|mut store| store.append(&record(name)));
                kept.unwrap_or_else(|error| panic!("round {round}, {name}: {error}"))
            })
        };
        let open = &open;
        let runs = std::thread::scope(|scope| {
            ["a", "b", "c", "d"]
                .map(|name| scope.spawn(move || open(name)))
                .map(|each| each.join().expect("it is there"))
        });
        let mut runs = runs.concat();
        runs.sort_unstable();
        assert_eq!(runs, (1..=12).collect::<Vec<_>>(), "round {round}");
    }
}

#[test]
fn runs_come_back_as_they_were() {
    let folder = Folder::new("back");
    assert!(Store::open_existing(&folder.store()).expect("it is there").is_none(), "reading makes no file");
    assert!(!folder.store().exists());
    let mut store = Store::open(&folder.store()).expect("it is there");
    let (one, two) = (record("one"), record("two"));
    assert_eq!((store.append(&one).expect("it is there"), store.append(&two).expect("it is there")), (1, 2));
    assert_eq!(store.get(Pick::Last(0)).expect("it is there"), Some((2, Kept::Run(Box::new(two)))));
    assert_eq!(store.get(Pick::Last(1)).expect("it is there"), Some((1, Kept::Run(Box::new(one.clone())))));
    assert_eq!(store.get(Pick::Number(1)).expect("it is there"), Some((1, Kept::Run(Box::new(one)))));
    assert_eq!(store.get(Pick::Last(2)).expect("it is there"), None);
    let list = |filter| store.list(&filter).expect("it is there").iter().map(|past| past.run).collect::<Vec<_>>();
    let all = Filter { limit: 9, ..Filter::default() };
    assert_eq!(list(all.clone()), [2, 1]);
    assert_eq!(list(Filter { limit: 1, ..all.clone() }), [2]);
    assert_eq!(list(Filter { topology: Some("one".into()), ..all.clone() }), [1]);
    assert_eq!(list(Filter { kind: Some(Kind::Run), before: Some(2), ..all.clone() }), [1]);
    assert_eq!(list(Filter { kind: Some(Kind::Sweep), ..all.clone() }), [0_i64; 0]);
    assert_eq!(list(Filter { since: Some("2026-11".into()), ..all.clone() }), [2, 1]);
    assert_eq!(list(Filter { since: Some("2026-12".into()), ..all }), [0_i64; 0]);
}

/// Opening must fail like this and leave the file as it is, to the byte.
#[track_caller]
fn refused(path: &Path, fits: impl Fn(&StoreError) -> bool, words: &str) {
    let before = fs::read(path).expect("it is there");
    for error in [Store::open(path).expect_err("refused"), Store::open_existing(path).map(drop).expect_err("refused")] {
        assert!(fits(&error) && error.to_string().contains(words), "{error}");
        assert!(error.to_string().contains(path.to_str().expect("it is there")), "{error}");
    }
    assert!(fs::read(path).expect("it is there") == before, "{} was changed", path.display());
}

#[test]
fn what_is_not_a_sound_store_of_ours_is_refused_and_left_as_it_is() {
    let folder = Folder::new("refused");
    let path = |name: &str| folder.0.join(name);

    fs::write(path("notes.txt"), "my notes\n").expect("it is there");
    refused(&path("notes.txt"), |e| matches!(e, StoreError::Foreign { .. }), "is left as it is");

    let other = rusqlite::Connection::open(path("other.db")).expect("it is there");
    other.execute_batch("CREATE TABLE theirs (x); INSERT INTO theirs VALUES (1)").expect("it is there");
    drop(other);
    refused(&path("other.db"), |e| matches!(e, StoreError::Foreign { .. }), "not a store of netbench");

    let sound = path("sound.db");
    let mut store = Store::open(&sound).expect("it is there");
    (0..20).for_each(|_| {
        store.append(&record("t")).expect("it is there");
    });
    drop(store);
    let whole = fs::read(&sound).expect("it is there");

    for length in [10, 99, 100, 4096, whole.len() / 2, whole.len() - 1] {
        fs::write(path("cut.db"), &whole[..length]).expect("it is there");
        refused(&path("cut.db"), |e| matches!(e, StoreError::Damaged { .. }), "damaged");
    }

    let newer = rusqlite::Connection::open(&sound).expect("it is there");
    newer.pragma_update(None, "user_version", 99).expect("it is there");
    newer.pragma_update(None, "journal_mode", "DELETE").expect("it is there");
    drop(newer);
    refused(&sound, |e| matches!(e, StoreError::Newer { found: 99, .. }), "later netbench");
}

#[test]
fn an_earlier_format_is_brought_up_to_date() {
    let folder = Folder::new("earlier");
    let path = folder.store();
    let mut store = Store::open(&path).expect("it is there");
    store.append(&record("kept")).expect("it is there");
    drop(store);
    let earlier = rusqlite::Connection::open(&path).expect("it is there");
    // As version 1 wrote it: no kind, and a line without what came later.
    earlier
        .execute_batch(
            "DROP INDEX run_by_fingerprint; DROP INDEX run_by_kind; ALTER TABLE run DROP COLUMN kind; \
             UPDATE run SET line = json_remove(line, '$.kind', '$.headline'); PRAGMA user_version = 1",
        )
        .expect("it is there");
    drop(earlier);
    let mut store = Store::open(&path).expect("it is there");
    assert_eq!(store.count().expect("it is there"), 1);
    let (run, kept) = store.get(Pick::Last(0)).expect("it is there").expect("it is there");
    assert_eq!((run, kept), (1, Kept::Run(Box::new(record("kept")))));
    assert_eq!(store.append(&record("later")).expect("it is there"), 2);
    let runs = Filter { kind: Some(Kind::Run), limit: 9, ..Filter::default() };
    assert_eq!(store.list(&runs).expect("it is there").len(), 2);
    let now = rusqlite::Connection::open(&path).expect("it is there");
    let indexes: i64 = now
        .query_row("SELECT count(*) FROM sqlite_schema WHERE name = 'run_by_fingerprint'", [], |row| row.get(0))
        .expect("it is there");
    assert_eq!(indexes, 1);
}

#[test]
fn a_kind_of_a_later_version_is_named() {
    let folder = Folder::new("kind");
    let path = folder.store();
    Store::open(&path).expect("it is there").append(&record("kept")).expect("it is there");
    let other = rusqlite::Connection::open(&path).expect("it is there");
    other.execute_batch("UPDATE run SET kind = 'jitter'").expect("it is there");
    drop(other);
    let error = Store::open(&path).expect("it is there").get(Pick::Last(0)).expect_err("unknown");
    assert!(error.to_string().contains("number 1 is a `jitter`"), "{error}");
}

/// Not a test: `scripts/bench-store` runs it.
#[test]
#[ignore = "a measurement: scripts/bench-store"]
fn appends_to_a_large_store() {
    let runs: usize = std::env::var("NETBENCH_BENCH_RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(100_000);
    let folder = Folder::new("large");
    let mut store = Store::open(&folder.store()).expect("it is there");
    let mut times = Vec::with_capacity(runs);
    let one = record("large");
    for _ in 0..runs {
        let began = std::time::Instant::now();
        store.append(&one).expect("it is there");
        times.push(began.elapsed().as_secs_f64() * 1e3);
    }
    let report = |what: &str, times: &mut [f64]| {
        times.sort_by(f64::total_cmp);
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
        println!("{what}: median {:.3} ms, p99 {:.3} ms, longest {:.3} ms", at(0.5), at(0.99), at(1.0));
    };
    let last = times.len().saturating_sub(1000);
    report("the last 1000 appends", &mut times[last..]);
    report("all appends", &mut times);
    let began = std::time::Instant::now();
    let listed = store.list(&Filter { limit: 20, ..Filter::default() }).expect("it is there").len();
    println!("the latest {listed} of {runs} runs: {:.3} ms", began.elapsed().as_secs_f64() * 1e3);
    drop(store);
    // As a command does it: opened, one appended, closed, which moves the log into the file.
    let mut times = Vec::new();
    for _ in 0..200 {
        let began = std::time::Instant::now();
        let mut store = Store::open(&folder.store()).expect("it is there");
        store.append(&one).expect("it is there");
        drop(store);
        times.push(began.elapsed().as_secs_f64() * 1e3);
    }
    report("opened, one appended, closed", &mut times);
}
