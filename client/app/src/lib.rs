//! What application writers build on: projections, process managers and sinks over the client library.
