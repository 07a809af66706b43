//! An order service on Quorate: commands over HTTP, read models in SQL, a payment process, and notifications.
//!
//! - [`domain`]: the rules of orders and payments, as pure functions.
//! - [`payments`]: the process that has submitted orders paid, or cancels them.
//! - [`notifications`]: the mails to customers, from a consumer group.
//! - [`models`]: the read models, with a cache in front of one.
//! - [`http`]: commands and queries over HTTP.
//! - [`service`]: all of it as one program.

pub mod domain;
pub mod http;
pub mod models;
pub mod notifications;
pub mod payments;
pub mod service;
pub mod settings;

pub use service::Service;
pub use settings::Settings;
