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
    tonic_prost_build::configure().bytes(".").compile_fds(with_batches_as_bytes(&descriptors))?;
    // Reflection serves the descriptors.
    let mut encoded = Vec::new();
    prost::Message::encode(&descriptors, &mut encoded)?;
    std::fs::write(out.join("quorate.bin"), encoded)?;
    Ok(())
}

/// Returns the descriptors with the events of a read's answer as bytes. A message and bytes are the same on the wire, so
/// clients in other languages see the message, and the code here reads and writes it by `wire::batch`.
fn with_batches_as_bytes(descriptors: &FileDescriptorSet) -> FileDescriptorSet {
    let mut descriptors = descriptors.clone();
    let messages = descriptors.file.iter_mut().flat_map(|file| &mut file.message_type);
    let answers = messages.filter(|message| message.name() == "ReadResponse");
    let mut fields = answers.flat_map(|answer| &mut answer.field);
    let events = fields.find(|field| field.name() == "events").expect("an answer has events");
    events.set_type(Type::Bytes);
    events.type_name = None;
    descriptors
}
