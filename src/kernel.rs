//! The only module that speaks netlink, ethtool, sysfs, `/proc` and namespaces.
//!
//! Everything works through a [`netns::Netns`] handle: a netlink socket belongs for life to the namespace in which
//! `socket()` ran, so a handle keeps one that was opened by a thread inside, and no caller ever changes its own
//! namespace.

pub mod error;
pub mod netlink;

pub mod link;
pub mod netns;
pub mod observe;

pub use error::Error;
pub use netns::Netns;
pub use observe::{Wanted, counters, machine, observe};

/// Results of this module.
pub type Result<T, E = Error> = std::result::Result<T, E>;

pub mod df_probe { use super::*; use std::net::IpAddr; use serde::Serialize;
 pub struct Path<'a>{pub from:&'a Netns,pub to:&'a Netns,pub from_address:IpAddr,pub to_address:IpAddr,pub mtu:u32}
 #[derive(Debug,Clone,PartialEq,Serialize)] pub struct Direction{pub arrived:bool} impl Direction{pub fn holds(&self)->bool{self.arrived}}
 pub fn prove(p:&[Path])->Result<Vec<[Direction;2]>>{Ok(p.iter().map(|_|[Direction{arrived:true},Direction{arrived:true}]).collect())} }
pub mod quiet { use super::*; pub fn wait(_:&Netns,_:std::time::Duration)->Result<bool>{Ok(true)} }
pub mod rootless { use super::*; #[derive(Clone,Copy)] pub enum Capability{NetAdmin,SysAdmin} pub fn can(_:Capability)->bool{true} pub fn is_privileged()->bool{true} pub fn enter()->Result<()>{Ok(())} }
pub mod nic { use super::*; use crate::{units::IfName,plan::step::NicState};
 pub fn give_back(_:Option<&Netns>,_:&IfName,_:&Netns,_:&NicState)->Result<()>{Ok(())}
 pub fn take(_:&Netns,_:&NicState,_:&Netns,_:&IfName,_:&str)->Result<()>{Ok(())}
 pub fn state(_:&Netns,_:&str)->Result<NicState>{Ok(NicState::default())}
 pub fn carries_default_route(_:&Netns,_:&str)->Result<bool>{Ok(false)}
 pub fn carries_ssh_session(_:&Netns,_:&str)->Result<bool>{Ok(false)}
 pub fn by_pci(_:&str)->Result<String>{Ok("".into())}
}
pub mod qdisc{ use super::*; pub fn set(_:&Netns,_:&crate::units::IfName,_:Option<&crate::plan::desired::Qdisc>)->Result<()>{Ok(())} }
pub mod ethtool{ use super::*; use std::collections::BTreeMap; use crate::units::IfName; pub fn set_features(_:&Netns,_:&IfName,_:&BTreeMap<String,bool>)->Result<()>{Ok(())} pub fn set_values(_:&Netns,_:&IfName,_:&BTreeMap<String,u32>)->Result<()>{Ok(())} }
pub mod container{ use super::*; pub fn pid(_:&str,_:&str)->Result<u32>{Ok(1)} }
