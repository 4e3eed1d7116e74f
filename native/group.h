/* Several processes as the shim's C++ sees them. */
#ifndef ARCRUN_GROUP_H
#define ARCRUN_GROUP_H

#include "distributed.h"

#include <atomic>
#include <chrono>
#include <optional>
#include <vector>

#include <ATen/core/Tensor.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroup.hpp>
#include <torch/csrc/distributed/c10d/Store.hpp>
#include <torch/custom_class.h>

namespace arcrun {

// The collectives wait for their result; every rank calls the same ones in the same order. Bytes are
// those that a rank sends by the ring algorithms, computed from the sizes.
class Group : public torch::CustomClassHolder {
 public:
  Group(c10::intrusive_ptr<c10d::Store> store, c10::intrusive_ptr<c10d::ProcessGroup> processes,
        std::chrono::milliseconds timeout, bool has_cpu)
      : store(std::move(store)),
        processes(std::move(processes)),
        timeout(timeout),
        has_cpu(has_cpu) {}

  // From here on tensors on `gpu` go by `backend`, and without Gloo those on the CPU too, over `gpu`.
  void add_gpu(at::Device gpu, const c10::intrusive_ptr<c10d::Backend> &backend);
  // This rank's own, where there is one.
  const std::optional<at::Device> &gpu() const { return gpu_; }

  int rank() const { return processes->getRank(); }
  int size() const { return processes->getSize(); }

  // In place.
  void all_reduce(at::Tensor &tensor, c10d::ReduceOp::RedOpType op);
  // Those of all ranks, which have the same shape, in rank order: [ranks, ...].
  at::Tensor all_gather(const at::Tensor &tensor);
  // In place: what `root` has.
  void broadcast(at::Tensor &tensor, int64_t root);
  void barrier(std::chrono::milliseconds limit);
  // 2 (n - 1) / n of them, what a ring sends to sum `bytes`.
  void count_all_reduce(uint64_t bytes) { sent += 2 * bytes * (size() - 1) / size(); }

  const c10::intrusive_ptr<c10d::Store> store;
  const c10::intrusive_ptr<c10d::ProcessGroup> processes;
  const std::chrono::milliseconds timeout;
  // Gloo is there for tensors on the CPU.
  const bool has_cpu;
  std::atomic<uint64_t> sent{0};

 private:
  // What c10d may work on: contiguous, no part of a graph, and where a backend reaches it.
  at::Tensor sendable(const at::Tensor &tensor) const;

  std::optional<at::Device> gpu_;
};

using GroupPtr = c10::intrusive_ptr<Group>;

// The group behind a handle, which keeps its own count; null of a null handle.
inline GroupPtr group_of(arcrun_group handle) {
  return GroupPtr::reclaim_copy(static_cast<Group *>(handle));
}

// In the saved data of a node.
inline c10::IValue held(const GroupPtr &group) { return c10::IValue::make_capsule(group); }
inline GroupPtr held_group(const c10::IValue &value) {
  return c10::static_intrusive_pointer_cast<Group>(value.toCapsule());
}

}  // namespace arcrun

#endif
