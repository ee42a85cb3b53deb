//! JSON-RPC as ovsdb-server (RFC 7047) and the daemons' control sockets speak it: one call after the other, blocking,
//! each with a deadline; the server's keepalives are answered on the way.

use std::{collections::VecDeque, path::Path, time::Duration};

use serde_json::{Value, json};

use super::{
    Error, Result,
    decode::Decoder,
    wire::{Deadline, Wire},
};

/// The database of the switch's configuration.
pub const DATABASE: &str = "Open_vSwitch";

/// Between two looks whether the switch is still there.
const LOOK: Duration = Duration::from_millis(100);

/// A connection.
#[derive(Debug)]
pub struct Client {
    wire: Wire,
    decoder: Decoder,
    next_id: u64,
    /// Updates that came while something else was waited for.
    updates: VecDeque<Value>,
}

impl Client {
    /// Connects to a database's socket.
    pub fn connect(path: &Path) -> Result<Self> {
        Self::connect_to("the Open vSwitch database", path)
    }

    pub(super) fn connect_to(what: &'static str, path: &Path) -> Result<Self> {
        let wire = Wire::connect(what, path)?;
        Ok(Self { wire, decoder: Decoder::default(), next_id: 1, updates: VecDeque::new() })
    }

    /// Calls a method and returns its result.
    pub fn call(&mut self, method: &str, params: Value, patience: Duration) -> Result<Value> {
        self.call_until(method, params, Deadline::after(patience))
    }

    fn call_until(&mut self, method: &str, params: Value, deadline: Deadline) -> Result<Value> {
        let id = self.next_id;
        self.next_id += 1;
        let request = json!({"method": method, "params": params, "id": id});
        self.wire.send(request.to_string().as_bytes(), method, deadline)?;
        loop {
            let mut message = self.receive(method, deadline)?;
            if message.get("method").is_some_and(|method| !method.is_null()) {
                self.notified(message, deadline)?;
                continue;
            }
            if message.get("id") != Some(&Value::from(id)) {
                continue; // the late answer to a call whose deadline has passed
            }
            return match message.get_mut("error").map(Value::take) {
                None | Some(Value::Null) => Ok(message.get_mut("result").map(Value::take).unwrap_or(Value::Null)),
                Some(error) => Err(Error::Refused {
                    path: self.wire.path().to_owned(),
                    during: method.to_owned(),
                    error: words(&error),
                }),
            };
        }
    }

    /// Carries out operations as one transaction: all of them or none. Returns one result for each.
    pub fn transact(&mut self, operations: &[Value], patience: Duration) -> Result<Vec<Value>> {
        let mut params = Vec::with_capacity(operations.len() + 1);
        params.push(Value::from(DATABASE));
        params.extend_from_slice(operations);
        let result = self.call("transact", Value::from(params), patience)?;
        let Value::Array(results) = result else {
            return Err(self.malformed("transact", format!("a result that is no list: {result}")));
        };
        for (index, outcome) in results.iter().enumerate() {
            let Some(error) = outcome.get("error").and_then(Value::as_str) else { continue };
            let details = outcome.get("details").and_then(Value::as_str).unwrap_or_default().to_owned();
            let error = error.to_owned();
            // A commit that fails is one element more than there are operations (RFC 7047, section 4.1.3).
            return Err(match operations.get(index) {
                None => Error::Commit { error, details },
                Some(operation) => {
                    let word = |key| operation.get(key).and_then(Value::as_str).unwrap_or("?");
                    let operation = format!("{} in {}", word("op"), word("table"));
                    Error::Operation { number: index + 1, total: operations.len(), operation, error, details }
                }
            });
        }
        if results.len() < operations.len() {
            let why = format!("{} results for {} operations", results.len(), operations.len());
            return Err(self.malformed("transact", why));
        }
        Ok(results)
    }

    /// Waits until the switch has carried out configuration `wanted`: the database taking a change says nothing. `gone`
    /// says that nobody will carry it out any more.
    pub fn wait_applied(&mut self, wanted: i64, patience: Duration, gone: &dyn Fn() -> bool) -> Result<()> {
        let deadline = Deadline::after(patience);
        let mut reached = -1;
        let outcome = self.watch_cur_cfg(wanted, &mut reached, deadline, gone);
        match outcome {
            Err(Error::Timeout { path, .. }) => {
                Err(Error::NotApplied { path, wanted, reached, after: deadline.span() })
            }
            other => other,
        }
    }

    fn watch_cur_cfg(
        &mut self,
        wanted: i64,
        reached: &mut i64,
        deadline: Deadline,
        gone: &dyn Fn() -> bool,
    ) -> Result<()> {
        let name = format!("cur_cfg of {wanted}");
        let request = json!([DATABASE, &name, {"Open_vSwitch": [{"columns": ["cur_cfg"]}]}]);
        let now = self.call_until("monitor", request, deadline)?;
        *reached = cur_cfg(&now).unwrap_or(*reached);
        while *reached < wanted {
            let update = match self.updates.pop_front() {
                Some(update) => update,
                None => {
                    match self.receive("monitor", deadline.or_after(LOOK)) {
                        Ok(message) => self.notified(message, deadline)?,
                        Err(Error::Timeout { .. }) if deadline.left().is_some() && !gone() => {}
                        Err(error) => return Err(error),
                    }
                    continue;
                }
            };
            if update.get(0).and_then(Value::as_str) == Some(&name) {
                *reached = update.get(1).and_then(cur_cfg).unwrap_or(*reached);
            }
        }
        self.call_until("monitor_cancel", json!([&name]), deadline)?;
        self.updates.clear();
        Ok(())
    }

    /// A request or notification of the server: keepalives are answered, updates are kept.
    fn notified(&mut self, mut message: Value, deadline: Deadline) -> Result<()> {
        match message.get("method").and_then(Value::as_str) {
            Some("echo") => {
                let reply = json!({
                    "id": message.get("id").cloned().unwrap_or(Value::Null),
                    "result": message.get("params").cloned().unwrap_or(Value::Null),
                    "error": null,
                });
                self.wire.send(reply.to_string().as_bytes(), "echo", deadline)
            }
            Some("update") => {
                self.updates.extend(message.get_mut("params").map(Value::take));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn receive(&mut self, during: &str, deadline: Deadline) -> Result<Value> {
        let mut buffer = [0; 64 << 10];
        loop {
            let next = self.decoder.next_message();
            let next = next.map_err(|source| Error::Decode { path: self.wire.path().to_owned(), source })?;
            if let Some(message) = next {
                return Ok(message);
            }
            let count = self.wire.receive(&mut buffer, during, deadline, self.decoder.pending())?;
            self.decoder.feed(&buffer[..count]);
        }
    }

    pub(super) fn malformed(&self, during: &str, why: String) -> Error {
        Error::Malformed { path: self.wire.path().to_owned(), during: during.to_owned(), why }
    }
}

/// `cur_cfg` of a monitor's table updates.
fn cur_cfg(updates: &Value) -> Option<i64> {
    updates.get("Open_vSwitch")?.as_object()?.values().find_map(|row| row.get("new")?.get("cur_cfg")?.as_i64())
}

/// An error of JSON-RPC as text: a string, or an object with `error` and `details`.
fn words(error: &Value) -> String {
    match (error.as_str(), error.get("error").and_then(Value::as_str)) {
        (Some(text), _) => text.trim_end().to_owned(),
        (None, Some(text)) => match error.get("details").and_then(Value::as_str) {
            Some(details) => format!("{text}: {details}"),
            None => text.to_owned(),
        },
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests;
