//! Cells: what a jail is made of ([`plan`]), whose host ids it gets ([`ids`]), and the running
//! thing ([`cell`]).
//!
//! [`rootless`] makes them by an ordinary user's rights, [`subordinate`] gives such a user ids for tenants.
//!
//! Runs in the listener (`Cells::prepare`, spares, sweeping), in monitors (`Cells::enter`) and, as
//! `cellblock-init`, in what becomes the cell's pid 1 ([`become_cell`]). Planning is pure; doing takes
//! a finished plan.
//! Nothing here reads, names or follows what a tenant can change, except beneath the tenant's root.

mod apply;
pub mod cell;
mod cgroups;
mod child;
mod controls;
mod delegated;
mod etc;
mod facts;
mod filters;
mod handover;
mod host;
pub mod ids;
mod join;
mod keep;
mod limits;
pub mod plan;
mod planning;
mod probe;
mod ranges;
mod readback;
pub mod rootless;
mod spare;
mod start;
mod state;
mod stock;
pub mod subordinate;
mod visit;

pub use cell::{Cell, Cells, RunningCell};
pub use controls::{Control, Controls};
pub use facts::{Facts, Groups, Rights};
pub use ids::{IdRange, Ids};
pub use limits::{review, unmet};
pub use plan::{Cloning, Inside, Outside, Plan};
pub use planning::plan;
pub use probe::can_shift;
pub use spare::{Built, become_cell};
pub use stock::Stock;
pub use visit::{Ended, Seen, Visitor};
