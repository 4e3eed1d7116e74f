// Gradient checkpointing: a part of the network as one node of the graph that keeps its input alone.
// The backward pass runs the part again, with a graph, and goes back through that.
#include "arcrun_native.h"
#include "guarded.h"

#include <array>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <utility>
#include <vector>

#include <ATen/Context.h>
#include <ATen/autocast_mode.h>
#include <ATen/core/Generator.h>
#include <ATen/core/ivalue.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/csrc/autograd/engine.h>
#include <torch/csrc/autograd/functions/utils.h>

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// What a computation depends on beside its input: the random generators of the CPU and of the
// input's device, and the calling thread's autocast.
class Surroundings {
 public:
  explicit Surroundings(at::Device device) {
    keep(at::globalContext().defaultGenerator(at::kCPU));
    if (!device.is_cpu()) keep(at::globalContext().defaultGenerator(device));
    for (size_t i = 0; i < kTypes.size(); ++i)
      autocast_[i] = {at::autocast::is_autocast_enabled(kTypes[i]),
                      at::autocast::get_autocast_dtype(kTypes[i])};
  }

  void restore() const {
    for (auto [generator, state] : random_) {
      std::lock_guard<std::mutex> lock(generator.mutex());
      generator.set_state(state);
    }
    for (size_t i = 0; i < kTypes.size(); ++i) {
      at::autocast::set_autocast_enabled(kTypes[i], autocast_[i].first);
      at::autocast::set_autocast_dtype(kTypes[i], autocast_[i].second);
    }
  }

 private:
  static constexpr std::array<at::DeviceType, 2> kTypes{at::kCPU, at::kCUDA};

  void keep(at::Generator generator) {
    std::lock_guard<std::mutex> lock(generator.mutex());
    random_.emplace_back(generator, generator.get_state());
  }

  std::vector<std::pair<at::Generator, at::Tensor>> random_;
  std::array<std::pair<bool, at::ScalarType>, 2> autocast_;
};

// Puts a thread into other surroundings and brings it back. The autocast region is one of its own,
// so that casts of weights made in it don't outlive it.
class Replay {
 public:
  Replay(const Surroundings &then, at::Device device) : now_(device) {
    then.restore();
    at::autocast::increment_nesting();
  }
  ~Replay() {
    if (at::autocast::decrement_nesting() == 0) at::autocast::clear_cache();
    now_.restore();
  }
  Replay(const Replay &) = delete;
  Replay &operator=(const Replay &) = delete;

 private:
  Surroundings now_;
};

// Without a graph, a cast of a weight must not get into autocast's cache: a later use of the weight
// would find it there and get no gradient.
class NoCastCache {
 public:
  NoCastCache() { at::autocast::set_autocast_cache_enabled(false); }
  ~NoCastCache() { at::autocast::set_autocast_cache_enabled(before_); }
  NoCastCache(const NoCastCache &) = delete;
  NoCastCache &operator=(const NoCastCache &) = delete;

 private:
  bool before_ = at::autocast::is_autocast_cache_enabled();
};

// The caller's part of the network; a class that a node of the graph can hold.
class Segment : public torch::CustomClassHolder {
 public:
  explicit Segment(arcrun_segment raw) : raw_(raw) {}
  ~Segment() override { raw_.release(raw_.context); }

  at::Tensor run(const at::Tensor &input, bool again) const {
    std::array<char, 1024> message{};
    auto in = input;
    std::unique_ptr<at::Tensor> out(static_cast<at::Tensor *>(
        raw_.run(raw_.context, &in, again, message.data(), message.size())));
    if (!out) throw std::runtime_error(message.data());
    return *out;
  }

  // Of the forward pass.
  std::unique_ptr<const Surroundings> surroundings;

 private:
  arcrun_segment raw_;
};

// Where the graph of a recomputed segment begins: takes the gradient as it comes. A leaf would put it
// into its own memory layout, in which what lies before the segment may round otherwise.
struct Beginning : torch::autograd::Node {
  variable_list apply(variable_list &&gradients) override {
    gradient = gradients[0];
    return {};
  }
  at::Tensor gradient;
};

struct Checkpoint : torch::autograd::Function<Checkpoint> {
  static at::Tensor forward(AutogradContext *ctx, const at::Tensor &input,
                            c10::intrusive_ptr<Segment> segment) {
    segment->surroundings = std::make_unique<const Surroundings>(input.device());
    ctx->save_for_backward({input});
    ctx->saved_data["segment"] = c10::IValue::make_capsule(segment);
    NoCastCache no_cache;
    return segment->run(input, /*again=*/false);
  }

  static variable_list backward(AutogradContext *ctx, variable_list outgoing) {
    TORCH_CHECK(torch::autograd::Engine::get_default_engine().is_checkpoint_valid(),
                "a checkpointed segment adds to the gradients of all its parameters: a backward pass "
                "for chosen tensors alone can't go through it");
    auto &data = ctx->saved_data;
    TORCH_CHECK(data.count("segment"), "a checkpointed segment goes backward once");
    auto segment = c10::static_intrusive_pointer_cast<Segment>(data["segment"].toCapsule());
    data.erase("segment");
    auto input = ctx->get_saved_variables()[0].detach();
    auto beginning = std::make_shared<Beginning>();
    torch::autograd::set_history(input, beginning);
    at::Tensor output;
    {
      at::AutoGradMode with_graph(true);
      Replay replay(*segment->surroundings, input.device());
      output = segment->run(input, /*again=*/true);
    }
    torch::autograd::backward({output}, {outgoing[0]});
    return {beginning->gradient, at::Tensor()};
  }
};

}  // namespace

char *arcrun_checkpointed(arcrun_tensor input, arcrun_segment segment, arcrun_tensor output) {
  return arcrun::guarded([&] {
    auto held = c10::make_intrusive<Segment>(segment);
    const auto &in = *static_cast<at::Tensor *>(input);
    auto &out = *static_cast<at::Tensor *>(output);
    if (at::GradMode::is_enabled() && in.requires_grad())
      out = Checkpoint::apply(in, held);
    else
      out = held->run(in, /*again=*/false);
  });
}
