//! A server that misbehaves on request.

use std::{
    io::{Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
    thread::JoinHandle,
};

use super::*;

const PATIENCE: Duration = Duration::from_secs(5);
const SHORT: Duration = Duration::from_millis(50);

struct Fake {
    path: PathBuf,
    thread: Option<JoinHandle<()>>,
}

impl Fake {
    fn new(serve: impl FnOnce(UnixStream) + Send + 'static) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("netbench-ovsdb-{}-{number}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        let thread = std::thread::spawn(move || serve(listener.accept().unwrap().0));
        Self { path, thread: Some(thread) }
    }

    fn client(&self) -> Client {
        Client::connect(&self.path).unwrap()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Reads one request.
fn request(stream: &mut UnixStream) -> Value {
    let mut decoder = Decoder::default();
    let mut buffer = [0; 4096];
    loop {
        if let Some(message) = decoder.next_message().unwrap() {
            return message;
        }
        let count = stream.read(&mut buffer).unwrap();
        assert!(count > 0, "the client hung up");
        decoder.feed(&buffer[..count]);
    }
}

fn answers(reply: impl FnOnce(Value) -> String + Send + 'static) -> Fake {
    Fake::new(move |mut stream| {
        let asked = request(&mut stream);
        stream.write_all(reply(asked["id"].clone()).as_bytes()).unwrap();
    })
}

fn result(value: Value) -> Fake {
    answers(move |id| json!({"id": id, "result": value, "error": null}).to_string())
}

fn insert() -> Value {
    json!({"op": "insert", "table": "Bridge", "row": {}})
}

#[test]
fn a_call_whose_server_asks_back_first() {
    let fake = Fake::new(|mut stream| {
        let asked = request(&mut stream);
        stream.write_all(br#"{"id":"echo","method":"echo","params":["x"]}{"id":999,"result":1}"#).unwrap();
        let echoed = request(&mut stream);
        assert_eq!(echoed, json!({"id": "echo", "result": ["x"], "error": null}));
        for byte in json!({"id": asked["id"], "result": [1], "error": null}).to_string().bytes() {
            stream.write_all(&[byte]).unwrap();
        }
    });
    assert_eq!(fake.client().call("list_dbs", json!([]), PATIENCE).unwrap(), json!([1]));
}

#[test]
fn an_error_of_the_call() {
    let fake = answers(|id| {
        json!({"id": id, "result": null, "error": {"error": "syntax error", "details": "no"}}).to_string()
    });
    let error = fake.client().transact(&[insert()], PATIENCE).unwrap_err();
    assert!(matches!(&error, Error::Refused { error, .. } if error == "syntax error: no"), "{error}");
}

#[test]
fn an_error_of_one_operation() {
    let fake = result(json!([{}, {"error": "constraint violation", "details": "why"}, null]));
    let error = fake.client().transact(&[insert(), insert(), insert()], PATIENCE).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the database refused operation 2 of 3 (insert in Bridge): constraint violation: why"
    );
}

#[test]
fn an_error_of_the_commit() {
    let fake = result(json!([{}, {"error": "referential integrity violation", "details": "why"}]));
    let error = fake.client().transact(&[insert()], PATIENCE).unwrap_err();
    assert!(matches!(&error, Error::Commit { error, .. } if error == "referential integrity violation"), "{error}");
}

#[test]
fn fewer_results_than_operations() {
    let error = result(json!([{}])).client().transact(&[insert(), insert()], PATIENCE).unwrap_err();
    assert!(matches!(error, Error::Malformed { .. }), "{error}");
    let error = result(json!("x")).client().transact(&[insert()], PATIENCE).unwrap_err();
    assert!(matches!(error, Error::Malformed { .. }), "{error}");
}

#[test]
fn a_socket_that_closes_in_the_middle_of_a_reply() {
    let fake = answers(|_| r#"{"id":1,"result":[{"a":"#.to_owned());
    let error = fake.client().transact(&[insert()], PATIENCE).unwrap_err();
    assert!(matches!(error, Error::Closed { received: 23, .. }), "{error}");
    assert!(error.to_string().contains("23 bytes into its answer"), "{error}");
    let fake = answers(|_| String::new());
    let error = fake.client().transact(&[insert()], PATIENCE).unwrap_err();
    assert!(error.to_string().contains("before it answered"), "{error}");
}

#[test]
fn a_reply_of_ten_megabytes() {
    let rows: Vec<Value> = (0..20_000).map(|n| json!({"_uuid": ["uuid", n], "name": "x".repeat(500)})).collect();
    let all = json!([{"rows": rows}]);
    assert!(all.to_string().len() > 10 << 20);
    assert_eq!(result(all.clone()).client().transact(&[insert()], PATIENCE * 10).unwrap(), *all.as_array().unwrap());
    // And one that ends in the middle.
    let half = all.to_string();
    let half = format!(r#"{{"id":1,"result":{}"#, &half[..half.len() / 2]);
    let length = half.len();
    let error = answers(move |_| half).client().transact(&[insert()], PATIENCE * 10).unwrap_err();
    assert!(matches!(error, Error::Closed { received, .. } if received == length), "{error}");
}

#[test]
fn a_server_that_says_nothing() {
    let (hold, held) = std::sync::mpsc::channel::<()>();
    let fake = Fake::new(move |_stream| {
        let _ = held.recv();
    });
    let error = fake.client().call("echo", json!([]), SHORT).unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error}");
    drop(hold);
}

#[test]
fn a_server_that_does_not_read() {
    let (hold, held) = std::sync::mpsc::channel::<()>();
    let fake = Fake::new(move |_stream| {
        let _ = held.recv();
    });
    let large = "x".repeat(4 << 20);
    let error = fake.client().call("echo", json!([large]), SHORT).unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error}");
    drop(hold);
}

#[test]
fn bytes_that_are_no_message() {
    let error = answers(|_| "HTTP/1.1 400".to_owned()).client().call("echo", json!([]), PATIENCE).unwrap_err();
    assert!(matches!(error, Error::Decode { .. }), "{error}");
}

#[test]
fn nobody_listens() {
    let error = Client::connect(Path::new("/nonexistent/db.sock")).unwrap_err();
    assert!(error.to_string().contains("is the daemon running?"), "{error}");
}

fn monitored(reached: Vec<i64>) -> Fake {
    Fake::new(move |mut stream| {
        let asked = request(&mut stream);
        let name = asked["params"][1].clone();
        let row = |cfg: i64| json!({"Open_vSwitch": {"u": {"new": {"cur_cfg": cfg}}}});
        let first = json!({"id": asked["id"], "result": row(reached[0]), "error": null});
        stream.write_all(first.to_string().as_bytes()).unwrap();
        for cfg in &reached[1..] {
            let update = json!({"id": null, "method": "update", "params": [&name, row(*cfg)]});
            stream.write_all(update.to_string().as_bytes()).unwrap();
        }
        let mut rest = [0; 4096];
        match stream.read(&mut rest) {
            Ok(count) if count > 0 => {
                stream.write_all(br#"{"id":2,"result":{},"error":null}"#).unwrap();
            }
            _ => {}
        }
    })
}

#[test]
fn cur_cfg_is_awaited() {
    monitored(vec![3, 4, 5]).client().wait_applied(5, PATIENCE, &|| false).unwrap();
    monitored(vec![7]).client().wait_applied(5, PATIENCE, &|| false).unwrap();
}

#[test]
fn cur_cfg_that_never_comes() {
    let error = monitored(vec![3, 4]).client().wait_applied(5, SHORT, &|| false).unwrap_err();
    assert!(matches!(error, Error::NotApplied { wanted: 5, reached: 4, .. }), "{error}");
}
