/* libtorch's CUDA part, which is opened at run time. */
#ifndef ARCRUN_CUDA_H
#define ARCRUN_CUDA_H

namespace arcrun {

// Opens libtorch_cuda for all to see; it opens without a driver too. Throws where there is none.
void open_libtorch_cuda();

}  // namespace arcrun

#endif
