//! Switches of the whole process, alone in theirs: other tests compare bits, which depend on them.

use arcrun::torch::{determinism, precision, threads};
use tch::{Device, Kind, Tensor};

/// One test, as two would run at the same time.
#[test]
fn switches_of_the_process() {
    let before = threads::get();
    threads::set(before + 1);
    assert_eq!(threads::get(), before + 1);
    threads::set(0);
    assert_eq!(threads::get(), 1);

    // `put_` without accumulation has no deterministic kernel, which libtorch says itself.
    let put = || {
        let index = Tensor::from_slice(&[0i64, 1]);
        let source = Tensor::ones([2], (Kind::Float, Device::Cpu));
        Tensor::zeros([3], (Kind::Float, Device::Cpu)).f_put_(&index, &source, false)
    };
    determinism::set(true).unwrap();
    assert!(put().unwrap_err().to_string().contains("deterministic"));
    determinism::set(false).unwrap();
    let _ = put().unwrap();
    assert!(!precision::cudnn_benchmark(), "off is the default");

    for on in [true, false, true] {
        precision::set_tf32(on).unwrap();
        assert_eq!(precision::tf32().unwrap(), (on, on));
        {
            let _exact = precision::Exact::new().unwrap();
            assert_eq!(precision::tf32().unwrap(), (false, false));
        }
        assert_eq!(precision::tf32().unwrap(), (on, on));
        precision::set_cudnn_benchmark(on).unwrap();
        assert_eq!(precision::cudnn_benchmark(), on);
    }
    // The CPU computes in float32 all the same.
    let thirds = Tensor::full([8, 8], 1.0 / 3.0, (Kind::Float, Device::Cpu));
    let product = thirds.matmul(&thirds.ones_like()).double_value(&[0, 0]);
    assert!((product - 8.0 / 3.0).abs() < 1e-6, "{product}");
}
