//! Caches: whole or not there, the same after a kill, shuffled without loss.

use std::fs;
use std::path::Path;

use sae_core::hook::HookName;
use sae_core::source::{ActivationSource, Position};
use sae_store::{CacheInfo, CacheWriter, Cached, Order};

const WIDTH: usize = 3;

fn info() -> CacheInfo {
    CacheInfo {
        hook: HookName::EMBED,
        width: WIDTH,
        context_size: 4,
        model: "toy".to_owned(),
        dataset: "words".to_owned(),
    }
}

fn row(i: usize) -> [f32; WIDTH] {
    [i as f32, -(i as f32), 0.5]
}

/// Write rows `from..to` in chunks of 5.
fn append(writer: &mut CacheWriter, to: usize) {
    while (writer.rows() as usize) < to {
        let from = writer.rows() as usize;
        let chunk: Vec<f32> = (from..(from + 5).min(to)).flat_map(row).collect();
        writer.append(&chunk).unwrap();
    }
}

fn written(path: &Path, rows: usize) {
    let mut writer = CacheWriter::open(path, info()).unwrap();
    append(&mut writer, rows);
    writer.finish().unwrap();
}

fn read(source: &mut dyn ActivationSource, rows: usize) -> Vec<f32> {
    let tensor = source.next(rows).unwrap();
    tensor.map_or_else(Vec::new, |t| t.flatten_all().unwrap().to_vec1().unwrap())
}

#[test]
fn rows_come_back_as_they_were_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("acts");
    written(&path, 23);
    let mut cached = Cached::open(&path, Order::Written).unwrap();
    assert_eq!((cached.info(), cached.rows()), (&info(), 23));
    let all: Vec<f32> = (0..23).flat_map(row).collect();
    assert_eq!(read(&mut cached, 10), all[..10 * WIDTH]);
    assert_eq!(read(&mut cached, 100), all[10 * WIDTH..]);
    assert!(cached.next(1).unwrap().is_none());
    assert!(cached.seek(Position { row: 24 }).is_err());
}

#[test]
fn every_epoch_holds_every_row_once_in_another_order() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("acts");
    written(&path, 50);
    let mut cached = Cached::open(&path, Order::Shuffled { seed: 1 }).unwrap();
    let epoch = |cached: &mut Cached| -> Vec<usize> {
        read(cached, 50).chunks(WIDTH).map(|r| r[0] as usize).collect()
    };
    let (first, second) = (epoch(&mut cached), epoch(&mut cached));
    assert_ne!(first, second);
    for order in [first, second] {
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..50).collect::<Vec<_>>());
        assert_ne!(order, sorted);
    }
}

#[test]
fn seeking_is_the_same_as_reading_so_far() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("acts");
    written(&path, 20);
    let open = || Cached::open(&path, Order::Shuffled { seed: 9 }).unwrap();
    for at in [0, 7, 19, 20, 33, 61] {
        let mut skipped = open();
        read(&mut skipped, at);
        let mut sought = open();
        sought.seek(Position { row: at as u64 }).unwrap();
        assert_eq!(read(&mut skipped, 25), read(&mut sought, 25), "at {at}");
        assert_eq!(skipped.position(), sought.position());
    }
}

#[test]
fn a_killed_writer_is_gone_on_with_to_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let whole = dir.path().join("whole");
    written(&whole, 23);
    let path = dir.path().join("acts");
    let partial = dir.path().join("acts.partial");
    let mut writer = CacheWriter::open(&path, info()).unwrap();
    append(&mut writer, 10);
    drop(writer);
    assert!(!path.exists());
    // The kill came in the middle of a row.
    let mut bytes = fs::read(&partial).unwrap();
    bytes.extend([1, 2, 3, 4, 5]);
    fs::write(&partial, bytes).unwrap();
    let mut writer = CacheWriter::open(&path, info()).unwrap();
    assert_eq!(writer.rows(), 10);
    append(&mut writer, 23);
    writer.finish().unwrap();
    assert_eq!(fs::read(&path).unwrap(), fs::read(&whole).unwrap());
    assert!(!partial.exists());
}

#[test]
fn a_cache_cut_off_at_any_byte_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("acts");
    written(&path, 3);
    let bytes = fs::read(&path).unwrap();
    let cut = dir.path().join("cut");
    for length in (0..bytes.len()).step_by(37).chain([bytes.len() - 1]) {
        fs::write(&cut, &bytes[..length]).unwrap();
        let error = Cached::open(&cut, Order::Written).err().map(|e| e.to_string());
        assert!(error.as_ref().is_some_and(|e| e.contains("cut")), "{length} bytes: {error:?}");
    }
    let mut longer = bytes.clone();
    longer.push(0);
    fs::write(&cut, longer).unwrap();
    assert!(Cached::open(&cut, Order::Written).is_err());
    let mut damaged = bytes;
    damaged[60] ^= 1;
    fs::write(&cut, damaged).unwrap();
    let error = Cached::open(&cut, Order::Written).err().unwrap().to_string();
    assert!(error.contains("damaged"), "{error}");
}

#[test]
fn what_was_begun_for_another_model_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("acts");
    let mut writer = CacheWriter::open(&path, info()).unwrap();
    append(&mut writer, 5);
    drop(writer);
    let other = CacheInfo { model: "another".to_owned(), ..info() };
    let error = CacheWriter::open(&path, other).err().unwrap().to_string();
    assert!(error.contains("begun for") && error.contains("toy"), "{error}");
}

#[test]
fn a_finished_cache_is_not_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("acts");
    written(&path, 3);
    let error = CacheWriter::open(&path, info()).err().unwrap().to_string();
    assert!(error.contains("is there already"), "{error}");
}
