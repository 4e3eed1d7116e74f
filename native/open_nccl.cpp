// NCCL for a group of processes, by the shared object that is opened here: no CUDA symbol is in the
// program, whose calls are virtual ones of c10d::Backend and of c10's device guard.

#include "cuda.h"
#include "group.h"
#include "guarded.h"
#include "nccl.h"

#include <dlfcn.h>

#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>

#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <c10/util/Logging.h>
#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/headeronly/version.h>

namespace {

using arcrun::Group;
using arcrun::guarded;

Group &group(arcrun_group handle) { return *static_cast<Group *>(handle); }

// The object, which stays open: its code runs until the process ends. All symbols are looked up at
// once, so that one of another libtorch is an error here.
class Object {
 public:
  explicit Object(const char *path) : path_(path), handle_(dlopen(path, RTLD_NOW | RTLD_LOCAL)) {
    if (!handle_) throw std::runtime_error(std::string("cannot open it: ") + dlerror());
  }

  template <typename Function>
  Function *function(const char *name) const {
    auto *found = reinterpret_cast<Function *>(dlsym(handle_, name));
    if (!found) throw std::runtime_error(path_ + " lacks " + name);
    return found;
  }

 private:
  std::string path_;
  void *handle_;
};

c10::intrusive_ptr<c10d::Backend> create(const char *path, Group &group) {
  arcrun::open_libtorch_cuda();
  Object object(path);
  auto version = object.function<decltype(arcrun_nccl_torch_version)>("arcrun_nccl_torch_version");
  if (strcmp(version(), TORCH_VERSION) != 0)
    throw std::runtime_error(std::string(path) + " was built for libtorch " + version() +
                             ", this program for " + TORCH_VERSION);
  auto make = object.function<decltype(arcrun_nccl_backend)>("arcrun_nccl_backend");
  auto store = c10::make_intrusive<c10d::PrefixStore>("nccl", group.store);
  void *made = nullptr;
  char *message = make(store.get(), group.rank(), group.size(), group.timeout.count(), &made);
  if (message) {
    std::string text = message;
    free(message);
    throw std::runtime_error(text);
  }
  return c10::intrusive_ptr<c10d::Backend>::reclaim(static_cast<c10d::Backend *>(made));
}

}  // namespace

char *arcrun_group_add_nccl(arcrun_group handle, const char *object, int32_t index) {
  return guarded([&] {
    auto &ours = group(handle);
    auto backend = create(object, ours);
    const at::Device gpu(at::kCUDA, static_cast<at::DeviceIndex>(index));
    // What allocates without naming a device, NCCL among it, means this one.
    c10::impl::getDeviceGuardImpl(at::kCUDA)->setDevice(gpu);
    ours.add_gpu(gpu, backend);
    // c10d's watchdog ends the process where a collective fails: what it says must be seen.
    if (!getenv("TORCH_CPP_LOG_LEVEL")) FLAGS_caffe2_log_level = c10::GLOG_ERROR;
  });
}

char *arcrun_group_use_gpu(arcrun_group handle) {
  return guarded([&] {
    if (auto gpu = group(handle).gpu()) c10::impl::getDeviceGuardImpl(at::kCUDA)->setDevice(*gpu);
  });
}

char *arcrun_group_connect_gpus(arcrun_group handle) {
  return guarded([&] {
    auto &ours = group(handle);
    ours.processes->getBackend(at::kCUDA)->eagerConnectSingleDevice(*ours.gpu());
  });
}

char *arcrun_group_close(arcrun_group handle, bool orderly) {
  return guarded([&] {
    auto &ours = group(handle);
    if (!ours.gpu()) return;
    auto backend = ours.processes->getBackend(at::kCUDA);
    if (orderly)
      backend->shutdown();
    else
      backend->abort();
  });
}
