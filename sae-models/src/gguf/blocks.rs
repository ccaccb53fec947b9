//! The blocks of ggml, taken apart into codes, scales and offsets (`ggml-common.h`, `ggml-quants.c`).

use candle_core::quantized::GgmlDType;
use half::f16;

/// Codes of a row as `sae_core::ops::Packed` keeps them, with a scale and perhaps an offset per group.
#[derive(Default)]
pub(super) struct Groups {
    pub(super) codes: Vec<u8>,
    pub(super) scales: Vec<f32>,
    pub(super) offsets: Vec<f32>,
}

/// What stands for 0 among codes of eight bits.
const ZERO: u8 = 128;

/// Add the groups of one block of a quantised type.
pub(super) fn groups(blocks: GgmlDType, block: &[u8], to: &mut Groups) {
    match blocks {
        GgmlDType::Q4_0 => {
            let d = half_at(block, 0);
            to.scales.push(d);
            to.offsets.push(-8.0 * d);
            to.nibbles(&block[2..18], |_, code| code);
        }
        GgmlDType::Q4_1 => {
            to.scales.push(half_at(block, 0));
            to.offsets.push(half_at(block, 2));
            to.nibbles(&block[4..20], |_, code| code);
        }
        GgmlDType::Q5_0 => {
            to.scales.push(half_at(block, 0));
            let fifth = &block[2..6];
            to.nibbles(&block[6..22], |i, code| ZERO - 16 + (code | bit(fifth, i) << 4));
        }
        GgmlDType::Q5_1 => {
            to.scales.push(half_at(block, 0));
            to.offsets.push(half_at(block, 2));
            let fifth = &block[4..8];
            to.nibbles(&block[8..24], |i, code| ZERO + (code | bit(fifth, i) << 4));
        }
        GgmlDType::Q8_0 => {
            to.scales.push(half_at(block, 0));
            to.codes.extend(block[2..34].iter().map(|code| code.wrapping_add(ZERO)));
        }
        GgmlDType::Q2K => q2_k(block, to),
        GgmlDType::Q3K => q3_k(block, to),
        GgmlDType::Q4K => q4_k(block, to),
        GgmlDType::Q5K => q5_k(block, to),
        GgmlDType::Q6K => q6_k(block, to),
        _ => {}
    }
}

impl Groups {
    pub(super) fn clear(&mut self) {
        self.codes.clear();
        self.scales.clear();
        self.offsets.clear();
    }

    /// Codes of 16 bytes: those in the low halves, then those in the high halves.
    fn nibbles(&mut self, bytes: &[u8], code: impl Fn(usize, u8) -> u8) {
        let low = bytes.iter().map(|byte| byte & 15);
        let high = bytes.iter().map(|byte| byte >> 4);
        self.codes.extend(low.chain(high).enumerate().map(|(i, nibble)| code(i, nibble)));
    }
}

fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// Bit `i` of some bytes.
fn bit(bytes: &[u8], i: usize) -> u8 {
    bytes[i / 8] >> (i % 8) & 1
}

/// Two bits a code. Scales and offsets share bytes.
fn q2_k(block: &[u8], to: &mut Groups) {
    let (d, min) = (half_at(block, 80), half_at(block, 82));
    for both in &block[..16] {
        to.scales.push(d * f32::from(both & 15));
        to.offsets.push(-min * f32::from(both >> 4));
    }
    for part in block[16..80].chunks_exact(32) {
        for shift in [0, 2, 4, 6] {
            to.codes.extend(part.iter().map(|byte| byte >> shift & 3));
        }
    }
}

/// Two bits a code and a third one elsewhere, scales of six bits.
fn q3_k(block: &[u8], to: &mut Groups) {
    let (third, scales, d) = (&block[..32], &block[96..108], half_at(block, 108));
    for i in 0..16 {
        let low = scales[i % 8] >> (i / 8 * 4) & 15;
        let high = scales[8 + i % 4] >> (i / 4 * 2) & 3;
        let scale = d * (f32::from(low | high << 4) - 32.0);
        to.scales.push(scale);
        to.offsets.push(-4.0 * scale);
    }
    for (p, part) in block[32..96].chunks_exact(32).enumerate() {
        for s in 0..4 {
            let code =
                |(byte, third): (&u8, &u8)| byte >> (2 * s) & 3 | (third >> (4 * p + s) & 1) << 2;
            to.codes.extend(part.iter().zip(third).map(code));
        }
    }
}

/// Scale and offset of group `i` of eight, of six bits each in twelve bytes.
fn six_bits(bytes: &[u8], i: usize) -> (f32, f32) {
    let (scale, offset) = match i {
        0..4 => (bytes[i] & 63, bytes[i + 4] & 63),
        _ => (bytes[i + 4] & 15 | bytes[i - 4] >> 6 << 4, bytes[i + 4] >> 4 | bytes[i] >> 6 << 4),
    };
    (f32::from(scale), f32::from(offset))
}

/// Scales and offsets of Q4_K and Q5_K.
fn eight_groups(block: &[u8], to: &mut Groups) {
    let (d, min) = (half_at(block, 0), half_at(block, 2));
    for i in 0..8 {
        let (scale, offset) = six_bits(&block[4..16], i);
        to.scales.push(d * scale);
        to.offsets.push(-min * offset);
    }
}

fn q4_k(block: &[u8], to: &mut Groups) {
    eight_groups(block, to);
    for part in block[16..144].chunks_exact(32) {
        to.codes.extend(part.iter().map(|byte| byte & 15));
        to.codes.extend(part.iter().map(|byte| byte >> 4));
    }
}

fn q5_k(block: &[u8], to: &mut Groups) {
    eight_groups(block, to);
    let fifth = &block[16..48];
    for (p, part) in block[48..176].chunks_exact(32).enumerate() {
        for half in 0..2 {
            let code = |(byte, fifth): (&u8, &u8)| {
                ZERO + (byte >> (4 * half) & 15 | (fifth >> (2 * p + half) & 1) << 4)
            };
            to.codes.extend(part.iter().zip(fifth).map(code));
        }
    }
}

fn q6_k(block: &[u8], to: &mut Groups) {
    let d = half_at(block, 208);
    to.scales.extend(block[192..208].iter().map(|scale| d * f32::from(scale.cast_signed())));
    for (low, high) in block[..128].chunks_exact(64).zip(block[128..192].chunks_exact(32)) {
        for quarter in 0..4 {
            let low = &low[quarter % 2 * 32..][..32];
            let code = |(low, high): (&u8, &u8)| {
                ZERO - 32 + (low >> (quarter / 2 * 4) & 15 | (high >> (2 * quarter) & 3) << 4)
            };
            to.codes.extend(low.iter().zip(high).map(code));
        }
    }
}
