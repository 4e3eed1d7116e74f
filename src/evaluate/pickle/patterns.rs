//! The names and calls that numpy's pickles are made of: compared, never run.

use super::machine::{Kind, Machine, Value};
use std::sync::Arc;

/// What a pickle may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    Reconstruct,
    Scalar,
    FromBuffer,
    Ndarray,
    Dtype,
    Encode,
    Bytes,
}

impl Machine {
    pub fn push_name(&mut self, module: &[u8], name: &[u8]) -> Result<(), String> {
        let name = match (module, name) {
            (b"numpy.core.multiarray" | b"numpy._core.multiarray", b"_reconstruct") => {
                Name::Reconstruct
            }
            (b"numpy.core.multiarray" | b"numpy._core.multiarray", b"scalar") => Name::Scalar,
            (b"numpy.core.numeric" | b"numpy._core.numeric", b"_frombuffer") => Name::FromBuffer,
            (b"numpy", b"ndarray") => Name::Ndarray,
            (b"numpy", b"dtype") => Name::Dtype,
            (b"_codecs", b"encode") => Name::Encode,
            (b"builtins" | b"__builtin__", b"bytes") => Name::Bytes,
            (module, name) => {
                let [module, name] = [module, name].map(<[u8]>::escape_ascii);
                return Err(format!(
                    "the name `{module}.{name}` is refused: no .bin set needs it, and loading this \
                     file with Python could run it"
                ));
            }
        };
        self.push(Value::Name(name))
    }

    /// What a call would give, where it is one of those that numpy's pickles are made of.
    pub fn reduce(&mut self) -> Result<(), String> {
        let [function, arguments] = self.pop()?;
        let (Value::Name(name), Value::Tuple(_)) = (function, arguments) else {
            return Err(format!("a call of {}", self.describe_all(&[function, arguments])));
        };
        let made = match (name, self.sequence(arguments).unwrap_or_default()) {
            (Name::Reconstruct, &[Value::Name(Name::Ndarray), shape, kind])
                if self.sequence(shape) == Some(&[Value::Int(0)]) && self.text(kind) == b"b" =>
            {
                self.arrays.push(None);
                Value::Array(self.arrays.len() as u32 - 1)
            }
            (Name::FromBuffer, &[Value::Bytes(data), Value::Dtype(kind), shape, order])
                if [&b"C"[..], b"F"].contains(&self.text(order)) =>
            {
                self.fits(shape, data)?;
                self.arrays.push(Some((kind, data)));
                Value::Array(self.arrays.len() as u32 - 1)
            }
            (Name::Scalar, &[Value::Dtype(_), Value::Bytes(data)]) => match **self.bytes(data) {
                [number] => Value::Int(number.into()),
                ref data => return Err(format!("a number of {} bytes, not of one", data.len())),
            },
            (
                Name::Dtype,
                &[kind, Value::Bool(_) | Value::Int(_), Value::Bool(_) | Value::Int(_)],
            ) => match self.text(kind) {
                b"u1" => Value::Dtype(Kind::U1),
                b"b1" => Value::Dtype(Kind::B1),
                other => {
                    let shown = other[..other.len().min(16)].escape_ascii();
                    return Err(format!("numbers of type `{shown}`, not uint8 or bool"));
                }
            },
            (Name::Encode, &[Value::Text(text), codec]) if self.text(codec) == b"latin1" => {
                Value::Bytes(text)
            }
            (Name::Bytes, &[]) => return self.push_bytes(Arc::default()),
            (name, arguments) => {
                let found = self.describe_all(arguments);
                return Err(format!("{name:?} with ({found}), which no .bin set needs"));
            }
        };
        self.push(made)
    }

    /// Fills an array, or looks at the state of a type and leaves it.
    pub fn build(&mut self) -> Result<(), String> {
        let [object, state] = self.pop()?;
        let none = Value::None;
        match (object, self.sequence(state)) {
            (
                Value::Array(array),
                Some(&[Value::Int(1), shape, Value::Dtype(kind), _, Value::Bytes(data)]),
            ) if self.arrays[array as usize].is_none() => {
                self.fits(shape, data)?;
                self.arrays[array as usize] = Some((kind, data));
            }
            (
                Value::Dtype(_),
                Some(
                    &[Value::Int(3), order, a, b, c, Value::Int(-1), Value::Int(-1), Value::Int(0)],
                ),
            ) if self.text(order) == b"|" && [a, b, c] == [none; 3] => {}
            (object, state) => {
                let found = self.describe_all(state.unwrap_or_default());
                let object = self.describe(object);
                return Err(format!("{object} of ({found}), which no .bin set needs"));
            }
        }
        self.push(object)
    }

    /// That `data` is an array of one column: shape (n) or (n, 1).
    fn fits(&self, shape: Value, data: u32) -> Result<(), String> {
        let length = self.bytes(data).len();
        match (self.sequence(shape), i32::try_from(length)) {
            (Some(&[Value::Int(n)] | &[Value::Int(n), Value::Int(1)]), Ok(length))
                if n == length =>
            {
                Ok(())
            }
            (shape, _) => {
                let shape = self.describe_all(shape.unwrap_or_default());
                Err(format!("an array of {length} bytes and shape ({shape}), not (n,) or (n, 1)"))
            }
        }
    }
}
