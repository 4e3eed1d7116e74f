//! The twin of `tools/parity/fill.py`: values by formula from a tensor's name.

use tch::{Device, Kind, Tensor};

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

pub fn fnv1a64(name: &str) -> u64 {
    let step = |h: u64, byte| (h ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    name.bytes().fold(0xcbf2_9ce4_8422_2325, step)
}

/// Shift to the right of 64 bits that int64 holds, without the sign.
fn shifted(z: &Tensor, by: i64) -> Tensor {
    z.bitwise_right_shift_tensor_scalar(by).bitwise_and_((1i64 << (64 - by)) - 1)
}

/// The first outputs for `name`, one for each element of `shape`: int64 that hold the bits. By tensor
/// operations, which wrap around as u64 does: a network has up to 10^8 elements.
pub fn bits(name: &str, shape: &[i64]) -> Tensor {
    let count = shape.iter().product::<i64>();
    let mut z = Tensor::arange(count, (Kind::Int64, Device::Cpu));
    z += 1;
    z *= GOLDEN as i64;
    z += fnv1a64(name) as i64;
    for (by, factor) in [(30, 0xbf58_476d_1ce4_e5b9_u64), (27, 0x94d0_49bb_1331_11eb)] {
        z = z.bitwise_xor_tensor(&shifted(&z, by));
        z *= factor as i64;
    }
    z.bitwise_xor_tensor(&shifted(&z, 31)).reshape(shape)
}

/// u in [0, 1), float64.
pub fn uniform(name: &str, shape: &[i64]) -> Tensor {
    let unit = shifted(&bits(name, shape), 11).to_kind(Kind::Double);
    unit * (-53f64).exp2()
}

/// 2u - 1 in [-1, 1), float64.
pub fn symmetric(name: &str, shape: &[i64]) -> Tensor {
    uniform(name, shape) * 2.0 - 1.0
}

/// The value of a network's tensor, by the last part of its name and its rank.
pub fn parameter(name: &str, shape: &[i64]) -> Tensor {
    scaled(name, shape, uniform(name, shape))
}

/// `parameter` of given u, of any shape.
fn scaled(name: &str, shape: &[i64], u: Tensor) -> Tensor {
    let last = name.rsplit('.').next();
    match (last, shape) {
        (Some("running_var"), _) => u * 0.5 + 1.0,
        (Some("running_mean" | "bias"), _) => (u * 2.0 - 1.0) * 0.1,
        (_, [_]) => (u * 2.0 - 1.0) * 0.2 + 1.0,
        _ => {
            let fan_in: i64 = shape.iter().skip(1).product();
            (u * 2.0 - 1.0) * (3.0 / fan_in as f64).sqrt()
        }
    }
}

const TABLE: i64 = 65521;

/// As `parameter`, but quick for many millions: element i has the u of element (h + i) mod 65521 of
/// a tensor `table`. In float32.
pub fn tiled_parameter(name: &str, shape: &[i64]) -> Tensor {
    let table = scaled(name, shape, uniform("table", &[TABLE])).to_kind(Kind::Float);
    let start = (fnv1a64(name) % TABLE as u64) as i64;
    let count: i64 = shape.iter().product();
    table.repeat([(start + count) / TABLE + 1]).narrow(0, start, count).reshape(shape)
}
