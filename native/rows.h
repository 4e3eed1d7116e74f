/* Rows of class weights, for the softmax losses. */
#ifndef ARCRUN_ROWS_H
#define ARCRUN_ROWS_H

#include <ATen/core/Tensor.h>

namespace arcrun {

// Gradient of the rows from that of their directions, in place: the part along a row is taken out.
// `grad` comes already divided by the norm. Rows below eps were divided by eps: nothing to take out.
void project_rows(at::Tensor &grad_rd, const at::Tensor &weight_rd, const at::Tensor &inverse_r);

// Gradient of the rows' cosines from that of the classes': only the nearest sub-centre's counts.
at::Tensor spread_centres(const at::Tensor &grad_bc, const at::Tensor &centre_bc, int64_t rows);

}  // namespace arcrun

#endif
