/* Lists of tensors as they cross the boundary of the shim. */
#ifndef ARCRUN_LISTS_H
#define ARCRUN_LISTS_H

#include <vector>

#include <ATen/core/Tensor.h>

#include "arcrun_native.h"

namespace arcrun {

inline std::vector<at::Tensor> list(size_t count, arcrun_tensors tensors) {
  std::vector<at::Tensor> out;
  out.reserve(count);
  for (size_t i = 0; i < count; ++i) out.push_back(*static_cast<at::Tensor *>(tensors[i]));
  return out;
}

}  // namespace arcrun

#endif
