//! The allocator of the C library.

/// Gives free memory back to the system. Only glibc has to be asked.
pub(super) fn trim() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it has no precondition, and may be called on any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}
