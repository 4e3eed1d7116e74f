//! The twin of `tools/parity/fill.py`: values by formula from a tensor's name.

use tch::{Kind, Tensor};

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

pub fn fnv1a64(name: &str) -> u64 {
    let step = |h: u64, byte| (h ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    name.bytes().fold(0xcbf2_9ce4_8422_2325, step)
}

fn splitmix64(x: u64) -> u64 {
    let z = x.wrapping_add(GOLDEN);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The first outputs for `name`, one for each element of `shape`.
pub fn bits(name: &str, shape: &[i64]) -> Vec<u64> {
    let hash = fnv1a64(name);
    let output = |i| splitmix64(hash.wrapping_add(GOLDEN.wrapping_mul(i)));
    (0..shape.iter().product::<i64>() as u64).map(output).collect()
}

fn mapped(name: &str, shape: &[i64], map: impl Fn(f64) -> f64) -> Tensor {
    let unit = |z: u64| (z >> 11) as f64 / (1u64 << 53) as f64;
    let values: Vec<f64> = bits(name, shape).into_iter().map(|z| map(unit(z))).collect();
    Tensor::from_slice(&values).reshape(shape)
}

/// u in [0, 1), float64.
pub fn uniform(name: &str, shape: &[i64]) -> Tensor {
    mapped(name, shape, |u| u)
}

/// 2u - 1 in [-1, 1), float64.
pub fn symmetric(name: &str, shape: &[i64]) -> Tensor {
    mapped(name, shape, |u| 2.0 * u - 1.0)
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
