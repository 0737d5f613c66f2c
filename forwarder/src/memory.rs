//! Memory that was used once and is not any more is given back to the node.
#![allow(unsafe_code, reason = "no safe wrapper of the call exists")]

/// Gives back what the allocator keeps of freed memory: glibc's keeps all but what is at the end of its heap.
///
/// Costs a walk through the heap: not for the hot path.
pub(crate) fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes no pointer, and may be called at any time from any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}
