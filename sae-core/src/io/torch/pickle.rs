//! A reader of pickles that builds data and runs nothing.
//!
//! Protocols 2 to 5, less what only objects with code need. A global is a name from the list in
//! [`Global`], and calling one makes plain data.

use std::collections::HashMap;
use std::io::Read;

use super::globals::Global;
use super::object::{Id, Object, Objects, wrong};
use super::opcode;
use super::storage::Storage;
use crate::io::problem::{Outcome, Problem, within};

/// Longest pickle that is read.
pub(super) const MAX_PICKLE_BYTES: u64 = 64 << 20;
/// Longest key of a storage.
const MAX_KEY_BYTES: u64 = 64;

/// Reads one pickle after another.
pub(super) struct Unpickler<R> {
    reader: R,
    /// Bytes read so far.
    pub(super) read_bytes: u64,
    pub(super) objects: Objects,
    stack: Vec<Id>,
    /// Heights of the stack at its marks.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

impl<R: Read> Unpickler<R> {
    pub(super) fn new(reader: R) -> Self {
        let (stack, marks) = (Vec::new(), Vec::new());
        let (objects, memo) = (Objects::default(), HashMap::new());
        Self { reader, read_bytes: 0, objects, stack, marks, memo }
    }

    /// The object of the next pickle.
    ///
    /// # Errors
    /// Damaged, beyond a limit, or with something that may run code.
    pub(super) fn load(&mut self) -> Outcome<Id> {
        self.stack.clear();
        self.marks.clear();
        self.memo.clear();
        loop {
            let [code] = self.bytes()?;
            if code == b'.' {
                return self.pop();
            }
            self.step(code)?;
        }
    }

    fn step(&mut self, code: u8) -> Outcome<()> {
        match code {
            // PROTO, FRAME
            0x80 => self.bytes::<1>().map(drop),
            0x95 => self.bytes::<8>().map(drop),
            // MARK, POP, POP_MARK, DUP
            b'(' => {
                self.marks.push(self.stack.len());
                Ok(())
            }
            b'0' => self.pop().map(drop),
            b'1' => self.since_mark().map(drop),
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
                Ok(())
            }
            b'c' | 0x93 | b'R' | 0x81 | b'b' | b'Q' => self.object(code),
            b'q' | b'r' | 0x94 | b'h' | b'j' => self.memo(code),
            b'N' => self.push(Object::None),
            0x88 => self.push(Object::Bool(true)),
            0x89 => self.push(Object::Bool(false)),
            b'J' | b'K' | b'M' | 0x8a | 0x8b | b'G' => self.number(code),
            b'X' | 0x8c | 0x8d | b'T' | b'U' | b'B' | b'C' | 0x8e => self.text(code),
            _ => self.container(code),
        }
    }

    /// BININT, BININT1, BININT2, LONG1, LONG4, BINFLOAT
    fn number(&mut self, code: u8) -> Outcome<()> {
        let number = match code {
            b'J' => Object::Int(i32::from_le_bytes(self.bytes()?).into()),
            b'K' => Object::Int(self.bytes::<1>()?[0].into()),
            b'M' => Object::Int(u16::from_le_bytes(self.bytes()?).into()),
            b'G' => Object::Float(f64::from_be_bytes(self.bytes()?)),
            _ => {
                let len = if code == 0x8a { self.bytes::<1>()?[0].into() } else { self.len4()? };
                long(self.slice(len)?)
            }
        };
        self.push(number)
    }

    /// BINUNICODE, SHORT_BINUNICODE, BINUNICODE8, BINSTRING, SHORT_BINSTRING, BINBYTES,
    /// SHORT_BINBYTES, BINBYTES8
    fn text(&mut self, code: u8) -> Outcome<()> {
        let len = match code {
            b'X' | b'T' | b'B' => self.len4()?,
            0x8d | 0x8e => u64::from_le_bytes(self.bytes()?),
            _ => self.bytes::<1>()?[0].into(),
        };
        let bytes = self.slice(len)?;
        if matches!(code, b'B' | b'C' | 0x8e) {
            return self.push(Object::Bytes(bytes));
        }
        let text = String::from_utf8(bytes);
        self.push(Object::Text(text.map_err(|_| Problem::bad("damaged pickle: not UTF-8"))?))
    }

    /// BINPUT, LONG_BINPUT, MEMOIZE, BINGET, LONG_BINGET
    fn memo(&mut self, code: u8) -> Outcome<()> {
        let key = match code {
            b'q' | b'h' => self.bytes::<1>()?[0].into(),
            0x94 => u32::try_from(self.memo.len()).unwrap_or(u32::MAX),
            _ => u32::from_le_bytes(self.bytes()?),
        };
        if matches!(code, b'h' | b'j') {
            let unknown = || Problem::bad(format!("damaged pickle: nothing was noted as {key}"));
            let id = *self.memo.get(&key).ok_or_else(unknown)?;
            self.stack.push(id);
        } else {
            let top = self.top()?;
            self.memo.insert(key, top);
        }
        Ok(())
    }

    /// Lists, tuples, dictionaries and sets; sets are kept as lists.
    fn container(&mut self, code: u8) -> Outcome<()> {
        match code {
            b')' => self.push(Object::Tuple(Vec::new())),
            b']' | 0x8f => self.push(Object::List(Vec::new())),
            b'}' => self.push(Object::Dict(Vec::new())),
            0x85..=0x87 => {
                let items = self.pop_many(usize::from(code - 0x84))?;
                self.push(Object::Tuple(items))
            }
            b't' | 0x91 => {
                let items = self.since_mark()?;
                self.push(Object::Tuple(items))
            }
            b'l' => {
                let items = self.since_mark()?;
                self.push(Object::List(items))
            }
            b'd' => {
                let items = pairs(&self.since_mark()?)?;
                self.push(Object::Dict(items))
            }
            b'a' | b'e' | 0x90 => {
                let items = if code == b'a' { self.pop_many(1)? } else { self.since_mark()? };
                let top = self.top()?;
                match self.objects.get_mut(top) {
                    Object::List(list) => list.extend(items),
                    other => return Err(wrong("a list", other)),
                }
                Ok(())
            }
            b's' | b'u' => {
                let items = if code == b's' { self.pop_many(2)? } else { self.since_mark()? };
                let (items, top) = (pairs(&items)?, self.top()?);
                match self.objects.get_mut(top) {
                    Object::Dict(dict) => dict.extend(items),
                    other => return Err(wrong("a dictionary", other)),
                }
                Ok(())
            }
            other => Err(match opcode::name(other) {
                Some(name) => Problem::Code(format!("the instruction {name}")),
                None => Problem::bad(format!("damaged pickle: {other:#04x} is no instruction")),
            }),
        }
    }

    /// GLOBAL, STACK_GLOBAL, REDUCE, NEWOBJ, BUILD, BINPERSID
    fn object(&mut self, code: u8) -> Outcome<()> {
        match code {
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                let global = Global::named(&module, &name)?;
                self.push(Object::Global(global))
            }
            0x93 => {
                let names = self.pop_many(2)?;
                let (module, name) = (self.objects.text(names[0])?, self.objects.text(names[1])?);
                let global = Global::named(module, name)?;
                self.push(Object::Global(global))
            }
            b'R' | 0x81 => {
                let call = self.pop_many(2)?;
                let Object::Global(global) = *self.objects.get(call[0]) else {
                    return Err(wrong("a class or function", self.objects.get(call[0])));
                };
                let args = self.objects.few(call[1])?;
                let made = global.call(&mut self.objects, &args)?;
                self.stack.push(made);
                Ok(())
            }
            b'b' => {
                // Attributes, such as the `_metadata` of a module's state: not data.
                self.pop()?;
                let top = self.top()?;
                match self.objects.get(top) {
                    Object::Dict(_) | Object::Tensor(_) => Ok(()),
                    other => Err(wrong("a dictionary or tensor", other)),
                }
            }
            _ => {
                let reference = self.pop()?;
                let storage = self.storage(reference)?;
                self.push(Object::Storage(storage))
            }
        }
    }

    /// `('storage', torch.FloatStorage, '0', 'cpu', 768)`, in older files with a sixth part that
    /// says which part of another storage it is.
    fn storage(&self, reference: Id) -> Outcome<Storage> {
        let parts = self.objects.items(reference)?;
        let [kind, class, key, _, len, view @ ..] = parts else {
            return Err(Problem::bad("damaged pickle: a storage needs five parts"));
        };
        if self.objects.text(*kind)? != "storage" {
            return Err(Problem::bad("damaged pickle: a reference to something but a storage"));
        }
        if view.iter().any(|part| *self.objects.get(*part) != Object::None) {
            return Err(Problem::bad("a storage inside another storage, which is not read"));
        }
        let element = match self.objects.get(*class) {
            Object::Global(Global::StorageClass(element)) => Some(*element),
            Object::Global(Global::UntypedStorage) => None,
            other => return Err(wrong("a class of storages", other)),
        };
        let (key, len) = (self.objects.text(*key)?, self.objects.size(*len)?);
        within("bytes of a storage's key", key.len() as u64, MAX_KEY_BYTES)?;
        Ok(Storage { key: key.to_owned(), element, len })
    }

    fn push(&mut self, object: Object) -> Outcome<()> {
        let id = self.objects.add(object)?;
        self.stack.push(id);
        Ok(())
    }

    /// Where the part of the stack begins that instructions may take from.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn top(&self) -> Outcome<Id> {
        let top = self.stack.get(self.floor()..).and_then(<[Id]>::last);
        top.copied().ok_or_else(|| Problem::bad("damaged pickle: an empty stack"))
    }

    fn pop(&mut self) -> Outcome<Id> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    /// The last `n`, first pushed first.
    fn pop_many(&mut self, n: usize) -> Outcome<Vec<Id>> {
        match self.stack.len().checked_sub(n) {
            Some(at) if at >= self.floor() => Ok(self.stack.split_off(at)),
            _ => Err(Problem::bad("damaged pickle: an empty stack")),
        }
    }

    fn since_mark(&mut self) -> Outcome<Vec<Id>> {
        let mark = self.marks.pop().ok_or_else(|| Problem::bad("damaged pickle: no mark"))?;
        Ok(self.stack.split_off(mark))
    }

    fn bytes<const N: usize>(&mut self) -> Outcome<[u8; N]> {
        let mut bytes = [0u8; N];
        self.reader.read_exact(&mut bytes)?;
        self.count(N as u64)?;
        Ok(bytes)
    }

    fn len4(&mut self) -> Outcome<u64> {
        Ok(u32::from_le_bytes(self.bytes()?).into())
    }

    fn slice(&mut self, len: u64) -> Outcome<Vec<u8>> {
        self.count(len)?;
        let mut bytes = Vec::new();
        (&mut self.reader).take(len).read_to_end(&mut bytes)?;
        if (bytes.len() as u64) < len {
            return Err(Problem::bad("truncated: it ends inside a pickle"));
        }
        Ok(bytes)
    }

    fn line(&mut self) -> Outcome<String> {
        let mut line = Vec::new();
        loop {
            match self.bytes()? {
                [b'\n'] => break,
                [byte] => line.push(byte),
            }
        }
        String::from_utf8(line).map_err(|_| Problem::bad("damaged pickle: not UTF-8"))
    }

    fn count(&mut self, bytes: u64) -> Outcome<()> {
        self.read_bytes = self.read_bytes.saturating_add(bytes);
        within("bytes of a pickle", self.read_bytes, MAX_PICKLE_BYTES)
    }
}

fn pairs(items: &[Id]) -> Outcome<Vec<(Id, Id)>> {
    match items.as_chunks() {
        (pairs, []) => Ok(pairs.iter().map(|[key, value]| (*key, *value)).collect()),
        _ => Err(Problem::bad("damaged pickle: a key without a value")),
    }
}

/// Two's complement, least significant byte first.
fn long(bytes: Vec<u8>) -> Object {
    if bytes.len() > size_of::<i64>() {
        return Object::Long(bytes);
    }
    let negative = bytes.last().is_some_and(|top| top & 0x80 != 0);
    let mut wide = [if negative { 0xff } else { 0 }; size_of::<i64>()];
    wide[..bytes.len()].copy_from_slice(&bytes);
    Object::Int(i64::from_le_bytes(wide))
}
