//! HTTP/1.1 GET over a unix socket, as far as an engine's answer needs it.

use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

/// For the connection's reads and writes.
const TIMEOUT: Duration = Duration::from_secs(5);
/// An inspected container is some kilobytes.
const LARGEST: u64 = 8 << 20;

/// Status and body.
pub(super) fn get(socket: &Path, path: &str) -> io::Result<(u16, Vec<u8>)> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    let mut stream = stream.take(LARGEST);
    let mut chunk = [0; 16_384];
    loop {
        if let Some(parsed) = parse(&answer, false)? {
            return Ok(parsed);
        }
        match stream.read(&mut chunk) {
            Ok(0) => break,
            Ok(length) => answer.extend_from_slice(&chunk[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    parse(&answer, true)?.ok_or_else(|| bad("the answer ends too early"))
}

fn bad(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// Status and body of an answer, `None` while it is not whole; `ended` when no more will come, which ends a body that
/// says nothing of its length.
fn parse(answer: &[u8], ended: bool) -> io::Result<Option<(u16, Vec<u8>)>> {
    let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let head = String::from_utf8_lossy(&answer[..end]);
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    let status = status.ok_or_else(|| bad("no HTTP status"))?;
    let (mut length, mut chunked) = (None, false);
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        match name.trim().to_ascii_lowercase().as_str() {
            "content-length" => length = Some(value.trim().parse::<usize>().map_err(|_| bad("a bad Content-Length"))?),
            "transfer-encoding" => chunked = value.trim().eq_ignore_ascii_case("chunked"),
            _ => {}
        }
    }
    let body = &answer[end + 4..];
    let body = match length {
        _ if chunked => dechunk(body)?,
        Some(length) => body.get(..length).map(<[u8]>::to_vec),
        None => ended.then(|| body.to_vec()),
    };
    Ok(body.map(|body| (status, body)))
}

/// Chunks joined; `None` while the last is not there.
fn dechunk(mut rest: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let mut body = Vec::new();
    loop {
        let Some(end) = rest.windows(2).position(|window| window == b"\r\n") else { return Ok(None) };
        let line = String::from_utf8_lossy(&rest[..end]);
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16).map_err(|_| bad("a bad chunk size"))?;
        if size == 0 {
            return Ok(Some(body));
        }
        let data = end + 2;
        let Some(chunk) = data.checked_add(size).and_then(|after| rest.get(data..after)) else { return Ok(None) };
        body.extend_from_slice(chunk);
        let Some(after) = rest.get(data + size + 2..) else { return Ok(None) };
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, ended: bool) {
            let _ = parse(&[b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", &bytes[..]].concat(), ended);
            let _ = parse(&bytes, ended);
        }
    }
}
