// libarcrun_nccl.so: c10d's process group over NCCL. It names no library that it needs: its symbols
// are those of the libtorch_cpu and libtorch_cuda that the program has opened before.

#define USE_C10D_NCCL

#include "nccl.h"
#include "guarded.h"

#include <chrono>

#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>
#include <torch/headeronly/version.h>

const char *arcrun_nccl_torch_version(void) { return TORCH_VERSION; }

char *arcrun_nccl_backend(void *store, int32_t rank, int32_t size, int64_t timeout_ms,
                          void **backend) {
  return arcrun::guarded([&] {
    using Nccl = c10d::ProcessGroupNCCL;
    auto options = Nccl::Options::create();
    options->timeout = std::chrono::milliseconds(timeout_ms);
    auto held = c10::intrusive_ptr<c10d::Store>::reclaim_copy(static_cast<c10d::Store *>(store));
    c10::intrusive_ptr<c10d::Backend> made = c10::make_intrusive<Nccl>(held, rank, size, options);
    *backend = made.release();
  });
}
