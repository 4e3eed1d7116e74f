//! The values of a `torch.save` pickle, and the stack that they are made on.
//!
//! Values are small and point into tables that only grow, so that what holds itself or is nested a
//! million deep does no harm.

use super::names::{Dtype, Known, Name};
use std::collections::HashMap;

/// Values that a pickle may make. A network has some 20 per tensor; a training log a few million.
const MOST_VALUES: usize = 1 << 24;

/// What a pickle's opcodes make. The numbers are places in the tables of [`Machine`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    None,
    Bool(bool),
    Int(i64),
    /// The integer that the legacy form begins with.
    Magic,
    Text(u32),
    /// A value that nothing needs: a float, bytes, a set.
    Plain(&'static str),
    Tuple(u32),
    List(u32),
    Dict(u32),
    /// A class or function, which is never called.
    Name(u32),
    Storage(u32),
    Tensor(u32),
    /// What a call of an unknown name would have made.
    Object(u32),
}

/// Stands for an object that is never built.
#[derive(Debug)]
pub struct Object {
    /// A place in [`Machine::names`].
    pub class: u32,
    /// What its attributes would have been.
    pub state: Option<Value>,
}

/// A reference to numbers outside of the pickle.
#[derive(Clone, Debug)]
pub struct Storage {
    pub key: String,
    /// None: untyped, counted in bytes.
    pub dtype: Option<Dtype>,
    /// Elements, or bytes where it is untyped.
    pub count: i64,
    /// Of the legacy form: the part (from, elements) of that storage.
    pub view: Option<(i64, i64)>,
}

/// A tensor over a storage: `offset` and `stride` count elements. Nothing of it is checked yet.
#[derive(Clone, Debug)]
pub struct Rebuilt {
    pub storage: u32,
    pub dtype: Dtype,
    pub offset: i64,
    pub shape: Vec<i64>,
    pub stride: Vec<i64>,
}

#[derive(Default)]
pub struct Machine {
    pub(super) stack: Vec<Value>,
    /// Heights of the stack.
    pub(super) marks: Vec<usize>,
    pub(super) memo: HashMap<u32, Value>,
    made: usize,
    pub(super) texts: Vec<String>,
    /// Tuples and lists.
    pub(super) sequences: Vec<Vec<Value>>,
    pub dicts: Vec<Vec<(Value, Value)>>,
    pub names: Vec<Name>,
    pub objects: Vec<Object>,
    pub storages: Vec<Storage>,
    pub tensors: Vec<Rebuilt>,
    /// The name of a function that does harm, at which the machine stopped.
    pub code: Option<String>,
}

impl Machine {
    /// That many more values may be made.
    pub(super) fn count(&mut self, more: usize) -> Result<(), String> {
        self.made = self.made.saturating_add(more);
        match self.made > MOST_VALUES {
            true => Err(format!("more than {MOST_VALUES} values, which no weights have")),
            false => Ok(()),
        }
    }

    pub(super) fn push(&mut self, value: Value) -> Result<(), String> {
        self.count(1)?;
        self.stack.push(value);
        Ok(())
    }

    pub(super) fn push_tuple(&mut self, values: Vec<Value>) -> Result<(), String> {
        self.sequences.push(values);
        self.push(Value::Tuple(self.sequences.len() as u32 - 1))
    }

    pub(super) fn push_list(&mut self, values: Vec<Value>) -> Result<(), String> {
        self.sequences.push(values);
        self.push(Value::List(self.sequences.len() as u32 - 1))
    }

    pub(super) fn new_dict(&mut self, pairs: Vec<(Value, Value)>) -> Value {
        self.dicts.push(pairs);
        Value::Dict(self.dicts.len() as u32 - 1)
    }

    pub(super) fn push_dict(&mut self, pairs: Vec<(Value, Value)>) -> Result<(), String> {
        let dict = self.new_dict(pairs);
        self.push(dict)
    }

    pub(super) fn push_name(&mut self, name: Name) -> Result<(), String> {
        if name.known == Known::Harmful {
            self.code = Some(name.to_string());
            return Err(format!("the name `{name}` stands for code"));
        }
        self.names.push(name);
        self.push(Value::Name(self.names.len() as u32 - 1))
    }

    pub(super) fn push_object(&mut self, class: Value) -> Result<(), String> {
        let object = self.new_object(class)?;
        self.push(object)
    }

    /// What stands for an object of this class.
    pub(super) fn new_object(&mut self, class: Value) -> Result<Value, String> {
        let class = match class {
            Value::Name(name) => name,
            // What a call gave, such as a method, is called.
            Value::Object(object) => self.objects[object as usize].class,
            other => return Err(format!("a call of {}", self.describe(other))),
        };
        self.objects.push(Object { class, state: None });
        Ok(Value::Object(self.objects.len() as u32 - 1))
    }

    pub(super) fn drop_last(&mut self) -> Result<(), String> {
        match self.marks.last() {
            // A mark is a value of the stack for POP.
            Some(&mark) if mark == self.stack.len() => drop(self.marks.pop()),
            _ => drop(self.pop::<1>()?),
        }
        Ok(())
    }

    /// The last `N` values, none of them from below a mark.
    pub(super) fn pop<const N: usize>(&mut self) -> Result<[Value; N], String> {
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
    pub(super) fn pop_mark(&mut self) -> Result<Vec<Value>, String> {
        let mark = self.marks.pop().ok_or("it needs a MARK before it")?;
        Ok(self.stack.split_off(mark))
    }

    /// The value that items are added to.
    pub(super) fn last(&self) -> Result<Value, String> {
        let floor = self.marks.last().copied().unwrap_or(0);
        self.stack[floor..].last().copied().ok_or_else(|| "it adds to nothing".into())
    }

    pub(super) fn append(&mut self, values: &[Value]) -> Result<(), String> {
        match self.last()? {
            Value::List(list) => self.sequences[list as usize].extend(values),
            // A list of a class of its own, a deque, a set.
            Value::Object(_) | Value::Plain(_) => {}
            other => return Err(format!("it adds to {}", self.describe(other))),
        }
        Ok(())
    }

    pub(super) fn set_items(&mut self, values: &[Value]) -> Result<(), String> {
        let pairs = pairs(values)?;
        match self.last()? {
            Value::Dict(dict) => self.dicts[dict as usize].extend(pairs),
            Value::Object(_) => {}
            other => return Err(format!("it adds to {}", self.describe(other))),
        }
        Ok(())
    }

    pub(super) fn build(&mut self, object: Value, state: Value) -> Result<(), String> {
        match object {
            Value::Object(object) => self.objects[object as usize].state = Some(state),
            // Attributes of a dict (`_metadata` of a state dict) or of a tensor.
            Value::Dict(_) | Value::Tensor(_) | Value::Plain(_) => {}
            other => return Err(format!("it gives attributes to {}", self.describe(other))),
        }
        self.push(object)
    }

    pub(super) fn put(&mut self, key: u32) -> Result<(), String> {
        let value = self.last()?;
        self.count(1)?;
        self.memo.insert(key, value);
        Ok(())
    }

    pub(super) fn get(&mut self, key: u32) -> Result<(), String> {
        let value = self.memo.get(&key).ok_or(format!("nothing was stored under {key}"))?;
        self.push(*value)
    }

    /// The text that a value is; None: it is none.
    pub fn as_text(&self, value: Value) -> Option<&str> {
        match value {
            Value::Text(text) => Some(&self.texts[text as usize]),
            _ => None,
        }
    }

    /// The elements of a list or tuple.
    pub fn sequence(&self, value: Value) -> Option<&[Value]> {
        match value {
            Value::Tuple(sequence) | Value::List(sequence) => {
                Some(&self.sequences[sequence as usize])
            }
            _ => None,
        }
    }
}

pub(super) fn pairs(values: &[Value]) -> Result<Vec<(Value, Value)>, String> {
    let (pairs, []) = values.as_chunks::<2>() else {
        return Err(format!("{} keys and values: one is without the other", values.len()));
    };
    Ok(pairs.iter().map(|[key, value]| (*key, *value)).collect())
}
