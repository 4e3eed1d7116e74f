//! libtorch's c10d: a store to meet at, Gloo between processes and NCCL between their GPUs, the reducer of
//! gradients, and the nodes of the graph that reach over all processes. `crate::distributed` is the face for the rest of
//! the program; errors here are libtorch's words.

mod ffi;
mod nodes;

pub use nodes::{Sharded, SyncBatchNorm, gather_rows, sharded_softmax, sum_over_ranks};

use crate::torch::ffi::{check, free, handles};
use crate::{Error, Result};
use std::ffi::{CString, c_char, c_void};
use std::path::Path;
use std::ptr::{null, null_mut};
use std::sync::Arc;
use std::time::Duration;
use tch::Tensor;

/// Whether CPU processes can be grouped: gloo's headers were there when this was built.
pub fn has_gloo() -> bool {
    // SAFETY: a constant of the shim.
    unsafe { ffi::arcrun_has_gloo() }
}

/// Where the processes of a group meet.
#[derive(Clone, Debug)]
pub struct Options {
    pub host: String,
    pub port: u16,
    /// This process runs the store.
    pub serves: bool,
    /// Before every key of the store.
    pub prefix: String,
    pub rank: usize,
    pub size: usize,
    /// The address that others reach this process by; none: its host name's.
    pub address: Option<String>,
    /// The network interface, which wins over the address.
    pub interface: Option<String>,
    /// Of meeting, and of every collective.
    pub timeout: Duration,
    /// Gloo connects the CPUs; without it tensors on the CPU go over the GPUs that [`Handle::add_gpu`]
    /// adds.
    pub gloo: bool,
}

/// What [`Handle::all_reduce`] makes of the ranks' values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduction {
    Sum,
    Max,
    Min,
}

/// A group of processes. Its collectives are called by all ranks in the same order.
#[derive(Debug)]
pub struct Handle {
    raw: *mut c_void,
    size: usize,
}

// SAFETY: c10d's store and process group may be called from any thread; the counter is atomic.
unsafe impl Send for Handle {}
unsafe impl Sync for Handle {}

impl Handle {
    /// # Errors
    /// No Gloo in this build, no store or not all ranks within the time limit.
    pub fn new(options: &Options) -> Result<Handle> {
        let [host, prefix] = [&options.host, &options.prefix].map(|text| text_for_c(text));
        let (host, prefix) = (host?, prefix?);
        let optional = |text: &Option<String>| text.as_deref().map(text_for_c).transpose();
        let (address, interface) = (optional(&options.address)?, optional(&options.interface)?);
        let pointer = |text: &Option<CString>| text.as_ref().map_or(null(), |text| text.as_ptr());
        let raw_options = ffi::GroupOptions {
            host: host.as_ptr(),
            port: options.port,
            serves: options.serves,
            prefix: prefix.as_ptr(),
            rank: number(options.rank)?,
            size: number(options.size)?,
            address: pointer(&address),
            interface_name: pointer(&interface),
            timeout_ms: milliseconds(options.timeout),
            gloo: options.gloo,
        };
        let mut raw = null_mut();
        // SAFETY: all strings live until the call is over.
        unsafe { check(ffi::arcrun_group_create(raw_options, &mut raw))? };
        Ok(Handle { raw, size: options.size })
    }

    /// Makes GPU `index` this rank's, by the shared object at `object` (libarcrun_nccl.so). Reaches no
    /// other rank.
    ///
    /// # Errors
    /// An object that is not there or of another libtorch, no CUDA, no GPU.
    pub fn add_gpu(&self, object: &Path, index: usize) -> Result<()> {
        let object = CString::new(object.as_os_str().as_encoded_bytes())
            .map_err(|_| Error::input(format!("{} holds a NUL", object.display())))?;
        let index = i32::try_from(index).unwrap_or(i32::MAX);
        // SAFETY: the group is live, the path until the call is over.
        unsafe { check(ffi::arcrun_group_add_nccl(self.raw, object.as_ptr(), index)) }
    }

    /// Connects the GPUs, which all ranks have added.
    pub fn connect_gpus(&self) -> Result<()> {
        // SAFETY: the group is live.
        unsafe { check(ffi::arcrun_group_connect_gpus(self.raw)) }
    }

    /// Makes the group's GPU, if it has one, the device of this thread.
    pub fn use_gpu(&self) -> Result<()> {
        // SAFETY: the group is live.
        unsafe { check(ffi::arcrun_group_use_gpu(self.raw)) }
    }

    /// Ends what [`Handle::connect_gpus`] began: when all collectives are done or, not `orderly`, at
    /// once. No collective may follow; without GPUs nothing is done.
    pub fn close(&self, orderly: bool) -> Result<()> {
        // SAFETY: the group is live.
        unsafe { check(ffi::arcrun_group_close(self.raw, orderly)) }
    }

    pub fn store_set(&self, key: &str, value: &[u8]) -> Result<()> {
        let key = text_for_c(key)?;
        let (value, length) = (value.as_ptr().cast(), value.len());
        // SAFETY: key and value live until the call is over.
        unsafe { check(ffi::arcrun_store_set(self.raw, key.as_ptr(), value, length)) }
    }

    /// Waits for the key.
    pub fn store_get(&self, key: &str, timeout: Duration) -> Result<Vec<u8>> {
        let key = text_for_c(key)?;
        let (mut value, mut length) = (null_mut(), 0);
        let limit = milliseconds(timeout);
        // SAFETY: on success `value` is ours, `length` bytes long.
        unsafe {
            check(ffi::arcrun_store_get(self.raw, key.as_ptr(), limit, &mut value, &mut length))?;
            let bytes = std::slice::from_raw_parts(value.cast::<u8>(), length).to_vec();
            free(value);
            Ok(bytes)
        }
    }

    /// Waits for all of the keys.
    pub fn store_wait(&self, keys: &[&str], timeout: Duration) -> Result<()> {
        let keys: Vec<CString> = keys.iter().map(|key| text_for_c(key)).collect::<Result<_>>()?;
        let keys: Vec<*const c_char> = keys.iter().map(|key| key.as_ptr()).collect();
        let limit = milliseconds(timeout);
        // SAFETY: the keys live until the call is over.
        unsafe { check(ffi::arcrun_store_wait(self.raw, keys.len(), keys.as_ptr(), limit)) }
    }

    /// In place: what rank `root` has.
    pub fn broadcast(&self, tensor: &mut Tensor, root: usize) -> Result<()> {
        // SAFETY: the tensor is live and borrowed mutably.
        unsafe { check(ffi::arcrun_broadcast(self.raw, tensor.as_mut_ptr(), root as i64)) }
    }

    /// In place.
    pub fn all_reduce(&self, tensor: &mut Tensor, reduction: Reduction) -> Result<()> {
        // SAFETY: the tensor is live and borrowed mutably; the enum's order is the header's.
        unsafe { check(ffi::arcrun_all_reduce(self.raw, tensor.as_mut_ptr(), reduction as i32)) }
    }

    /// Tensors of one shape and type, in rank order: [ranks, ...].
    pub fn all_gather(&self, tensor: &Tensor) -> Result<Tensor> {
        let out = Tensor::new();
        // SAFETY: both tensors are live; `out` is ours to write to.
        unsafe {
            let (own, all) = (tensor.as_ptr().cast_mut(), out.as_ptr().cast_mut());
            check(ffi::arcrun_all_gather(self.raw, own, all))?;
        }
        Ok(out)
    }

    pub fn barrier(&self, timeout: Duration) -> Result<()> {
        // SAFETY: the group is live.
        unsafe { check(ffi::arcrun_barrier(self.raw, milliseconds(timeout))) }
    }

    /// Bytes that this rank has sent so far, computed from the sizes of what was reduced, gathered and
    /// broadcast by the formulas of the ring algorithms.
    pub fn sent(&self) -> u64 {
        // SAFETY: the group is live.
        unsafe { ffi::arcrun_group_sent(self.raw) }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: made by the shim, given back once; nodes of a graph hold their own count.
        unsafe { ffi::arcrun_group_destroy(self.raw) }
    }
}

/// How long averaging takes, seconds: means over the backward passes that c10d timed (the first ten and
/// every twentieth of the others); all 0 before the second pass.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Times {
    /// The backward pass, until the last gradient is there.
    pub backward: f64,
    /// From the first bucket that is sent to the last that has arrived.
    pub communication: f64,
    /// The part of it before the last gradient of this rank was there.
    pub overlap: f64,
}

impl Times {
    /// The share of the communication that the backward pass hides; None where nothing was timed.
    pub fn hidden(&self) -> Option<f64> {
        (self.communication > 0.0).then(|| (self.overlap / self.communication).clamp(0.0, 1.0))
    }
}

/// c10d's reducer: sums gradients in buckets while the backward pass goes on.
#[derive(Debug)]
pub struct Reducer {
    raw: *mut c_void,
    _group: Arc<Handle>,
}

// SAFETY: it may move to another thread; it is not used from two at once without `&mut`.
unsafe impl Send for Reducer {}

impl Reducer {
    /// Of leaves that require a gradient, the same on all ranks in the same order. With `find_unused`
    /// some may get none in a backward pass.
    ///
    /// # Errors
    /// Parameters that differ between ranks.
    pub fn new(group: Arc<Handle>, parameters: &[Tensor], find_unused: bool) -> Result<Reducer> {
        let (all, mut raw) = (handles(parameters), null_mut());
        // SAFETY: the handles are live; the reducer keeps its own references to the tensors.
        unsafe {
            let (count, all) = (all.len(), all.as_ptr());
            check(ffi::arcrun_reducer_create(group.raw, count, all, find_unused, &mut raw))?;
        }
        Ok(Reducer { raw, _group: group })
    }

    /// The coming backward pass from `loss` leaves averages over the ranks.
    pub fn prepare(&mut self, loss: &Tensor) -> Result<()> {
        // SAFETY: both are live.
        unsafe { check(ffi::arcrun_reducer_prepare(self.raw, loss.as_ptr().cast_mut())) }
    }

    /// Measured so far.
    pub fn times(&self) -> Result<Times> {
        let mut times = Times::default();
        // SAFETY: the handle is live, and the struct is the shim's.
        unsafe { check(ffi::arcrun_reducer_times(self.raw, &mut times))? };
        Ok(times)
    }
}

impl Drop for Reducer {
    fn drop(&mut self) {
        // SAFETY: made by the shim, given back once.
        unsafe { ffi::arcrun_reducer_destroy(self.raw) }
    }
}

fn text_for_c(text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| Error::input(format!("{text:?} has a zero byte in it")))
}

fn number(value: usize) -> Result<i32> {
    i32::try_from(value).map_err(|_| Error::input(format!("{value} processes are too many")))
}

fn milliseconds(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}
