// Cross-entropy over scaled cosines whose target entry has been replaced, with the classes divided
// over the ranks: each holds the logits of its own classes for the samples of all, and the largest
// logit and the sum of exponentials of a sample are reduced. One buffer of logits, as in
// margin_softmax.cpp, which becomes the probabilities and then the gradient.
//
// Suffixes: n samples of all ranks, c classes here, r rows of the weights here (classes x
// sub-centres), d embedding, k samples whose class is here.

#include "group.h"
#include "guarded.h"
#include "rows.h"

#include <optional>

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>

namespace {

using arcrun::GroupPtr;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

at::Tensor &tensor(arcrun_tensor t) { return *static_cast<at::Tensor *>(t); }

using Indices = c10::List<std::optional<at::Tensor>>;

Indices at_targets(const at::Tensor &samples_k, const at::Tensor &labels_k) {
  Indices indices;
  indices.push_back(samples_k);
  indices.push_back(labels_k);
  return indices;
}

struct ShardedSoftmax : torch::autograd::Function<ShardedSoftmax> {
  static at::Tensor forward(AutogradContext *ctx, const at::Tensor &embedding_nd,
                            const at::Tensor &weight_rd, const at::Tensor &scale_n,
                            const at::Tensor &cosine_nc, const std::optional<at::Tensor> &centre_nc,
                            const std::optional<at::Tensor> &inverse_r, const at::Tensor &samples_k,
                            const at::Tensor &labels_k, const at::Tensor &moved_n,
                            const at::Tensor &slope_n, const std::optional<at::Tensor> &threshold_n,
                            double hard_t, double clip, const GroupPtr &group) {
    at::Tensor logits_nc;
    if (threshold_n)
      logits_nc = at::where(cosine_nc > threshold_n->unsqueeze(1), cosine_nc * (cosine_nc + hard_t),
                            cosine_nc);
    else
      logits_nc = cosine_nc.clone();
    if (clip > 0) logits_nc.clamp_(-clip, clip);
    logits_nc.index_put_(at_targets(samples_k, labels_k), moved_n.index_select(0, samples_k));
    logits_nc.mul_(scale_n.unsqueeze(1));

    auto most_n = logits_nc.amax(1);
    if (group) group->all_reduce(most_n, c10d::ReduceOp::MAX);
    auto p_nc = logits_nc.sub_(most_n.unsqueeze(1)).exp_();
    auto sum_n = p_nc.sum(1);
    if (group) group->all_reduce(sum_n, c10d::ReduceOp::SUM);
    p_nc.div_(sum_n.unsqueeze(1));
    auto log_sum_n = sum_n.log_().add_(most_n);

    ctx->save_for_backward({embedding_nd, weight_rd, scale_n});
    ctx->saved_data["p"] = p_nc;
    ctx->saved_data["log_sum"] = log_sum_n;
    ctx->saved_data["samples"] = samples_k;
    ctx->saved_data["labels"] = labels_k;
    ctx->saved_data["moved"] = moved_n;
    ctx->saved_data["slope"] = slope_n;
    // The shape of a negative's slope needs its cosine.
    if (threshold_n || clip > 0) ctx->saved_data["cosine"] = cosine_nc;
    if (threshold_n) ctx->saved_data["threshold"] = *threshold_n;
    if (centre_nc) ctx->saved_data["centre"] = *centre_nc;
    if (inverse_r) ctx->saved_data["inverse"] = *inverse_r;
    ctx->saved_data["hard_t"] = hard_t;
    ctx->saved_data["clip"] = clip;
    ctx->saved_data["rank"] = static_cast<int64_t>(group ? group->rank() : 0);
    ctx->saved_data["ranks"] = static_cast<int64_t>(group ? group->size() : 1);
    return log_sum_n - scale_n * moved_n;
  }

  static variable_list backward(AutogradContext *ctx, variable_list outgoing) {
    auto saved = ctx->get_saved_variables();
    const auto &embedding_nd = saved[0], &weight_rd = saved[1], &scale_n = saved[2];
    auto &data = ctx->saved_data;
    TORCH_CHECK(data.count("p"), "a sharded softmax goes backward once");
    auto grad_nc = data["p"].toTensor();
    data.erase("p");
    auto samples_k = data["samples"].toTensor();
    auto targets = at_targets(samples_k, data["labels"].toTensor());
    const double ranks = static_cast<double>(data["ranks"].toInt());
    auto grad_n = outgoing[0];

    at::Tensor grad_scale_n;
    if (ctx->needs_input_grad(2)) {
      // dL/ds = sum_j p_j z_j - z_y with s z_j = log p_j + log sum; what is not a sum over classes
      // is one rank's to say.
      grad_scale_n = at::xlogy(grad_nc, grad_nc).sum(1);
      if (data["rank"].toInt() == 0) grad_scale_n.add_(data["log_sum"].toTensor());
      grad_scale_n.div_(scale_n);
      if (data["rank"].toInt() == 0) grad_scale_n.sub_(data["moved"].toTensor());
      grad_scale_n.mul_(grad_n).mul_(ranks);
    }
    auto factor_n = grad_n * scale_n;
    auto target_k = grad_nc.index(targets).sub_(1);
    target_k.mul_(factor_n.index_select(0, samples_k))
        .mul_(data["slope"].toTensor().index_select(0, samples_k));
    grad_nc.mul_(factor_n.unsqueeze(1));
    if (data.count("threshold")) {
      auto cosine_nc = data["cosine"].toTensor();
      auto hard_nc = cosine_nc > data["threshold"].toTensor().unsqueeze(1);
      grad_nc = at::where(hard_nc, grad_nc * (2 * cosine_nc + data["hard_t"].toDouble()), grad_nc);
    }
    if (auto clip = data["clip"].toDouble(); clip > 0)
      grad_nc.masked_fill_(data["cosine"].toTensor().abs().gt(clip), 0);
    grad_nc.index_put_(targets, target_k);

    auto grad_nr = grad_nc;
    if (data.count("centre"))
      grad_nr = arcrun::spread_centres(grad_nc, data["centre"].toTensor(), weight_rd.size(0));
    at::Tensor inverse_r;
    if (data.count("inverse")) {
      inverse_r = data["inverse"].toTensor();
      grad_nr.mul_(inverse_r);
    }
    at::Tensor grad_embedding_nd, grad_weight_rd;
    if (ctx->needs_input_grad(0)) grad_embedding_nd = grad_nr.mm(weight_rd).mul_(ranks);
    if (ctx->needs_input_grad(1)) {
      grad_weight_rd = grad_nr.t().mm(embedding_nd);
      if (inverse_r.defined()) arcrun::project_rows(grad_weight_rd, weight_rd, inverse_r);
    }
    at::Tensor none;
    return {grad_embedding_nd, grad_weight_rd, grad_scale_n, none, none, none, none,
            none,              none,           none,         none, none, none, none};
  }
};

}  // namespace

char *arcrun_sharded_softmax(arcrun_group handle, arcrun_sharded_softmax_inputs inputs,
                             arcrun_tensor loss) {
  return arcrun::guarded([&] {
    auto given = [](arcrun_tensor t) { return t ? std::optional(tensor(t)) : std::nullopt; };
    auto group = handle ? arcrun::group_of(handle) : GroupPtr();
    tensor(loss) = ShardedSoftmax::apply(
        tensor(inputs.embedding), tensor(inputs.weight), tensor(inputs.scale),
        tensor(inputs.cosine), given(inputs.centre), given(inputs.inverse),
        tensor(inputs.own_samples), tensor(inputs.own_labels), tensor(inputs.moved),
        tensor(inputs.slope), given(inputs.threshold), inputs.hard_t, inputs.clip, group);
  });
}
