/* The face of libarcrun_nccl.so, the shared object with everything that has a CUDA symbol. The program
 * opens it at run time (open_nccl.cpp) and never links it, so that it starts where there is no CUDA.
 * No exception crosses this boundary: messages are malloc's. A function that changes gets another name,
 * for objects of older builds may lie beside a newer program. */
#ifndef ARCRUN_NCCL_H
#define ARCRUN_NCCL_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The libtorch whose headers it was compiled with: its classes are laid out as that one's. */
const char *arcrun_nccl_torch_version(void);

/* A c10d::ProcessGroupNCCL on `store`, a c10d::Store that stays the caller's; nothing is sent yet.
 * `backend` becomes a c10d::Backend with one reference, which is the caller's. NULL or a message. */
char *arcrun_nccl_backend(void *store, int32_t rank, int32_t size, int64_t timeout_ms,
                          void **backend);

#ifdef __cplusplus
}
#endif
#endif
