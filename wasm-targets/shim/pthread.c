/* Threads for a C library that has only the names of them, on the host's one call for it,
 * `wasi.thread-spawn`: what Rust's standard library asks of pthreads, and no more.
 *
 * A thread is one piece of memory from malloc:
 *
 *     | struct thread, 64 bytes | thread-local storage |        stack  <--- |
 *     ^ pthread_t                                              stack_top -> ^
 *
 * It is freed by whoever joins the thread. A detached thread cannot free the stack it stands on, so
 * the next pthread_create frees it after its end. See thread_start.s for a thread's first and last
 * instructions.
 */
#include <errno.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "lock.h"

/* The first four and the last two fields stand where WASIX hosts look for them: they take the start
 * pointer for a struct of theirs of this very size. */
struct thread {
	void *stack_top;
	void *tls;
	void *(*function)(void *);
	void *argument;
	_Atomic int exited;
	void *result;
	struct thread *next_detached;
	int unused[7];
	size_t stack_size;
	size_t guard_size;
};
_Static_assert(sizeof(struct thread) == 64, "WASIX hosts read 64 bytes");
_Static_assert(offsetof(struct thread, stack_top) == 0, "thread_start.s");
_Static_assert(offsetof(struct thread, tls) == 4, "thread_start.s");
_Static_assert(offsetof(struct thread, exited) == 16, "thread_start.s");

typedef struct thread *pthread_t;
typedef unsigned pthread_key_t;

/* Callers reserve more than this for it. */
typedef struct {
	size_t stack_size;
} pthread_attr_t;

enum {
	STACK_SIZE_DEFAULT = 2 * 1024 * 1024,
	STACK_SIZE_MIN = 16 * 1024,
	STACK_ALIGN = 16,
	KEYS_MAX = 128,
	/* As POSIX has it: destructors that set values again get this many rounds. */
	DESTRUCTOR_ROUNDS = 4,
};

__attribute__((import_module("wasi"), import_name("thread-spawn"))) int host_thread_spawn(void *start);

/* The new thread's first instructions are part of this file, since nothing but the host refers to
 * them, and the linker takes no file from a library that nobody refers to. */
__asm__(".include \"thread_start.s\"");

static struct thread main_thread;
static _Thread_local struct thread *current_thread = &main_thread;

/* Keys. A deleted key's number is not given out again, so no thread can find an old value under a
 * new key; Rust makes one key for the whole program. */
static _Atomic unsigned keys_used;
static void (*_Atomic key_destructors[KEYS_MAX])(void *);
static _Thread_local void *key_values[KEYS_MAX];

int pthread_key_create(pthread_key_t *key, void (*destructor)(void *))
{
	unsigned new_key = atomic_fetch_add(&keys_used, 1);
	if (new_key >= KEYS_MAX) {
		atomic_fetch_sub(&keys_used, 1);
		return EAGAIN;
	}
	atomic_store(&key_destructors[new_key], destructor);
	*key = new_key;
	return 0;
}

int pthread_key_delete(pthread_key_t key)
{
	atomic_store(&key_destructors[key], NULL);
	return 0;
}

void *pthread_getspecific(pthread_key_t key)
{
	return key_values[key];
}

int pthread_setspecific(pthread_key_t key, const void *value)
{
	key_values[key] = (void *)value;
	return 0;
}

static void run_key_destructors(void)
{
	int again = 1;
	for (int round = 0; again && round < DESTRUCTOR_ROUNDS; round++) {
		again = 0;
		for (unsigned key = 0; key < KEYS_MAX; key++) {
			void *value = key_values[key];
			void (*destructor)(void *) = atomic_load(&key_destructors[key]);
			key_values[key] = NULL;
			if (value && destructor) {
				destructor(value);
				again = 1;
			}
		}
	}
}

/* Threads that were detached and are not freed yet. */
static _Atomic int detached_lock;
static struct thread *detached;

static void free_exited_detached(void)
{
	shim_lock(&detached_lock);
	struct thread **link = &detached;
	while (*link) {
		struct thread *thread = *link;
		if (atomic_load(&thread->exited)) {
			*link = thread->next_detached;
			free(thread);
		} else {
			link = &thread->next_detached;
		}
	}
	shim_unlock(&detached_lock);
}

int pthread_attr_init(pthread_attr_t *attributes)
{
	attributes->stack_size = STACK_SIZE_DEFAULT;
	return 0;
}

int pthread_attr_destroy(pthread_attr_t *attributes)
{
	(void)attributes;
	return 0;
}

int pthread_attr_setstacksize(pthread_attr_t *attributes, size_t size)
{
	if (size < STACK_SIZE_MIN || size > SIZE_MAX / 4)
		return EINVAL;
	attributes->stack_size = size;
	return 0;
}

static uintptr_t align_up(uintptr_t value, uintptr_t alignment)
{
	return (value + alignment - 1) & ~(alignment - 1);
}

int pthread_create(pthread_t *result, const pthread_attr_t *attributes, void *(*function)(void *), void *argument)
{
	free_exited_detached();

	size_t tls_align = __builtin_wasm_tls_align();
	size_t block_align = tls_align > STACK_ALIGN ? tls_align : STACK_ALIGN;
	size_t stack_size = align_up(attributes ? attributes->stack_size : STACK_SIZE_DEFAULT, STACK_ALIGN);
	size_t tls_at = align_up(sizeof(struct thread), block_align);
	size_t stack_at = align_up(tls_at + __builtin_wasm_tls_size(), STACK_ALIGN);

	void *block;
	if (posix_memalign(&block, block_align, stack_at + stack_size))
		return EAGAIN;
	struct thread *thread = block;
	*thread = (struct thread){
		.stack_top = (char *)block + stack_at + stack_size,
		.tls = (char *)block + tls_at,
		.function = function,
		.argument = argument,
		.stack_size = stack_size,
	};
	*result = thread;
	if (host_thread_spawn(thread) <= 0) {
		free(thread);
		return EAGAIN;
	}
	return 0;
}

/* Called by thread_start.s once the new thread has its stack and its thread-local storage. */
void shim_thread_run(struct thread *thread)
{
	current_thread = thread;
	thread->result = thread->function(thread->argument);
	run_key_destructors();
}

int pthread_join(pthread_t thread, void **result)
{
	while (!atomic_load(&thread->exited))
		__builtin_wasm_memory_atomic_wait32((int *)&thread->exited, 0, -1);
	if (result)
		*result = thread->result;
	free(thread);
	return 0;
}

int pthread_detach(pthread_t thread)
{
	shim_lock(&detached_lock);
	thread->next_detached = detached;
	detached = thread;
	shim_unlock(&detached_lock);
	return 0;
}

pthread_t pthread_self(void)
{
	return current_thread;
}
