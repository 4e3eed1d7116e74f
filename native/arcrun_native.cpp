#include "arcrun_native.h"
#include "guarded.h"

#include <dlfcn.h>

#include <cstdlib>
#include <cstring>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <climits>
#include <stdexcept>
#include <string>
#include <vector>

#include <ATen/Context.h>
#include <ATen/autocast_mode.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_amp_foreach_non_finite_check_and_unscale.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/_fused_adam.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/_fused_sgd.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/full.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <torch/headeronly/version.h>

namespace {

using arcrun::guarded;

std::vector<at::Tensor> list(size_t count, arcrun_tensors tensors) {
  std::vector<at::Tensor> out;
  out.reserve(count);
  for (size_t i = 0; i < count; ++i) out.push_back(*static_cast<at::Tensor *>(tensors[i]));
  return out;
}

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

std::string libtorch_folder() {
  Dl_info info;
  // Any function of libtorch_cpu tells where that library was loaded from.
  auto *address = reinterpret_cast<void *>(&at::autocast::clear_cache);
  if (!dladdr(address, &info) || !info.dli_fname)
    throw std::runtime_error("libtorch's folder is unknown");
  std::string path = info.dli_fname;
  return path.substr(0, path.rfind('/') + 1);
}

// The driver, kept open: its device queries need no CUDA headers and no libtorch_cuda.
void *driver() {
  static void *handle = [] {
    void *h = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    auto init = h ? reinterpret_cast<int (*)(unsigned)>(dlsym(h, "cuInit")) : nullptr;
    return init && init(0) == 0 ? h : nullptr;
  }();
  return handle;
}

template <typename... Args>
void driver_call(const char *symbol, Args... args) {
  auto function = reinterpret_cast<int (*)(Args...)>(dlsym(driver(), symbol));
  if (!function) throw std::runtime_error(std::string("the NVIDIA driver lacks ") + symbol);
  if (int code = function(args...))
    throw std::runtime_error(std::string(symbol) + " failed with code " + std::to_string(code));
}

}  // namespace

void arcrun_free(char *message) { free(message); }

void arcrun_keep_memory(void) {
#ifdef __GLIBC__
  // By default glibc gives every block of 32 MiB or more back to the system as it is freed.
  if (!getenv("MALLOC_MMAP_THRESHOLD_")) mallopt(M_MMAP_THRESHOLD, 1 << 30);
  if (!getenv("MALLOC_TRIM_THRESHOLD_")) mallopt(M_TRIM_THRESHOLD, INT_MAX);
#endif
}

char *arcrun_autocast_enter(int32_t device, arcrun_autocast wanted, arcrun_autocast *previous) {
  return guarded([&] {
    auto type = static_cast<at::DeviceType>(device);
    previous->enabled = at::autocast::is_autocast_enabled(type);
    previous->dtype = static_cast<int32_t>(at::autocast::get_autocast_dtype(type));
    at::autocast::set_autocast_enabled(type, wanted.enabled);
    at::autocast::set_autocast_dtype(type, static_cast<at::ScalarType>(wanted.dtype));
    at::autocast::increment_nesting();
  });
}

char *arcrun_autocast_exit(int32_t device, arcrun_autocast previous) {
  return guarded([&] {
    auto type = static_cast<at::DeviceType>(device);
    if (at::autocast::decrement_nesting() == 0) at::autocast::clear_cache();
    at::autocast::set_autocast_enabled(type, previous.enabled);
    at::autocast::set_autocast_dtype(type, static_cast<at::ScalarType>(previous.dtype));
  });
}

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

const char *arcrun_torch_version(void) { return TORCH_VERSION; }

char *arcrun_channels_last(arcrun_tensor images, arcrun_tensor out) {
  return guarded([&] {
    *static_cast<at::Tensor *>(out) =
        static_cast<at::Tensor *>(images)->contiguous(at::MemoryFormat::ChannelsLast);
  });
}

char *arcrun_clear_gradients(size_t count, arcrun_tensors tensors) {
  return guarded([&] {
    for (auto &tensor : list(count, tensors)) tensor.mutable_grad().reset();
  });
}

char *arcrun_global_norm(size_t count, arcrun_tensors tensors, arcrun_tensor norm) {
  return guarded([&] {
    at::NoGradGuard no_grad;
    auto &out = *static_cast<at::Tensor *>(norm);
    auto all = list(count, tensors);
    if (all.empty()) {
      out = at::zeros({}, at::kFloat);
    } else {
      // float16 squares overflow; wider types are summed as they are.
      std::optional<at::ScalarType> wider;
      if (at::isReducedFloatingType(all[0].scalar_type())) wider = at::kFloat;
      auto norms = at::_foreach_norm(all, 2, wider);
      out = at::linalg_vector_norm(at::stack(norms));
    }
  });
}

char *arcrun_unscale(size_t count, arcrun_tensors tensors, double inverse_scale,
                     bool *non_finite) {
  return guarded([&] {
    *non_finite = false;
    if (count == 0) return;
    at::NoGradGuard no_grad;
    auto all = list(count, tensors);
    auto options = all[0].options().dtype(at::kFloat);
    auto found = at::zeros({}, options);
    at::_amp_foreach_non_finite_check_and_unscale_(all, found,
                                                   at::full({}, inverse_scale, options));
    *non_finite = found.item<float>() != 0;
  });
}

char *arcrun_set_deterministic(bool on) {
  return guarded([&] {
    auto &context = at::globalContext();
    // cuBLAS refuses to be deterministic without a fixed workspace; the user's own value stays.
    if (on) setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", 0);
    context.setDeterministicAlgorithms(on, /*warn_only=*/false);
    // No need to pay for it: nothing here reads memory it has not written.
    context.setDeterministicFillUninitializedMemory(false);
    context.setDeterministicCuDNN(on);
    context.setBenchmarkCuDNN(!on);
  });
}

char *arcrun_load_cuda(void) {
  return guarded([&] {
    if (!driver()) throw std::runtime_error("no NVIDIA driver with a working device was found");
    auto path = libtorch_folder() + "libtorch_cuda.so";
    if (!dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL))
      throw std::runtime_error(std::string("libtorch has no CUDA libraries: ") + dlerror());
  });
}

char *arcrun_cuda_device(int32_t index, char *name, size_t capacity, int32_t *major,
                         int32_t *minor) {
  return guarded([&] {
    // CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR of cuda.h
    constexpr int kMajor = 75, kMinor = 76;
    if (!driver()) throw std::runtime_error("no NVIDIA driver with a working device was found");
    int device = 0;
    driver_call("cuDeviceGet", &device, static_cast<int>(index));
    driver_call("cuDeviceGetName", name, static_cast<int>(capacity), device);
    driver_call("cuDeviceGetAttribute", static_cast<int *>(major), kMajor, device);
    driver_call("cuDeviceGetAttribute", static_cast<int *>(minor), kMinor, device);
  });
}
