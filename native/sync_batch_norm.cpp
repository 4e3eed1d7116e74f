// Batch norm by the statistics of all ranks' maps together, on any device: libtorch's own kernels for
// it are CUDA's. Equal to batch norm of the concatenated batch.

#include "group.h"
#include "guarded.h"

#include <optional>
#include <tuple>
#include <vector>

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <ATen/autocast_mode.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

namespace {

using arcrun::group_of;
using arcrun::GroupPtr;
using arcrun::held;
using arcrun::held_group;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

at::Tensor &tensor(arcrun_tensor t) { return *static_cast<at::Tensor *>(t); }

// Half precision is summed in float32.
at::Tensor wide(const at::Tensor &values) {
  return at::isReducedFloatingType(values.scalar_type()) ? values.to(at::kFloat) : values;
}

// Values of each channel, to be broadcast over the maps.
at::Tensor along(const at::Tensor &values_c, const at::Tensor &maps) {
  std::vector<int64_t> shape(maps.dim(), 1);
  shape[1] = -1;
  return values_c.view(shape);
}

struct Statistics {
  // [C]; `squares`: squared deviations from the mean, summed.
  at::Tensor mean, squares;
  double count;
};

// Every rank's count, means and squared deviations, put together as Chan et al. 1979 do: no loss of
// digits where the mean is large, and the same bits on every rank.
Statistics statistics(const GroupPtr &group, const at::Tensor &maps) {
  const auto channels = maps.size(1);
  const double own = static_cast<double>(maps.numel()) / channels;
  at::Tensor mean, squares;
  if (own > 0) {
    std::tie(mean, squares) = at::batch_norm_update_stats(maps, {}, {}, /*momentum=*/0.0);
    squares = squares * own;
  } else {
    mean = at::zeros({channels}, maps.options());
    squares = at::zeros_like(mean);
  }
  auto all = group->all_gather(at::cat({at::full({1}, own, mean.options()), mean, squares}));
  auto counts_r1 = all.narrow(1, 0, 1);
  auto means_rc = all.narrow(1, 1, channels);
  const double count = counts_r1.sum().item<double>();
  mean = (means_rc * counts_r1).sum(0) / count;
  auto between = (means_rc - mean).square_().mul_(counts_r1).sum(0);
  return {mean, all.narrow(1, 1 + channels, channels).sum(0) + between, count};
}

struct SyncBatchNorm : torch::autograd::Function<SyncBatchNorm> {
  static at::Tensor forward(AutogradContext *ctx, const at::Tensor &maps, const at::Tensor &weight_c,
                            const at::Tensor &bias_c, const GroupPtr &group,
                            std::optional<at::Tensor> running_mean_c,
                            std::optional<at::Tensor> running_var_c, double momentum, double eps) {
    c10::impl::ExcludeDispatchKeyGuard no_autocast(c10::autocast_dispatch_keyset);
    auto [mean_c, squares_c, count] = statistics(group, wide(maps));
    auto var_c = squares_c / count;
    if (running_mean_c) running_mean_c->mul_(1 - momentum).add_(mean_c, momentum);
    if (running_var_c) running_var_c->mul_(1 - momentum).add_(squares_c / (count - 1), momentum);

    auto inverse_c = (var_c + eps).rsqrt_();
    ctx->save_for_backward({maps, weight_c});
    ctx->saved_data["mean"] = mean_c;
    ctx->saved_data["inverse"] = inverse_c;
    ctx->saved_data["count"] = count;
    ctx->saved_data["group"] = held(group);
    if (maps.numel() == 0) return maps.clone();
    return std::get<0>(at::native_batch_norm(maps, weight_c, bias_c, mean_c, var_c,
                                             /*training=*/false, /*momentum=*/0.0, eps));
  }

  static variable_list backward(AutogradContext *ctx, variable_list outgoing) {
    auto saved = ctx->get_saved_variables();
    const auto &maps = saved[0], &weight_c = saved[1];
    auto &data = ctx->saved_data;
    auto inverse_c = data["inverse"].toTensor();
    const double count = data["count"].toDouble();
    auto mean_c = data["mean"].toTensor();
    auto wide_maps = wide(maps);
    // In the maps' order, for which libtorch has its fast loops.
    auto grad = wide(outgoing[0]).contiguous(wide_maps.suggest_memory_format());
    auto weight = wide(weight_c);
    // The weights' gradients are this rank's: they are averaged with those of all other parameters.
    at::Tensor grad_weight = at::zeros_like(weight), grad_bias = at::zeros_like(weight);
    if (maps.numel() > 0)
      std::tie(std::ignore, grad_weight, grad_bias) = at::native_batch_norm_backward(
          grad, wide_maps, weight, {}, {}, mean_c, inverse_c, /*train=*/true, /*eps=*/0.0,
          {false, true, true});
    at::Tensor grad_maps;
    // Of all ranks, whether or not this one's maps want a gradient: the others wait for it.
    auto sums_2c = at::stack({grad_bias, grad_weight});
    held_group(data["group"])->all_reduce(sums_2c, c10d::ReduceOp::SUM);
    if (ctx->needs_input_grad(0)) {
      // weight inverse (grad - sum grad / N - unit sum (grad unit) / N), where unit = (maps - mean)
      // inverse: one pass for what is linear in the maps, one that adds the outgoing gradient.
      sums_2c.div_(count);
      auto factor_c = weight * inverse_c;
      if (maps.numel() == 0) {
        grad_maps = at::zeros_like(maps);
      } else {
        auto from_maps = std::get<0>(at::native_batch_norm(
            wide_maps, factor_c * sums_2c[1] * -inverse_c, factor_c * -sums_2c[0], mean_c,
            at::ones_like(mean_c), /*training=*/false, /*momentum=*/0.0, /*eps=*/0.0));
        grad_maps = from_maps.addcmul_(grad, along(factor_c, maps)).to(maps.scalar_type());
      }
    }
    at::Tensor none;
    return {grad_maps, grad_weight.to(weight_c.scalar_type()), grad_bias.to(weight_c.scalar_type()),
            none,      none, none, none, none};
  }
};

}  // namespace

char *arcrun_sync_batch_norm(arcrun_group handle, arcrun_sync_batch_norm_inputs inputs,
                             arcrun_tensor out) {
  return arcrun::guarded([&] {
    auto given = [](arcrun_tensor t) { return t ? std::optional(tensor(t)) : std::nullopt; };
    TORCH_CHECK(tensor(inputs.maps).dim() >= 2, "batch norm takes maps [B, C, ...]");
    tensor(out) = SyncBatchNorm::apply(tensor(inputs.maps), tensor(inputs.weight),
                                       tensor(inputs.bias), group_of(handle),
                                       given(inputs.running_mean), given(inputs.running_var),
                                       inputs.momentum, inputs.eps);
  });
}
