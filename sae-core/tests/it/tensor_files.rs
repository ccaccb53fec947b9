//! Files of torch and numpy: what they hold, and what is refused.

use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use candle_core::{DType, Tensor};
use proptest::prelude::*;
use sae_core::arch::WeightSource;
use sae_core::io::{NamedTensors, NumpyFile, TensorFile, TorchFile, open_tensors};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tensor_files").join(name)
}

fn bits(tensor: &Tensor) -> Vec<u64> {
    let tensor = tensor.flatten_all().unwrap();
    match tensor.dtype() {
        DType::I64 | DType::I32 | DType::I16 | DType::U8 => {
            let values = tensor.to_dtype(DType::I64).unwrap().to_vec1::<i64>().unwrap();
            values.into_iter().map(i64::cast_unsigned).collect()
        }
        _ => {
            let values = tensor.to_dtype(DType::F64).unwrap().to_vec1::<f64>().unwrap();
            values.into_iter().map(f64::to_bits).collect()
        }
    }
}

/// Every tensor of `got` is that of the safetensors file `want`, and there are no others.
fn holds(got: &mut dyn NamedTensors, want: &str) {
    const NOT_READ_BY_CANDLE: [&str; 1] = ["mask"];
    let mut want = TensorFile::open(&fixture(want)).unwrap();
    let (mut got_names, mut want_names) = (got.names(), want.names());
    got_names.sort();
    want_names.sort();
    assert_eq!(got_names, want_names);
    for name in want_names {
        assert_eq!(got.shape(&name), want.shape(&name), "{name}");
        let raw = got.raw(&name).unwrap();
        if NOT_READ_BY_CANDLE.contains(&name.as_str()) {
            assert_eq!(bits(&raw), [1, 0, 1]);
            continue;
        }
        let expected = match want.raw(&name) {
            Ok(expected) => expected,
            // I32 and I16, which are not read from safetensors files.
            Err(_) => {
                let n = raw.elem_count();
                assert_eq!(bits(&raw).iter().copied().max(), Some(n as u64 - 1), "{name}");
                continue;
            }
        };
        assert_eq!(raw.dtype(), expected.dtype(), "{name}");
        assert_eq!(bits(&raw), bits(&expected), "{name}");
        let as_f32 = got.tensor(&name);
        if expected.dtype().is_float() {
            let expected = want.tensor(&name).unwrap();
            assert_eq!(bits(&as_f32.unwrap()), bits(&expected), "{name}");
        } else {
            assert!(as_f32.unwrap_err().to_string().contains(&format!("`{name}`")));
        }
    }
}

#[test]
fn an_archive_of_torch_holds_what_torch_wrote() {
    holds(&mut TorchFile::open(&fixture("archive.pt")).unwrap(), "torch.safetensors");
}

#[test]
fn a_file_of_torch_before_1_6_holds_the_same() {
    holds(&mut TorchFile::open(&fixture("before_1_6.pt")).unwrap(), "torch.safetensors");
}

#[test]
fn plain_values_of_a_torch_file_are_read() {
    for name in ["archive.pt", "before_1_6.pt"] {
        let file = TorchFile::open(&fixture(name)).unwrap();
        let want = serde_json::json!({
            "activation": "TopK",
            "activation_state_dict": {"k": 6, "postact_fn": "ReLU"},
            "steps": 70000,
            "big": 1u64 << 40,
            "rate": 2.5e-4,
            "flags": [true, false, null],
            "dtype": "torch.bfloat16",
            "no_fields": {},
            "nested": {"list": ["between"]},
        });
        assert_eq!(serde_json::Value::Object(file.plain().clone()), want, "{name}");
    }
}

#[test]
fn a_file_of_torch_is_a_source_of_weights() {
    let mut file = TorchFile::open(&fixture("module.bin")).unwrap();
    assert_eq!(file.names(), ["bias", "weight"]);
    assert_eq!(file.take("weight", &[2, 3]).unwrap().dims(), [2, 3]);
    assert!(file.take_if_there("gain", &[2]).unwrap().is_none());
    let shape = file.take("weight", &[3, 2]).unwrap_err().to_string();
    assert!(shape.contains("module.bin: tensor `weight` is [2, 3], expected [3, 2]"), "{shape}");
    let absent = file.take("gain", &[2]).unwrap_err().to_string();
    assert!(absent.contains("module.bin: no tensor `gain`"), "{absent}");
}

#[test]
fn numpy_files_hold_what_numpy_wrote() {
    holds(&mut NumpyFile::open(&fixture("stored.npz")).unwrap(), "numpy.safetensors");
    holds(&mut NumpyFile::open(&fixture("deflated.npz")).unwrap(), "numpy.safetensors");
    let mut one = NumpyFile::open(&fixture("one.npy")).unwrap();
    let mut all = NumpyFile::open(&fixture("stored.npz")).unwrap();
    assert_eq!(one.names(), ["arr_0"]);
    assert_eq!(bits(&one.tensor("arr_0").unwrap()), bits(&all.tensor("w_enc").unwrap()));
}

#[test]
fn files_are_opened_by_their_ending() {
    for (name, tensor) in [
        ("archive.pt", "matrix"),
        ("module.bin", "weight"),
        ("stored.npz", "w_enc"),
        ("one.npy", "arr_0"),
        ("torch.safetensors", "matrix"),
    ] {
        let mut file = open_tensors(&fixture(name)).unwrap();
        assert_eq!(file.tensor(tensor).unwrap().rank(), 2, "{name}");
    }
    assert!(open_tensors(&fixture("make.py")).is_err());
}

/// The message with which a file is refused.
fn refusal<T>(opened: sae_core::Result<T>) -> String {
    opened.err().map(|e| e.to_string()).unwrap_or_else(|| "nothing was refused".to_owned())
}

#[test]
fn pickles_with_code_are_refused_by_the_name_of_the_global() {
    let says = refusal(TorchFile::open(&fixture("runs_code.pt")));
    assert!(says.contains("runs_code.pt: refused") && says.contains("`posix.system`"), "{says}");
    let says = refusal(TorchFile::open(&fixture("whole_module.pt")));
    assert!(says.contains("`torch.nn.modules.linear.Linear`"), "{says}");
}

#[test]
fn arrays_of_python_objects_are_refused_by_name() {
    let says = refusal(NumpyFile::open(&fixture("objects.npz")));
    assert!(says.contains("array `note`") && says.contains("Python objects"), "{says}");
}

fn zip(method: CompressionMethod, parts: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in parts {
        writer.start_file(*name, SimpleFileOptions::default().compression_method(method)).unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn torch(pickle: &[u8], storages: &[(&str, &[u8])]) -> sae_core::Result<TorchFile> {
    let mut parts = vec![("x/data.pkl", pickle)];
    parts.extend(storages);
    TorchFile::from_bytes("x.pt".into(), zip(CompressionMethod::Stored, &parts))
}

/// A pickle of one tensor of f32 in storage 0, of 4 numbers.
fn tensor_pickle(offset: u8, shape: &[u8], strides: &[u8]) -> Vec<u8> {
    let tuple = |items: &[u8]| {
        let items = items.iter().flat_map(|item| [b'K', *item]);
        [b'('].into_iter().chain(items).chain(*b"t").collect::<Vec<u8>>()
    };
    let mut pickle = b"\x80\x02}X\x01\0\0\0wctorch._utils\n_rebuild_tensor_v2\n(".to_vec();
    pickle.extend(b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x04tQ");
    pickle.extend([b'K', offset]);
    pickle.extend(tuple(shape));
    pickle.extend(tuple(strides));
    pickle.extend(b"\x89NtRs.");
    pickle
}

#[test]
fn pickles_made_by_hand_are_read() {
    let numbers: Vec<u8> = [1f32, 2.0, 3.0, 4.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    let pickle = tensor_pickle(1, &[3], &[1]);
    let mut file = torch(&pickle, &[("x/data/0", &numbers)]).unwrap();
    assert_eq!(file.tensor("w").unwrap().to_vec1::<f32>().unwrap(), [2.0, 3.0, 4.0]);
}

#[test]
fn instructions_that_make_objects_are_refused_by_name() {
    let inst = refusal(torch(b"\x80\x02(ios\nsystem\n.", &[]));
    assert!(inst.contains("the instruction INST"), "{inst}");
    let obj = refusal(torch(b"\x80\x02(cos\nsystem\nX\x02\0\0\0lso.", &[]));
    assert!(obj.contains("`os.system`"), "{obj}");
    let stack = b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93.";
    assert!(refusal(torch(stack, &[])).contains("`builtins.eval`"));
    let extension = refusal(torch(b"\x80\x02\x82\x01.", &[]));
    assert!(extension.contains("the instruction EXT1"), "{extension}");
}

#[test]
fn views_that_lead_out_of_their_storage_are_refused() {
    let numbers = [0u8; 16];
    for (offset, shape, strides) in [
        (2, &[3][..], &[1][..]),
        (0, &[2, 3], &[3, 1]),
        (0, &[5], &[1]),
        (5, &[1], &[1]),
        (0, &[2], &[255]),
    ] {
        let pickle = tensor_pickle(offset, shape, strides);
        let says = refusal(torch(&pickle, &[("x/data/0", &numbers)]));
        assert!(says.contains("leads out of its 4 numbers"), "{says}");
    }
    let says = refusal(torch(&tensor_pickle(0, &[255; 8], &[0; 8]), &[("x/data/0", &numbers)]));
    assert!(says.contains("numbers of a tensor"), "{says}");
    let says = refusal(torch(&tensor_pickle(0, &[1; 17], &[0; 17]), &[("x/data/0", &numbers)]));
    assert!(says.contains("parts of a shape"), "{says}");
}

#[test]
fn storages_of_another_size_than_the_pickle_says_are_refused() {
    let pickle = tensor_pickle(0, &[4], &[1]);
    for storage in [&[0u8; 12][..], &[0; 20]] {
        let mut file = torch(&pickle, &[("x/data/0", storage)]).unwrap();
        let says = refusal(file.tensor("w"));
        assert!(says.contains("storage `0`") && says.contains("not 16"), "{says}");
    }
    assert!(refusal(torch(&pickle, &[]).unwrap().tensor("w")).contains("storage `0` is missing"));
}

#[test]
fn small_pickles_cannot_grow_large() {
    // A list of two of a list of two of ...: 2^40 objects when walked.
    let mut pickle = b"\x80\x02}X\x01\0\0\0x(K\x01K\x02lq\0".to_vec();
    for _ in 0..40 {
        pickle.extend(b"0(h\0h\0lq\0");
    }
    pickle.extend(b"s.");
    let says = refusal(torch(&pickle, &[]));
    assert!(says.contains("met again and again"), "{says}");
    // Nested a thousand times.
    let mut deep = b"\x80\x02}X\x01\0\0\0x".to_vec();
    deep.extend([b']'; 1000]);
    deep.extend([b'a'; 999]);
    deep.extend(b"s.");
    assert!(refusal(torch(&deep, &[])).contains("depth of a pickled structure"));
    // A list inside itself.
    let says = refusal(torch(b"\x80\x02}X\x01\0\0\0x]q\0h\0as.", &[]));
    assert!(says.contains("depth of a pickled structure"), "{says}");
}

/// An array file with that header.
fn npy(header: &str, numbers: &[u8]) -> Vec<u8> {
    let mut file = b"\x93NUMPY\x01\0".to_vec();
    file.extend(u16::try_from(header.len()).unwrap().to_le_bytes());
    file.extend(header.as_bytes());
    file.extend(numbers);
    file
}

fn npz(method: CompressionMethod, array: &[u8]) -> sae_core::Result<NumpyFile> {
    NumpyFile::from_bytes("x.npz".into(), zip(method, &[("w.npy", array)]))
}

#[test]
fn arrays_of_absurd_shapes_are_refused() {
    for shape in ["(99999999999,)", "(4294967296, 4294967296, 4294967296)", "(5,)", "(3,)"] {
        let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}");
        let array = npy(&header, &[0; 16]);
        let says = refusal(npz(CompressionMethod::Stored, &array));
        assert!(says.contains("array `w`"), "{says}");
        assert!(NumpyFile::from_bytes("x.npy".into(), array).is_err());
    }
}

#[test]
fn archives_that_inflate_beyond_reason_are_refused() {
    const NUMBERS: usize = 8 << 20;
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({NUMBERS},)}}");
    let says = refusal(npz(CompressionMethod::Deflated, &npy(&header, &vec![0; 4 * NUMBERS])));
    assert!(says.contains("inflation of a part") && says.contains("at most 100"), "{says}");
}

#[test]
fn damaged_parts_are_met_by_their_checksum() {
    let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (4,)}";
    let mut bytes = zip(CompressionMethod::Stored, &[("w.npy", &npy(header, b"0123456789abcdef"))]);
    let at = bytes.windows(4).position(|w| w == b"89ab").unwrap();
    bytes[at] = b'x';
    let mut file = NumpyFile::from_bytes("x.npz".into(), bytes).unwrap();
    let says = refusal(file.tensor("w"));
    assert!(says.contains("x.npz: damaged") && says.contains("checksum"), "{says}");
}

/// Opens bytes as both formats and reads every tensor: errors are fine, panics are not.
fn survives(bytes: &[u8]) {
    let bytes = bytes.to_vec();
    if let Ok(mut file) = TorchFile::from_bytes("x".into(), bytes.clone()) {
        for name in file.names() {
            drop((file.tensor(&name), file.raw(&name)));
        }
    }
    if let Ok(mut file) = NumpyFile::from_bytes("x".into(), bytes) {
        for name in file.names() {
            drop((file.tensor(&name), file.raw(&name)));
        }
    }
}

proptest! {
    #[test]
    fn prop_damaged_files_are_errors(
        name in prop::sample::select(
            &["archive.pt", "before_1_6.pt", "stored.npz", "deflated.npz", "one.npy"][..],
        ),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        end in any::<prop::sample::Index>(),
        cut in any::<bool>(),
    ) {
        let mut bytes = std::fs::read(fixture(name)).unwrap();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if cut {
            bytes.truncate(end.index(bytes.len()));
        }
        survives(&bytes);
    }

    #[test]
    fn prop_any_pickle_is_data_or_an_error(pickle in prop::collection::vec(any::<u8>(), 0..200)) {
        survives(&zip(CompressionMethod::Stored, &[("x/data.pkl", &pickle)]));
    }

    #[test]
    fn prop_arrays_in_either_order_are_the_same_array(
        shape in prop::collection::vec(0usize..5, 0..4),
    ) {
        let count: usize = shape.iter().product();
        let value = |index: &[usize]| index.iter().zip(&shape).fold(0, |at, (i, n)| at * n + i);
        let written = |axes: Vec<usize>| {
            // Numbers in the order of `axes`, outermost first.
            let mut numbers = vec![0f32; count];
            for (at, number) in numbers.iter_mut().enumerate() {
                let (mut index, mut rest) = (vec![0; shape.len()], at);
                for axis in axes.iter().rev() {
                    index[*axis] = rest % shape[*axis];
                    rest /= shape[*axis];
                }
                *number = value(&index) as f32;
            }
            numbers.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>()
        };
        let read = |fortran: bool, numbers: &[u8]| {
            let axes: Vec<String> = shape.iter().map(|n| format!("{n},")).collect();
            let order = if fortran { "True" } else { "False" };
            let header =
                format!("{{'descr': '<f4', 'fortran_order': {order}, 'shape': ({})}}", axes.concat());
            let mut file = NumpyFile::from_bytes("x".into(), npy(&header, numbers)).unwrap();
            file.tensor("arr_0").unwrap()
        };
        let c = read(false, &written((0..shape.len()).collect()));
        let fortran = read(true, &written((0..shape.len()).rev().collect()));
        prop_assert_eq!(c.dims(), &shape[..]);
        prop_assert_eq!(bits(&c), bits(&fortran));
    }
}
