//! Generic netlink: the numbers of its families.

use super::{
    Failure, Socket,
    nla::{Writer, find},
};

/// `GENL_ID_CTRL`, `CTRL_CMD_GETFAMILY`, `CTRL_ATTR_FAMILY_ID`, `CTRL_ATTR_FAMILY_NAME`
const CONTROL: (u16, u8, u16, u16) = (16, 3, 1, 2);

/// The number of a family: the same in all namespaces of a running kernel.
pub fn family(socket: &mut Socket, family: &str) -> Result<u16, Failure> {
    let (control, get, id, name) = CONTROL;
    let question = Writer::after(&[get, 1, 0, 0]).text(name, family).finish();
    let answer = socket.request(control, 0, &question)?;
    let number = answer.first().and_then(|body| find(body.get(4..)?, id)?.first_chunk().copied());
    let number = number.ok_or_else(|| Failure::Malformed(format!("no number of the family {family}")))?;
    Ok(u16::from_ne_bytes(number))
}
