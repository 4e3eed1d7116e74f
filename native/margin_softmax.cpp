// Cross-entropy over scaled cosines whose target entry has been replaced, as one node of the
// graph: from embedding and class weights to the loss of each sample. It keeps one buffer of
// logits (the log-probabilities) for the backward pass, which turns it into the gradient in
// place; no one-hot matrix, no normalised copy of the weights.
//
// Suffixes: b batch, c classes, r rows of the weights (classes x sub-centres), d embedding.

#include "arcrun_native.h"
#include "guarded.h"
#include "rows.h"

#include <optional>

#include <ATen/Dispatch.h>
#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <torch/csrc/autograd/custom_function.h>

namespace {
constexpr double kEps = 1e-12;
}

namespace arcrun {

void project_rows(at::Tensor &grad_rd, const at::Tensor &weight_rd, const at::Tensor &inverse_r) {
  if (grad_rd.device().is_cpu() && grad_rd.is_contiguous() && weight_rd.is_contiguous() &&
      inverse_r.is_contiguous()) {
    AT_DISPATCH_FLOATING_TYPES(grad_rd.scalar_type(), "project_rows", [&] {
      const int64_t dim = grad_rd.size(1);
      auto *grad = grad_rd.mutable_data_ptr<scalar_t>();
      const auto *weight = weight_rd.const_data_ptr<scalar_t>();
      const auto *inverse = inverse_r.const_data_ptr<scalar_t>();
      // Rows of one cache line are still worth a thread by the hundred.
      at::parallel_for(0, grad_rd.size(0), 1 + 32768 / (dim + 1), [&](int64_t begin, int64_t end) {
        for (int64_t r = begin; r < end; ++r) {
          if (inverse[r] >= static_cast<scalar_t>(1 / kEps)) continue;
          auto *g = grad + r * dim;
          const auto *w = weight + r * dim;
          scalar_t along[8] = {};
          int64_t d = 0;
          for (; d + 8 <= dim; d += 8)
            for (int64_t k = 0; k < 8; ++k) along[k] += g[d + k] * (w[d + k] * inverse[r]);
          scalar_t sum = 0;
          for (; d < dim; ++d) sum += g[d] * (w[d] * inverse[r]);
          for (auto part : along) sum += part;
          for (d = 0; d < dim; ++d) g[d] -= sum * (w[d] * inverse[r]);
        }
      });
    });
    return;
  }
  auto inverse_r1 = at::where(inverse_r.ge(1 / kEps), at::zeros_like(inverse_r), inverse_r).unsqueeze(1);
  auto along_r1 = at::bmm(grad_rd.unsqueeze(1), weight_rd.unsqueeze(2)).squeeze(2);
  grad_rd.addcmul_(weight_rd, along_r1.mul_(inverse_r1).mul_(inverse_r1), -1);
}

at::Tensor spread_centres(const at::Tensor &grad_bc, const at::Tensor &centre_bc, int64_t rows) {
  auto centres = rows / grad_bc.size(1);
  return at::zeros({grad_bc.size(0), grad_bc.size(1), centres}, grad_bc.options())
      .scatter_(2, centre_bc.unsqueeze(2), grad_bc.unsqueeze(2))
      .flatten(1);
}

}  // namespace arcrun

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

at::Tensor &tensor(arcrun_tensor t) { return *static_cast<at::Tensor *>(t); }

// 1 / max(norm, eps) of every row.
at::Tensor inverse_norms(const at::Tensor &weight_rd) {
  return at::linalg_vector_norm(weight_rd, 2, {1}).clamp_min_(kEps).reciprocal_();
}

struct MarginSoftmax : torch::autograd::Function<MarginSoftmax> {
  static at::Tensor forward(AutogradContext *ctx, const at::Tensor &embedding_bd,
                            const at::Tensor &weight_rd, const at::Tensor &scale_b,
                            const at::Tensor &cosine_bc, const std::optional<at::Tensor> &centre_bc,
                            const std::optional<at::Tensor> &inverse_r, const at::Tensor &labels_b,
                            const at::Tensor &moved_b, const at::Tensor &slope_b,
                            const std::optional<at::Tensor> &threshold_b, double hard_t,
                            double clip) {
    auto index_b1 = labels_b.unsqueeze(1);
    auto scale_b1 = scale_b.unsqueeze(1);
    at::Tensor logits_bc;
    if (threshold_b)
      logits_bc = at::where(cosine_bc > threshold_b->unsqueeze(1), cosine_bc * (cosine_bc + hard_t),
                            cosine_bc);
    else
      logits_bc = cosine_bc.clone();
    if (clip > 0) logits_bc.clamp_(-clip, clip);
    logits_bc.scatter_(1, index_b1, moved_b.unsqueeze(1)).mul_(scale_b1);
    auto log_p_bc = at::log_softmax(logits_bc, 1);
    auto loss_b = log_p_bc.gather(1, index_b1).squeeze(1).neg();

    ctx->save_for_backward({embedding_bd, weight_rd, scale_b});
    ctx->saved_data["log_p"] = log_p_bc;
    ctx->saved_data["labels"] = labels_b;
    ctx->saved_data["slope"] = slope_b;
    // The shape of a negative's slope needs its cosine.
    if (threshold_b || clip > 0) ctx->saved_data["cosine"] = cosine_bc;
    if (threshold_b) ctx->saved_data["threshold"] = *threshold_b;
    if (centre_bc) ctx->saved_data["centre"] = *centre_bc;
    if (inverse_r) ctx->saved_data["inverse"] = *inverse_r;
    ctx->saved_data["hard_t"] = hard_t;
    ctx->saved_data["clip"] = clip;
    return loss_b;
  }

  static variable_list backward(AutogradContext *ctx, variable_list outgoing) {
    auto saved = ctx->get_saved_variables();
    const auto &embedding_bd = saved[0], &weight_rd = saved[1], &scale_b = saved[2];
    auto &data = ctx->saved_data;
    TORCH_CHECK(data.count("log_p"), "a margin softmax goes backward once");
    auto log_p_bc = data["log_p"].toTensor();
    data.erase("log_p");
    auto index_b1 = data["labels"].toTensor().unsqueeze(1);
    auto grad_b = outgoing[0];

    at::Tensor grad_scale_b;
    if (ctx->needs_input_grad(2)) {
      // dL/ds = sum_j p_j z_j - z_y with s z_j = log p_j + a constant of the sample.
      auto mean_b = at::linalg_vecdot(log_p_bc.exp(), log_p_bc);
      grad_scale_b = (mean_b - log_p_bc.gather(1, index_b1).squeeze(1)) / scale_b * grad_b;
    }
    auto grad_bc = log_p_bc.exp_();
    grad_bc.scatter_add_(1, index_b1, at::full_like(index_b1, -1, grad_bc.options()));
    grad_bc.mul_((grad_b * scale_b).unsqueeze(1));
    auto target_b1 = grad_bc.gather(1, index_b1).mul_(data["slope"].toTensor().unsqueeze(1));
    if (data.count("threshold")) {
      auto cosine_bc = data["cosine"].toTensor();
      auto hard_bc = cosine_bc > data["threshold"].toTensor().unsqueeze(1);
      grad_bc = at::where(hard_bc, grad_bc * (2 * cosine_bc + data["hard_t"].toDouble()), grad_bc);
    }
    if (auto clip = data["clip"].toDouble(); clip > 0)
      grad_bc.masked_fill_(data["cosine"].toTensor().abs().gt(clip), 0);
    grad_bc.scatter_(1, index_b1, target_b1);

    auto grad_br = grad_bc;
    if (data.count("centre"))
      grad_br = arcrun::spread_centres(grad_bc, data["centre"].toTensor(), weight_rd.size(0));
    at::Tensor inverse_r;
    if (data.count("inverse")) {
      inverse_r = data["inverse"].toTensor();
      grad_br.mul_(inverse_r);
    }
    at::Tensor grad_embedding_bd, grad_weight_rd;
    if (ctx->needs_input_grad(0)) grad_embedding_bd = grad_br.mm(weight_rd);
    if (ctx->needs_input_grad(1)) {
      grad_weight_rd = grad_br.t().mm(embedding_bd);
      if (inverse_r.defined()) arcrun::project_rows(grad_weight_rd, weight_rd, inverse_r);
    }
    at::Tensor none;
    return {grad_embedding_bd, grad_weight_rd, grad_scale_b, none, none, none,
            none,              none,           none,         none, none, none};
  }
};

}  // namespace

char *arcrun_cosines(arcrun_tensor embedding, arcrun_tensor weight, int64_t centres,
                     bool normalize_weight, arcrun_tensor cosine, arcrun_tensor centre,
                     arcrun_tensor inverse) {
  return arcrun::guarded([&] {
    at::NoGradGuard no_grad;
    const auto &embedding_bd = tensor(embedding), &weight_rd = tensor(weight);
    auto cosine_br = embedding_bd.mm(weight_rd.t());
    if (normalize_weight) {
      tensor(inverse) = inverse_norms(weight_rd);
      cosine_br.mul_(tensor(inverse));
    }
    if (centres > 1) {
      auto classes = weight_rd.size(0) / centres;
      auto best = cosine_br.view({embedding_bd.size(0), classes, centres}).max(2);
      tensor(cosine) = std::get<0>(best);
      tensor(centre) = std::get<1>(best);
    } else {
      tensor(cosine) = cosine_br;
    }
  });
}

char *arcrun_margin_softmax(arcrun_margin_softmax_inputs inputs, arcrun_tensor loss) {
  return arcrun::guarded([&] {
    auto given = [](arcrun_tensor t) { return t ? std::optional(tensor(t)) : std::nullopt; };
    tensor(loss) = MarginSoftmax::apply(
        tensor(inputs.embedding), tensor(inputs.weight), tensor(inputs.scale),
        tensor(inputs.cosine), given(inputs.centre), given(inputs.inverse), tensor(inputs.labels),
        tensor(inputs.moved), tensor(inputs.slope), given(inputs.threshold), inputs.hard_t,
        inputs.clip);
  });
}
