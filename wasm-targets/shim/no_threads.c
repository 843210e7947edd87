/* Rust's standard library names the pthread calls on targets without threads too, and this C library
 * lacks even the names. No thread can be made there, so only what comes before that does anything. */
#include <errno.h>
#include <stddef.h>

int pthread_attr_init(void *attributes)
{
	(void)attributes;
	return 0;
}

int pthread_attr_destroy(void *attributes)
{
	(void)attributes;
	return 0;
}

int pthread_attr_setstacksize(void *attributes, size_t size)
{
	(void)attributes, (void)size;
	return 0;
}

int pthread_create(void *result, const void *attributes, void *(*function)(void *), void *argument)
{
	(void)result, (void)attributes, (void)function, (void)argument;
	return EAGAIN;
}

int pthread_join(void *thread, void **result)
{
	(void)thread, (void)result;
	return ESRCH;
}

int pthread_detach(void *thread)
{
	(void)thread;
	return ESRCH;
}
