//! The process of a container, asked of Docker's or Podman's socket: one HTTP GET, which is all that is needed.

mod http;

use std::path::{Path, PathBuf};

use super::{Error, Result, error::Operation};

/// Process id of a running container, by engine (`docker`, `podman`) and name or id.
pub fn pid(engine: &str, name: &str) -> Result<u32> {
    pid_from(&sockets(engine, &|key| std::env::var(key).ok()), engine, name)
}

/// Sockets of an engine, in the order in which they are tried.
fn sockets(engine: &str, variable: &dyn Fn(&str) -> Option<String>) -> Vec<PathBuf> {
    let unix = |key: &str| variable(key)?.strip_prefix("unix://").map(PathBuf::from);
    let mut found: Vec<PathBuf> = Vec::new();
    match engine {
        "podman" => {
            found.extend(unix("CONTAINER_HOST"));
            found.push("/run/podman/podman.sock".into());
            found.extend(variable("XDG_RUNTIME_DIR").map(|folder| Path::new(&folder).join("podman/podman.sock")));
        }
        _ => {
            found.extend(unix("DOCKER_HOST"));
            found.extend(["/run/docker.sock", "/var/run/docker.sock"].map(PathBuf::from));
            found.extend(variable("XDG_RUNTIME_DIR").map(|folder| Path::new(&folder).join("docker.sock")));
        }
    }
    found.dedup();
    found
}

/// As [`pid`], over given sockets.
pub fn pid_from(sockets: &[PathBuf], engine: &str, name: &str) -> Result<u32> {
    let operation = || Operation::plain(format!("find the {engine} container"), name);
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    if name.is_empty() || !name.bytes().all(allowed) {
        return Err(operation().conflict("a container's name has letters, digits, `_`, `.` and `-` only"));
    }
    let mut tried = Vec::new();
    for socket in sockets {
        match ask(socket, engine, name) {
            Ok(answer) => return answer.map_err(|why| operation().conflict(why)),
            Err(why) => tried.push(format!("{}: {why}", socket.display())),
        }
    }
    Err(unreachable(operation(), &tried))
}

fn unreachable(operation: Operation, tried: &[String]) -> Error {
    match tried {
        [] => operation.conflict("no socket of the engine is known"),
        _ => operation.conflict(format!("no engine answered ({})", tried.join("; "))),
    }
}

/// Outer error: this socket is of no use, try the next. Inner error: the engine has spoken.
fn ask(socket: &Path, engine: &str, name: &str) -> Result<Result<u32, String>, String> {
    // Without a version the engine answers in its newest; some proxies and old engines want one.
    let mut paths = vec![format!("/containers/{name}/json"), format!("/v1.24/containers/{name}/json")];
    if engine == "podman" {
        paths.push(format!("/v4.0.0/libpod/containers/{name}/json"));
    }
    let mut last = String::new();
    for path in paths {
        let (status, body) = http::get(socket, &path).map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&body);
        match status {
            200 => return Ok(running_pid(&body)),
            404 if text.to_lowercase().contains("container") => {
                return Ok(Err(format!("there is no such container (asked {})", socket.display())));
            }
            _ => last = format!("HTTP status {status} for {path}"),
        }
    }
    Err(last)
}

fn running_pid(body: &[u8]) -> Result<u32, String> {
    let answer: serde_json::Value =
        serde_json::from_slice(body).map_err(|error| format!("unreadable answer: {error}"))?;
    let state = &answer["State"];
    match state["Pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()) {
        Some(pid) if pid > 0 => Ok(pid),
        Some(_) => Err(format!("it is not running (state: {})", state["Status"].as_str().unwrap_or("unknown"))),
        None => Err("the answer has no State.Pid".into()),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        os::unix::net::UnixListener,
    };

    use super::*;

    /// Serves canned answers, one a connection; returns the requested paths.
    fn engine(name: &str, answers: Vec<String>) -> (PathBuf, std::thread::JoinHandle<Vec<String>>) {
        let path = std::env::temp_dir().join(format!("netbench-{}-{name}.sock", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        let bound = path.clone();
        let served = std::thread::spawn(move || {
            let mut asked = Vec::new();
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    stream.read_exact(&mut byte).unwrap();
                    request.push(byte[0]);
                }
                asked.push(String::from_utf8(request).unwrap().split(' ').nth(1).unwrap().to_owned());
                stream.write_all(answer.as_bytes()).unwrap();
            }
            std::fs::remove_file(bound).unwrap();
            asked
        });
        (path, served)
    }

    fn plain(status: &str, body: &str) -> String {
        format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    }

    #[test]
    fn the_pid_is_read_from_plain_and_chunked_answers_and_older_paths_are_tried() {
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                       e\r\n{\"State\":{\"Pid\r\n7;x=y\r\n\":4711}\r\n1\r\n}\r\n0\r\n\r\n";
        let answers = vec![plain("400 Bad Request", "client version too new"), chunked.to_owned()];
        let (path, served) = engine("chunked", answers);
        assert_eq!(pid_from(&[path], "docker", "web").unwrap(), 4711);
        assert_eq!(served.join().unwrap(), ["/containers/web/json", "/v1.24/containers/web/json"]);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let answers = vec![
            plain("404 Not Found", r#"{"message":"No such container: web"}"#),
            plain("200 OK", r#"{"State":{"Pid":0,"Status":"exited"}}"#),
        ];
        let (path, served) = engine("wrong", answers);
        let sockets = [PathBuf::from("/nonexistent/docker.sock"), path];
        let error = pid_from(&sockets, "docker", "web").unwrap_err().to_string();
        assert!(error.starts_with("find the docker container web: there is no such container"), "{error}");
        let error = pid_from(&sockets, "docker", "web").unwrap_err().to_string();
        assert!(error.contains("it is not running (state: exited)"), "{error}");
        served.join().unwrap();
        let error = pid_from(&sockets[..1], "docker", "web").unwrap_err().to_string();
        assert!(error.contains("/nonexistent/docker.sock: No such file"), "{error}");
        assert!(pid_from(&sockets, "docker", "../../etc").is_err());
    }

    #[test]
    fn the_environment_names_sockets() {
        let variable = |key: &str| match key {
            "DOCKER_HOST" => Some("unix:///x.sock".to_owned()),
            "XDG_RUNTIME_DIR" => Some("/run/user/1".to_owned()),
            _ => None,
        };
        assert_eq!(sockets("docker", &variable)[0], Path::new("/x.sock"));
        assert_eq!(sockets("podman", &variable).last().unwrap(), Path::new("/run/user/1/podman/podman.sock"));
    }
}
