//! Generates the gRPC code from the `.proto` files, without needing `protoc` on the machine.

use std::path::PathBuf;

const FILES: [&str; 7] = [
    "quorate/v1/events.proto",
    "quorate/v1/groups.proto",
    "quorate/v1/cluster.proto",
    "quorate/v1/runners.proto",
    "quorate/peer/v1/forward.proto",
    "quorate/peer/v1/groups.proto",
    "quorate/peer/v1/raft.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=quorate");
    if std::env::var_os("CARGO_FEATURE_WIRE").is_none() {
        return Ok(());
    }
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let descriptors = protox::compile(FILES, ["."])?;
    tonic_prost_build::configure().bytes(".").compile_fds(descriptors.clone())?;
    // Reflection serves the descriptors.
    let mut encoded = Vec::new();
    prost::Message::encode(&descriptors, &mut encoded)?;
    std::fs::write(out.join("quorate.bin"), encoded)?;
    Ok(())
}
