use super::*;
use crate::random::{Stream, rng};
use std::collections::BTreeSet;
use tch::Device;

#[test]
fn every_class_has_one_rank() {
    for (classes, ranks) in [(7, 3), (3, 3), (10, 4), (1000, 7)] {
        let parts = (0..ranks).map(|rank| range(classes, rank, ranks));
        let all: Vec<i64> = parts.clone().flatten().collect();
        assert_eq!(all, (0..classes).collect::<Vec<_>>());
        assert!(parts.clone().all(|part| !part.is_empty()), "{classes} over {ranks}");
    }
    assert!(check(true, 2, 3).is_err());
    assert!(check(true, 3, 3).is_ok());
    assert!(check(false, 2, 3).is_ok());
}

#[test]
fn positives_are_kept_and_negatives_are_drawn_evenly() {
    let labels = [7, 2, 7, 19];
    let mut seen = [0; 20];
    for index in 0..2000 {
        let classes = choose(20, 0.5, &labels, &mut rng(1, Stream::Step, 0, index));
        assert_eq!(classes.len(), 10);
        assert!(classes.is_sorted_by(|a, b| a < b), "{classes:?}");
        assert!(labels.iter().all(|label| classes.contains(label)));
        classes.iter().for_each(|class| seen[*class as usize] += 1);
    }
    for (class, count) in seen.iter().enumerate() {
        match labels.contains(&(class as i64)) {
            true => assert_eq!(*count, 2000),
            // 7 of 17: 824 expected, standard deviation 22.
            false => assert!((*count - 824i32).abs() < 110, "{class}: {count}"),
        }
    }
}

#[test]
fn the_share_has_its_ends() {
    let draw = |share, labels: &[i64]| choose(5, share, labels, &mut rng(1, Stream::Step, 0, 0));
    assert_eq!(draw(1.0, &[3]), [0, 1, 2, 3, 4]);
    assert_eq!(draw(0.0, &[3, 1]), [1, 3]);
    assert_eq!(draw(0.2, &[3, 1, 4]), [1, 3, 4], "more positives than the share");
    assert_eq!(draw(0.0, &[]).len(), 1);
    let once = draw(0.6, &[0]);
    assert_eq!(once, draw(0.6, &[0]));
    let others: BTreeSet<Vec<i64>> =
        (0..20).map(|i| choose(5, 0.6, &[0], &mut rng(1, Stream::Step, 0, i))).collect();
    assert!(others.len() > 3);
}

/// The draws by blocks are those of the undivided weights, which the parameters' initial values rest on.
#[test]
fn initial_weights_are_those_of_one_process() {
    for (classes, dim) in [(7, 3), (2 * BLOCK - 1, 3), (2 * BLOCK, 5), (3 * BLOCK + 77, 3)] {
        let draw = |divided: bool| {
            tch::manual_seed(11);
            let store = nn::VarStore::new(Device::Cpu);
            let weight = match divided {
                true => Shard::new(&store.root(), dim, classes, 1, 1.0).weight,
                false => {
                    let init = Init::Randn { mean: 0.0, stdev: 0.01 };
                    store.root().var("weight", &[classes, dim], init)
                }
            };
            (weight.detach().copy(), Tensor::rand([1], (Kind::Float, Device::Cpu)))
        };
        let (whole, parts) = (draw(false), draw(true));
        assert!(whole.0.equal(&parts.0), "{classes} x {dim}");
        assert!(whole.1.equal(&parts.1), "the generator stands elsewhere");
    }
}

#[test]
fn a_share_without_division_is_refused() {
    let wrong = Partition { shard: false, sample_rate: 0.5 }.validate();
    assert_eq!(wrong.len(), 1);
    assert!(wrong[0].1.contains("loss.shard = true"), "{}", wrong[0].1);
    assert!(Partition { shard: true, sample_rate: 0.5 }.validate().is_empty());
}
