//! What to run, in which order, when to stop, and whether the result may be believed.

pub mod amounts;
pub mod between;
pub mod bottleneck;
pub mod cost;
pub mod doubtful;
pub mod drivers;
pub mod evidence;
pub mod interleave;
pub mod io_probe;
pub mod live;
pub mod loss;
pub mod manifest;
pub mod mtu_probe;
pub mod offload;
pub mod options;
pub mod placement;
pub mod profile;
pub mod rate_search;
pub mod round;
pub mod run;
pub mod summary;
pub mod together;
pub mod tune;
pub mod under_load;
pub mod waterfall;

pub use self::{
    options::Options,
    run::{Progress, RunError, run},
};
