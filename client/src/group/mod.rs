//! Consumer groups: how they are made and looked at, and how their events are consumed.

mod admin;
mod consumer;
mod driver;
mod shown;
mod stream;
mod work;

pub use admin::{CreateGroup, GroupRef};
pub use consumer::{ConsumeRequest, Consumer, Delivery, Settler};
pub use shown::{Group, GroupConsumer, GroupSettings, ParkedEvent};
