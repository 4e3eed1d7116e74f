/* What arcrun needs from libtorch and tch does not wrap.
 *
 * No C++ exception crosses this boundary: every function that can fail returns NULL on success,
 * else a message that the caller releases with arcrun_free. Tensors are torch-sys's `tensor`,
 * that is `at::Tensor *`; lists are an array of them and its length.
 */
#ifndef ARCRUN_NATIVE_H
#define ARCRUN_NATIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef void *arcrun_tensor;
typedef const arcrun_tensor *arcrun_tensors;

void arcrun_free(char *message);

/* Keeps freed memory in the process, so that the same buffers of every step are not asked of the
 * system, and cleared by it, again. Call it before the first allocation that matters. What the user
 * set through MALLOC_* stays. Does nothing where malloc is not glibc's. */
void arcrun_keep_memory(void);

/* Version of libtorch, such as 2.11.0; lives for ever. */
const char *arcrun_torch_version(void);

/* Devices as in c10::DeviceType: 0 CPU, 1 CUDA. Types as in c10::ScalarType. */

/* Autocast of the calling thread. */
typedef struct {
  bool enabled;
  int32_t dtype;
} arcrun_autocast;

/* Enters an autocast region of `wanted` and stores the state before it in `previous`. */
char *arcrun_autocast_enter(int32_t device, arcrun_autocast wanted, arcrun_autocast *previous);
/* Leaves the region: restores `previous`; the outermost one drops the cache of cast weights. */
char *arcrun_autocast_exit(int32_t device, arcrun_autocast previous);

/* From here to the end of the diagnosis the operations of this thread are watched for the first
 * that gives something not finite. `parameters` are told apart by identity. Slow. */
char *arcrun_nonfinite_begin(size_t count, arcrun_tensors parameters);
/* Ends it. `operation` gets the name of the first such operation, empty where there was none;
 * `parameter` the place of the parameter that was read last before, -1 where none was. */
char *arcrun_nonfinite_end(int64_t *parameter, char *operation, size_t capacity);

/* averages <- averages + weight (values - averages), element by element. */
char *arcrun_average(size_t count, arcrun_tensors averages, arcrun_tensors values, double weight);

/* Fused optimizer steps, in place, outside of autograd. `grads` in another memory format than its
 * parameter is copied into that format; any other mismatch is an error. */
typedef struct {
  double lr, momentum, dampening, weight_decay;
  bool nesterov, maximize;
} arcrun_sgd;

/* `momentum_buffers` has `count` entries, or none where momentum is 0. */
char *arcrun_fused_sgd(size_t count, arcrun_tensors params, arcrun_tensors grads,
                       size_t buffer_count, arcrun_tensors momentum_buffers, bool first_step,
                       arcrun_sgd options);

typedef struct {
  double lr, beta1, beta2, eps, weight_decay;
  bool amsgrad, maximize;
  /* true: AdamW (decoupled), false: Adam (added to the gradient) */
  bool decoupled_weight_decay;
} arcrun_adam;

/* `step` counts from 1. `max_exp_avg_sqs` has `count` entries with amsgrad, else none. */
char *arcrun_fused_adam(size_t count, arcrun_tensors params, arcrun_tensors grads,
                        arcrun_tensors exp_avgs, arcrun_tensors exp_avg_sqs, size_t max_count,
                        arcrun_tensors max_exp_avg_sqs, int64_t step, arcrun_adam options);

/* The steps below, too, are in place and outside of autograd, with gradients as above. Lists whose
 * count is given have `count` entries where the options ask for them, else none. */

typedef struct {
  double lr, alpha, eps, weight_decay, momentum;
  bool centered;
} arcrun_rmsprop;

/* `grad_avgs` with `centered`, `momentum_buffers` where momentum is not 0. */
char *arcrun_rmsprop_step(size_t count, arcrun_tensors params, arcrun_tensors grads,
                          arcrun_tensors square_avgs, size_t grad_avg_count,
                          arcrun_tensors grad_avgs, size_t buffer_count,
                          arcrun_tensors momentum_buffers, arcrun_rmsprop options);

typedef struct {
  double lr, lr_decay, eps, weight_decay;
} arcrun_adagrad;

/* `step` counts from 1. */
char *arcrun_adagrad_step(size_t count, arcrun_tensors params, arcrun_tensors grads,
                          arcrun_tensors sums, int64_t step, arcrun_adagrad options);

typedef struct {
  double lr, beta1, beta2, weight_decay;
} arcrun_lion;

char *arcrun_lion_step(size_t count, arcrun_tensors params, arcrun_tensors grads,
                       arcrun_tensors exp_avgs, arcrun_lion options);

typedef struct {
  double lr, momentum, weight_decay, trust_coefficient, eps;
  bool nesterov;
  /* LARC: the ratio over lr is at most 1 */
  bool trust_clip;
  /* the ratio also where weight_decay is 0 */
  bool always_adapt;
} arcrun_lars;

/* `momentum_buffers` where momentum is not 0; they are set in the first step. */
char *arcrun_lars_step(size_t count, arcrun_tensors params, arcrun_tensors grads,
                       size_t buffer_count, arcrun_tensors momentum_buffers, bool first_step,
                       arcrun_lars options);

typedef struct {
  double lr, beta1, beta2, eps, weight_decay;
  /* the gradients are divided by it first */
  double grad_divisor;
  bool trust_clip, always_adapt;
} arcrun_lamb;

/* `step` counts from 1. */
char *arcrun_lamb_step(size_t count, arcrun_tensors params, arcrun_tensors grads,
                       arcrun_tensors exp_avgs, arcrun_tensors exp_avg_sqs, int64_t step,
                       arcrun_lamb options);

/* The images [N, C, H, W] with N, H, W, C in memory. */
char *arcrun_channels_last(arcrun_tensor images, arcrun_tensor out);

/* Drops the gradients of leaf tensors: their next backward pass allocates, it does not add. */
char *arcrun_clear_gradients(size_t count, arcrun_tensors tensors);

/* Euclidean norm over all elements of all tensors, into `norm` (0-dimensional). */
char *arcrun_global_norm(size_t count, arcrun_tensors tensors, arcrun_tensor norm);

/* Multiplies `tensors` by `inverse_scale` in place; `non_finite`: an inf or NaN was among them. */
char *arcrun_unscale(size_t count, arcrun_tensors tensors, double inverse_scale, bool *non_finite);

/* Cosines between embeddings [B, D], normalised by the caller, and class weights
 * [C x centres, D], outside of autograd: `cosine` [B, C], of each class the largest over its
 * sub-centres, whose indices go to `centre` [B, C] if there is more than one. With
 * `normalize_weight` `inverse` gets 1 / norm of every row; else the rows count as they are. */
char *arcrun_cosines(arcrun_tensor embedding, arcrun_tensor weight, int64_t centres,
                     bool normalize_weight, arcrun_tensor cosine, arcrun_tensor centre,
                     arcrun_tensor inverse);

typedef struct {
  /* With a graph: [B, D], [C x centres, D], and the scale of each sample's logits [B]. */
  arcrun_tensor embedding, weight, scale;
  /* What arcrun_cosines gave; the latter two NULL where it gave none. */
  arcrun_tensor cosine, centre, inverse;
  arcrun_tensor labels;
  /* The target's entry after the margin and its slope over the cosine, [B]. */
  arcrun_tensor moved, slope;
  /* NULL, or [B]: a negative of cosine c above it becomes c (hard_t + c) (CurricularFace). */
  arcrun_tensor threshold;
  double hard_t;
  /* The negatives' cosines are held between -clip and clip; 0: they are not. */
  double clip;
} arcrun_margin_softmax_inputs;

/* -log softmax of the target's logit, for each sample, into `loss` [B], differentiable once in
 * embedding, weight and scale. */
char *arcrun_margin_softmax(arcrun_margin_softmax_inputs inputs, arcrun_tensor loss);

/* A part of the network. */
typedef struct {
  void *context;
  /* Runs it on `input` and returns a new tensor, which becomes the shim's to delete; NULL where it
   * failed, with the reason, closed by a zero byte, in `message`. `again`: in the backward pass, on
   * whichever thread that runs. */
  arcrun_tensor (*run)(void *context, arcrun_tensor input, bool again, char *message,
                       size_t capacity);
  /* Called once, when it is no longer needed, on any thread. */
  void (*release)(void *context);
} arcrun_segment;

/* Runs a segment into `output` and keeps nothing of it but its input: the backward pass runs it
 * again, with the same random numbers and autocast, and adds to the gradients of the parameters in
 * it. Where the input has no graph or gradients are off it just runs. The segment is the shim's from
 * here on, also where this fails. */
char *arcrun_checkpointed(arcrun_tensor input, arcrun_segment segment, arcrun_tensor output);

/* Deterministic kernels only: an operation without one fails. */
char *arcrun_set_deterministic(bool on);

/* Whether cuDNN times its algorithms for every new shape and takes the fastest. */
char *arcrun_set_cudnn_benchmark(bool on);
bool arcrun_cudnn_benchmark(void);

/* Whether float32 matrix products and convolutions on a GPU round their inputs to TensorFloat-32. */
char *arcrun_set_tf32(bool on);
char *arcrun_tf32(bool *matmul, bool *convolution);

/* Opens libtorch_cuda beside libtorch_cpu. Must precede the first call into libtorch that asks for
 * CUDA: libtorch looks for it once. The error says why there is no CUDA. */
char *arcrun_load_cuda(void);

/* Name (UTF-8, cut to `capacity`) and compute capability of a visible CUDA device. */
char *arcrun_cuda_device(int32_t index, char *name, size_t capacity, int32_t *major,
                         int32_t *minor);

/* What tells a visible CUDA device from all others, on this machine and elsewhere. */
char *arcrun_cuda_uuid(int32_t index, uint8_t bytes[16]);

/* The most bytes that tensors held on a CUDA device at one time. Only after arcrun_load_cuda. */
char *arcrun_cuda_peak(int32_t index, int64_t *bytes);

#ifdef __cplusplus
}
#endif
#endif
