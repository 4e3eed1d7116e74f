//! Against the formulas of `torch.optim`, written out element by element in f64.

use super::*;
use tch::{Device, Kind};

const SHAPES: [&[i64]; 3] = [&[3, 5], &[7], &[2, 3, 4, 4]];
const STEPS: i64 = 50;

/// Smooth, sign-changing pseudo-data; `salt` keeps tensors and steps apart.
fn wave(len: usize, salt: f64) -> Vec<f64> {
    (0..len).map(|i| (1.7 * i as f64 + 2.3 * salt).sin() * (1.0 + 0.1 * i as f64).recip()).collect()
}

fn tensor(values: &[f64], shape: &[i64], kind: Kind) -> Tensor {
    Tensor::from_slice(values).reshape(shape).to_kind(kind)
}

fn lens() -> impl Iterator<Item = usize> {
    SHAPES.iter().map(|s| s.iter().product::<i64>() as usize)
}

fn params(kind: Kind) -> (Vec<Vec<f64>>, Vec<Tensor>) {
    let values: Vec<_> = lens().enumerate().map(|(i, n)| wave(n, i as f64)).collect();
    let tensors =
        values.iter().zip(SHAPES).map(|(v, s)| tensor(v, s, kind).set_requires_grad(true));
    let tensors = tensors.collect();
    (values, tensors)
}

fn zeros_like(tensors: &[Tensor]) -> Vec<Tensor> {
    tensors.iter().map(|t| tch::no_grad(|| t.zeros_like())).collect()
}

fn gradients(step: i64, kind: Kind) -> (Vec<Vec<f64>>, Vec<Tensor>) {
    let salt = |i: usize| 10.0 * step as f64 + i as f64;
    let values: Vec<_> = lens().enumerate().map(|(i, n)| wave(n, salt(i))).collect();
    let tensors = values.iter().zip(SHAPES).map(|(v, s)| tensor(v, s, kind)).collect();
    (values, tensors)
}

fn assert_close(tensors: &[Tensor], expected: &[Vec<f64>], tolerance: f64) {
    for (tensor, expected) in tensors.iter().zip(expected) {
        let got = Vec::<f64>::try_from(tensor.detach().to_kind(Kind::Double).flatten(0, -1));
        for (a, b) in got.unwrap().iter().zip(expected) {
            assert!((a - b).abs() <= tolerance, "{a} is not {b}");
        }
    }
}

/// f64: rounding of 50 steps of values near 1. f32: the same with 2^-24, a few operations each.
fn tolerance(kind: Kind) -> f64 {
    let unit = if kind == Kind::Double { 2f64.powi(-53) } else { 2f64.powi(-24) };
    unit * STEPS as f64 * 8.0
}

fn sgd_case(options: &Sgd, kind: Kind) {
    let (mut p, mut tensors) = params(kind);
    let mut buffers = if options.momentum == 0.0 { vec![] } else { zeros_like(&tensors) };
    let mut b: Vec<Vec<f64>> = lens().map(|n| vec![0.0; n]).collect();
    for step in 1..=STEPS {
        let (g, grads) = gradients(step, kind);
        sgd(&mut tensors, &grads, &mut buffers, step == 1, options).unwrap();
        for ((p, g), b) in p.iter_mut().zip(&g).zip(&mut b) {
            for i in 0..p.len() {
                let sign = if options.maximize { -1.0 } else { 1.0 };
                let mut d = sign * g[i] + options.weight_decay * p[i];
                if options.momentum != 0.0 {
                    let damped = (1.0 - options.dampening) * d;
                    b[i] = if step == 1 { d } else { options.momentum * b[i] + damped };
                    d = if options.nesterov { d + options.momentum * b[i] } else { b[i] };
                }
                p[i] -= options.lr * d;
            }
        }
    }
    assert_close(&tensors, &p, tolerance(kind));
    if options.momentum != 0.0 {
        assert_close(&buffers, &b, tolerance(kind) * 10.0); // buffers reach 10 gradients
    }
    assert!(tensors.iter().all(Tensor::requires_grad));
}

#[test]
fn sgd_is_the_formula() {
    let plain = Sgd {
        lr: 0.05,
        momentum: 0.0,
        dampening: 0.0,
        weight_decay: 0.0,
        nesterov: false,
        maximize: false,
    };
    let decayed = Sgd { weight_decay: 5e-4, momentum: 0.9, ..plain.clone() };
    let cases = [
        plain.clone(),
        decayed.clone(),
        Sgd { nesterov: true, ..decayed.clone() },
        Sgd { dampening: 0.3, maximize: true, ..decayed },
    ];
    for case in &cases {
        sgd_case(case, Kind::Double);
        sgd_case(case, Kind::Float);
    }
}

fn adam_case(o: &Adam, decoupled: bool, kind: Kind) {
    let (mut p, mut tensors) = params(kind);
    let (mut m, mut v) = (zeros_like(&tensors), zeros_like(&tensors));
    let mut v_max = if o.amsgrad { zeros_like(&tensors) } else { vec![] };
    let zeros: Vec<Vec<f64>> = lens().map(|n| vec![0.0; n]).collect();
    let (mut em, mut ev, mut emax) = (zeros.clone(), zeros.clone(), zeros);
    for step in 1..=STEPS {
        let (g, grads) = gradients(step, kind);
        let moments =
            Moments { exp_avgs: &mut m, exp_avg_sqs: &mut v, max_exp_avg_sqs: &mut v_max };
        let fused = if decoupled { adamw } else { adam };
        fused(&mut tensors, &grads, moments, step, o).unwrap();
        let (c1, c2) = (1.0 - o.beta1.powi(step as i32), 1.0 - o.beta2.powi(step as i32));
        for k in 0..p.len() {
            for i in 0..p[k].len() {
                let mut d = if o.maximize { -g[k][i] } else { g[k][i] };
                if decoupled {
                    p[k][i] *= 1.0 - o.lr * o.weight_decay;
                } else {
                    d += o.weight_decay * p[k][i];
                }
                em[k][i] += (d - em[k][i]) * (1.0 - o.beta1);
                ev[k][i] = o.beta2 * ev[k][i] + (1.0 - o.beta2) * d * d;
                emax[k][i] = emax[k][i].max(ev[k][i]);
                let second = if o.amsgrad { emax[k][i] } else { ev[k][i] };
                p[k][i] -= o.lr / c1 * em[k][i] / (second.sqrt() / c2.sqrt() + o.eps);
            }
        }
    }
    // A step is lr times a number near 1 whatever the gradient: small gradients magnify its
    // relative rounding, hence the factor of 4.
    assert_close(&tensors, &p, tolerance(kind) * 4.0);
    assert_close(&m, &em, tolerance(kind));
    assert_close(&v, &ev, tolerance(kind));
}

#[test]
fn adam_and_adamw_are_the_formula() {
    let plain = Adam {
        lr: 1e-2,
        beta1: 0.9,
        beta2: 0.999,
        eps: 1e-8,
        weight_decay: 0.0,
        amsgrad: false,
        maximize: false,
    };
    let decayed = Adam { weight_decay: 0.05, ..plain.clone() };
    let cases = [plain.clone(), decayed.clone(), Adam { amsgrad: true, maximize: true, ..decayed }];
    for case in &cases {
        for decoupled in [false, true] {
            adam_case(case, decoupled, Kind::Double);
            adam_case(case, decoupled, Kind::Float);
        }
    }
}

fn plain_sgd() -> Sgd {
    Sgd {
        lr: 1.0,
        momentum: 0.9,
        dampening: 0.0,
        weight_decay: 0.0,
        nesterov: false,
        maximize: false,
    }
}

/// The kernels walk raw memory: a gradient in another layout must still meet its own weights.
#[test]
fn gradients_in_another_layout_are_rearranged() {
    let values = wave(24, 3.0);
    let grad = tensor(&values, &[1, 2, 3, 4], Kind::Float).expand([2, 2, 3, 4], false).contiguous();
    let rearranged = grad.permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2]);
    assert_ne!(grad.stride(), rearranged.stride());
    let mut params = [Tensor::zeros([2, 2, 3, 4], (Kind::Float, Device::Cpu))];
    let mut buffers = zeros_like(&params);
    sgd(&mut params, &[rearranged], &mut buffers, true, &plain_sgd()).unwrap();
    assert_eq!(params[0], -grad);
}

#[test]
fn mismatched_lists_are_errors() {
    let float = (Kind::Float, Device::Cpu);
    let step = |param: &Tensor, grad: &Tensor, buffers: &[Tensor]| {
        let mut buffers: Vec<_> = buffers.iter().map(Tensor::shallow_clone).collect();
        let grads = [grad.shallow_clone()];
        sgd(&mut [param.shallow_clone()], &grads, &mut buffers, true, &plain_sgd())
    };
    let param = Tensor::zeros([2, 3], float);
    let like = || Tensor::ones([2, 3], float);
    step(&param, &like(), &[like()]).unwrap();
    let message = |result: Result<()>| result.unwrap_err().to_string();
    assert!(message(step(&param, &Tensor::ones([3, 2], float), &[like()])).contains("gradient 0"));
    assert!(message(step(&param, &Tensor::new(), &[like()])).contains("undefined"));
    let doubles = like().to_kind(Kind::Double);
    assert!(message(step(&param, &like(), &[doubles])).contains("momentum buffer 0"));
    let transposed = Tensor::ones([3, 2], float).tr();
    assert!(message(step(&param, &like(), &[transposed])).contains("strides"));
    assert!(message(step(&param, &like(), &[])).contains("0 buffers"));
    let halves = Tensor::zeros([2, 6], float).slice(1, 0, 6, 2);
    assert!(message(step(&halves, &like(), &[like()])).contains("not dense"));
}

#[test]
fn grad_norm_is_the_norm_of_all_elements() {
    let grads = [
        Tensor::from_slice(&[3f32, 0.0]),
        Tensor::from_slice(&[4f32]).reshape([1, 1]),
        Tensor::from_slice(&[12f32]),
    ];
    assert_eq!(grad_norm(&grads).unwrap().double_value(&[]), 13.0);
    for (kind, norm_kind) in [(Kind::Double, Kind::Double), (Kind::Half, Kind::Float)] {
        let norm = grad_norm(&grads.each_ref().map(|g| g.to_kind(kind) * 1000)).unwrap();
        assert_eq!((norm.kind(), norm.double_value(&[])), (norm_kind, 13000.0));
    }
    assert_eq!(grad_norm(&[]).unwrap().double_value(&[]), 0.0);
    let bad = [Tensor::from_slice(&[1.0, f32::NAN])];
    assert!(grad_norm(&bad).unwrap().double_value(&[]).is_nan());
}
