//! What a call in a `torch.save` pickle would give: known patterns become tensors and dicts, every
//! other call stays a mark of the name that was called.

use super::names::Known;
use super::stack::{Machine, Rebuilt, Storage, Value};

/// Of a tensor; torch has the same limit.
const MOST_DIMENSIONS: usize = 64;

/// Arguments that are looked at; a hostile tuple may have millions.
const LOOKED_AT: usize = 8;

impl Machine {
    /// The first elements of a list or tuple.
    fn first(&self, value: Value) -> Option<Vec<Value>> {
        Some(self.sequence(value)?.iter().take(LOOKED_AT).copied().collect())
    }

    /// REDUCE and NEWOBJ.
    pub(super) fn call(&mut self, callee: Value, arguments: Value) -> Result<Value, String> {
        let known = match callee {
            Value::Name(name) => self.names[name as usize].known,
            _ => Known::Other,
        };
        let Some(values) = self.first(arguments) else {
            return Err(format!("a call with {}, not a tuple", self.describe(arguments)));
        };
        match (known, values.as_slice()) {
            (Known::Dict, values) => {
                // An OrderedDict of Python 2 is made of a list of pairs.
                let listed = values.first().and_then(|first| self.sequence(*first));
                let pairs = listed.unwrap_or_default().iter().filter_map(|pair| {
                    match self.sequence(*pair) {
                        Some(&[key, value]) => Some((key, value)),
                        _ => None,
                    }
                });
                let pairs: Vec<_> = pairs.collect();
                self.count(pairs.len())?;
                Ok(self.new_dict(pairs))
            }
            (Known::Size, &[size]) => Ok(size),
            (Known::Tensor, &[storage, offset, ref shape @ ..]) => {
                self.rebuild(storage, offset, shape, None)
            }
            (Known::TypedTensor, &[storage, offset, shape, stride, _, _, dtype, ..]) => {
                self.rebuild(storage, offset, &[shape, stride], Some(dtype))
            }
            (Known::Parameter, &[tensor @ Value::Tensor(_), ..]) => Ok(tensor),
            (Known::FromType, &[callee @ Value::Name(name), _, arguments, ..]) => {
                match self.names[name as usize].known {
                    Known::Tensor | Known::TypedTensor | Known::Parameter => {
                        self.call(callee, arguments)
                    }
                    _ => self.new_object(callee),
                }
            }
            (Known::Tensor | Known::TypedTensor | Known::Size, _) => {
                Err(format!("{} with {} arguments", self.describe(callee), values.len()))
            }
            _ => self.new_object(callee),
        }
    }

    /// A tensor over a storage; `form` begins with shape and stride.
    fn rebuild(
        &mut self,
        storage: Value,
        offset: Value,
        form: &[Value],
        dtype: Option<Value>,
    ) -> Result<Value, String> {
        let (Value::Storage(storage), Value::Int(offset), &[shape, stride, ..]) =
            (storage, offset, form)
        else {
            return Err("a tensor that is not made of a storage, an offset and a shape".into());
        };
        let (shape, stride) = (self.integers(shape)?, self.integers(stride)?);
        let typed = self.storages[storage as usize].dtype;
        let dtype = match (dtype, typed) {
            (None, Some(dtype)) => dtype,
            (Some(Value::Name(name)), _) => match self.names[name as usize].known {
                Known::Dtype(dtype) => dtype,
                _ => return Err(format!("a tensor of type {}", self.names[name as usize])),
            },
            _ => return Err("a tensor without a type".into()),
        };
        self.tensors.push(Rebuilt { storage, dtype, offset, shape, stride });
        Ok(Value::Tensor(self.tensors.len() as u32 - 1))
    }

    fn integers(&self, value: Value) -> Result<Vec<i64>, String> {
        let values = self.sequence(value).filter(|values| values.len() <= MOST_DIMENSIONS);
        let integers = values.and_then(|values| {
            let integer = |value: &Value| match value {
                Value::Int(number) => Some(*number),
                _ => None,
            };
            values.iter().map(integer).collect()
        });
        integers.ok_or_else(|| {
            format!("{}, not up to {MOST_DIMENSIONS} whole numbers", self.describe(value))
        })
    }

    /// BINPERSID: ('storage', class, key, place, elements), of the legacy form also a view.
    pub(super) fn persistent(&mut self, id: Value) -> Result<Value, String> {
        let Some(parts) = self.first(id) else {
            return Err(format!("a reference made of {}", self.describe(id)));
        };
        let what = parts.first().and_then(|what| self.as_text(*what));
        match (what, parts.as_slice()) {
            (
                Some("storage"),
                &[_, Value::Name(class), key, _, Value::Int(count), ref rest @ ..],
            ) => {
                let Known::Storage(dtype) = self.names[class as usize].known else {
                    return Err(format!("a storage of class {}", self.names[class as usize]));
                };
                let key = match key {
                    Value::Int(number) => number.to_string(),
                    key => self.as_text(key).ok_or("a storage without a key")?.to_owned(),
                };
                let view = match rest.first().map_or(Ok(&[][..]), |view| match view {
                    Value::None => Ok(&[][..]),
                    view => self.sequence(*view).ok_or("a view that is no tuple"),
                })? {
                    [] => None,
                    &[_, Value::Int(from), Value::Int(count)] => Some((from, count)),
                    _ => return Err("a view that is not (key, offset, elements)".into()),
                };
                self.storages.push(Storage { key, dtype, count, view });
                Ok(Value::Storage(self.storages.len() as u32 - 1))
            }
            // A class with its source code, in files that hold a whole model.
            (Some("module"), &[_, class @ Value::Name(_), ..]) => Ok(class),
            _ => Err("a reference that is no storage".into()),
        }
    }

    /// A value in a few words.
    pub fn describe(&self, value: Value) -> String {
        let length = |value| self.sequence(value).map_or(0, <[Value]>::len);
        match value {
            Value::None => "None".into(),
            Value::Bool(value) => if value { "True" } else { "False" }.into(),
            Value::Int(number) => format!("the number {number}"),
            Value::Magic => "the mark of torch.save".into(),
            Value::Text(_) => "a text".into(),
            Value::Plain(what) => what.into(),
            Value::Tuple(_) => format!("a tuple of {}", length(value)),
            Value::List(_) => format!("a list of {}", length(value)),
            Value::Dict(dict) => format!("a dict of {}", self.dicts[dict as usize].len()),
            Value::Name(name) => format!("the name `{}`", self.names[name as usize]),
            Value::Storage(_) => "a storage without a tensor".into(),
            Value::Tensor(_) => "a tensor".into(),
            Value::Object(object) => {
                let class = self.objects[object as usize].class;
                format!("an object of `{}`", self.names[class as usize])
            }
        }
    }
}
