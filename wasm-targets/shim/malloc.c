/* The malloc family, safe to call from several threads: Rust's default allocator on WASI is malloc,
 * and the one in this C library knows of one thread only.
 *
 * Its source is compiled again here under other names (ALLOCATOR_SOURCE is its file, emmalloc), and
 * the real names take one lock around it, as wasi-libc does for its threads. The headers come
 * first, so that only the definitions are renamed.
 */
#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <memory.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lock.h"

#define malloc unlocked_malloc
#define free unlocked_free
#define calloc unlocked_calloc
#define realloc unlocked_realloc
#define aligned_alloc unlocked_aligned_alloc
#define posix_memalign unlocked_posix_memalign
#define malloc_usable_size unlocked_malloc_usable_size
#include ALLOCATOR_SOURCE
#undef malloc
#undef free
#undef calloc
#undef realloc
#undef aligned_alloc
#undef posix_memalign
#undef malloc_usable_size

static _Atomic int heap_lock;

#define WITH_HEAP(type, expression)            \
	shim_lock(&heap_lock);                 \
	type result = (expression);            \
	shim_unlock(&heap_lock);               \
	return result

void *malloc(size_t size)
{
	WITH_HEAP(void *, unlocked_malloc(size));
}

void free(void *block)
{
	shim_lock(&heap_lock);
	unlocked_free(block);
	shim_unlock(&heap_lock);
}

/* Clears the memory outside the lock. */
void *calloc(size_t count, size_t size)
{
	size_t total;
	if (__builtin_mul_overflow(count, size, &total)) {
		errno = ENOMEM;
		return NULL;
	}
	void *block = malloc(total);
	return block ? memset(block, 0, total) : NULL;
}

void *realloc(void *block, size_t size)
{
	WITH_HEAP(void *, unlocked_realloc(block, size));
}

void *aligned_alloc(size_t alignment, size_t size)
{
	WITH_HEAP(void *, unlocked_aligned_alloc(alignment, size));
}

int posix_memalign(void **block, size_t alignment, size_t size)
{
	WITH_HEAP(int, unlocked_posix_memalign(block, alignment, size));
}

size_t malloc_usable_size(void *block)
{
	WITH_HEAP(size_t, unlocked_malloc_usable_size(block));
}
