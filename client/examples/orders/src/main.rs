//! The example "orders".

fn main() {}
