/* The smallest lock that sleeps: 0 free, 1 taken, 2 taken and somebody may sleep on it. */
#ifndef SHIM_LOCK_H
#define SHIM_LOCK_H

#include <stdatomic.h>

enum { LOCK_FREE, LOCK_TAKEN, LOCK_AWAITED, LOCK_SPINS = 100 };

static inline void shim_lock(_Atomic int *lock)
{
	/* What these locks guard takes less time than going to sleep. */
	for (int spins = 0; spins < LOCK_SPINS; spins++) {
		int expected = LOCK_FREE;
		if (atomic_compare_exchange_weak_explicit(lock, &expected, LOCK_TAKEN, memory_order_acquire,
							  memory_order_relaxed))
			return;
	}
	/* Whoever had to wait takes the lock as awaited, since it cannot know of others who wait. */
	while (atomic_exchange_explicit(lock, LOCK_AWAITED, memory_order_acquire) != LOCK_FREE)
		__builtin_wasm_memory_atomic_wait32((int *)lock, LOCK_AWAITED, -1);
}

static inline void shim_unlock(_Atomic int *lock)
{
	if (atomic_exchange_explicit(lock, LOCK_FREE, memory_order_release) == LOCK_AWAITED)
		__builtin_wasm_memory_atomic_notify((int *)lock, 1);
}

#endif
