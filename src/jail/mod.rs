//! Cells: what a jail is made of ([`plan`]), whose host ids it gets ([`ids`]), and the running
//! thing ([`cell`]).
//!
//! Runs in the listener (`Cells::prepare`, spares, sweeping), in monitors (`Cells::enter`) and, as
//! `cellblock-init`, in what becomes the cell's pid 1 ([`become_cell`]). Planning is pure; doing takes
//! a finished plan.
//! Nothing here reads, names or follows what a tenant can change, except beneath the tenant's root.

mod apply;
pub mod cell;
mod cgroups;
mod child;
mod etc;
mod facts;
mod handover;
mod host;
pub mod ids;
mod keep;
pub mod plan;
mod planning;
mod probe;
mod spare;
mod start;
mod state;
mod stock;

pub use cell::{Cell, Cells, RunningCell};
pub use facts::Facts;
pub use ids::{IdRange, Ids};
pub use plan::{Op, Plan};
pub use planning::plan;
pub use probe::can_shift;
pub use spare::{Built, become_cell};
pub use stock::Stock;
