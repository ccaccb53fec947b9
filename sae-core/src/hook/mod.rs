//! Hooks: names of places in a forward pass, plans of what to do there, and their execution.

mod cache;
mod cursor;
mod edit;
mod name;
mod plan;
mod short;
mod site;
mod slice;

pub use cache::{ActivationCache, NamesFilter};
pub use cursor::{Cursor, Gradients, Run};
pub use edit::{Add, Both, EditExt, Intervene, Only, Replace, Scale, Zero};
pub use name::{HookName, Place};
pub use plan::{Logits, Plan};
pub use site::{Axis, SaeSite, Site};
pub use slice::PosSlice;
