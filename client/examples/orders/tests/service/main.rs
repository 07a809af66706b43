//! The service end to end: over HTTP, with a cluster in memory or of processes, and read models in a real database.

mod databases;
#[path = "../../../tests/dev.rs"]
mod dev;
mod kit;
mod notifications;
mod openapi;
mod orders;
mod payments;
mod processes;
mod requests;
mod servers;
mod tenants;
