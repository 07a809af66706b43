//! Consumer groups: their administration, and the consumption of their events.

mod admin;
mod consumer;
mod delivery;
mod driver;
mod shown;
mod stream;
mod work;

pub use admin::{CreateGroup, GroupRef};
pub use consumer::{ConsumeRequest, Consumer, Settler};
pub use delivery::Delivery;
pub use shown::{Group, GroupConsumer, ParkedEvent};
