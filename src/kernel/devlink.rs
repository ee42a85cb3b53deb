//! devlink: the mode of a NIC's embedded switch.

use super::{
    Result,
    error::Operation,
    netlink::{
        Failure, Socket, generic,
        nla::{Writer, find},
    },
};
use crate::topology::model::Eswitch;

const ESWITCH_GET: u8 = 29;
const ESWITCH_SET: u8 = 30;
const BUS_NAME: u16 = 1;
const DEV_NAME: u16 = 2;
const ESWITCH_MODE: u16 = 25;

/// Mode of the embedded switch of a device; `None` where its driver has no devlink or no such mode.
///
/// # Errors
/// The kernel's answer cannot be read.
pub fn eswitch(bus: &str, device: &str) -> Result<Option<Eswitch>> {
    let answer = match call(ESWITCH_GET, bus, device, |_| {}) {
        Ok(answer) => answer,
        Err(failure)
            if matches!(
                failure.errno(),
                Some(libc::ENOENT | libc::ENODEV | libc::EOPNOTSUPP | libc::EPROTONOSUPPORT | libc::EPERM)
            ) =>
        {
            return Ok(None);
        }
        Err(failure) => return Err(Operation::plain("read the eswitch mode of", device).failed(failure)),
    };
    let mode = find(&answer, ESWITCH_MODE).and_then(|value| value.first_chunk()).map(|mode| u16::from_ne_bytes(*mode));
    Ok(mode.map(|mode| if mode == 1 { Eswitch::Switchdev } else { Eswitch::Legacy }))
}

/// Sets the mode of the embedded switch.
///
/// # Errors
/// The driver refuses, as many do while there are virtual functions.
pub fn set_eswitch(bus: &str, device: &str, mode: Eswitch) -> Result<()> {
    let value: u16 = if mode == Eswitch::Switchdev { 1 } else { 0 };
    call(ESWITCH_SET, bus, device, |message| {
        message.put(ESWITCH_MODE, &value.to_ne_bytes());
    })
    .map(|_| ())
    .map_err(|failure| Operation::plain(format!("set eswitch mode {mode:?} of").to_lowercase(), device).failed(failure))
}

fn call(command: u8, bus: &str, device: &str, fill: impl FnOnce(&mut Writer)) -> Result<Vec<u8>, Failure> {
    let mut socket = Socket::open(netlink_sys::protocols::NETLINK_GENERIC).map_err(Failure::Io)?;
    let family = generic::family(&mut socket, "devlink")?;
    let mut message = Writer::after(&[command, 1, 0, 0]);
    message.text(BUS_NAME, bus).text(DEV_NAME, device);
    fill(&mut message);
    let answer = socket.request(family, 0, &message.finish())?;
    Ok(answer.first().and_then(|body| body.get(4..)).unwrap_or_default().to_vec())
}
