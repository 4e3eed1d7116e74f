//! Switches of the whole process, alone in theirs: other tests compare bits, which depend on them.

use arcrun::torch::{determinism, threads};
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
}
