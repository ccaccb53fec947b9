//! Where storages lie: parts of a zip archive, or, before torch 1.6, one after another in the file.

use std::collections::HashMap;
use std::io::{BufReader, Read, Seek, SeekFrom};

use super::entries::Entries;
use super::object::Object;
use super::pickle::{MAX_PICKLE_BYTES, Unpickler};
use super::storage::TensorRef;
use crate::io::archive::{Archive, Bytes};
use crate::io::problem::{Outcome, Problem};

/// What an archive is recognised by.
const ZIP_MAGIC: &[u8] = b"PK";
/// What older files begin with, pickled: `torch/serialization.py`, `MAGIC_NUMBER`.
const LEGACY_MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
const LEGACY_VERSION: i64 = 1001;

/// The storages of a file.
pub(super) enum Source {
    /// `{folder}/data/{key}`
    Archive { archive: Archive, folder: String },
    /// Keys, and where their numbers lie in the file.
    Flat { reader: Box<dyn Bytes>, places: HashMap<String, Place> },
}

/// Where the numbers of a storage lie.
#[derive(Clone, Copy)]
pub(super) struct Place {
    start: u64,
    bytes: u64,
}

impl Source {
    /// Open a file: its content without the numbers, and where those are.
    ///
    /// # Errors
    /// Not a file of torch, damaged, beyond a limit, or with something that may run code.
    pub(super) fn open(mut reader: Box<dyn Bytes>) -> Outcome<(Entries, Self)> {
        let mut magic = Vec::new();
        (&mut reader).take(2).read_to_end(&mut magic)?;
        reader.rewind()?;
        match magic.as_slice() {
            ZIP_MAGIC => open_archive(reader),
            [0x80, 2..=5] => open_flat(reader),
            _ => Err(Problem::bad("not a file of torch: neither a zip archive nor a pickle")),
        }
    }

    /// The numbers that a tensor touches, as `take` reads them.
    ///
    /// # Errors
    /// Unreadable or damaged.
    pub(super) fn read<T>(
        &mut self,
        tensor: &TensorRef,
        take: &mut dyn FnMut(&mut dyn Read) -> std::io::Result<T>,
    ) -> Outcome<T> {
        let width = tensor.element.bytes() as u64;
        let (skip, len) = (tensor.view.offset as u64 * width, tensor.view.extent as u64 * width);
        let absent = || Problem::bad(format!("storage `{}` is missing", tensor.key));
        match self {
            Self::Archive { archive, folder } => {
                let name = format!("{folder}data/{}", tensor.key);
                let part = archive.find(&name).ok_or_else(absent)?;
                let (bytes, _) = archive.size(part)?;
                check_size(&tensor.key, bytes, tensor.storage_bytes)?;
                archive.read(part, skip, len, take)
            }
            Self::Flat { reader, places } => {
                let Place { start, bytes } = *places.get(&tensor.key).ok_or_else(absent)?;
                check_size(&tensor.key, bytes, tensor.storage_bytes)?;
                reader.seek(SeekFrom::Start(start + skip))?;
                Ok(take(reader)?)
            }
        }
    }
}

fn check_size(key: &str, got: u64, want: u64) -> Outcome<()> {
    if got == want {
        return Ok(());
    }
    Err(Problem::bad(format!("truncated or damaged: storage `{key}` has {got} bytes, not {want}")))
}

fn open_archive(reader: Box<dyn Bytes>) -> Outcome<(Entries, Source)> {
    const PICKLE: &str = "data.pkl";
    let mut archive = Archive::open(reader)?;
    let names = archive.names()?;
    let found = names.iter().enumerate().find_map(|(part, name)| {
        let folder = name.strip_suffix(PICKLE)?;
        (folder.is_empty() || folder.ends_with('/')).then(|| (part, folder.to_owned()))
    });
    let (part, folder) =
        found.ok_or_else(|| Problem::bad("a zip archive without `data.pkl`: not torch's"))?;
    if let Some(order) = archive.find(&format!("{folder}byteorder")) {
        let order = archive.read_all(order, "bytes of `byteorder`", 16)?;
        if order != b"little" {
            return Err(Problem::bad("numbers in big-endian order, which is not read"));
        }
    }
    let content = archive.read_all(part, "bytes of a pickle", MAX_PICKLE_BYTES)?;
    let mut unpickler = Unpickler::new(content.as_slice());
    let root = unpickler.load()?;
    let entries = Entries::of(&unpickler.objects, root)?;
    Ok((entries, Source::Archive { archive, folder }))
}

/// Five pickles (magic number, version, system, content, keys), then for each key the count of its
/// numbers and the numbers.
fn open_flat(mut reader: Box<dyn Bytes>) -> Outcome<(Entries, Source)> {
    let len = reader.seek(SeekFrom::End(0))?;
    reader.rewind()?;
    let mut unpickler = Unpickler::new(BufReader::new(&mut reader));
    let magic = unpickler.load()?;
    if *unpickler.objects.get(magic) != Object::Long(LEGACY_MAGIC.to_vec()) {
        return Err(Problem::bad("a pickle, but not one that `torch.save` wrote"));
    }
    let version = unpickler.load()?;
    if *unpickler.objects.get(version) != Object::Int(LEGACY_VERSION) {
        return Err(Problem::bad(format!("not version {LEGACY_VERSION} of torch's older format")));
    }
    let system = unpickler.load()?;
    let system = Entries::of(&unpickler.objects, system)?.plain;
    if system.get("little_endian").and_then(serde_json::Value::as_bool) != Some(true) {
        return Err(Problem::bad("numbers in big-endian order, which is not read"));
    }
    let root = unpickler.load()?;
    let keys = unpickler.load()?;
    let entries = Entries::of(&unpickler.objects, root)?;
    let keys = unpickler.objects.items(keys)?.iter().map(|key| unpickler.objects.text(*key));
    let keys = keys.map(|key| Ok(key?.to_owned())).collect::<Outcome<Vec<_>>>()?;
    let sizes = unpickler.objects.storages().map(|s| (s.key.clone(), s.bytes()));
    let sizes: HashMap<_, _> = sizes.collect();
    let mut start = unpickler.read_bytes;
    drop(unpickler);
    let mut places = HashMap::new();
    for key in keys {
        let bytes = sizes.get(&key).copied();
        let bytes = bytes.ok_or_else(|| Problem::bad(format!("storage `{key}` is unknown")))?;
        // The count of its numbers, which the content has already said.
        start += 8;
        let end = start.checked_add(bytes).filter(|end| *end <= len);
        places.insert(key, Place { start, bytes });
        start = end.ok_or_else(|| Problem::bad("truncated: it ends inside a storage"))?;
    }
    if start != len {
        let problem = format!("damaged: {} bytes follow the last storage", len - start);
        return Err(Problem::Bad(problem));
    }
    Ok((entries, Source::Flat { reader, places }))
}
