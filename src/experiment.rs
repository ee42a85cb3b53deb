//! What to run, in which order, when to stop, and whether the result may be believed.

pub mod evidence;
pub mod options;
pub mod round;
pub mod run;
pub mod summary;

pub use self::{
    options::Options,
    run::{Progress, RunError, run},
};
