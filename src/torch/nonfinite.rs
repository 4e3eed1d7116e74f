//! Finds the operation that was the first to give a value that is not finite.

use super::ffi;
use crate::error::Result;
use tch::Tensor;

/// The first operation of a computation whose result was not finite.
#[derive(Clone, Debug, PartialEq)]
pub struct Origin {
    /// libtorch's name, such as `aten::convolution`.
    pub operation: String,
    /// The parameter that was read last before: its layer is the one at fault, or the one before.
    pub parameter: Option<String>,
}

/// Runs `body` under watch; the operations of this thread are looked at one by one, which is slow.
/// Operations that fill in infinities on purpose, as masks do, do not count.
///
/// # Errors
/// A diagnosis inside of a diagnosis, or what `body` says.
pub fn origin<'a>(
    parameters: impl Iterator<Item = (&'a String, &'a Tensor)>,
    body: impl FnOnce() -> Result<()>,
) -> Result<Option<Origin>> {
    let (names, tensors): (Vec<&String>, Vec<&Tensor>) = parameters.unzip();
    let tensors: Vec<Tensor> = tensors.into_iter().map(Tensor::shallow_clone).collect();
    let handles = ffi::handles(&tensors);
    unsafe { ffi::check(ffi::arcrun_nonfinite_begin(handles.len(), handles.as_ptr()))? };
    let outcome = body();
    let (mut place, mut name) = (-1, [0u8; 256]);
    unsafe {
        ffi::check(ffi::arcrun_nonfinite_end(&mut place, name.as_mut_ptr().cast(), name.len()))?
    };
    outcome?;
    let end = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
    let operation = String::from_utf8_lossy(&name[..end]).into_owned();
    let parameter = usize::try_from(place).ok().and_then(|place| names.get(place));
    let parameter = parameter.map(ToString::to_string);
    Ok((!operation.is_empty()).then_some(Origin { operation, parameter }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};

    fn found(first: f64, second: f64) -> Option<Origin> {
        let ones = |scale: f64| Tensor::ones([2, 2], (Kind::Float, Device::Cpu)) * scale;
        let parameters = [("a".to_string(), ones(first)), ("b".to_string(), ones(second))];
        origin(parameters.iter().map(|(name, tensor)| (name, tensor)), || {
            let x = ones(1.0).matmul(&parameters[0].1);
            let mask = x.full_like(f64::NEG_INFINITY);
            let x = x.matmul(&parameters[1].1) + mask.exp();
            let _ = x.exp();
            Ok(())
        })
        .unwrap()
    }

    #[test]
    fn the_first_operation_and_the_layer_are_named() {
        assert_eq!(found(1.0, 1.0), None);
        let (a, b) = (Some("a".to_string()), Some("b".to_string()));
        let product = |parameter| Some(Origin { operation: "aten::matmul".into(), parameter });
        // `matmul` ends after the `mm` inside of it.
        let inner = |found: Option<Origin>| {
            found.map(|Origin { parameter, operation }| {
                assert!(["aten::mm", "aten::matmul"].contains(&operation.as_str()), "{operation}");
                Origin { parameter, operation: "aten::matmul".into() }
            })
        };
        assert_eq!(inner(found(f64::NAN, 1.0)), product(a));
        assert_eq!(inner(found(1.0, f64::INFINITY)), product(b.clone()));
        let overflow = found(1.0, 100.0).unwrap();
        assert_eq!(overflow, Origin { operation: "aten::exp".into(), parameter: b });
    }

    #[test]
    fn an_error_inside_ends_the_watch() {
        let none: [(String, Tensor); 0] = [];
        let none = || none.iter().map(|(name, tensor)| (name, tensor));
        let failed = origin(none(), || Err(crate::Error::failed("inside")));
        assert_eq!(failed.unwrap_err().to_string(), "inside");
        assert_eq!(origin(none(), || Ok(())).unwrap(), None);
    }
}
