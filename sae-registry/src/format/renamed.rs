//! `Renamed`: weights under SAELens' names, made of tensors that a format calls and lays out otherwise.

use std::collections::BTreeSet;

use candle_core::{Device, Tensor};
use sae_core::arch::WeightSource;
use sae_core::io::NamedTensors;
use sae_core::ops::transposed;
use sae_core::{Error, Result};

/// How one tensor of SAELens comes out of a format's.
#[derive(Clone, Debug, Default)]
pub struct Recipe {
    /// Names in the file: the first that is there counts.
    names: Vec<String>,
    any_case: bool,
    steps: Vec<Step>,
    /// What counts if the file has none of the names.
    or: Option<Box<Recipe>>,
    /// The value of every element if that does not help.
    otherwise: Option<f32>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    Transpose,
    Scale(f64),
    SumOver(usize),
    Exp,
    Spread,
}

impl Recipe {
    /// The tensor with the first of these names that the file has.
    #[must_use]
    pub fn from<const N: usize>(names: [&str; N]) -> Self {
        Self { names: names.map(str::to_owned).to_vec(), ..Self::default() }
    }

    /// All elements the same, whatever the file has.
    #[must_use]
    pub fn constant(value: f32) -> Self {
        Self { otherwise: Some(value), ..Self::default() }
    }

    /// Names count in any case.
    #[must_use]
    pub fn any_case(self) -> Self {
        Self { any_case: true, ..self }
    }

    /// Zeros if the file has none of the names.
    #[must_use]
    pub fn or_zeros(self) -> Self {
        Self { otherwise: Some(0.0), ..self }
    }

    /// Another recipe if the file has none of the names.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self { or: Some(Box::new(other)), ..self }
    }

    fn then(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    /// `[a, b] -> [b, a]`
    #[must_use]
    pub fn transposed(self) -> Self {
        self.then(Step::Transpose)
    }

    /// Multiplied by a number.
    #[must_use]
    pub fn times(self, factor: f64) -> Self {
        self.then(Step::Scale(factor))
    }

    /// Added up over one axis, which goes away.
    #[must_use]
    pub fn summed_over(self, axis: usize) -> Self {
        self.then(Step::SumOver(axis))
    }

    /// The exponential of every element.
    #[must_use]
    pub fn exp(self) -> Self {
        self.then(Step::Exp)
    }

    /// A single number becomes one for every latent.
    #[must_use]
    pub fn spread(self) -> Self {
        self.then(Step::Spread)
    }

    /// The recipe among this one and those it falls back to that the file can serve, and the name.
    fn find(&self, names: &[String]) -> Option<(&Self, String)> {
        let own = self.find_own(names).map(|name| (self, name));
        own.or_else(|| self.or.as_ref()?.find(names))
    }

    fn find_own(&self, names: &[String]) -> Option<String> {
        let same = |want: &str, have: &str| match self.any_case {
            true => want.eq_ignore_ascii_case(have),
            false => want == have,
        };
        self.names.iter().find_map(|want| names.iter().find(|have| same(want, have))).cloned()
    }
}

impl Step {
    fn apply(self, tensor: &Tensor, want: &[usize]) -> Result<Tensor> {
        Ok(match self {
            Self::Transpose => transposed(tensor)?,
            Self::Scale(factor) => (tensor * factor)?,
            Self::SumOver(axis) => tensor.sum(axis)?,
            Self::Exp => tensor.exp()?,
            Self::Spread if tensor.elem_count() == 1 => {
                tensor.reshape(vec![1; want.len()])?.broadcast_as(want)?.contiguous()?
            }
            Self::Spread => tensor.clone(),
        })
    }
}

/// Weights under SAELens' names; a source for [`sae_core::arch::build`].
pub struct Renamed {
    files: Vec<Box<dyn NamedTensors>>,
    recipes: Vec<(String, Recipe)>,
    /// Whether a name without a recipe means the tensor of that name.
    others_as_they_are: bool,
    used: BTreeSet<String>,
}

impl Renamed {
    /// Weights of a file, none of them by their own names.
    #[must_use]
    pub fn of(file: Box<dyn NamedTensors>) -> Self {
        let (recipes, used) = (Vec::new(), BTreeSet::new());
        Self { files: vec![file], recipes, others_as_they_are: false, used }
    }

    /// Weights of one more file.
    #[must_use]
    pub fn and(mut self, file: Box<dyn NamedTensors>) -> Self {
        self.files.push(file);
        self
    }

    /// How one of SAELens' tensors is made.
    #[must_use]
    pub fn tensor(mut self, name: &str, recipe: Recipe) -> Self {
        self.recipes.push((name.to_owned(), recipe));
        self
    }

    /// Tensors without a recipe have SAELens' names already.
    #[must_use]
    pub fn others_as_they_are(self) -> Self {
        Self { others_as_they_are: true, ..self }
    }

    /// Tensors of the files that nobody asked for.
    #[must_use]
    pub fn unused(&self) -> Vec<String> {
        let all = self.files.iter().flat_map(|file| file.names());
        all.filter(|name| !self.used.contains(name)).collect()
    }

    fn recipe(&self, name: &str) -> Option<Recipe> {
        let given = self.recipes.iter().find(|(n, _)| n == name).map(|(_, recipe)| recipe.clone());
        given.or_else(|| self.others_as_they_are.then(|| Recipe::from([name])))
    }

    fn missing(&self, name: &str, want: &[usize]) -> Error {
        let names = self.recipe(name).map_or_else(Vec::new, |recipe| recipe.names);
        let name = if names.is_empty() { name.to_owned() } else { names.join("` or `") };
        let path = self.files.first().map(|file| file.path().to_owned()).unwrap_or_default();
        Error::MissingTensor { path, name, want: want.to_vec() }
    }
}

impl WeightSource for Renamed {
    fn take(&mut self, name: &str, shape: &[usize]) -> Result<Tensor> {
        self.take_if_there(name, shape)?.ok_or_else(|| self.missing(name, shape))
    }

    fn take_if_there(&mut self, name: &str, shape: &[usize]) -> Result<Option<Tensor>> {
        let Some(recipe) = self.recipe(name) else { return Ok(None) };
        for file in &mut self.files {
            let Some((recipe, foreign)) = recipe.find(&file.names()) else { continue };
            self.used.insert(foreign.clone());
            let stored = file.tensor(&foreign)?;
            let wrong = |got: &Tensor| Error::TensorShape {
                path: file.path().to_owned(),
                name: foreign.clone(),
                got: got.dims().to_vec(),
                want: shape.to_vec(),
            };
            let rank = |step: &Step| match step {
                Step::Transpose => 2,
                Step::SumOver(_) => shape.len() + 1,
                _ => stored.rank(),
            };
            if recipe.steps.first().is_some_and(|step| stored.rank() != rank(step)) {
                return Err(wrong(&stored));
            }
            let made = recipe.steps.iter().try_fold(stored, |t, step| step.apply(&t, shape))?;
            if made.dims() != shape {
                return Err(wrong(&made));
            }
            return Ok(Some(made));
        }
        let all_the_same = |value: f32| Tensor::full(value, shape, &Device::Cpu);
        Ok(recipe.otherwise.map(all_the_same).transpose()?.map(|t| t.contiguous()).transpose()?)
    }
}
