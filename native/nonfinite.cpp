// Which operation was the first to give something that is not finite.
#include "arcrun_native.h"
#include "guarded.h"
#include "lists.h"

#include <cstdio>
#include <string>
#include <unordered_map>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/isfinite.h>
#include <ATen/record_function.h>

namespace {

using arcrun::guarded;

struct Probe {
  // By implementation: what an operation is given is the parameter itself, not a copy.
  std::unordered_map<const c10::TensorImpl *, size_t> parameters;
  int64_t last = -1;  // the parameter read last
  int64_t found_after = -1;
  std::string operation;
  at::CallbackHandle handle = 0;
  bool done = false;
};

// Of this thread: the forward pass of a diagnosis runs on the thread that asks for it.
thread_local Probe *active = nullptr;

bool finite(const at::Tensor &tensor) {
  if (!tensor.defined() || tensor.numel() == 0) return true;
  if (!at::isFloatingType(tensor.scalar_type())) return true;
  return at::isfinite(tensor).all().item<bool>();
}

template <typename Visit>
void each_tensor(const c10::IValue &value, Visit visit) {
  if (value.isTensor()) {
    visit(value.toTensor());
  } else if (value.isTensorList()) {
    for (const at::Tensor &tensor : value.toTensorVector()) visit(tensor);
  }
}

// Gives memory without values, fills in values that are meant to be infinite, as masks are, or hands
// on what it was given: the operation that uses it is the one to name.
bool is_meant(const std::string &name) {
  for (const char *part : {"empty", "full", "fill", "resize", "new_", "detach", "set_", "alias",
                           "view", "as_strided", "isfinite", "resolve_", "expand", "reshape",
                           "transpose", "permute", "contiguous", "squeeze", "flatten", "narrow",
                           "slice", "select", "split", "chunk"})
    if (name.find(part) != std::string::npos) return true;
  return name == "aten::t" || name == "aten::clone";
}

std::unique_ptr<at::ObserverContext> on_start(const at::RecordFunction &function) {
  if (active == nullptr || active->done) return nullptr;
  for (const c10::IValue &input : function.inputs())
    each_tensor(input, [](const at::Tensor &tensor) {
      if (!tensor.defined()) return;
      auto known = active->parameters.find(tensor.unsafeGetTensorImpl());
      if (known != active->parameters.end()) active->last = static_cast<int64_t>(known->second);
    });
  return nullptr;
}

void on_end(const at::RecordFunction &function, at::ObserverContext *) {
  if (active == nullptr || active->done) return;
  const std::string name = function.name();
  if (is_meant(name)) return;
  at::DisableRecordFunctionGuard quiet;
  at::NoGradGuard no_grad;
  bool good = true;
  for (const c10::IValue &output : function.outputs())
    each_tensor(output, [&](const at::Tensor &tensor) { good = good && finite(tensor); });
  if (good) return;
  active->done = true;
  active->operation = name;
  active->found_after = active->last;
}

}  // namespace

char *arcrun_nonfinite_begin(size_t count, arcrun_tensors parameters) {
  return guarded([&] {
    TORCH_CHECK(active == nullptr, "a diagnosis is under way in this thread");
    auto probe = std::make_unique<Probe>();
    const auto list = arcrun::list(count, parameters);
    for (size_t i = 0; i < list.size(); ++i)
      probe->parameters.emplace(list[i].unsafeGetTensorImpl(), i);
    probe->handle = at::addThreadLocalCallback(
        at::RecordFunctionCallback(on_start, on_end)
            .needsInputs(true)
            .needsOutputs(true)
            .scopes({at::RecordScope::FUNCTION}));
    active = probe.release();
  });
}

char *arcrun_nonfinite_end(int64_t *parameter, char *operation, size_t capacity) {
  return guarded([&] {
    TORCH_CHECK(active != nullptr, "no diagnosis is under way in this thread");
    std::unique_ptr<Probe> probe(active);
    active = nullptr;
    at::removeCallback(probe->handle);
    *parameter = probe->found_after;
    std::snprintf(operation, capacity, "%s", probe->operation.c_str());
  });
}
