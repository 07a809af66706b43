//! Generates the gRPC code from the `.proto` files, without needing `protoc` on the machine.

use std::path::PathBuf;

use prost_types::FileDescriptorSet;
use prost_types::field_descriptor_proto::Type;

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
    tonic_prost_build::configure()
        .bytes(".")
        .codec_path("crate::wire::Codec")
        .compile_fds(with_appends_in_place(descriptors.clone()))?;
    // Reflection serves the descriptors.
    let mut encoded = Vec::new();
    prost::Message::encode(&descriptors, &mut encoded)?;
    std::fs::write(out.join("quorate.bin"), encoded)?;
    Ok(())
}

/// Makes the append in a session's message a field of bytes: on the wire that is the same, and whoever receives many
/// can read them in place (see `wire::read_append`).
fn with_appends_in_place(mut descriptors: FileDescriptorSet) -> FileDescriptorSet {
    let messages = descriptors.file.iter_mut().flat_map(|file| &mut file.message_type);
    let sessions = messages.filter(|message| message.name() == "SessionAppend");
    for field in sessions.flat_map(|message| &mut message.field) {
        if field.name() == "append" {
            field.set_type(Type::Bytes);
            field.type_name = None;
        }
    }
    descriptors
}
