//! The stack machine of a pickle, cut down to values that are data.
//!
//! Values are small and point into tables that only grow, so that a list may hold itself without
//! being walked, and nothing that a file nests is dropped by recursion.

use super::patterns::Name;
use crate::pickle::opcodes as op;
use crate::pickle::{Source, Wrong};
use std::collections::HashMap;
use std::io::Read;
use std::sync::Arc;

/// Values that a pickle may make: some 30 per pair are usual, so this is far beyond the largest
/// set, and it bounds what an opcode of one byte can make of a large file.
const MOST_VALUES: usize = 1 << 22;

/// What a pickle's opcodes make. The numbers are places in the tables of [`Machine`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    None,
    Bool(bool),
    Int(i32),
    /// Latin-1 in `bytes`.
    Text(u32),
    Bytes(u32),
    Tuple(u32),
    List(u32),
    Name(Name),
    Dtype(Kind),
    Array(u32),
}

/// The kind of numbers in an array: uint8 and bool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    U1,
    B1,
}

#[derive(Default)]
pub struct Machine {
    stack: Vec<Value>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: HashMap<u32, Value>,
    made: usize,
    bytes: Vec<Arc<[u8]>>,
    tuples: Vec<Vec<Value>>,
    lists: Vec<Vec<Value>>,
    /// One dimension each, of the numbers in `bytes`; None until BUILD.
    pub arrays: Vec<Option<(Kind, u32)>>,
}

impl Machine {
    /// Runs the pickle to its STOP, which must end the file.
    pub fn run(&mut self, source: &mut Source<impl Read>) -> Result<Value, Wrong> {
        header(source)?;
        loop {
            let at = source.at();
            let opcode =
                source.byte().map_err(|wrong| Wrong { what: "STOP is missing".into(), ..wrong })?;
            let name = || op::name(opcode).map_or(format!("{opcode:#04x}"), String::from);
            if opcode == op::STOP {
                return self.stop(source).map_err(|what| Wrong::new(at, format!("STOP: {what}")));
            }
            match self.step(opcode, source) {
                Ok(Ok(())) => {}
                Ok(Err(what)) => return Err(Wrong::new(at, format!("{}: {what}", name()))),
                Err(wrong) => {
                    return Err(Wrong { at, what: format!("{}: {}", name(), wrong.what), ..wrong });
                }
            }
        }
    }

    fn stop(&mut self, source: &Source<impl Read>) -> Result<Value, String> {
        match (self.stack.as_slice(), self.marks.as_slice(), source.left()) {
            (&[result], [], 0) => Ok(result),
            (&[_], [], left) => Err(format!("{left} bytes follow it")),
            (stack, ..) => Err(format!("{} values are left, not one", stack.len())),
        }
    }

    /// One opcode. The outer error is the file's end, the inner one that of the opcode.
    fn step(
        &mut self,
        opcode: u8,
        source: &mut Source<impl Read>,
    ) -> Result<Result<(), String>, Wrong> {
        Ok(match opcode {
            op::FRAME => {
                let length = u64::from_le_bytes(source.array()?);
                return source.expect(length).map(Ok);
            }
            op::MARK => self.mark(),
            op::NONE => self.push(Value::None),
            op::NEWTRUE => self.push(Value::Bool(true)),
            op::NEWFALSE => self.push(Value::Bool(false)),
            op::BININT => self.push(Value::Int(i32::from_le_bytes(source.array()?))),
            op::BININT1 => self.push(Value::Int(source.byte()?.into())),
            op::BININT2 => self.push(Value::Int(u16::from_le_bytes(source.array()?).into())),
            op::BINSTRING => match u64::try_from(i32::from_le_bytes(source.array()?)) {
                Ok(length) => self.push_bytes(source.bytes(length)?),
                Err(_) => Err("a negative length".into()),
            },
            op::SHORT_BINSTRING | op::SHORT_BINBYTES => {
                let length = source.byte()?.into();
                self.push_bytes(source.bytes(length)?)
            }
            op::BINBYTES => {
                let length = u32::from_le_bytes(source.array()?).into();
                self.push_bytes(source.bytes(length)?)
            }
            op::BINBYTES8 | op::BYTEARRAY8 => {
                let length = u64::from_le_bytes(source.array()?);
                self.push_bytes(source.bytes(length)?)
            }
            op::SHORT_BINUNICODE => {
                let length = source.byte()?.into();
                self.push_text(&source.bytes(length)?)
            }
            op::BINUNICODE => {
                let length = u32::from_le_bytes(source.array()?).into();
                self.push_text(&source.bytes(length)?)
            }
            op::EMPTY_LIST => {
                self.lists.push(Vec::new());
                self.push(Value::List(self.lists.len() as u32 - 1))
            }
            op::APPEND => self.pop::<1>().and_then(|value| self.append(&value)),
            op::APPENDS => self.pop_mark().and_then(|values| self.append(&values)),
            op::EMPTY_TUPLE => self.push_tuple(Vec::new()),
            op::TUPLE => self.pop_mark().and_then(|values| self.push_tuple(values)),
            op::TUPLE1 => self.pop::<1>().and_then(|values| self.push_tuple(values.into())),
            op::TUPLE2 => self.pop::<2>().and_then(|values| self.push_tuple(values.into())),
            op::TUPLE3 => self.pop::<3>().and_then(|values| self.push_tuple(values.into())),
            op::MEMOIZE => self.put(self.memo.len() as u32),
            op::BINPUT => self.put(source.byte()?.into()),
            op::LONG_BINPUT => self.put(u32::from_le_bytes(source.array()?)),
            op::BINGET => self.get(source.byte()?.into()),
            op::LONG_BINGET => self.get(u32::from_le_bytes(source.array()?)),
            op::GLOBAL => {
                let (module, name) = (source.line()?, source.line()?);
                self.push_name(&module, &name)
            }
            op::STACK_GLOBAL => self.pop::<2>().and_then(|values| match values {
                [Value::Text(module), Value::Text(name)] => {
                    let [module, name] = [module, name].map(|text| self.bytes(text).clone());
                    self.push_name(&module, &name)
                }
                values => Err(format!("a name made of {}", self.describe_all(&values))),
            }),
            op::REDUCE => self.reduce(),
            op::BUILD => self.build(),
            _ => match op::name(opcode) {
                Some(_) => Err("this opcode is refused: no .bin set needs it".into()),
                None => Err("there is no such opcode".into()),
            },
        })
    }

    fn mark(&mut self) -> Result<(), String> {
        self.count()?;
        self.marks.push(self.stack.len());
        Ok(())
    }

    fn count(&mut self) -> Result<(), String> {
        self.made += 1;
        match self.made > MOST_VALUES {
            true => Err(format!("more than {MOST_VALUES} values, which no .bin set has")),
            false => Ok(()),
        }
    }

    pub fn push(&mut self, value: Value) -> Result<(), String> {
        self.count()?;
        self.stack.push(value);
        Ok(())
    }

    pub fn push_bytes(&mut self, bytes: Arc<[u8]>) -> Result<(), String> {
        self.bytes.push(bytes);
        self.push(Value::Bytes(self.bytes.len() as u32 - 1))
    }

    /// UTF-8. Kept as Latin-1: it is a name, or a file's bytes as protocol 2 writes them.
    fn push_text(&mut self, text: &[u8]) -> Result<(), String> {
        let text = std::str::from_utf8(text).map_err(|_| "a text that is not UTF-8")?;
        let latin = text.chars().map(|c| u8::try_from(c).map_err(|_| c));
        let latin: Vec<u8> =
            latin.collect::<Result<_, _>>().map_err(|c| format!("{c:?} is not latin1"))?;
        self.bytes.push(latin.into());
        self.push(Value::Text(self.bytes.len() as u32 - 1))
    }

    fn push_tuple(&mut self, values: Vec<Value>) -> Result<(), String> {
        self.tuples.push(values);
        self.push(Value::Tuple(self.tuples.len() as u32 - 1))
    }

    /// The last `N` values, none of them from below a mark.
    pub fn pop<const N: usize>(&mut self) -> Result<[Value; N], String> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack[floor..].last_chunk::<N>() {
            Some(&values) => {
                self.stack.truncate(self.stack.len() - N);
                Ok(values)
            }
            None => Err(format!("it takes {N} values and the stack has fewer")),
        }
    }

    /// The values since the last mark, which goes.
    fn pop_mark(&mut self) -> Result<Vec<Value>, String> {
        let mark = self.marks.pop().ok_or("it needs a MARK before it")?;
        Ok(self.stack.split_off(mark))
    }

    fn append(&mut self, values: &[Value]) -> Result<(), String> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack[floor..].last() {
            Some(&Value::List(list)) => {
                self.lists[list as usize].extend(values);
                Ok(())
            }
            Some(&other) => Err(format!("it appends to {}, not to a list", self.describe(other))),
            None => Err("it appends to nothing".into()),
        }
    }

    fn put(&mut self, key: u32) -> Result<(), String> {
        let [value] = self.pop()?;
        self.stack.push(value);
        self.count()?;
        self.memo.insert(key, value);
        Ok(())
    }

    fn get(&mut self, key: u32) -> Result<(), String> {
        let value = self.memo.get(&key).ok_or(format!("nothing was stored under {key}"))?;
        self.push(*value)
    }

    pub fn bytes(&self, place: u32) -> &Arc<[u8]> {
        &self.bytes[place as usize]
    }

    /// The bytes of a name, which Python 2 writes as a byte string; nothing where it is none.
    pub fn text(&self, value: Value) -> &[u8] {
        match value {
            Value::Text(place) | Value::Bytes(place) => self.bytes(place),
            _ => &[],
        }
    }

    /// The elements of a list or tuple.
    pub fn sequence(&self, value: Value) -> Option<&[Value]> {
        match value {
            Value::Tuple(tuple) => Some(&self.tuples[tuple as usize]),
            Value::List(list) => Some(&self.lists[list as usize]),
            _ => None,
        }
    }

    /// The kind and the place in `bytes` of an array's numbers.
    pub fn array(&self, value: Value) -> Option<(Kind, u32)> {
        match value {
            Value::Array(array) => self.arrays[array as usize],
            _ => None,
        }
    }

    pub fn describe(&self, value: Value) -> String {
        match value {
            Value::None => "None".into(),
            Value::Bool(value) => if value { "True" } else { "False" }.into(),
            Value::Int(number) => number.to_string(),
            Value::Text(_) => "a text".into(),
            Value::Bytes(place) => format!("a byte string of {}", self.bytes(place).len()),
            Value::Tuple(tuple) => format!("a tuple of {}", self.tuples[tuple as usize].len()),
            Value::List(list) => format!("a list of {}", self.lists[list as usize].len()),
            Value::Name(name) => format!("the name {name:?}"),
            Value::Dtype(kind) => format!("the type {kind:?}"),
            Value::Array(array) => match self.arrays[array as usize] {
                Some((kind, _)) => format!("an array of {kind:?}"),
                None => "an array without numbers".into(),
            },
        }
    }

    /// The first few; a hostile tuple may have millions.
    pub fn describe_all(&self, values: &[Value]) -> String {
        let shown: Vec<String> = values.iter().take(8).map(|value| self.describe(*value)).collect();
        shown.join(", ") + if values.len() > 8 { ", ..." } else { "" }
    }
}

/// The first opcode: PROTO with a protocol that has lengths instead of lines.
fn header(source: &mut Source<impl Read>) -> Result<(), Wrong> {
    const OLD: &str = "if you trust the file, write it anew in Python: \
                       pickle.dump(pickle.load(file, encoding=\"bytes\"), new, protocol=4)";
    match source.byte()? {
        op::PROTO => match source.byte()? {
            2..=5 => Ok(()),
            other => Err(Wrong::new(1, format!("protocol {other}, not 2 to 5")).help(OLD)),
        },
        other => {
            let what = op::name(other).map_or(format!("{other:#04x}"), String::from);
            let what = format!("{what}, not PROTO: no pickle of protocol 2 to 5");
            Err(Wrong::new(0, what).help(
                "such sets (lfw.bin, cfp_fp.bin) are InsightFace's pickles: is this \
                                          another file, or a web page?",
            ))
        }
    }
}
