//! Generates the gRPC code from the `.proto` files, without needing `protoc` on the machine.

use std::path::PathBuf;

use protox::prost_reflect::prost_types::FileDescriptorSet;
use protox::prost_reflect::prost_types::field_descriptor_proto::Type;

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
    let mut generated = descriptors.clone();
    make_bytes(&mut generated, "SessionAppend", "append");
    make_bytes(&mut generated, "ReadResponse", "events");
    tonic_prost_build::configure()
        .bytes(".")
        .codec_path("crate::wire::Codec")
        .compile_fds(generated)?;
    // Reflection serves the descriptors.
    let mut encoded = Vec::new();
    prost::Message::encode(&descriptors, &mut encoded)?;
    std::fs::write(out.join("quorate.bin"), encoded)?;
    Ok(())
}

/// Makes a field of a message bytes instead of a message. Both are the same on the wire, so clients in other languages see
/// the message, and the code here reads and writes it in place (`wire::batch`, `wire::read_append`).
fn make_bytes(descriptors: &mut FileDescriptorSet, message: &str, field: &str) {
    let messages = descriptors.file.iter_mut().flat_map(|file| &mut file.message_type);
    let fields = messages.filter(|one| one.name() == message).flat_map(|one| &mut one.field);
    let field = { fields }.find(|one| one.name() == field).expect("the message has the field");
    field.set_type(Type::Bytes);
    field.type_name = None;
}
