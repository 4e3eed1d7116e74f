// Collectives with a gradient. The loss of a rank is its own scalar, and what is minimised is their
// sum: a gradient that reaches several ranks is summed over them.

#include "group.h"
#include "guarded.h"

#include <algorithm>
#include <vector>

#include <ATen/Functions.h>

namespace {

using arcrun::group_of;
using arcrun::GroupPtr;
using arcrun::held;
using arcrun::held_group;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

at::Tensor &tensor(arcrun_tensor t) { return *static_cast<at::Tensor *>(t); }

struct GatherRows : torch::autograd::Function<GatherRows> {
  static at::Tensor forward(AutogradContext *ctx, const at::Tensor &rows, const GroupPtr &group,
                            const std::vector<int64_t> &counts) {
    int64_t before = 0;
    for (int r = 0; r < group->rank(); ++r) before += counts[r];
    ctx->saved_data["group"] = held(group);
    ctx->saved_data["before"] = before;
    ctx->saved_data["count"] = rows.size(0);

    // Gloo gathers equal shapes: the shorter ones are filled up.
    auto most = *std::max_element(counts.begin(), counts.end());
    auto padded = rows;
    if (rows.size(0) < most) {
      auto shape = rows.sizes().vec();
      shape[0] = most - rows.size(0);
      padded = at::cat({rows, at::zeros(shape, rows.options())});
    }
    auto all = group->all_gather(padded);
    std::vector<at::Tensor> parts;
    for (size_t r = 0; r < counts.size(); ++r)
      parts.push_back(all[static_cast<int64_t>(r)].narrow(0, 0, counts[r]));
    return at::cat(parts);
  }

  static variable_list backward(AutogradContext *ctx, variable_list outgoing) {
    auto &data = ctx->saved_data;
    auto grad = outgoing[0].clone(at::MemoryFormat::Contiguous);
    held_group(data["group"])->all_reduce(grad, c10d::ReduceOp::SUM);
    auto own = grad.narrow(0, data["before"].toInt(), data["count"].toInt()).clone();
    return {own, at::Tensor(), at::Tensor()};
  }
};

struct SumOverRanks : torch::autograd::Function<SumOverRanks> {
  static at::Tensor forward(AutogradContext *ctx, const at::Tensor &own, const GroupPtr &group) {
    ctx->saved_data["group"] = held(group);
    auto sum = own.clone(at::MemoryFormat::Contiguous);
    group->all_reduce(sum, c10d::ReduceOp::SUM);
    return sum;
  }

  static variable_list backward(AutogradContext *ctx, variable_list outgoing) {
    auto grad = outgoing[0].clone(at::MemoryFormat::Contiguous);
    held_group(ctx->saved_data["group"])->all_reduce(grad, c10d::ReduceOp::SUM);
    return {grad, at::Tensor()};
  }
};

}  // namespace

char *arcrun_gather_rows(arcrun_group handle, arcrun_tensor rows, const int64_t *counts,
                         arcrun_tensor out) {
  return arcrun::guarded([&] {
    auto group = group_of(handle);
    std::vector<int64_t> all(counts, counts + group->size());
    TORCH_CHECK(tensor(rows).size(0) == all[group->rank()], "rank ", group->rank(), " has ",
                tensor(rows).size(0), " rows instead of ", all[group->rank()]);
    tensor(out) = GatherRows::apply(tensor(rows), group, all);
  });
}

char *arcrun_sum_over_ranks(arcrun_group handle, arcrun_tensor values, arcrun_tensor out) {
  return arcrun::guarded(
      [&] { tensor(out) = SumOverRanks::apply(tensor(values), group_of(handle)); });
}
