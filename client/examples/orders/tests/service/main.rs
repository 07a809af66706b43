//! The service end to end: over HTTP, with a cluster in memory and read models in a real database.

mod databases;
mod kit;
mod notifications;
mod openapi;
mod orders;
mod payments;
mod requests;
mod servers;
mod tenants;
