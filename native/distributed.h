/* Several processes: libtorch's c10d, and the nodes of the graph that reach over all of them.
 *
 * As in arcrun_native.h, a function that can fail returns NULL or a message. A group's collectives
 * are called by all its ranks, in the same order, and wait for their result.
 */
#ifndef ARCRUN_DISTRIBUTED_H
#define ARCRUN_DISTRIBUTED_H

#include "arcrun_native.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef void *arcrun_group;
typedef void *arcrun_reducer;

typedef struct {
  /* Where the store listens, and whether this process is to run it. */
  const char *host;
  uint16_t port;
  bool serves;
  /* Before every key, so that a restarted group never reads what an earlier one left. */
  const char *prefix;
  int32_t rank, size;
  /* The address that other ranks reach this one by, or NULL; the network interface, or NULL, wins. */
  const char *address, *interface_name;
  int64_t timeout_ms;
  /* Whether CPUs are to be connected, which needs a build with Gloo; else GPUs alone will be. */
  bool gloo;
} arcrun_group_options;

/* Whether this build has Gloo. */
bool arcrun_has_gloo(void);

/* Meets the other ranks at the store, then connects to all of them by Gloo, where it is asked for. */
char *arcrun_group_create(arcrun_group_options options, arcrun_group *group);
/* Opens libarcrun_nccl.so at `object` and makes GPU `index` this rank's, and the current device of
 * this thread. Reaches no other rank. */
char *arcrun_group_add_nccl(arcrun_group group, const char *object, int32_t index);
/* Connects the GPUs of all ranks, each of which has added its own. */
char *arcrun_group_connect_gpus(arcrun_group group);
/* The calling thread's device becomes the group's GPU, if it has one. */
char *arcrun_group_use_gpu(arcrun_group group);
/* Ends the connections of the GPUs: when all collectives are done or, not `orderly`, at once. A
 * process that ends without it may be ended by NCCL's threads. No collective may follow. */
char *arcrun_group_close(arcrun_group group, bool orderly);
void arcrun_group_destroy(arcrun_group group);

char *arcrun_store_set(arcrun_group group, const char *key, const char *value, size_t length);
/* Waits for the key. The value is the caller's to release with arcrun_free. */
char *arcrun_store_get(arcrun_group group, const char *key, int64_t timeout_ms, char **value,
                       size_t *length);
/* Waits until all keys are there. */
char *arcrun_store_wait(arcrun_group group, size_t count, const char *const *keys,
                        int64_t timeout_ms);

/* In place; what rank `root` has. */
char *arcrun_broadcast(arcrun_group group, arcrun_tensor tensor, int64_t root);
/* In place; `operation`: 0 sum, 1 largest, 2 least. */
char *arcrun_all_reduce(arcrun_group group, arcrun_tensor tensor, int32_t operation);
/* Tensors of one shape into [ranks, ...]. */
char *arcrun_all_gather(arcrun_group group, arcrun_tensor tensor, arcrun_tensor out);
char *arcrun_barrier(arcrun_group group, int64_t timeout_ms);
/* Bytes that this rank has sent, computed from the sizes by the formulas of the ring algorithms. */
uint64_t arcrun_group_sent(arcrun_group group);

/* c10d's Reducer over leaves that require a gradient, the same on all ranks. */
char *arcrun_reducer_create(arcrun_group group, size_t count, arcrun_tensors params,
                            bool find_unused, arcrun_reducer *reducer);
void arcrun_reducer_destroy(arcrun_reducer reducer);
/* Before the backward pass from `loss`, after which the gradients are averages over the ranks. A pass
 * without it before adds to the gradients of this process alone, and counts in the next average. */
char *arcrun_reducer_prepare(arcrun_reducer reducer, arcrun_tensor loss);

typedef struct {
  /* Seconds, means over the passes that c10d timed: the backward pass, from the first bucket sent to the
   * last received, and the part of that in which the backward pass went on. */
  double backward, communication, overlap;
} arcrun_reducer_timing;

/* All zero before the second pass. */
char *arcrun_reducer_times(arcrun_reducer reducer, arcrun_reducer_timing *times);

/* Rows [B_r, ...] of all ranks in rank order, [sum of B_r, ...]; `counts`: every rank's B_r.
 * Backward: of each row the sum of its gradients over the ranks. */
char *arcrun_gather_rows(arcrun_group group, arcrun_tensor rows, const int64_t *counts,
                         arcrun_tensor out);
/* Sum over the ranks, whose backward is the sum of the gradients over the ranks. */
char *arcrun_sum_over_ranks(arcrun_group group, arcrun_tensor tensor, arcrun_tensor out);

typedef struct {
  /* [B_r, C, ...], and [C] each; the running ones NULL where they don't move. */
  arcrun_tensor maps, weight, bias, running_mean, running_var;
  double momentum, eps;
} arcrun_sync_batch_norm_inputs;

/* Batch norm by the statistics of all ranks' maps. */
char *arcrun_sync_batch_norm(arcrun_group group, arcrun_sync_batch_norm_inputs inputs,
                             arcrun_tensor out);

typedef struct {
  /* As in arcrun_margin_softmax_inputs, over all ranks' samples [N, D] and this rank's classes. */
  arcrun_tensor embedding, weight, scale, cosine, centre, inverse;
  /* Samples whose class is here, int64 [K], and where among the classes here it is, int64 [K]. */
  arcrun_tensor own_samples, own_labels;
  /* Of every sample, [N]; the same on all ranks. */
  arcrun_tensor moved, slope, threshold;
  double hard_t, clip;
} arcrun_sharded_softmax_inputs;

/* -log softmax over the classes of all ranks, `loss` [N], the same on all ranks. Each rank must go
 * backward with the same gradient g of it. The weights then get the gradient of g; embedding and scale
 * get this rank's part of it times the number of ranks, so that summed over the ranks they average to
 * it. `group` may be NULL: one rank. */
char *arcrun_sharded_softmax(arcrun_group group, arcrun_sharded_softmax_inputs inputs,
                             arcrun_tensor loss);

#ifdef __cplusplus
}
#endif
#endif
