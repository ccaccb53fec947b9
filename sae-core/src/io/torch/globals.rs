//! The classes and functions that a pickle may name, and what calling them makes.
//!
//! They are those that `torch.save` writes for tensors, containers and plain values; what is not in
//! this list is refused by name and nothing is ever run. Upstream: `torch/_utils.py`,
//! `torch/_weights_only_unpickler.py`.

use super::object::{Id, Object, Objects, wrong};
use super::storage::TensorRef;
use crate::io::element::Element;
use crate::io::problem::{Outcome, Problem};
use crate::io::view::View;

/// A class or function that may be named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Global {
    OrderedDict,
    Set,
    /// `_codecs.encode`: how protocol 2 writes bytes.
    Encode,
    /// `torch.Size`
    Size,
    /// `torch.device`
    Device,
    /// `torch._utils._rebuild_tensor`, `_rebuild_tensor_v2`: typed storages.
    RebuildTensor,
    /// `torch._utils._rebuild_tensor_v3`: bytes and a number type.
    RebuildBytes,
    /// `torch._utils._rebuild_parameter`, with or without state.
    RebuildParameter,
    /// `torch._tensor._rebuild_from_type_v2`: a subclass of tensors.
    RebuildSubclass,
    /// `torch.Tensor`, `torch.nn.Parameter`: named, never called.
    TensorClass,
    /// `torch.FloatStorage` and the like.
    StorageClass(Element),
    /// `torch.storage.UntypedStorage`
    UntypedStorage,
    /// `torch.float32` and the like.
    NumberType(Element),
}

impl Global {
    /// The global of that name.
    ///
    /// # Errors
    /// It is not one of those that are read.
    pub(super) fn named(module: &str, name: &str) -> Outcome<Self> {
        Ok(match (module, name) {
            ("collections", "OrderedDict") => Self::OrderedDict,
            ("__builtin__" | "builtins", "set") => Self::Set,
            ("_codecs", "encode") => Self::Encode,
            ("torch", "Size") => Self::Size,
            ("torch", "device") => Self::Device,
            ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Self::RebuildTensor,
            ("torch._utils", "_rebuild_tensor_v3") => Self::RebuildBytes,
            ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => {
                Self::RebuildParameter
            }
            ("torch._tensor", "_rebuild_from_type_v2") => Self::RebuildSubclass,
            ("torch", "Tensor") | ("torch.nn.parameter" | "torch.nn", "Parameter") => {
                Self::TensorClass
            }
            ("torch.storage", "UntypedStorage") | ("torch", "UntypedStorage") => {
                Self::UntypedStorage
            }
            ("torch", other) => {
                let storage = other.strip_suffix("Storage").and_then(storage_type);
                let found = storage.map(Self::StorageClass);
                let found = found.or_else(|| number_type(other).map(Self::NumberType));
                found.ok_or_else(|| refused(module, name))?
            }
            _ => return Err(refused(module, name)),
        })
    }

    /// What the name of a number type is, as plain text.
    pub(super) fn as_text(self) -> Option<String> {
        match self {
            Self::NumberType(element) => Some(format!("torch.{}", torch_name(element))),
            _ => None,
        }
    }

    /// What a call of it makes.
    ///
    /// # Errors
    /// Arguments that it does not take.
    pub(super) fn call(self, objects: &mut Objects, args: &[Id]) -> Outcome<Id> {
        match (self, args) {
            (Self::OrderedDict, []) => objects.add(Object::Dict(Vec::new())),
            // A set is kept as the list it is made of, bytes as the text they are written as.
            (Self::Set, [same]) | (Self::Encode, [same, _]) => Ok(*same),
            (Self::Size, [sizes]) => Ok(*sizes),
            (Self::Device, [name, ..]) => Ok(*name),
            (Self::RebuildTensor, [storage, offset, shape, strides, ..]) => {
                tensor(objects, *storage, *offset, (*shape, *strides), None)
            }
            (Self::RebuildBytes, [storage, offset, shape, strides, _, _, element, ..]) => {
                let Object::Global(Self::NumberType(element)) = *objects.get(*element) else {
                    return Err(wrong("a number type of torch", objects.get(*element)));
                };
                tensor(objects, *storage, *offset, (*shape, *strides), Some(element))
            }
            (Self::RebuildParameter, [tensor, ..]) => Ok(*tensor),
            (Self::RebuildSubclass, [rebuild, _, args, ..]) => match *objects.get(*rebuild) {
                Object::Global(
                    rebuild @ (Self::RebuildTensor | Self::RebuildBytes | Self::RebuildParameter),
                ) => {
                    let args = objects.few(*args)?;
                    rebuild.call(objects, &args)
                }
                _ => Err(wrong("a function that rebuilds tensors", objects.get(*rebuild))),
            },
            _ => Err(Problem::bad(format!(
                "damaged pickle: {self:?} is called with {} arguments",
                args.len()
            ))),
        }
    }
}

fn refused(module: &str, name: &str) -> Problem {
    Problem::Code(format!("the global `{module}.{name}`"))
}

fn tensor(
    objects: &mut Objects,
    storage: Id,
    offset: Id,
    (shape, strides): (Id, Id),
    element: Option<Element>,
) -> Outcome<Id> {
    let Object::Storage(storage) = objects.get(storage) else {
        return Err(wrong("a storage", objects.get(storage)));
    };
    let element = element.or(storage.element);
    let element =
        element.ok_or_else(|| Problem::bad("damaged pickle: a tensor of no number type"))?;
    let (key, storage_bytes) = (storage.key.clone(), storage.bytes());
    let len = usize::try_from(storage_bytes / element.bytes() as u64).unwrap_or(usize::MAX);
    let (shape, strides) = (objects.sizes(shape)?, objects.sizes(strides)?);
    let view = View::new(shape, strides, objects.size(offset)?, len)?;
    objects.add(Object::Tensor(TensorRef { key, element, view, storage_bytes }))
}

/// `Float` of `torch.FloatStorage`.
fn storage_type(name: &str) -> Option<Element> {
    Some(match name {
        "Double" => Element::F64,
        "Float" => Element::F32,
        "Half" => Element::F16,
        "BFloat16" => Element::BF16,
        "Long" => Element::I64,
        "Int" => Element::I32,
        "Short" => Element::I16,
        "Char" => Element::I8,
        "Byte" => Element::U8,
        "Bool" => Element::Bool,
        _ => return None,
    })
}

/// Number types under torch's names; it has two for some.
const NUMBER_TYPES: [(&str, Element); 16] = [
    ("float64", Element::F64),
    ("float32", Element::F32),
    ("float16", Element::F16),
    ("bfloat16", Element::BF16),
    ("int64", Element::I64),
    ("int32", Element::I32),
    ("int16", Element::I16),
    ("int8", Element::I8),
    ("uint8", Element::U8),
    ("bool", Element::Bool),
    ("double", Element::F64),
    ("float", Element::F32),
    ("half", Element::F16),
    ("long", Element::I64),
    ("int", Element::I32),
    ("short", Element::I16),
];

fn number_type(name: &str) -> Option<Element> {
    NUMBER_TYPES.iter().find(|(n, _)| *n == name).map(|(_, element)| *element)
}

fn torch_name(element: Element) -> &'static str {
    NUMBER_TYPES.iter().find(|(_, e)| *e == element).map_or("", |(name, _)| name)
}
