// Optimizer steps over lists of parameters.
#include "arcrun_native.h"
#include "guarded.h"
#include "lists.h"

#include <cmath>
#include <vector>

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_foreach_add.h>
#include <ATen/ops/_foreach_addcdiv.h>
#include <ATen/ops/_foreach_addcmul.h>
#include <ATen/ops/_foreach_div.h>
#include <ATen/ops/_foreach_lerp.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/_foreach_sign.h>
#include <ATen/ops/_foreach_sqrt.h>
#include <ATen/ops/_fused_adagrad.h>
#include <ATen/ops/_fused_adam.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/_fused_sgd.h>
#include <ATen/ops/clamp.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/full.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>

namespace {

using arcrun::guarded;
using arcrun::list;

// The fused CPU kernels walk raw memory by the parameter's element count: what does not have
// exactly its shape, strides, type and device would be read wrongly or out of bounds.
void check_layout(const char *what, const std::vector<at::Tensor> &params,
                  const std::vector<at::Tensor> &others) {
  for (size_t i = 0; i < others.size(); ++i) {
    const auto &p = params[i], &o = others[i];
    TORCH_CHECK(o.sizes() == p.sizes() && o.strides() == p.strides() &&
                    o.scalar_type() == p.scalar_type() && o.device() == p.device(),
                what, " ", i, " is ", o.toString(), o.sizes(), " with strides ", o.strides(),
                ", its parameter ", p.toString(), p.sizes(), " with strides ", p.strides());
  }
}

void check_params(const std::vector<at::Tensor> &params) {
  for (size_t i = 0; i < params.size(); ++i) {
    const auto &p = params[i];
    TORCH_CHECK(p.is_non_overlapping_and_dense(), "parameter ", i, " is not dense");
    TORCH_CHECK(p.device() == params[0].device() && p.scalar_type() == params[0].scalar_type(),
                "parameter ", i, " is ", p.toString(), ", parameter 0 is ", params[0].toString());
  }
}

std::vector<at::Tensor> grads_like(const std::vector<at::Tensor> &params, arcrun_tensors tensors) {
  auto grads = list(params.size(), tensors);
  for (size_t i = 0; i < grads.size(); ++i) {
    TORCH_CHECK(grads[i].defined(), "gradient ", i, " is undefined");
    if (grads[i].sizes() == params[i].sizes() && grads[i].strides() != params[i].strides())
      grads[i] = at::empty_like(params[i]).copy_(grads[i]);
  }
  check_layout("gradient", params, grads);
  return grads;
}

std::vector<at::Tensor> state_like(const char *what, const std::vector<at::Tensor> &params,
                                   size_t count, arcrun_tensors tensors) {
  auto state = list(count, tensors);
  check_layout(what, params, state);
  return state;
}

// State that only some options ask for.
std::vector<at::Tensor> state_if(bool wanted, const char *what,
                                 const std::vector<at::Tensor> &params, size_t count,
                                 arcrun_tensors tensors) {
  TORCH_CHECK(count == (wanted ? params.size() : 0), count, " ", what, "s of ", params.size(),
              " parameters where ", wanted ? "each needs one" : "none is used");
  return state_like(what, params, count, tensors);
}

// The gradients with the L2 penalty; the parameters' own gradients stay as they are.
std::vector<at::Tensor> penalised(const std::vector<at::Tensor> &params,
                                  std::vector<at::Tensor> grads, double weight_decay) {
  return weight_decay == 0 ? grads : at::_foreach_add(grads, params, weight_decay);
}

// `ratio` of the norms of weights and updates, one entry per parameter; 1 where either norm is 0.
template <typename Ratio>
at::Tensor trust_ratios(const std::vector<at::Tensor> &params,
                        const std::vector<at::Tensor> &updates, Ratio ratio) {
  auto weight = at::stack(at::_foreach_norm(params, 2));
  auto update = at::stack(at::_foreach_norm(updates, 2));
  auto both = (weight > 0).logical_and_(update > 0);
  return at::where(both, ratio(weight, update), 1.0);
}

}  // namespace

char *arcrun_fused_sgd(size_t count, arcrun_tensors params, arcrun_tensors grads,
                       size_t buffer_count, arcrun_tensors momentum_buffers, bool first_step,
                       arcrun_sgd o) {
  return guarded([&] {
    if (count == 0) return;
    at::NoGradGuard no_grad;
    auto p = list(count, params);
    check_params(p);
    auto g = grads_like(p, grads);
    TORCH_CHECK(buffer_count == (o.momentum == 0 ? 0 : count), "momentum ", o.momentum, " of ",
                count, " parameters with ", buffer_count, " buffers");
    auto buffers = state_like("momentum buffer", p, buffer_count, momentum_buffers);
    at::_fused_sgd_(p, g, buffers, o.weight_decay, o.momentum, o.lr, o.dampening, o.nesterov,
                    o.maximize, first_step);
  });
}

char *arcrun_fused_adam(size_t count, arcrun_tensors params, arcrun_tensors grads,
                        arcrun_tensors exp_avgs, arcrun_tensors exp_avg_sqs, size_t max_count,
                        arcrun_tensors max_exp_avg_sqs, int64_t step, arcrun_adam o) {
  return guarded([&] {
    if (count == 0) return;
    at::NoGradGuard no_grad;
    auto p = list(count, params);
    check_params(p);
    auto g = grads_like(p, grads);
    auto m = state_like("exp_avg", p, count, exp_avgs);
    auto v = state_like("exp_avg_sq", p, count, exp_avg_sqs);
    TORCH_CHECK(max_count == (o.amsgrad ? count : 0), "amsgrad of ", count, " parameters with ",
                max_count, " maxima");
    auto v_max = state_like("max_exp_avg_sq", p, max_count, max_exp_avg_sqs);
    // The kernels only read the step, so one tensor serves all parameters.
    auto t = at::full({}, static_cast<double>(step), p[0].options().dtype(at::kFloat));
    std::vector<at::Tensor> steps(count, t);
    if (o.decoupled_weight_decay)
      at::_fused_adamw_(p, g, m, v, v_max, steps, o.lr, o.beta1, o.beta2, o.weight_decay, o.eps,
                        o.amsgrad, o.maximize);
    else
      at::_fused_adam_(p, g, m, v, v_max, steps, o.lr, o.beta1, o.beta2, o.weight_decay, o.eps,
                       o.amsgrad, o.maximize);
  });
}

char *arcrun_rmsprop_step(size_t count, arcrun_tensors params, arcrun_tensors grads,
                          arcrun_tensors square_avgs, size_t grad_avg_count,
                          arcrun_tensors grad_avgs, size_t buffer_count,
                          arcrun_tensors momentum_buffers, arcrun_rmsprop o) {
  return guarded([&] {
    if (count == 0) return;
    at::NoGradGuard no_grad;
    auto p = list(count, params);
    check_params(p);
    auto v = state_like("square_avg", p, count, square_avgs);
    auto m = state_if(o.centered, "grad_avg", p, grad_avg_count, grad_avgs);
    auto b = state_if(o.momentum != 0, "momentum buffer", p, buffer_count, momentum_buffers);
    auto g = penalised(p, grads_like(p, grads), o.weight_decay);
    at::_foreach_mul_(v, o.alpha);
    at::_foreach_addcmul_(v, g, g, 1 - o.alpha);
    std::vector<at::Tensor> root;
    if (o.centered) {
      at::_foreach_lerp_(m, g, 1 - o.alpha);
      root = at::_foreach_addcmul(v, m, m, -1);
      at::_foreach_sqrt_(root);
    } else {
      root = at::_foreach_sqrt(v);
    }
    at::_foreach_add_(root, o.eps);
    if (o.momentum != 0) {
      at::_foreach_mul_(b, o.momentum);
      at::_foreach_addcdiv_(b, g, root, 1);
      at::_foreach_add_(p, b, -o.lr);
    } else {
      at::_foreach_addcdiv_(p, g, root, -o.lr);
    }
  });
}

char *arcrun_adagrad_step(size_t count, arcrun_tensors params, arcrun_tensors grads,
                          arcrun_tensors sums, int64_t step, arcrun_adagrad o) {
  return guarded([&] {
    if (count == 0) return;
    at::NoGradGuard no_grad;
    auto p = list(count, params);
    check_params(p);
    auto g = grads_like(p, grads);
    auto sum = state_like("sum", p, count, sums);
    if (p[0].is_cpu()) {
      // The kernel only reads the step, so one tensor serves all parameters.
      auto t = at::full({}, static_cast<double>(step), p[0].options().dtype(at::kFloat));
      std::vector<at::Tensor> steps(count, t);
      at::_fused_adagrad_(p, g, sum, steps, o.lr, o.lr_decay, o.weight_decay, o.eps,
                          /*maximize=*/false);
      return;
    }
    g = penalised(p, g, o.weight_decay);
    at::_foreach_addcmul_(sum, g, g, 1);
    auto root = at::_foreach_sqrt(sum);
    at::_foreach_add_(root, o.eps);
    at::_foreach_addcdiv_(p, g, root, -o.lr / (1 + static_cast<double>(step - 1) * o.lr_decay));
  });
}

char *arcrun_lion_step(size_t count, arcrun_tensors params, arcrun_tensors grads,
                       arcrun_tensors exp_avgs, arcrun_lion o) {
  return guarded([&] {
    if (count == 0) return;
    at::NoGradGuard no_grad;
    auto p = list(count, params);
    check_params(p);
    auto g = grads_like(p, grads);
    auto m = state_like("exp_avg", p, count, exp_avgs);
    if (o.weight_decay != 0) at::_foreach_mul_(p, 1 - o.lr * o.weight_decay);
    auto update = at::_foreach_lerp(m, g, 1 - o.beta1);
    at::_foreach_sign_(update);
    at::_foreach_add_(p, update, -o.lr);
    at::_foreach_lerp_(m, g, 1 - o.beta2);
  });
}

char *arcrun_lars_step(size_t count, arcrun_tensors params, arcrun_tensors grads,
                       size_t buffer_count, arcrun_tensors momentum_buffers, bool first_step,
                       arcrun_lars o) {
  return guarded([&] {
    if (count == 0) return;
    at::NoGradGuard no_grad;
    auto p = list(count, params);
    check_params(p);
    auto g = grads_like(p, grads);
    auto b = state_if(o.momentum != 0, "momentum buffer", p, buffer_count, momentum_buffers);
    if (o.weight_decay != 0 || o.always_adapt) {
      auto ratios = trust_ratios(p, g, [&](const at::Tensor &weight, const at::Tensor &grad) {
        return o.trust_coefficient * weight / (grad + weight * o.weight_decay + o.eps);
      });
      if (o.trust_clip) ratios = at::clamp(ratios / o.lr, std::nullopt, 1.0);
      // Not in place: the parameters' own gradients stay as they are.
      g = at::_foreach_add(g, p, o.weight_decay);
      at::_foreach_mul_(g, ratios.unbind(0));
    }
    at::_fused_sgd_(p, g, b, /*weight_decay=*/0.0, o.momentum, o.lr, /*dampening=*/0.0,
                    o.nesterov, /*maximize=*/false, first_step);
  });
}

char *arcrun_lamb_step(size_t count, arcrun_tensors params, arcrun_tensors grads,
                       arcrun_tensors exp_avgs, arcrun_tensors exp_avg_sqs, int64_t step,
                       arcrun_lamb o) {
  return guarded([&] {
    if (count == 0) return;
    at::NoGradGuard no_grad;
    auto p = list(count, params);
    check_params(p);
    auto g = grads_like(p, grads);
    auto m = state_like("exp_avg", p, count, exp_avgs);
    auto v = state_like("exp_avg_sq", p, count, exp_avg_sqs);
    if (o.grad_divisor != 1) g = at::_foreach_div(g, o.grad_divisor);
    at::_foreach_lerp_(m, g, 1 - o.beta1);
    at::_foreach_mul_(v, o.beta2);
    at::_foreach_addcmul_(v, g, g, 1 - o.beta2);
    auto root = at::_foreach_sqrt(v);
    at::_foreach_div_(root, std::sqrt(1 - std::pow(o.beta2, static_cast<double>(step))));
    at::_foreach_add_(root, o.eps);
    auto update = at::_foreach_div(m, 1 - std::pow(o.beta1, static_cast<double>(step)));
    at::_foreach_div_(update, root);
    if (o.weight_decay != 0) at::_foreach_add_(update, p, o.weight_decay);
    if (o.weight_decay != 0 || o.always_adapt) {
      auto ratios = trust_ratios(p, update, [](const at::Tensor &weight, const at::Tensor &step) {
        return weight / step;
      });
      if (o.trust_clip) ratios = at::clamp(ratios, std::nullopt, 1.0);
      at::_foreach_mul_(update, ratios.unbind(0));
    }
    at::_foreach_add_(p, update, -o.lr);
  });
}

char *arcrun_average(size_t count, arcrun_tensors averages, arcrun_tensors values, double weight) {
  return guarded([&] {
    if (count == 0) return;
    at::NoGradGuard no_grad;
    auto a = list(count, averages);
    auto v = list(count, values);
    at::_foreach_lerp_(a, v, weight);
  });
}
