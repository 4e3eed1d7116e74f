// Groups of processes: a TCPStore to meet at, Gloo between CPUs (open_nccl.cpp adds NCCL between
// GPUs), and c10d's Reducer for gradients.

#ifdef ARCRUN_GLOO
#define USE_C10D_GLOO
#endif

#include "group.h"
#include "guarded.h"
#include "lists.h"

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <tuple>
#include <unordered_map>
#include <vector>

#include <ATen/Functions.h>
#include <ATen/core/grad_mode.h>
#include <c10/util/Logging.h>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#include <torch/csrc/distributed/c10d/logger.hpp>
#include <torch/csrc/distributed/c10d/reducer.hpp>
#ifdef ARCRUN_GLOO
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#endif

namespace arcrun {

namespace {

// Back into a tensor that `sendable` had to copy.
void put_back(at::Tensor &tensor, const at::Tensor &result) {
  if (!tensor.is_same(result) && tensor.data_ptr() != result.data_ptr()) tensor.copy_(result);
}

using BackendType = c10d::ProcessGroup::BackendType;
constexpr char kName[] = "arcrun";

}  // namespace

void Group::add_gpu(at::Device gpu, const c10::intrusive_ptr<c10d::Backend> &backend) {
  processes->setBoundDeviceId(gpu);
  processes->setBackend(at::kCUDA, BackendType::NCCL, backend);
  if (!has_cpu) processes->setDefaultBackend(BackendType::NCCL);
  processes->setGroupName(kName);
  gpu_ = gpu;
}

at::Tensor Group::sendable(const at::Tensor &tensor) const {
  auto plain = tensor.detach();
  if (gpu_ && !has_cpu && plain.is_cpu()) plain = plain.to(*gpu_);
  return plain.contiguous();
}

void Group::all_reduce(at::Tensor &tensor, c10d::ReduceOp::RedOpType op) {
  if (tensor.numel() == 0) return;
  at::NoGradGuard no_grad;
  std::vector<at::Tensor> tensors{sendable(tensor)};
  c10d::AllreduceOptions options;
  options.reduceOp = op;
  options.timeout = timeout;
  processes->allreduce(tensors, options)->wait();
  put_back(tensor, tensors[0]);
  count_all_reduce(tensor.nbytes());
}

at::Tensor Group::all_gather(const at::Tensor &tensor) {
  at::NoGradGuard no_grad;
  std::vector<at::Tensor> inputs{sendable(tensor)};
  auto shape = tensor.sizes().vec();
  shape.insert(shape.begin(), size());
  auto all = at::empty(shape, inputs[0].options());
  if (tensor.numel() == 0) return all.to(tensor.device());
  std::vector<std::vector<at::Tensor>> outputs{all.unbind(0)};
  c10d::AllgatherOptions options;
  options.timeout = timeout;
  processes->allgather(outputs, inputs, options)->wait();
  sent += tensor.nbytes() * (size() - 1);
  return all.to(tensor.device());
}

void Group::broadcast(at::Tensor &tensor, int64_t root) {
  if (tensor.numel() == 0) return;
  at::NoGradGuard no_grad;
  std::vector<at::Tensor> tensors{sendable(tensor)};
  c10d::BroadcastOptions options;
  options.rootRank = root;
  options.timeout = timeout;
  processes->broadcast(tensors, options)->wait();
  put_back(tensor, tensors[0]);
  // All ranks together pass it on n - 1 times.
  sent += tensor.nbytes() * (size() - 1) / size();
}

void Group::barrier(std::chrono::milliseconds limit) {
  c10d::BarrierOptions options;
  options.timeout = limit;
  if (gpu_ && !has_cpu) {
    options.device = gpu_;
    options.device_ids = {gpu_->index()};
  }
  processes->barrier(options)->wait();
}

}  // namespace arcrun

namespace {

using arcrun::Group;
using arcrun::group_of;
using arcrun::GroupPtr;
using arcrun::guarded;
using arcrun::list;

at::Tensor &tensor(arcrun_tensor t) { return *static_cast<at::Tensor *>(t); }

Group &group(arcrun_group handle) { return *static_cast<Group *>(handle); }

#ifdef ARCRUN_GLOO
c10::intrusive_ptr<c10d::Backend> gloo(const arcrun_group_options &given,
                                       const c10::intrusive_ptr<c10d::Store> &store,
                                       std::chrono::milliseconds timeout) {
  using Gloo = c10d::ProcessGroupGloo;
  auto options = Gloo::Options::create(timeout);
  if (given.interface_name)
    options->devices.push_back(Gloo::createDeviceForInterface(given.interface_name));
  else if (given.address)
    options->devices.push_back(Gloo::createDeviceForHostname(given.address));
  else
    options->devices.push_back(Gloo::createDefaultDevice());
  return c10::make_intrusive<Gloo>(store, given.rank, given.size, options);
}
#else
c10::intrusive_ptr<c10d::Backend> gloo(const arcrun_group_options &,
                                       const c10::intrusive_ptr<c10d::Store> &,
                                       std::chrono::milliseconds) {
  throw std::runtime_error("this build has no Gloo: apt install libgloo-dev, then build again");
}
#endif

GroupPtr create(const arcrun_group_options &given) {
  // c10d logs every attempt with its stack; the error that ends them says it all.
  if (!getenv("TORCH_CPP_LOG_LEVEL")) FLAGS_caffe2_log_level = c10::GLOG_FATAL;
  std::chrono::milliseconds timeout(given.timeout_ms);
  c10d::TCPStoreOptions store_options;
  store_options.port = given.port;
  store_options.isServer = given.serves;
  store_options.waitWorkers = false;
  store_options.timeout = timeout;
  auto tcp = c10::make_intrusive<c10d::TCPStore>(given.host, store_options);
  auto store = [&](const char *part) {
    auto all = c10::make_intrusive<c10d::PrefixStore>(given.prefix, tcp);
    return c10::make_intrusive<c10d::PrefixStore>(part, all);
  };
  auto processes =
      c10::make_intrusive<c10d::ProcessGroup>(store("group"), given.rank, given.size);
  if (given.gloo) {
    using arcrun::BackendType;
    processes->setBackend(at::kCPU, BackendType::GLOO, gloo(given, store("gloo"), timeout));
    processes->setDefaultBackend(BackendType::GLOO);
  }
  processes->setGroupName(arcrun::kName);
  return c10::make_intrusive<Group>(store("keys"), processes, timeout, given.gloo);
}

// Ours beside c10d's, which counts no bytes. Its logger times the steps that it samples.
struct Reducer {
  GroupPtr group;
  std::shared_ptr<c10d::Reducer> reducer;
  std::shared_ptr<c10d::Logger> logger;
  bool find_unused;
  uint64_t bytes;
};

// Beside the first ten steps, every how many are timed.
constexpr int kTimedSteps = 20;

}  // namespace

bool arcrun_has_gloo(void) {
#ifdef ARCRUN_GLOO
  return true;
#else
  return false;
#endif
}

char *arcrun_group_create(arcrun_group_options options, arcrun_group *out) {
  return guarded([&] { *out = create(options).release(); });
}

void arcrun_group_destroy(arcrun_group handle) { GroupPtr::reclaim(static_cast<Group *>(handle)); }

char *arcrun_store_set(arcrun_group handle, const char *key, const char *value, size_t length) {
  return guarded([&] {
    group(handle).store->set(key, std::vector<uint8_t>(value, value + length));
  });
}

char *arcrun_store_get(arcrun_group handle, const char *key, int64_t timeout_ms, char **value,
                       size_t *length) {
  return guarded([&] {
    auto &store = *group(handle).store;
    store.wait({key}, std::chrono::milliseconds(timeout_ms));
    auto bytes = store.get(key);
    auto *copy = static_cast<char *>(malloc(bytes.size() + 1));
    if (!copy) throw std::bad_alloc();
    std::copy(bytes.begin(), bytes.end(), copy);
    copy[bytes.size()] = 0;
    *value = copy;
    *length = bytes.size();
  });
}

char *arcrun_store_wait(arcrun_group handle, size_t count, const char *const *keys,
                        int64_t timeout_ms) {
  return guarded([&] {
    std::vector<std::string> all(keys, keys + count);
    group(handle).store->wait(all, std::chrono::milliseconds(timeout_ms));
  });
}

char *arcrun_broadcast(arcrun_group handle, arcrun_tensor values, int64_t root) {
  return guarded([&] { group(handle).broadcast(tensor(values), root); });
}

char *arcrun_all_reduce(arcrun_group handle, arcrun_tensor values, int32_t operation) {
  return guarded([&] {
    using Op = c10d::ReduceOp::RedOpType;
    constexpr Op kOps[] = {Op::SUM, Op::MAX, Op::MIN};
    group(handle).all_reduce(tensor(values), kOps[operation]);
  });
}

char *arcrun_all_gather(arcrun_group handle, arcrun_tensor values, arcrun_tensor out) {
  return guarded([&] { tensor(out) = group(handle).all_gather(tensor(values)); });
}

char *arcrun_barrier(arcrun_group handle, int64_t timeout_ms) {
  return guarded([&] { group(handle).barrier(std::chrono::milliseconds(timeout_ms)); });
}

uint64_t arcrun_group_sent(arcrun_group handle) { return group(handle).sent; }

char *arcrun_reducer_create(arcrun_group handle, size_t count, arcrun_tensors params,
                            bool find_unused, arcrun_reducer *out) {
  return guarded([&] {
    auto held = group_of(handle);
    auto all = list(count, params);
    c10d::verify_params_across_processes(held->processes, all, std::nullopt);
    constexpr int64_t kFirst = c10d::kDefaultFirstBucketBytes, kOther = c10d::kDefaultBucketBytesCap;
    auto buckets = std::get<0>(c10d::compute_bucket_assignment_by_size(all, {kFirst, kOther}));
    // The last parameters are the first to have their gradients.
    std::reverse(buckets.begin(), buckets.end());
    uint64_t bytes = 0;
    for (auto &param : all) bytes += param.nbytes();
    auto reducer = std::make_shared<c10d::Reducer>(
        all, std::move(buckets), held->processes, std::vector<bool>(count, false), kOther,
        find_unused, /*gradient_as_bucket_view=*/false,
        /*param_names=*/std::unordered_map<size_t, std::string>(), kFirst,
        /*skip_all_reduce_unused_params=*/false, /*use_python_reducer=*/false,
        /*bucket_bytes_cap_list=*/std::vector<int64_t>());
    auto logger = std::make_shared<c10d::Logger>(reducer);
    logger->set_construction_data_and_log("arcrun", /*device_ids=*/{}, /*output_device=*/-1,
                                          /*broadcast_buffers=*/false, /*has_sync_bn=*/false,
                                          /*static_graph=*/false);
    reducer->set_logger(logger);
    reducer->set_ddp_runtime_logging_sample_rate(kTimedSteps);
    *out = new Reducer{held, std::move(reducer), std::move(logger), find_unused, bytes};
  });
}

void arcrun_reducer_destroy(arcrun_reducer handle) {
  // An error here is that of a pass that had failed before.
  try {
    delete static_cast<Reducer *>(handle);
  } catch (...) {
  }
}

char *arcrun_reducer_prepare(arcrun_reducer handle, arcrun_tensor loss) {
  return guarded([&] {
    auto &ours = *static_cast<Reducer *>(handle);
    // Of the pass before, if it was one of those timed.
    ours.logger->set_runtime_stats_and_log();
    ours.reducer->prepare_for_forward();
    // Once, after the first pass: buckets in the order in which the gradients came.
    ours.reducer->rebuild_buckets();
    ours.reducer->prepare_for_backward(ours.find_unused ? std::vector<at::Tensor>{tensor(loss)}
                                                        : std::vector<at::Tensor>());
    ours.group->count_all_reduce(ours.bytes);
  });
}

char *arcrun_reducer_times(arcrun_reducer handle, arcrun_reducer_timing *out) {
  return guarded([&] {
    auto times = static_cast<Reducer *>(handle)->logger->get_ddp_logging_data().ints_map;
    auto seconds = [&](const char *name) { return times[name] * 1e-9; };
    *out = {seconds("avg_backward_compute_time"), seconds("avg_backward_comm_time"),
            seconds("avg_backward_compute_comm_overlap_time")};
  });
}
