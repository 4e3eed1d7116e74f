//! The stack machine of a `torch.save` pickle: it makes values that are data and nothing else.
//!
//! An object of a class that is not known stays a mark of that name: it is never built, and whoever
//! needs it says so.

use super::names::Name;
use super::stack::{Machine, Value, pairs};
use crate::pickle::opcodes as op;
use crate::pickle::{Source, Wrong};
use std::io::Read;

/// Names of tensors are shorter; a longer text, such as the bytes of an array, is passed over.
const LONGEST_TEXT: u64 = 1024;

/// What `torch.save` begins its legacy form with, as a long integer in little-endian bytes.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];

impl Machine {
    /// Runs one pickle to its STOP; the source stands behind it then.
    pub fn run(&mut self, source: &mut Source<impl Read>) -> Result<Value, Wrong> {
        header(source)?;
        loop {
            let at = source.at();
            let opcode =
                source.byte().map_err(|wrong| Wrong { what: "STOP is missing".into(), ..wrong })?;
            let name = || op::name(opcode).map_or(format!("{opcode:#04x}"), String::from);
            if opcode == op::STOP {
                return match (self.stack.as_slice(), self.marks.as_slice()) {
                    (&[result], []) => Ok(result),
                    (stack, _) => {
                        let left = stack.len();
                        Err(Wrong::new(at, format!("STOP: {left} values are left, not one")))
                    }
                };
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
            op::MARK => self.count(1).map(|()| self.marks.push(self.stack.len())),
            op::POP => self.drop_last(),
            op::POP_MARK => self.pop_mark().map(drop),
            op::DUP => {
                self.pop().and_then(|[value]| self.push(value).and_then(|()| self.push(value)))
            }
            op::NONE => self.push(Value::None),
            op::NEWTRUE => self.push(Value::Bool(true)),
            op::NEWFALSE => self.push(Value::Bool(false)),
            op::BININT => self.push(Value::Int(i32::from_le_bytes(source.array()?).into())),
            op::BININT1 => self.push(Value::Int(source.byte()?.into())),
            op::BININT2 => self.push(Value::Int(u16::from_le_bytes(source.array()?).into())),
            op::INT | op::LONG => {
                let line = source.line()?;
                self.push(written(&line))
            }
            op::LONG1 => {
                let length = source.byte()?.into();
                let long = long(source, length)?;
                self.push(long)
            }
            op::LONG4 => match u64::try_from(i32::from_le_bytes(source.array()?)) {
                Ok(length) => {
                    let long = long(source, length)?;
                    self.push(long)
                }
                Err(_) => Err("a negative length".into()),
            },
            op::FLOAT => {
                source.line()?;
                self.push(Value::Plain("a float"))
            }
            op::BINFLOAT => {
                source.skip(8)?;
                self.push(Value::Plain("a float"))
            }
            op::BINSTRING => match u64::try_from(i32::from_le_bytes(source.array()?)) {
                Ok(length) => return self.text(source, length),
                Err(_) => Err("a negative length".into()),
            },
            op::SHORT_BINSTRING | op::SHORT_BINUNICODE => {
                let length = source.byte()?.into();
                return self.text(source, length);
            }
            op::BINUNICODE => {
                let length = u32::from_le_bytes(source.array()?).into();
                return self.text(source, length);
            }
            op::BINUNICODE8 => {
                let length = u64::from_le_bytes(source.array()?);
                return self.text(source, length);
            }
            op::SHORT_BINBYTES | op::BINBYTES | op::BINBYTES8 | op::BYTEARRAY8 => {
                let length = match opcode {
                    op::SHORT_BINBYTES => source.byte()?.into(),
                    op::BINBYTES => u32::from_le_bytes(source.array()?).into(),
                    _ => u64::from_le_bytes(source.array()?),
                };
                source.skip(length)?;
                self.push(Value::Plain("bytes"))
            }
            op::EMPTY_SET => self.push(Value::Plain("a set")),
            op::ADDITEMS => self.pop_mark().map(drop),
            op::FROZENSET => self.pop_mark().and_then(|_| self.push(Value::Plain("a set"))),
            op::EMPTY_LIST => self.push_list(Vec::new()),
            op::LIST => self.pop_mark().and_then(|values| self.push_list(values)),
            op::APPEND => self.pop::<1>().and_then(|value| self.append(&value)),
            op::APPENDS => self.pop_mark().and_then(|values| self.append(&values)),
            op::EMPTY_DICT => self.push_dict(Vec::new()),
            op::DICT => self.pop_mark().and_then(|values| self.push_dict(pairs(&values)?)),
            op::SETITEM => self.pop::<2>().and_then(|values| self.set_items(&values)),
            op::SETITEMS => self.pop_mark().and_then(|values| self.set_items(&values)),
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
                let name = read_name(source)?;
                self.push_name(name)
            }
            op::STACK_GLOBAL => self.pop::<2>().and_then(|values| match values {
                [Value::Text(module), Value::Text(name)] => {
                    let [module, name] =
                        [module, name].map(|text| self.texts[text as usize].clone());
                    self.push_name(Name::new(module, name))
                }
                _ => Err("a name that is no text".into()),
            }),
            op::INST => {
                let name = read_name(source)?;
                self.pop_mark().and_then(|_| {
                    self.push_name(name)?;
                    let [class] = self.pop()?;
                    self.push_object(class)
                })
            }
            op::OBJ => self.pop_mark().and_then(|values| match values.first() {
                Some(class) => self.push_object(*class),
                None => Err("it needs a class".into()),
            }),
            op::REDUCE => self.pop().and_then(|[callee, arguments]| {
                let made = self.call(callee, arguments)?;
                self.push(made)
            }),
            op::NEWOBJ => self.pop().and_then(|[class, arguments]| {
                let made = self.call(class, arguments)?;
                self.push(made)
            }),
            op::NEWOBJ_EX => self.pop().and_then(|[class, _, _]| self.push_object(class)),
            op::BUILD => self.pop().and_then(|[object, state]| self.build(object, state)),
            op::BINPERSID => self.pop().and_then(|[id]| {
                let made = self.persistent(id)?;
                self.push(made)
            }),
            _ => match op::name(opcode) {
                Some(_) => Err("this opcode is refused: torch.save does not write it".into()),
                None => Err("there is no such opcode".into()),
            },
        })
    }

    fn text(
        &mut self,
        source: &mut Source<impl Read>,
        length: u64,
    ) -> Result<Result<(), String>, Wrong> {
        if length > LONGEST_TEXT {
            source.skip(length)?;
            return Ok(self.push(Value::Plain("a long text")));
        }
        let bytes = source.bytes(length)?;
        self.texts.push(String::from_utf8_lossy(&bytes).into_owned());
        Ok(self.push(Value::Text(self.texts.len() as u32 - 1)))
    }
}

/// `module\nname\n`
fn read_name(source: &mut Source<impl Read>) -> Result<Name, Wrong> {
    let [module, name] = [source.line()?, source.line()?];
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok(Name::new(text(module), text(name)))
}

/// An integer in decimal; `01` and `00` are booleans, `L` follows a long one.
fn written(line: &[u8]) -> Value {
    match line {
        b"01" => Value::Bool(true),
        b"00" => Value::Bool(false),
        line => {
            let line = std::str::from_utf8(line.strip_suffix(b"L").unwrap_or(line));
            let number = line.ok().and_then(|line| line.trim().parse().ok());
            number.map_or(Value::Plain("a long integer"), Value::Int)
        }
    }
}

/// An integer of `length` little-endian bytes.
fn long(source: &mut Source<impl Read>, length: u64) -> Result<Value, Wrong> {
    if length > MAGIC.len() as u64 {
        source.skip(length)?;
        return Ok(Value::Plain("a long integer"));
    }
    let bytes = source.bytes(length)?;
    if *bytes == MAGIC {
        return Ok(Value::Magic);
    }
    let sign = if bytes.last().is_some_and(|last| *last >= 0x80) { 0xff } else { 0 };
    let mut whole = [sign; 8];
    Ok(match whole.get_mut(..bytes.len()) {
        Some(part) => {
            part.copy_from_slice(&bytes);
            Value::Int(i64::from_le_bytes(whole))
        }
        None => Value::Plain("a long integer"),
    })
}

/// The first opcode: PROTO with a protocol that has lengths instead of lines.
fn header(source: &mut Source<impl Read>) -> Result<(), Wrong> {
    match (source.byte()?, source.byte()?) {
        (op::PROTO, 2..=5) => Ok(()),
        (op::PROTO, other) => Err(Wrong::new(1, format!("protocol {other}, not 2 to 5"))),
        (other, _) => Err(Wrong::new(0, format!("{other:#04x}, not PROTO: no pickle"))),
    }
}
