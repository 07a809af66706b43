//! The example "accounts".

fn main() {}
