//! The allocator of the C library.

/// Gives free memory back to the system. Only glibc has to be asked.
pub(super) fn trim() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it has no precondition, and may be called on any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Has all threads allocate from one heap. By default glibc makes as many as eight for each processor.
pub(super) fn share_heap() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it has no precondition. A value that glibc does not accept is ignored.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}
