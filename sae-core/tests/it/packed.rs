//! Packed matrices against what they stand for.

#![allow(clippy::cast_possible_truncation)] // small numbers

use candle_core::{Device, Tensor, Var};
use proptest::prelude::*;

use sae_core::Result;
use sae_core::ops::{Activation, Bits, Format, Packed, Packing, activate, linear, linear_packed};

fn formats() -> impl Strategy<Value = Format> {
    (any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(eight, half, offsets)| Format {
        bits: if eight { Bits::Eight } else { Bits::Four },
        group: if half { 16 } else { 32 },
        offsets,
    })
}

/// A packed matrix, and what it stands for.
fn made(format: Format, (rows, cols): (usize, usize), seed: usize) -> (Packed, Vec<f32>) {
    let number = |i: usize| (i * 7919 + seed * 104_729) % 1009;
    let mut packing = Packing::new(format, cols).unwrap();
    let mut values = Vec::new();
    for row in 0..rows {
        let at = |i: usize| row * cols + i;
        let codes: Vec<u8> = match format.bits {
            Bits::Four => (0..cols).map(|i| (number(at(i)) % 16) as u8).collect(),
            Bits::Eight => (0..cols).map(|i| (number(at(i)) % 256) as u8).collect(),
        };
        let groups = cols / format.group;
        let per_group = |shift: usize| -> Vec<f32> {
            (0..groups).map(|i| (number(at(i) + shift) as f32 - 504.0) / 977.0).collect()
        };
        let scales = per_group(1);
        let offsets = if format.offsets { per_group(2) } else { Vec::new() };
        for (i, code) in codes.iter().enumerate() {
            let signed = match format.bits {
                Bits::Four => f32::from(*code),
                Bits::Eight => f32::from(*code) - 128.0,
            };
            let offset = offsets.get(i / format.group).copied();
            let scaled = signed * scales[i / format.group];
            values.push(offset.map_or(scaled, |offset| scaled + offset));
        }
        packing.push(&codes, &scales, &offsets).unwrap();
    }
    (packing.finish(), values)
}

fn values(x: &Tensor) -> Vec<f32> {
    x.flatten_all().unwrap().to_vec1().unwrap()
}

fn close(got: &Tensor, want: &Tensor) -> bool {
    let largest = values(want).iter().fold(1f32, |most, v| most.max(v.abs()));
    got.dims() == want.dims()
        && values(got).iter().zip(values(want)).all(|(a, b)| (a - b).abs() < 1e-5 * largest)
}

proptest! {
    #[test]
    fn it_holds_what_was_put_in(
        format in formats(),
        (rows, units, seed) in (1usize..5, 1usize..11, 0usize..1000),
    ) {
        let cols = units * 32;
        let (w, want) = made(format, (rows, cols), seed);
        prop_assert_eq!(w.dims(), (rows, cols));
        prop_assert_eq!(&values(&w.widened().unwrap()), &want);
        let last = rows as u32 - 1;
        let row = w.lookup(&[last, 0]).unwrap();
        prop_assert_eq!(&values(&row)[..cols], &want[(rows - 1) * cols..]);
        prop_assert_eq!(&values(&row)[cols..], &want[..cols]);
        let turned = w.select((0..rows).rev()).unwrap().narrow(rows - 1, 1).unwrap();
        prop_assert_eq!(&values(&turned.widened().unwrap())[..], &want[..cols]);
        prop_assert!(w.narrow(rows, 1).is_err() && w.lookup(&[rows as u32]).is_err());
    }

    #[test]
    fn stacked_matrices_of_any_formats_hold_the_same(
        (a, b) in (formats(), formats()),
        (rows, units) in (1usize..4, 1usize..9),
    ) {
        let ((a, first), (b, second)) =
            (made(a, (rows, units * 32), 1), made(b, (rows + 1, units * 32), 2));
        let both = Packed::stacked(&[a, b]).unwrap();
        prop_assert_eq!(values(&both.widened().unwrap()), [first, second].concat());
    }

    #[test]
    fn products_and_gradients_are_those_of_the_same_matrix_in_f32(
        format in formats(),
        (rows, d_out, units) in (prop_oneof![1usize..5, 5usize..40], 1usize..200, 1usize..11),
    ) {
        let d_in = units * 32;
        let (w, wide) = made(format, (d_out, d_in), rows);
        let wide = Tensor::from_vec(wide, (d_out, d_in), &Device::Cpu).unwrap().t().unwrap();
        let b = Tensor::randn(0f32, 1.0, d_out, &Device::Cpu).unwrap();
        let x = Var::randn(0f32, 1.0, (1, rows, d_in), &Device::Cpu).unwrap();
        let plain = x.as_detached_tensor();
        let want = activate(&linear(&plain, &wide, Some(&b)).unwrap(), Activation::Relu).unwrap();
        let got = linear_packed(&plain, &w, Some(&b), Some(Activation::Relu)).unwrap();
        prop_assert!(close(&got, &want));
        let gradient = |y: Tensor| -> Tensor {
            let loss = y.sqr().unwrap().sum_all().unwrap();
            loss.backward().unwrap().remove(x.as_tensor()).unwrap()
        };
        let want = gradient(linear(x.as_tensor(), &wide, Some(&b)).unwrap());
        let got = gradient(linear_packed(x.as_tensor(), &w, Some(&b), None).unwrap());
        prop_assert!(close(&got, &want));
    }
}

/// As many outputs as a vocabulary has.
#[test]
fn the_gradient_of_many_outputs_is_that_of_the_same_matrix_in_f32() -> Result<()> {
    let format = Format { bits: Bits::Eight, group: 32, offsets: false };
    let (d_out, d_in) = (140_000, 96);
    let (w, wide) = made(format, (d_out, d_in), 3);
    let wide = Tensor::from_vec(wide, (d_out, d_in), &Device::Cpu)?;
    let g = Tensor::randn(0f32, 1.0, (2, d_out), &Device::Cpu)?;
    assert!(close(&w.product_transposed(&g)?, &linear(&g, &wide, None)?));
    Ok(())
}

#[test]
fn what_does_not_fit_is_an_error() -> Result<()> {
    let format = Format { bits: Bits::Four, group: 32, offsets: false };
    assert!(Packing::new(format, 48).is_err());
    assert!(Packing::new(Format { group: 8, ..format }, 64).is_err());
    let mut packing = Packing::new(format, 32)?;
    assert!(packing.push(&[0; 32], &[1.0], &[0.0]).is_err());
    assert!(packing.push(&[0; 31], &[1.0], &[]).is_err());
    assert!(packing.push(&[16; 32], &[1.0], &[]).is_err());
    let mut other = Packing::new(Format { offsets: true, ..format }, 32)?;
    other.push(&[0; 32], &[1.0], &[0.0])?;
    assert!(packing.append(&other).is_err());
    packing.push(&[3; 32], &[1.0], &[])?;
    let w = packing.finish();
    let x = Tensor::zeros((2, 31), candle_core::DType::F32, &Device::Cpu)?;
    assert!(linear_packed(&x, &w, None, None).is_err());
    Ok(())
}
