//! Tests of checkpoints that are sent from one store to another, which must be alike afterwards.

use std::path::Path;

use quorate_proto::{Expectation, LogId};
use quorate_store::vfs::{MemVfs, Survival};
use quorate_store::{
    ChunkSummary, Entry, Export, Fault, Install, Installed, Payload, Store, Verdict,
};

use crate::model::Model;
use crate::power::{check, log};
use crate::support::{append, command, open, options, read, replay, seal_all};

const CHUNK_BYTES: u64 = 6000;

/// Returns a store with all of the log applied and sealed.
fn store_of(log: &[Entry]) -> Store {
    let mut store = open(&MemVfs::new(), &options(CHUNK_BYTES)).expect("founds");
    replay(&mut store, log).expect("applies");
    seal_all(&mut store).expect("seals");
    store
}

fn fetch_chunk(export: &Export, install: &mut Install, chunk: &ChunkSummary) -> Result<(), Fault> {
    let mut offset = 0;
    loop {
        let bytes = export.read_chunk(chunk.number, offset, 700)?;
        if bytes.is_empty() {
            return install.finish_chunk(chunk.number);
        }
        install.put_chunk(chunk.number, offset, &bytes)?;
        offset += bytes.len() as u64;
    }
}

pub(crate) fn fetch(export: &Export, target: &Store) -> Result<Installed, Fault> {
    let mut install = target.installer().begin(&export.manifest())?;
    for chunk in install.missing() {
        fetch_chunk(export, &mut install, &chunk)?;
    }
    for page in export.catalog_pages() {
        install.put_catalog(&page?)?;
    }
    install.finish()
}

fn summary(store: &Store) -> Vec<ChunkSummary> {
    let export = store.export().expect("exports");
    export.map(|export| export.chunks().to_vec()).unwrap_or_default()
}

#[test]
fn an_installed_checkpoint_is_the_store_that_it_came_from() {
    let (log, model) = log(90);
    let source = store_of(&log);
    let export = source.export().expect("exports").expect("a checkpoint");
    for already in [0, 10, 50] {
        let vfs = MemVfs::new();
        let mut target = open(&vfs, &options(CHUNK_BYTES)).expect("founds");
        replay(&mut target, &log[..already]).expect("applies");
        seal_all(&mut target).expect("seals");
        let reader = target.reader();
        let before = read(&reader, &Model::all(), 1000);
        let mut scan = reader.scan(&Model::all()).expect("begins");
        let own = summary(&target).len();
        let install = target.installer().begin(&export.manifest()).expect("begins");
        assert_eq!(install.missing().len(), export.chunks().len() - own, "own chunks are kept");
        drop(install);
        let installed = fetch(&export, &target).expect("fetches");
        assert_eq!(installed.log_id(), export.log_id());
        target.finish_install(installed).expect("installs");

        assert_eq!(target.applied(), Some(export.log_id()));
        assert_eq!(summary(&target), export.chunks());
        let mut seen = Vec::new();
        while let Some(page) = scan.next_page(100).expect("the old view is still there") {
            seen.extend(page.iter().map(|event| event.decode()));
        }
        assert_eq!(seen, before, "an open scan keeps what it reads");
        replay(&mut target, &log).expect("goes on");
        model.groups.check(&target.reader());
        assert_eq!(read(&target.reader(), &Model::all(), 1000), model.events);
        drop((target, scan, reader));
        vfs.restart(Survival::Nothing);
        check(&vfs, &log, &model, Some(export.log_id()), CHUNK_BYTES);
    }
}

#[test]
fn a_repeated_append_gets_its_first_answer_after_an_install() {
    let mut source = open(&MemVfs::new(), &options(400)).expect("founds");
    let appends =
        [append("order-1", Expectation::Any, &[1, 2]), append("order-2", Expectation::None, &[3])];
    let entry = |index, payload| Entry { log_id: LogId::new(1, index), payload };
    let first = source.apply(entry(0, command(5, &appends))).expect("applies");
    source.apply(entry(1, Payload::Blank)).expect("applies");
    source.apply(entry(2, Payload::Blank)).expect("applies");
    seal_all(&mut source).expect("seals");
    let export = source.export().expect("exports").expect("a checkpoint");
    let mut target = open(&MemVfs::new(), &options(400)).expect("founds");
    let installed = fetch(&export, &target).expect("fetches");
    target.finish_install(installed).expect("installs");
    let next = export.log_id().index.0 + 1;
    let again = target.apply(entry(next, command(9, &appends))).expect("applies");
    let repeated = |one| match one {
        Verdict::Appended(first) => Verdict::Repeated(first),
        other => other,
    };
    assert_eq!(again, first.into_iter().map(repeated).collect::<Vec<_>>());
}

#[test]
fn a_power_cut_at_any_operation_of_an_install_leaves_the_old_checkpoint_or_the_new() {
    let (log, model) = log(90);
    let source = store_of(&log);
    let export = source.export().expect("exports").expect("a checkpoint");
    let prepare = || {
        let vfs = MemVfs::new();
        let mut target = open(&vfs, &options(CHUNK_BYTES)).expect("founds");
        replay(&mut target, &log[..30]).expect("applies");
        seal_all(&mut target).expect("seals");
        let old = target.checkpointed();
        (vfs, target, old)
    };
    let install = |target: &mut Store| {
        let installed = fetch(&export, target)?;
        target.finish_install(installed)
    };
    let (vfs, mut target, old) = prepare();
    assert!(old.is_some());
    let before = vfs.counters().changes;
    install(&mut target).expect("installs without a cut");
    let changes = vfs.counters().changes - before;
    let mut seen_new = 0;
    for cut in 0..changes {
        for survival in [Survival::Nothing, Survival::Everything, Survival::Seeded(cut)] {
            let (vfs, mut target, old) = prepare();
            vfs.cut_after(cut);
            let installed = install(&mut target).is_ok();
            drop(target);
            vfs.restart(survival);
            let left = open(&vfs, &options(CHUNK_BYTES)).expect("opens").checkpointed();
            assert!(left == old || left == Some(export.log_id()), "{left:?}");
            assert!(!installed || left == Some(export.log_id()));
            seen_new += usize::from(left != old);
            check(&vfs, &log, &model, left, CHUNK_BYTES);
        }
    }
    assert!(seen_new > 0, "no cut came after the new checkpoint was named");
}

#[test]
fn an_interrupted_install_asks_only_for_what_is_missing_when_it_is_begun_again() {
    let (log, _) = log(90);
    let source = store_of(&log);
    let export = source.export().expect("exports").expect("a checkpoint");
    let target = open(&MemVfs::new(), &options(CHUNK_BYTES)).expect("founds");
    let mut install = target.installer().begin(&export.manifest()).expect("begins");
    let missing = install.missing();
    fetch_chunk(&export, &mut install, &missing[0]).expect("fetches");
    install.put_chunk(missing[1].number, 0, b"half").expect("puts");
    drop(install);
    let install = target.installer().begin(&export.manifest()).expect("begins again");
    assert_eq!(install.missing(), &missing[1..]);
}

#[test]
fn a_restart_in_the_middle_of_an_install_keeps_the_chunks_that_came_whole() {
    let (log, model) = log(90);
    let source = store_of(&log);
    let export = source.export().expect("exports").expect("a checkpoint");
    let vfs = MemVfs::new();
    let target = open(&vfs, &options(CHUNK_BYTES)).expect("founds");
    let mut install = target.installer().begin(&export.manifest()).expect("begins");
    let missing = install.missing();
    fetch_chunk(&export, &mut install, &missing[0]).expect("fetches");
    fetch_chunk(&export, &mut install, &missing[2]).expect("fetches");
    install.put_chunk(missing[1].number, 0, b"half").expect("puts");
    drop((install, target));
    vfs.restart(Survival::Nothing);
    // A fetched chunk that the power cut left damaged counts as missing.
    let damaged = vfs.fork();
    damaged.flip_bit(Path::new("/store/chunks/install-0000000003"), 300, 2).expect("there");
    for (vfs, kept) in [(vfs, &[0, 2][..]), (damaged, &[0])] {
        let mut target = open(&vfs, &options(CHUNK_BYTES)).expect("opens");
        let install = target.installer().begin(&export.manifest()).expect("begins again");
        let is_kept = |at: &usize| kept.contains(at);
        let left: Vec<_> = (0..missing.len()).filter(|at| !is_kept(at)).collect();
        let left: Vec<_> = left.into_iter().map(|at| missing[at].clone()).collect();
        assert_eq!(install.missing(), left);
        drop(install);
        let installed = fetch(&export, &target).expect("fetches the rest");
        target.finish_install(installed).expect("installs");
        drop(target);
        vfs.restart(Survival::Nothing);
        check(&vfs, &log, &model, Some(export.log_id()), CHUNK_BYTES);
    }
}

#[test]
fn a_seal_that_an_install_overtakes_leaves_the_installed_files_alone() {
    let (log, model) = log(90);
    let source = store_of(&log);
    let export = source.export().expect("exports").expect("a checkpoint");
    let vfs = MemVfs::new();
    let mut target = open(&vfs, &options(CHUNK_BYTES)).expect("founds");
    let mut entries = log.iter();
    while !target.seal_due() {
        target.apply(entries.next().expect("crosses a boundary").clone()).expect("applies");
    }
    let seal = target.begin_seal().expect("is due");
    let installed = fetch(&export, &target).expect("fetches");
    target.finish_install(installed).expect("installs");
    let chunk = Path::new("/store/chunks/chunk-0000000001");
    vfs.flip_bit(chunk, 300, 2).expect("there");
    let marked = vfs.read(chunk).expect("reads");
    let sealed = seal.run().expect("runs");
    target.finish_seal(sealed).expect("is dropped");
    assert!(vfs.read(chunk).expect("reads") == marked, "the installed file is another");
    vfs.flip_bit(chunk, 300, 2).expect("there");
    assert_eq!(target.checkpointed(), Some(export.log_id()));
    drop(target);
    vfs.restart(Survival::Nothing);
    check(&vfs, &log, &model, Some(export.log_id()), CHUNK_BYTES);
}

#[test]
fn a_damaged_chunk_of_the_store_is_fetched_with_those_that_are_missing() {
    let (log, model) = log(90);
    let source = store_of(&log);
    let export = source.export().expect("exports").expect("a checkpoint");
    let vfs = MemVfs::new();
    let mut target = open(&vfs, &options(CHUNK_BYTES)).expect("founds");
    replay(&mut target, &log[..50]).expect("applies");
    seal_all(&mut target).expect("seals");
    let own = summary(&target);
    drop(target);
    vfs.restart(Survival::Everything);
    vfs.flip_bit(Path::new("/store/chunks/chunk-0000000001"), 10, 2).expect("there");
    let mut target = open(&vfs, &options(CHUNK_BYTES)).expect("opens all the same");
    let damaged: Vec<_> = target.damaged().into_iter().map(|(summary, _)| summary).collect();
    assert_eq!(damaged, own[..1]);
    assert!(target.must_repair(), "its ids are among the newest");
    let all = export.chunks().len();
    let install = target.installer().begin(&export.manifest()).expect("begins");
    assert_eq!(install.missing().len(), all - own.len() + 1);
    drop(install);
    let installed = fetch(&export, &target).expect("fetches");
    target.finish_install(installed).expect("installs");
    assert!(!target.must_repair() && target.damaged().is_empty());
    assert_eq!(
        read(&target.reader(), &Model::all(), 1000),
        model.events[..target.position().0 as usize]
    );
    drop(target);
    vfs.restart(Survival::Nothing);
    check(&vfs, &log, &model, Some(export.log_id()), CHUNK_BYTES);
}

#[test]
fn an_install_that_was_cut_takes_the_chunk_it_fetched_and_not_the_damaged_one() {
    let (log, model) = log(90);
    let source = store_of(&log);
    let export = source.export().expect("exports").expect("a checkpoint");
    let mut seen_new = 0;
    for cut in 0.. {
        let vfs = MemVfs::new();
        let mut target = open(&vfs, &options(CHUNK_BYTES)).expect("founds");
        replay(&mut target, &log[..50]).expect("applies");
        seal_all(&mut target).expect("seals");
        // The ends of the file are whole, so that opening it does not show the damage.
        vfs.flip_bit(Path::new("/store/chunks/chunk-0000000001"), 300, 2).expect("there");
        let mut scan = target.reader().scan(&Model::all()).expect("begins");
        let fault = loop {
            match scan.next_page(1000) {
                Ok(page) => assert!(page.is_some(), "it read past the damage"),
                Err(fault) => break fault,
            }
        };
        assert_eq!(target.note_damage(&fault), Some(1));
        let installed = fetch(&export, &target).expect("fetches");
        vfs.cut_after(cut);
        let is_done = target.finish_install(installed).is_ok();
        drop(target);
        vfs.restart(Survival::Everything);
        let left = open(&vfs, &options(CHUNK_BYTES)).expect("opens").checkpointed();
        if left == Some(export.log_id()) {
            seen_new += 1;
            check(&vfs, &log, &model, left, CHUNK_BYTES);
        }
        if is_done {
            break;
        }
    }
    assert!(seen_new > 1, "no cut came between the new checkpoint and the names of its chunks");
}

#[test]
fn a_chunk_that_was_changed_on_the_way_is_refused_and_still_missing() {
    let (log, _) = log(60);
    let source = store_of(&log);
    let export = source.export().expect("exports").expect("a checkpoint");
    let target = open(&MemVfs::new(), &options(CHUNK_BYTES)).expect("founds");
    let mut install = target.installer().begin(&export.manifest()).expect("begins");
    let chunk = install.missing()[0].clone();
    let whole = export.read_chunk(chunk.number, 0, usize::MAX).expect("reads");
    for at in (0..whole.len()).step_by(97) {
        let mut changed = whole.to_vec();
        changed[at] ^= 1;
        install.put_chunk(chunk.number, 0, &changed).expect("puts");
        assert!(install.finish_chunk(chunk.number).is_err(), "byte {at}");
        assert!(install.missing().contains(&chunk));
    }
    fetch_chunk(&export, &mut install, &chunk).expect("whole at last");
}

#[test]
fn an_install_that_does_not_fit_is_refused() {
    let (log, _) = log(60);
    let source = store_of(&log);
    let export = source.export().expect("exports").expect("a checkpoint");
    let mut other = options(CHUNK_BYTES);
    other.cluster = [9; 16];
    let stranger = open(&MemVfs::new(), &other).expect("founds");
    assert!(matches!(stranger.installer().begin(&export.manifest()), Err(Fault::Foreign { .. })));
    let mut cut = export.manifest();
    cut.truncate(20);
    assert!(matches!(stranger.installer().begin(&cut), Err(Fault::Foreign { .. })));

    let mut target = open(&MemVfs::new(), &options(CHUNK_BYTES)).expect("founds");
    let install = target.installer().begin(&export.manifest()).expect("begins");
    assert!(matches!(install.finish(), Err(Fault::Damaged { .. })), "chunks are missing");
    let installed = fetch(&export, &target).expect("fetches");
    replay(&mut target, &log).expect("applies more than the checkpoint holds");
    assert!(matches!(target.finish_install(installed), Err(Fault::Foreign { .. })));
}

#[test]
fn stores_that_seal_at_different_times_have_the_same_chunks_and_answers() {
    let (log, model) = log(120);
    let mut at_once = open(&MemVfs::new(), &options(CHUNK_BYTES)).expect("founds");
    for entry in &log {
        at_once.apply(entry.clone()).expect("applies");
        seal_all(&mut at_once).expect("seals");
    }
    let late = store_of(&log);
    let vfs = MemVfs::new();
    let mut restarted = open(&vfs, &options(CHUNK_BYTES)).expect("founds");
    for upto in (0..log.len()).step_by(11) {
        let applied = restarted.applied().map_or(0, |id| id.index.0 as usize + 1);
        replay(&mut restarted, &log[..upto.max(applied)]).expect("applies");
        vfs.restart(Survival::Nothing);
        restarted = open(&vfs, &options(CHUNK_BYTES)).expect("opens again");
    }
    replay(&mut restarted, &log).expect("applies");
    seal_all(&mut restarted).expect("seals");
    let digest = |store: &Store| -> Vec<_> {
        let chunks = summary(store).into_iter();
        chunks.map(|chunk| (chunk.number, chunk.last_position, chunk.digest)).collect()
    };
    assert!(digest(&at_once).len() > 3);
    for other in [&late, &restarted] {
        assert_eq!(digest(&at_once), digest(other));
        assert_eq!(at_once.checkpointed(), other.checkpointed());
        model.groups.check(&other.reader());
        assert_eq!(read(&other.reader(), &Model::all(), 1000), model.events);
    }
}
