//! Chunks with flipped bits, and files that are too short or too long.

use super::*;

/// Asks the chunk for everything: a fault is allowed, an answer other than the truth is not.
fn ask_everything(chunk: &Chunk, events: &[StoredEvent]) {
    for (key, posting) in naive(events) {
        if let Ok(found) = chunk.find(&key, &mut reads()) {
            assert_eq!(found, Some(posting));
        }
    }
    if let Ok(found) = chunk.read(0..u32::MAX, usize::MAX, &mut reads()) {
        assert_eq!(found, events);
    }
    if let Ok(ids) = chunk.ids_from(0) {
        assert_eq!(ids, events.iter().map(|event| event.id).collect::<Vec<_>>());
    }
}

#[test]
fn a_flipped_bit_at_any_byte_is_noticed_and_never_served() {
    let events = some_events();
    let (vfs, written, chunk) = written(&events);
    for byte in 0..chunk.bytes() {
        for bit in [byte % 8, (byte + 3) % 8] {
            let vfs = vfs.fork();
            vfs.flip_bit(&chunk_path(), byte, bit as u8).expect("there");
            let Ok(chunk) = open(&vfs, &written) else { continue };
            ask_everything(&chunk, &events);
            let fault = chunk.verify().expect_err("noticed");
            assert!(matches!(fault, Fault::Damaged { .. }), "byte {byte}: {fault}");
        }
    }
}

#[test]
fn a_bit_that_flips_while_the_chunk_is_open_is_noticed_and_never_served() {
    let events = some_events();
    let (vfs, written, chunk) = written(&events);
    for byte in HEADER_BYTES..chunk.bytes() {
        let vfs = vfs.fork();
        let chunk = open(&vfs, &written).expect("opened");
        vfs.flip_bit(&chunk_path(), byte, 1).expect("there");
        ask_everything(&chunk, &events);
    }
}

#[test]
fn a_chunk_cut_at_any_length_does_not_open() {
    let (vfs, written, chunk) = written(&some_events());
    for len in 0..chunk.bytes() {
        let vfs = vfs.fork();
        vfs.truncate(&chunk_path(), len).expect("there");
        assert!(matches!(open(&vfs, &written), Err(Fault::Damaged { .. })), "cut at {len}");
    }
}

#[test]
fn bytes_added_at_the_end_are_noticed() {
    let (vfs, written, chunk) = written(&some_events());
    let file = vfs.open(&chunk_path(), Open::Write).expect("there");
    file.write_at(&[0; 100], chunk.bytes()).expect("written");
    assert!(open(&vfs, &written).is_err());
}
