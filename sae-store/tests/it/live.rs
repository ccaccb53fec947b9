//! Live activations: every kept token once, in an order that can be come back to.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sae_core::hook::{HookName, PosSlice};
use sae_core::source::{ActivationSource, Position};
use sae_core::testing::ToyModel;
use sae_store::{Error, Harvest, Live, MixOptions, RowsInMemory, TokenRows};

const CONTEXT: usize = 5;
const D_MODEL: usize = 4;

fn hook() -> HookName {
    "blocks.0.hook_resid_pre".parse().unwrap()
}

fn prompts() -> RowsInMemory {
    let rows = (0..14u32).map(|r| (0..CONTEXT as u32).map(|p| (r * 3 + p) % 7).collect());
    RowsInMemory::new(rows.collect(), CONTEXT).unwrap()
}

fn live(model: &ToyModel, mix_fraction: f64, exclude: Vec<u32>) -> Live<'_> {
    let mix = MixOptions { buffer_size: 40, batch_size: 8, mix_fraction, seed: 5 };
    let harvest = Harvest { exclude, ..Harvest::at(hook()) };
    Live::new(model, prompts(), harvest, 3, mix).unwrap()
}

fn read(source: &mut Live<'_>, rows: usize) -> Vec<f32> {
    source.next(rows).unwrap().unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn without_mixing_rows_come_as_the_model_gives_them() {
    let model = ToyModel::new(2, D_MODEL).unwrap();
    let mut source = live(&model, 0.0, Vec::new());
    let first: Vec<Vec<u32>> =
        (0..3u32).map(|r| (0..CONTEXT as u32).map(|p| (r * 3 + p) % 7).collect()).collect();
    let want = Harvest::at(hook()).run(&model, &first).unwrap();
    let want = want.rows.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(read(&mut source, 15), want);
}

#[test]
fn coming_back_gives_the_same_rows() {
    let model = ToyModel::new(2, D_MODEL).unwrap();
    for exclude in [Vec::new(), vec![0, 3]] {
        let mut whole = live(&model, 0.5, exclude.clone());
        let all = read(&mut whole, 300);
        for at in [0usize, 1, 8, 57, 200] {
            let mut fresh = live(&model, 0.5, exclude.clone());
            fresh.seek(Position { row: at as u64 }).unwrap();
            assert_eq!(read(&mut fresh, 60), all[at * D_MODEL..(at + 60) * D_MODEL], "at {at}");
            // Back and forth again, from where it stands now.
            fresh.seek(Position { row: 100 }).unwrap();
            assert_eq!(read(&mut fresh, 10), all[100 * D_MODEL..110 * D_MODEL]);
        }
    }
}

#[test]
fn excluded_tokens_and_positions_leave_no_rows() {
    let model = ToyModel::new(2, D_MODEL).unwrap();
    let mut harvest = Harvest::at(hook());
    let prompt = vec![vec![0, 1, 2, 3, 0]];
    harvest.exclude = vec![0];
    assert_eq!(harvest.run(&model, &prompt).unwrap().tokens, [1, 2, 3]);
    assert_eq!(harvest.count(&prompt).unwrap(), 3);
    harvest.positions = PosSlice::Range { start: Some(2), stop: None, step: None };
    let found = harvest.run(&model, &prompt).unwrap();
    assert_eq!((found.tokens, found.rows.dims().to_vec()), (vec![2, 3], vec![2, D_MODEL]));
    harvest.exclude = (0..7).collect();
    assert_eq!(harvest.run(&model, &prompt).unwrap().rows.dims(), [0, D_MODEL]);
}

#[test]
fn what_can_never_give_a_row_is_an_error() {
    let model = ToyModel::new(2, D_MODEL).unwrap();
    let error = live(&model, 0.5, (0..7).collect()).next(1).unwrap_err().to_string();
    assert!(error.contains("no row"), "{error}");
    let mix = MixOptions { buffer_size: 4, batch_size: 8, mix_fraction: 0.5, seed: 0 };
    let error = Live::new(&model, prompts(), Harvest::at(hook()), 1, mix).err().unwrap();
    assert!(error.to_string().contains("holds 4 rows, a batch needs 8"), "{error}");
    let harvest = Harvest::at("blocks.7.hook_resid_pre".parse().unwrap());
    let mix = MixOptions { buffer_size: 8, ..mix };
    assert!(Live::new(&model, prompts(), harvest, 1, mix).is_err());
}

/// A dataset of one endless row that breaks off after some rows, and counts how many were read.
struct Breaking {
    rows: usize,
    read: Arc<AtomicUsize>,
}

impl TokenRows for Breaking {
    fn context_size(&self) -> usize {
        CONTEXT
    }

    fn next_row(&mut self) -> sae_store::Result<Option<Vec<u32>>> {
        let row = self.read.fetch_add(1, Ordering::Relaxed);
        match row < self.rows {
            true => Ok(Some(vec![row as u32 % 7; CONTEXT])),
            false => Err(Error::Tokenize { document: row, problem: "broken".to_owned() }),
        }
    }

    fn rewind(&mut self) -> sae_store::Result<()> {
        self.read.store(0, Ordering::Relaxed);
        Ok(())
    }
}

fn breaking<'m>(model: &'m ToyModel, rows: usize, read: &Arc<AtomicUsize>) -> Live<'m> {
    let mix = MixOptions { buffer_size: 40, batch_size: 8, mix_fraction: 0.5, seed: 5 };
    let tokens = Breaking { rows, read: Arc::clone(read) };
    Live::new(model, tokens, Harvest::at(hook()), 2, mix).unwrap()
}

#[test]
fn a_thread_that_runs_ahead_changes_no_bit() {
    let model = ToyModel::new(2, D_MODEL).unwrap();
    for exclude in [Vec::new(), vec![0, 3]] {
        let all = read(&mut live(&model, 0.5, exclude.clone()), 300);
        for passes in [0, 1, 4] {
            live(&model, 0.5, exclude.clone()).ahead(passes, |source| {
                let mut at = 0;
                for rows in [1, 8, 40, 3, 100] {
                    let want = &all[at * D_MODEL..(at + rows) * D_MODEL];
                    assert_eq!(read(source, rows), want, "{passes} ahead, row {at}");
                    at += rows;
                }
                for at in [200usize, 170, 0, 90] {
                    source.seek(Position { row: at as u64 }).unwrap();
                    assert_eq!(read(source, 60), all[at * D_MODEL..(at + 60) * D_MODEL]);
                }
            });
        }
    }
}

#[test]
fn what_fails_in_the_thread_fails_where_it_would_have_failed_here() {
    let model = ToyModel::new(2, D_MODEL).unwrap();
    let failure = |source: &mut Live<'_>| -> (u64, String) {
        loop {
            if let Err(e) = source.next(1) {
                return (source.position().row, e.to_string());
            }
        }
    };
    let here = failure(&mut breaking(&model, 33, &Arc::default()));
    assert!(here.0 > 0 && here.1.contains("broken"), "{here:?}");
    let (there, again) = breaking(&model, 33, &Arc::default()).ahead(2, |source| {
        let there = failure(source);
        (there, source.next(1).map(drop).unwrap_err().to_string())
    });
    assert_eq!(here, there);
    assert!(again.contains("broken"), "{again}");
    // Going back to before the failure works as if nothing had been.
    breaking(&model, 33, &Arc::default()).ahead(2, |source| {
        let first = read(source, 10);
        failure(source);
        source.seek(Position { row: 0 }).unwrap();
        assert_eq!(read(source, 10), first);
    });
}

#[test]
fn the_thread_is_no_further_ahead_than_it_may_be_and_ends_with_its_reader() {
    let model = ToyModel::new(2, D_MODEL).unwrap();
    let count = Arc::default();
    breaking(&model, 1_000_000, &count).ahead(3, |source| {
        read(source, 8);
        // Time to run away, were there no bound.
        std::thread::sleep(Duration::from_millis(50));
    });
    // Four passes fill the buffer of 40 rows; three may be ready, one is in the making, two rows each.
    let rows = count.load(Ordering::Relaxed);
    assert!((8..=16).contains(&rows), "{rows}");
    // A reader that fails at once does not wait for anything.
    let failed: Result<(), &str> = breaking(&model, 1_000_000, &count).ahead(1, |_| Err("at once"));
    assert_eq!(failed, Err("at once"));
}

mod prop {
    use proptest::collection::vec;
    use proptest::prelude::{prop_assert_eq, proptest};

    use super::*;

    proptest! {
        #[test]
        fn any_reading_and_seeking_is_the_same_with_the_thread(
            passes in 1usize..4,
            prompts_per_pass in 1usize..5,
            acts in vec((0u64..120, 1usize..40), 1..6),
        ) {
            let model = ToyModel::new(2, D_MODEL).unwrap();
            let source = || {
                let mix = MixOptions { buffer_size: 20, batch_size: 4, mix_fraction: 0.5, seed: 1 };
                let harvest = Harvest { exclude: vec![2], ..Harvest::at(hook()) };
                Live::new(&model, prompts(), harvest, prompts_per_pass, mix).unwrap()
            };
            let run = |source: &mut Live<'_>| -> Vec<Vec<f32>> {
                acts.iter()
                    .map(|(to, rows)| {
                        // Some begin where the last one ended.
                        if to % 3 != 0 {
                            source.seek(Position { row: *to }).unwrap();
                        }
                        read(source, *rows)
                    })
                    .collect()
            };
            let here = run(&mut source());
            let there = source().ahead(passes, |source| run(source));
            prop_assert_eq!(here, there);
        }
    }
}
