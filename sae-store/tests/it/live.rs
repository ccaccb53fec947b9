//! Live activations: every kept token once, in an order that can be come back to.

use sae_core::hook::{HookName, PosSlice};
use sae_core::source::{ActivationSource, Position};
use sae_core::testing::ToyModel;
use sae_store::{Harvest, Live, MixOptions, RowsInMemory};

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
