//! Gradient checkpointing (Chen et al. 2016, arXiv:1604.06174): the forward pass keeps the inputs of
//! segments of the network instead of every activation; the backward pass runs each segment again.
//!
//! The second run is the first one to the bit: the random generators and autocast are put back to
//! where they were, and layers that keep running statistics leave them alone ([`recomputing`]), so
//! that a batch counts once. Memory falls by the activations of the segments; a step takes up to a
//! forward pass longer.

use super::ffi;
use std::any::Any;
use std::cell::Cell;
use std::ffi::{c_char, c_void};
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use tch::Tensor;
use torch_sys::C_tensor;

thread_local! {
    static AGAIN: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread runs a segment for the second time, for its gradient: what a batch moves
/// beside the weights must not move again.
pub fn recomputing() -> bool {
    AGAIN.get()
}

/// Runs `segment` on `input` and keeps nothing of it for the backward pass, which runs it again.
/// Where `input` has no graph, or gradients are off, it just runs.
///
/// The segment must be a function of its input, of parameters and of the default random generators,
/// must not change its input, and may change other state only where it is not [`recomputing`]. The
/// backward pass must be one for all parameters (`Tensor::backward`), once.
///
/// # Panics
/// Where `segment` does.
pub fn checkpointed(
    input: &Tensor,
    segment: impl Fn(&Tensor) -> Tensor + Send + 'static,
) -> Tensor {
    let boxed: Box<BoxedSegment> = Box::new(Box::new(segment));
    let raw = ffi::Segment { context: Box::into_raw(boxed).cast(), run, release };
    let output = Tensor::new();
    // SAFETY: both handles are live for the length of the call, which sets `output`; the context
    // belongs to the shim from here on, which calls `release` once.
    let result = unsafe {
        let (input, output) = (input.as_ptr().cast_mut(), output.as_ptr().cast_mut());
        ffi::check(ffi::arcrun_checkpointed(input, raw, output))
    };
    match result {
        Ok(()) => output,
        Err(error) => panic!("{error}"),
    }
}

type BoxedSegment = Box<dyn Fn(&Tensor) -> Tensor + Send>;

/// `run` of the shim's segment.
unsafe extern "C" fn run(
    context: *mut c_void,
    input: *mut C_tensor,
    again: bool,
    message: *mut c_char,
    capacity: usize,
) -> *mut C_tensor {
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let _flag = Again::set(again || recomputing());
        // SAFETY: `context` is what `checkpointed` made and `release` has not had yet; `input` is
        // live for the length of the call.
        let (segment, input) =
            unsafe { (&*context.cast::<BoxedSegment>(), Tensor::clone_from_ptr(input)) };
        segment(&input)
    }));
    match outcome {
        Ok(output) => {
            let handle = output.as_ptr().cast_mut();
            // The shim deletes it.
            std::mem::forget(output);
            handle
        }
        Err(panic) => {
            let text = text(panic.as_ref());
            let length = text.len().min(capacity.saturating_sub(1));
            // SAFETY: the shim's buffer has `capacity` bytes, all zero.
            unsafe { std::ptr::copy_nonoverlapping(text.as_ptr(), message.cast(), length) };
            std::ptr::null_mut()
        }
    }
}

/// `release` of the shim's segment.
unsafe extern "C" fn release(context: *mut c_void) {
    // SAFETY: `context` is what `checkpointed` made; this is called once.
    drop(unsafe { Box::from_raw(context.cast::<BoxedSegment>()) });
}

fn text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a segment panicked")
}

/// The thread's flag, until it is dropped.
struct Again(bool);

impl Again {
    fn set(again: bool) -> Self {
        Again(AGAIN.replace(again))
    }
}

impl Drop for Again {
    fn drop(&mut self) {
        AGAIN.set(self.0);
    }
}

/// Blocks of a network that run one after the other and may be recomputed, so many at a time.
#[derive(Debug)]
pub struct Sequence<B> {
    blocks: Shared<B>,
    /// Blocks of a segment; 0: nothing is recomputed.
    every: usize,
}

/// The blocks, which segments in a graph hold too.
#[derive(Debug)]
struct Shared<B>(Arc<Vec<B>>);

// SAFETY: tensors may be sent but not shared. A graph's segments use and drop the blocks on a thread
// of libtorch's only while the thread that the network belongs to waits for the backward pass; what
// is counted, here and in libtorch, is counted atomically.
unsafe impl<B: Send> Send for Shared<B> {}

impl<B> Shared<B> {
    fn blocks(&self) -> &[B] {
        &self.0
    }
}

impl<B: Send + 'static> Sequence<B> {
    /// None of them recomputed.
    pub fn new(blocks: Vec<B>) -> Self {
        #[allow(clippy::arc_with_non_send_sync, reason = "see Shared")]
        let blocks = Shared(Arc::new(blocks));
        Sequence { blocks, every: 0 }
    }

    /// From now on the backward pass recomputes `every` blocks at a time; 0: none.
    pub fn recompute(&mut self, every: usize) {
        self.every = every;
    }

    /// `block` of each, in order.
    pub fn forward(
        &self,
        input: Tensor,
        block: impl Fn(&B, &Tensor) -> Tensor + Clone + Send + 'static,
    ) -> Tensor {
        let (mut x, mut next) = (input, 0);
        while next < self.len() {
            // Frozen blocks at the beginning keep nothing anyway, and the first that trains has an
            // input without a graph, which a recomputation could not be hung on.
            if self.every == 0 || !x.requires_grad() {
                x = block(&self[next], &x);
                next += 1;
                continue;
            }
            let range = next..self.len().min(next + self.every);
            next = range.end;
            let (shared, block) = (Shared(Arc::clone(&self.blocks.0)), block.clone());
            x = checkpointed(&x, move |input| {
                let blocks = &shared.blocks()[range.clone()];
                blocks.iter().fold(input.shallow_clone(), |x, each| block(each, &x))
            });
        }
        x
    }
}

impl<B> Deref for Sequence<B> {
    type Target = [B];

    fn deref(&self) -> &[B] {
        self.blocks.blocks()
    }
}
