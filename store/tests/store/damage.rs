//! Tests of a flipped bit anywhere in the folder: the store refuses to open or to answer, or answers rightly.

use std::path::{Path, PathBuf};

use quorate_proto::{Direction, Expectation, Read, RecordedEvent};
use quorate_store::vfs::{MemVfs, Survival, Vfs};
use quorate_store::{Fault, Reader, Verdict};

use crate::model::Model;
use crate::support::{World, append, open, seal_all, stream};

const STREAMS: [&str; 3] = ["order-1", "acme/order-2", "bill-7"];

fn reads() -> Vec<Read> {
    let streams = STREAMS.iter().map(|name| Read::stream(stream(name)));
    let forwards: Vec<Read> = std::iter::once(Model::all()).chain(streams).collect();
    let backwards =
        forwards.iter().map(|read| Read { direction: Direction::Backwards, ..read.clone() });
    forwards.iter().cloned().chain(backwards).collect()
}

fn try_read(reader: &Reader, read: &Read) -> Result<Vec<RecordedEvent>, Fault> {
    let mut scan = reader.scan(read)?;
    let mut events = Vec::new();
    while let Some(page) = scan.next_page(1000)? {
        events.extend(page.iter().map(|event| event.decode()));
    }
    Ok(events)
}

/// Returns true if a fault was returned; panics at a wrong answer.
fn is_noticed(world: &World, vfs: &MemVfs, model: &Model) -> bool {
    let Ok(mut store) = open(vfs, &world.options) else { return true };
    let reader = store.reader();
    let mut noticed = false;
    for read in reads() {
        match try_read(&reader, &read) {
            Ok(events) => {
                let durable = model.read(&read);
                let durable =
                    durable.into_iter().filter(|event| event.position <= store.position());
                assert!(events.into_iter().eq(durable), "{read:?}");
            }
            Err(_) => noticed = true,
        }
    }
    // The entries that are applied again need heads and, for the repetition, an old event.
    for entry in &world.log {
        if store.applied().is_some_and(|applied| applied.index >= entry.log_id.index) {
            continue;
        }
        if store.must_wait() && seal_all(&mut store).is_err() || store.apply(entry.clone()).is_err()
        {
            return true;
        }
    }
    assert_eq!(store.position().0, model.events.len() as u64);
    noticed
}

#[test]
fn a_flipped_bit_in_any_file_is_never_answered_with() {
    let (mut world, mut model) = (World::new(700), Model::default());
    for at in 0..24 {
        let appends = [append(STREAMS[at as usize % 3], Expectation::Any, &[at * 2, at * 2 + 1])];
        assert_eq!(world.append(at as i64, &appends), model.command(at as i64, &appends));
        world.seal();
    }
    let repeated = [append("order-1", Expectation::Exactly(0.into()), &[0, 1])];
    let verdicts = world.append(30, &repeated);
    assert_eq!(verdicts, model.command(30, &repeated));
    assert!(matches!(verdicts[0], Verdict::Repeated(_)));
    world.vfs.restart(Survival::Everything);

    assert!(!is_noticed(&world, &world.vfs.fork(), &model), "nothing is flipped yet");

    let folder = Path::new("/store");
    let mut files: Vec<PathBuf> = Vec::new();
    for folder in [folder.to_owned(), folder.join("chunks")] {
        let names = world.vfs.list(&folder).expect("lists");
        files.extend(names.into_iter().map(|name| folder.join(name)));
    }
    assert!(files.len() > 4, "{files:?}");
    for file in files {
        let length = world.vfs.read(&file).expect("reads").len() as u64;
        let mut noticed = 0;
        let step = (length / 150).max(1);
        for byte in (0..length).step_by(step as usize) {
            let vfs = world.vfs.fork();
            vfs.flip_bit(&file, byte, (byte % 8) as u8).expect("flips");
            noticed += usize::from(is_noticed(&world, &vfs, &model));
        }
        assert!(noticed > 0, "no flip in {} was noticed", file.display());
    }
}
