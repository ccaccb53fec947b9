//! Properties: closed-form gradients against candle's autograd on the same losses, written out densely.

use candle_core::{DType, Device, Tensor, Var};
use proptest::prelude::{any, proptest};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sae_core::sae::{MatchingPursuit, Normalize};
use sae_train::Params;
use sae_train::recipe::{
    Activation, BatchTopK, By, Gated, Matryoshka, Pursuit, Recipe, Standard, StepContext, TopK,
};
use sae_train::rows::Rows;

const D_IN: usize = 6;
const D_SAE: usize = 20;
const ROWS: usize = 9;
const COEFFICIENT: f64 = 0.3;

/// Losses in plain candle operations.
type Oracle = fn(&Weights, &Tensor, &[bool]) -> candle_core::Result<Tensor>;

/// Weights as variables, in SAELens' shapes.
struct Weights {
    w_enc: Var,
    w_dec: Var,
    b_dec: Var,
    per_latent: Vec<Var>,
}

impl Weights {
    fn new(params: &Params) -> candle_core::Result<Self> {
        let var = |values: &[f32], shape: &[usize]| {
            Var::from_tensor(
                &Tensor::from_slice(values, shape, &Device::Cpu)?.to_dtype(DType::F64)?,
            )
        };
        Ok(Self {
            w_enc: var(
                if params.has_encoder() { &params.w_enc } else { &params.w_dec },
                &[D_SAE, D_IN],
            )?,
            w_dec: var(&params.w_dec, &[D_SAE, D_IN])?,
            b_dec: var(&params.b_dec, &[D_IN])?,
            per_latent: params
                .per_latent
                .iter()
                .map(|(_, values)| var(values, &[D_SAE]))
                .collect::<candle_core::Result<_>>()?,
        })
    }

    fn shared(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        x.broadcast_sub(&self.b_dec)?.matmul(&self.w_enc.t()?)
    }

    fn decode(&self, f: &Tensor) -> candle_core::Result<Tensor> {
        f.matmul(&self.w_dec)?.broadcast_add(&self.b_dec)
    }

    fn norms(&self) -> candle_core::Result<Tensor> {
        self.w_dec.sqr()?.sum(1)?.sqrt()
    }
}

fn mse(a: &Tensor, b: &Tensor) -> candle_core::Result<Tensor> {
    (a - b)?.sqr()?.sum(1)?.mean(0)
}

/// `h` where `keep`, without a gradient of the choice.
fn only(h: &Tensor, keep: &Tensor) -> candle_core::Result<Tensor> {
    h * keep.detach().to_dtype(h.dtype())?
}

fn standard(w: &Weights, x: &Tensor, _: &[bool]) -> candle_core::Result<Tensor> {
    let h = w.shared(x)?.broadcast_add(&w.per_latent[0])?;
    let f = only(&h, &h.gt(0f64)?)?;
    let l1 = (f.broadcast_mul(&w.norms()?)?.sum(1)?.mean(0)? * COEFFICIENT)?;
    mse(&w.decode(&f)?, x)? + l1
}

fn gated(w: &Weights, x: &Tensor, _: &[bool]) -> candle_core::Result<Tensor> {
    let shared = w.shared(x)?;
    let gate = shared.broadcast_add(&w.per_latent[0])?;
    let open = gate.gt(0f64)?;
    let magnitude = shared.broadcast_mul(&w.per_latent[2].exp()?)?;
    let magnitude = magnitude.broadcast_add(&w.per_latent[1])?;
    let f = only(&only(&magnitude, &magnitude.gt(0f64)?)?, &open)?;
    let gate = only(&gate, &open)?;
    let l1 = (gate.broadcast_mul(&w.norms()?)?.sum(1)?.mean(0)? * COEFFICIENT)?;
    (mse(&w.decode(&f)?, x)? + l1)? + mse(&w.decode(&gate)?, x)?
}

const K: usize = 4;
const BATCH_K: f64 = 3.6;
const AUX: f64 = 0.5;

/// 1 at the `k` largest of each row.
fn largest(h: &Tensor, k: usize) -> candle_core::Result<Tensor> {
    let rows = h.detach().to_vec2::<f64>()?;
    let mask = rows.iter().flat_map(|row| largest_of(row, k));
    Tensor::from_vec(mask.collect::<Vec<f64>>(), h.shape(), h.device())
}

/// 1 at the `k` largest of all.
fn largest_of(values: &[f64], k: usize) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*b].total_cmp(&values[*a]));
    let mut mask = vec![0f64; values.len()];
    order[..k].iter().for_each(|i| mask[*i] = 1.0);
    mask
}

/// Pre-activations times decoder norms.
fn rescaled(w: &Weights, x: &Tensor) -> candle_core::Result<Tensor> {
    w.shared(x)?.broadcast_add(&w.per_latent[0])?.broadcast_mul(&w.norms()?)
}

/// The loss of dead latents that learn `x - out`: `h` are their pre-activations times norms, `by` what they
/// are chosen by.
fn aux(
    w: &Weights,
    (h, by): (&Tensor, &Tensor),
    (x, out): (&Tensor, &Tensor),
    dead: &[bool],
) -> candle_core::Result<Tensor> {
    let n_dead = dead.iter().filter(|d| **d).count();
    let k_aux = (D_IN / 2).min(n_dead);
    let share = (n_dead as f64 / (D_IN / 2) as f64).min(1.0);
    let alive: Vec<f64> = dead.iter().map(|d| if *d { 0.0 } else { -1e9 }).collect();
    let among = by.broadcast_add(&Tensor::new(alive, &Device::Cpu)?)?;
    let z = only(h, &largest(&among, k_aux)?)?.broadcast_div(&w.norms()?)?;
    let z = only(
        &z,
        &Tensor::new(
            dead.iter().map(|d| f64::from(u8::from(*d))).collect::<Vec<_>>(),
            &Device::Cpu,
        )?
        .broadcast_as(z.shape())?,
    )?;
    let error = (x - out.detach())?;
    mse(&z.matmul(&w.dec()?)?, &error)? * (AUX * share)
}

fn topk(w: &Weights, x: &Tensor, dead: &[bool]) -> candle_core::Result<Tensor> {
    let h = rescaled(w, x)?;
    let f = only(&only(&h, &largest(&h, K)?)?, &h.gt(0f64)?)?;
    let out = w.decode(&f.broadcast_div(&w.norms()?)?)?;
    mse(&out, x)? + aux(w, (&h, &h), (x, &out), dead)?
}

fn abstopk(w: &Weights, x: &Tensor, dead: &[bool]) -> candle_core::Result<Tensor> {
    let h = rescaled(w, x)?;
    let size = h.abs()?;
    let f = only(&h, &largest(&size, K)?)?;
    let out = w.decode(&f.broadcast_div(&w.norms()?)?)?;
    mse(&out, x)? + aux(w, (&h, &size), (x, &out), dead)?
}

/// Latents of a batch, divided by norms, with the pre-activations.
fn of_batch(w: &Weights, x: &Tensor) -> candle_core::Result<(Tensor, Tensor)> {
    let h = rescaled(w, x)?;
    let keep = (BATCH_K * ROWS as f64) as usize;
    let mask = largest_of(&h.detach().flatten_all()?.to_vec1::<f64>()?, keep);
    let mask = Tensor::from_vec(mask, h.shape(), h.device())?;
    let f = only(&only(&h, &mask)?, &h.gt(0f64)?)?.broadcast_div(&w.norms()?)?;
    Ok((f, h))
}

fn batch_topk(w: &Weights, x: &Tensor, dead: &[bool]) -> candle_core::Result<Tensor> {
    let (f, h) = of_batch(w, x)?;
    let out = w.decode(&f)?;
    mse(&out, x)? + aux(w, (&h, &h), (x, &out), dead)?
}

const WIDTHS: [usize; 3] = [3, 11, D_SAE];

/// The reconstruction of the first `width` latents.
fn nested(w: &Weights, f: &Tensor, width: usize) -> candle_core::Result<Tensor> {
    f.narrow(1, 0, width)?.matmul(&w.w_dec.narrow(0, 0, width)?)?.broadcast_add(&w.b_dec)
}

fn matryoshka(w: &Weights, x: &Tensor, dead: &[bool]) -> candle_core::Result<Tensor> {
    let (f, h) = of_batch(w, x)?;
    let mut loss = aux(w, (&h, &h), (x, &w.decode(&f)?), dead)?;
    for width in WIDTHS {
        loss = (loss + mse(&nested(w, &f, width)?, x)?)?;
    }
    Ok(loss)
}

fn matryoshka_own_aux(w: &Weights, x: &Tensor, dead: &[bool]) -> candle_core::Result<Tensor> {
    let (f, h) = of_batch(w, x)?;
    let mut loss = Tensor::zeros((), DType::F64, &Device::Cpu)?;
    let mut from = 0;
    for width in WIDTHS {
        let out = nested(w, &f, width)?;
        let own: Vec<bool> =
            dead.iter().enumerate().map(|(i, d)| *d && (from..width).contains(&i)).collect();
        loss = ((loss + mse(&out, x)?)? + aux(w, (&h, &h), (x, &out), &own)?)?;
        from = width;
    }
    Ok(loss)
}

fn tanh_relu(w: &Weights, x: &Tensor, _: &[bool]) -> candle_core::Result<Tensor> {
    let h = w.shared(x)?.broadcast_add(&w.per_latent[0])?;
    let f = only(&h, &h.gt(0f64)?)?.tanh()?;
    mse(&w.decode(&f)?, x)? + (f.broadcast_mul(&w.norms()?)?.sum(1)?.mean(0)? * COEFFICIENT)?
}

const CHOICES: usize = 4;

fn pursuit(w: &Weights, x: &Tensor, _: &[bool]) -> candle_core::Result<Tensor> {
    let mut residual = x.broadcast_sub(&w.b_dec)?;
    let mut out = w.b_dec.broadcast_as(x.shape())?.contiguous()?;
    let mut seen: Vec<Vec<u32>> = vec![Vec::new(); ROWS];
    let mut open = [true; ROWS];
    for _ in 0..CHOICES {
        let fits = residual.detach().matmul(&w.w_dec.t()?)?;
        let best = fits.argmax(1)?;
        let directions = w.dec()?.index_select(&best, 0)?;
        let value = (&residual * &directions)?.sum_keepdim(1)?;
        let mask: Vec<f64> = open.iter().map(|open| f64::from(u8::from(*open))).collect();
        let mask = Tensor::from_vec(mask, (ROWS, 1), &Device::Cpu)?;
        let value = (only(&value, &value.gt(0f64)?)? * mask)?;
        let step = directions.broadcast_mul(&value)?;
        residual = (residual - &step)?;
        out = (out + step)?;
        for (row, latent) in best.to_vec1::<u32>()?.into_iter().enumerate() {
            open[row] &= !seen[row].contains(&latent);
            seen[row].push(latent);
        }
    }
    mse(&out, x)
}

impl Weights {
    fn dec(&self) -> candle_core::Result<Tensor> {
        Ok(self.w_dec.as_tensor().clone())
    }
}

/// The recipe's loss and gradients equal the oracle's.
fn check(recipe: &dyn Recipe, oracle: Oracle, seed: u64, n_dead: usize) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut params = recipe.zeros(D_IN, D_SAE);
    for (_, values) in params.tensors_mut() {
        values.iter_mut().for_each(|v| *v = rng.random_range(-0.6..0.6));
    }
    let x: Vec<f32> = (0..ROWS * D_IN).map(|_| rng.random_range(-2.0..2.0)).collect();
    let dead: Vec<bool> = (0..D_SAE).map(|i| i < n_dead).collect();
    let rows = Rows::new(&x, &params, Normalize::None, true);
    let context = StepContext { coefficient: COEFFICIENT, dead: Some(&dead), row_weights: None };
    let mut grads = params.zeros_like();
    let pass = recipe.pass(&params, &rows, context, &mut grads);

    let weights = Weights::new(&params).unwrap();
    let x = Tensor::from_vec(x, (ROWS, D_IN), &Device::Cpu).unwrap().to_dtype(DType::F64).unwrap();
    let loss = oracle(&weights, &x, &dead).unwrap();
    let value = loss.to_scalar::<f64>().unwrap();
    assert!((pass.loss() - value).abs() < 1e-4 * value.max(1.0), "{} and {value}", pass.loss());
    let store = loss.backward().unwrap();
    let vars = params.has_encoder().then_some(&weights.w_enc).into_iter();
    let vars = vars.chain([&weights.w_dec, &weights.b_dec]);
    for (var, (name, got)) in vars.chain(&weights.per_latent).zip(grads.tensors()) {
        let want = match store.get(var) {
            Some(grad) => grad.flatten_all().unwrap().to_vec1::<f64>().unwrap(),
            None => vec![0.0; got.len()],
        };
        let largest = want.iter().fold(1f64, |m, w| m.max(w.abs()));
        for (i, (g, w)) in got.iter().zip(&want).enumerate() {
            let error = (f64::from(*g) - w).abs() / largest;
            assert!(error < 1e-4, "{} {name}[{i}]: {g}, expected {w}", recipe.name());
        }
    }
}

proptest! {
    #[test]
    fn standard_gradients_are_those_of_the_written_out_loss(seed in any::<u64>()) {
        let recipe = Standard {
            activation: Activation::Relu,
            lp_norm: 1.0,
            scale_by_decoder_norm: true,
            ghost_grads: false,
            apply_b_dec_to_input: true,
        };
        check(&recipe, standard, seed, 0);
    }

    #[test]
    fn gated_gradients_are_those_of_the_written_out_loss(seed in any::<u64>()) {
        check(&Gated { apply_b_dec_to_input: true }, gated, seed, 0);
    }

    #[test]
    fn topk_gradients_are_those_of_the_written_out_loss(seed in any::<u64>(), n_dead in 0usize..8) {
        let recipe = TopK {
            k: K,
            by: By::Value,
            rescale_acts_by_decoder_norm: true,
            aux_loss_coefficient: AUX,
            aux_with_bias: false,
            apply_b_dec_to_input: true,
        };
        check(&recipe, topk, seed, n_dead);
    }

    #[test]
    fn tanh_gradients_are_those_of_the_written_out_loss(seed in any::<u64>()) {
        let recipe = Standard {
            activation: Activation::TanhRelu,
            lp_norm: 1.0,
            scale_by_decoder_norm: true,
            ghost_grads: false,
            apply_b_dec_to_input: true,
        };
        check(&recipe, tanh_relu, seed, 0);
    }

    #[test]
    fn abstopk_gradients_are_those_of_the_written_out_loss(
        seed in any::<u64>(),
        n_dead in 0usize..8,
    ) {
        let recipe = TopK {
            k: K,
            by: By::Magnitude,
            rescale_acts_by_decoder_norm: true,
            aux_loss_coefficient: AUX,
            aux_with_bias: false,
            apply_b_dec_to_input: true,
        };
        check(&recipe, abstopk, seed, n_dead);
    }

    #[test]
    fn batchtopk_gradients_are_those_of_the_written_out_loss(
        seed in any::<u64>(),
        n_dead in 0usize..8,
    ) {
        check(&BATCH_TOP_K, batch_topk, seed, n_dead);
    }

    #[test]
    fn matryoshka_gradients_are_those_of_the_written_out_loss(
        seed in any::<u64>(),
        n_dead in 0usize..15,
        own_aux_loss in any::<bool>(),
    ) {
        let recipe = Matryoshka { base: BATCH_TOP_K, widths: WIDTHS.to_vec(), own_aux_loss };
        check(&recipe, if own_aux_loss { matryoshka_own_aux } else { matryoshka }, seed, n_dead);
    }

    #[test]
    fn pursuit_gradients_are_those_of_the_written_out_loss(seed in any::<u64>()) {
        let stop = MatchingPursuit {
            residual_threshold: 0.0,
            max_iterations: Some(CHOICES),
            stop_on_duplicate_support: true,
        };
        check(&Pursuit { stop, apply_b_dec_to_input: true }, pursuit, seed, 0);
    }
}

const BATCH_TOP_K: BatchTopK = BatchTopK {
    k: BATCH_K,
    topk_threshold_lr: 0.1,
    rescale_acts_by_decoder_norm: true,
    aux_loss_coefficient: AUX,
    apply_b_dec_to_input: true,
};
