//! What this host can and cannot do for tenants: looked at, judged, and told with the remedy.
//!
//! Runs in `cellblock doctor`. Looking ([`gather`]) judges nothing, judging ([`judge`]) looks at
//! nothing, and nothing here changes the host: processes that are started to try something end.

pub mod checks;
pub mod facts;
mod gather;
mod judge;
mod page;
mod show;
mod verdict;

pub use gather::gather;
pub use judge::judge;
pub use page::page;
pub use show::{as_json, as_text, has_failed};
pub use verdict::{Level, Remedy, Verdict};
