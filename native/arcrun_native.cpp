#include "arcrun_native.h"
#include "cuda.h"
#include "guarded.h"
#include "lists.h"

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
#include <ATen/ops/full.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <torch/headeronly/version.h>

namespace {

using arcrun::guarded;
using arcrun::list;

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

void arcrun::open_libtorch_cuda() {
  auto path = libtorch_folder() + "libtorch_cuda.so";
  if (!dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL))
    throw std::runtime_error(std::string("libtorch has no CUDA libraries: ") + dlerror());
}

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
  });
}

char *arcrun_set_cudnn_benchmark(bool on) {
  return guarded([&] { at::globalContext().setBenchmarkCuDNN(on); });
}

bool arcrun_cudnn_benchmark(void) { return at::globalContext().benchmarkCuDNN(); }

char *arcrun_set_tf32(bool on) {
  return guarded([&] {
    auto &context = at::globalContext();
    // The older setters keep libtorch's two ways to say it (these and setFloat32Precision) in step, where
    // the newer alone makes the older getters, which some kernels ask, fail.
    context.setAllowTF32CuBLAS(on);
    context.setAllowTF32CuDNN(on);
  });
}

char *arcrun_tf32(bool *matmul, bool *convolution) {
  return guarded([&] {
    *matmul = at::globalContext().allowTF32CuBLAS();
    *convolution = at::globalContext().allowTF32CuDNN(at::Float32Op::CONV);
  });
}

char *arcrun_load_cuda(void) {
  return guarded([&] {
    if (!driver()) throw std::runtime_error("no NVIDIA driver with a working device was found");
    arcrun::open_libtorch_cuda();
  });
}

char *arcrun_cuda_peak(int32_t index, int64_t *bytes) {
  return guarded([&] {
    // The interface is in c10; what is behind it comes with libtorch_cuda.
    auto *allocator = c10::getDeviceAllocator(c10::kCUDA);
    auto stats = allocator->getDeviceStats(static_cast<c10::DeviceIndex>(index));
    *bytes = stats.allocated_bytes[static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE)].peak;
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

char *arcrun_cuda_uuid(int32_t index, uint8_t bytes[16]) {
  return guarded([&] {
    if (!driver()) throw std::runtime_error("no NVIDIA driver with a working device was found");
    int device = 0;
    driver_call("cuDeviceGet", &device, static_cast<int>(index));
    // The second version tells the parts of a divided GPU (MIG) apart.
    driver_call("cuDeviceGetUuid_v2", bytes, device);
  });
}
