//! Collectives, the nodes of the graph over them, batch norm and the reducer.

use super::{LIMIT, average, close, join, numbers, part, possible, ranks};
use arcrun::backbone::batch_norm::BatchNorm;
use arcrun::distributed::{Reducer, Reduction, WholeBatch, enter, leave};
use arcrun::torch::layout::channels_last;
use tch::nn::{self, ModuleT};
use tch::{Device, Kind, Tensor};

#[test]
fn collectives_reach_all_ranks() {
    if possible() {
        ranks(2, "layers::collectives");
        ranks(3, "layers::collectives");
    }
}

#[test]
#[ignore = "one rank of collectives_reach_all_ranks"]
fn collectives() {
    let group = join(LIMIT);
    let (rank, size) = (group.rank() as f64, group.size() as f64);
    let own = || Tensor::from_slice(&[rank, 10.0 - rank]);
    let reduced = |reduction| {
        let mut values = own();
        group.all_reduce(&mut values, reduction).unwrap();
        Vec::<f64>::try_from(values).unwrap()
    };
    let sum = size * (size - 1.0) / 2.0;
    assert_eq!(reduced(Reduction::Sum), [sum, 10.0 * size - sum]);
    assert_eq!(reduced(Reduction::Max), [size - 1.0, 10.0]);
    assert_eq!(reduced(Reduction::Min), [0.0, 11.0 - size]);
    assert_eq!(group.reduce_numbers(&[rank], Reduction::Sum).unwrap(), [sum]);

    let all = group.all_gather(&own()).unwrap();
    assert_eq!(all.size(), [group.size() as i64, 2]);
    assert_eq!(all.get(1), Tensor::from_slice(&[1.0, 9.0]));
    // One that is not contiguous, and requires a gradient.
    let mut scattered = (numbers(group.rank() as i64, &[3, 4])).tr().set_requires_grad(true);
    group.broadcast(&mut scattered, 1).unwrap();
    close("broadcast", &scattered, &numbers(1, &[3, 4]).tr());
    assert!(scattered.requires_grad());

    let sent = group.sent();
    let mut values = Tensor::zeros([1000], (Kind::Float, Device::Cpu));
    group.all_reduce(&mut values, Reduction::Sum).unwrap();
    let ring = 2 * 4000 * (group.size() as u64 - 1) / group.size() as u64;
    assert_eq!(group.sent() - sent, ring);

    if group.rank() == 1 {
        group.store_set("word", "from rank 1\0").unwrap();
    }
    assert_eq!(group.store_get("word").unwrap(), "from rank 1\0");
    group.store_wait(&["word"]).unwrap();
    group.agree("configuration", "same").unwrap();
    group.agree("data", "same").unwrap();
    group.barrier().unwrap();
}

#[test]
fn gathered_rows_and_sums_have_gradients() {
    if possible() {
        ranks(2, "layers::gradients_over_ranks");
        ranks(3, "layers::gradients_over_ranks");
    }
}

#[test]
#[ignore = "one rank of gathered_rows_and_sums_have_gradients"]
fn gradients_over_ranks() {
    let group = join(LIMIT);
    let rows = numbers(1, &[8, 3]);
    let (first, count) = part(&group, 8);
    let own = rows.narrow(0, first, count).copy().set_requires_grad(true);
    let batch = WholeBatch::with(Some(group.clone()), &own).unwrap();
    assert_eq!((batch.size(), batch.own()), (8, first..first + count));
    let all = batch.gather(&own).unwrap();
    close("rows", &all, &rows);
    close("own rows", &batch.own_rows(&all), &own);
    let labels = Tensor::arange(8, (Kind::Int64, Device::Cpu));
    assert!(batch.gather(&labels.narrow(0, first, count)).unwrap().equal(&labels));

    // Rank r weighs the rows by r + 1: what each gets is the sum over the ranks.
    let weight = numbers(2, &[8, 3]);
    (all * &weight * (group.rank() as f64 + 1.0)).sum(Kind::Double).backward();
    let factor = (1..=group.size()).sum::<usize>() as f64;
    close("gradient of rows", &own.grad(), &(weight.narrow(0, first, count) * factor));

    let value = (numbers(3, &[4]) * (group.rank() as f64 + 1.0)).set_requires_grad(true);
    let sum = group.sum(&value).unwrap();
    close("sum", &sum, &(numbers(3, &[4]) * factor));
    (sum * numbers(4, &[4]) * (group.rank() as f64 + 1.0)).sum(Kind::Double).backward();
    close("gradient of sum", &value.grad(), &(numbers(4, &[4]) * factor));
}

#[test]
fn batch_norm_over_ranks_is_that_of_the_whole_batch() {
    if possible() {
        ranks(2, "layers::batch_norm");
        ranks(3, "layers::batch_norm");
    }
}

/// Output, and gradients of maps, weight and bias, then the running statistics, after two steps.
fn normed(maps: &[Tensor; 2], gradients: &[Tensor; 2]) -> (Vec<Tensor>, [Tensor; 4]) {
    let mut store = nn::VarStore::new(Device::Cpu);
    let layer = BatchNorm::new(&store.root(), 5);
    store.double();
    let variable = |name: &str| store.variables()[name].shallow_clone();
    let (weight, bias) = (variable("weight"), variable("bias"));
    tch::no_grad(|| {
        weight.shallow_clone().copy_(&numbers(5, &[5]));
        bias.shallow_clone().copy_(&numbers(6, &[5]));
    });
    let mut steps = Vec::new();
    for (maps, gradient) in maps.iter().zip(gradients) {
        let maps = maps.copy().set_requires_grad(true);
        let out = layer.forward_t(&maps, true);
        (&out * gradient).sum(Kind::Double).backward();
        steps.extend([out.detach(), maps.grad()]);
    }
    let statistics = [variable("running_mean"), variable("running_var")];
    let [mean, var] = statistics.map(|value| value.copy());
    (steps, [weight.grad(), bias.grad(), mean, var])
}

#[test]
#[ignore = "one rank of batch_norm_over_ranks_is_that_of_the_whole_batch"]
fn batch_norm() {
    let group = join(LIMIT);
    for (shape, last) in [(&[9i64, 5, 4, 3][..], false), (&[9, 5, 4, 3], true), (&[9, 5], false)] {
        let ordered = |values: Tensor| match last {
            true => channels_last(&values).unwrap(),
            false => values,
        };
        // A mean far from 0 loses digits where squares are summed.
        let maps = [1, 2].map(|seed| ordered(numbers(seed, shape) * 3.0 + 100.0));
        let gradients = [3, 4].map(|seed| numbers(seed, shape));
        let (steps, [weight, bias, mean, var]) = normed(&maps, &gradients);

        let (first, count) = part(&group, 9);
        let own = |all: &[Tensor; 2]| [0, 1].map(|at: usize| all[at].narrow(0, first, count));
        enter(group.clone(), true);
        let (own_steps, own) = normed(&own(&maps), &own(&gradients));
        leave();
        for (at, (own, whole)) in own_steps.iter().zip(&steps).enumerate() {
            close(&format!("output or gradient {at}"), own, &whole.narrow(0, first, count));
        }
        let size = group.size() as f64;
        close("weight", &(average(&group, &own[0]) * size), &weight);
        close("bias", &(average(&group, &own[1]) * size), &bias);
        close("running mean", &own[2], &mean);
        close("running variance", &own[3], &var);
    }
}

#[test]
fn gradients_are_averaged_after_the_last_batch() {
    if possible() {
        ranks(2, "layers::reducer");
        ranks(3, "layers::reducer");
    }
}

#[test]
#[ignore = "one rank of gradients_are_averaged_after_the_last_batch"]
fn reducer() {
    let group = join(LIMIT);
    // More than the first bucket of 1 MiB holds.
    let shapes: [&[i64]; 3] = [&[600, 300], &[300], &[300, 2]];
    let leaf = |seed: i64| (numbers(seed, shapes[seed as usize]) * 0.1).set_requires_grad(true);
    let parameters = [0, 1, 2].map(leaf);
    let loss = |input: &Tensor, parameters: &[Tensor; 3]| {
        let [first, bias, last] = parameters;
        (input.matmul(first) + bias).tanh().matmul(last).square().sum(Kind::Double)
    };
    let mut reducer = Reducer::new(&group, &parameters, false).unwrap();
    assert_eq!(reducer.bytes(), 8 * (600 * 300 + 300 + 600));
    // Buckets are laid out anew after the first step.
    for step in 0..3 {
        let input =
            |rank: usize, batch: i64| numbers(100 * step + 10 * batch + rank as i64, &[4, 600]);
        // What all ranks together give in one process.
        let copies = [0, 1, 2].map(leaf);
        for rank in 0..group.size() {
            for batch in 0..2 {
                (loss(&input(rank, batch), &copies) / group.size() as f64).backward();
            }
        }
        arcrun::torch::gradient::clear(&parameters).unwrap();
        let sent = group.sent();
        loss(&input(group.rank(), 0), &parameters).backward();
        assert_eq!(group.sent(), sent, "an accumulated batch sends nothing");
        let last = loss(&input(group.rank(), 1), &parameters);
        reducer.prepare(&last).unwrap();
        last.backward();
        for (parameter, copy) in parameters.iter().zip(&copies) {
            close(&format!("step {step}"), &parameter.grad(), &copy.grad());
        }
        let size = group.size() as u64;
        assert_eq!(group.sent() - sent, 2 * reducer.bytes() * (size - 1) / size);
    }
}
