# Where a new thread begins: the host makes a fresh instance of the module on a thread of its own
# and calls this export with the thread's id and the control block that was given to thread-spawn.
#
# Compiled code needs a stack and thread-local storage, and a fresh instance has neither: its stack
# pointer is the main thread's. So both are set up here, before any compiled code runs.
#
# The end is as delicate: once `exited` is set, another thread may free the block, and with it this
# thread's stack. Therefore the flag is stored after the last compiled code has returned, and what
# follows touches the block's address only, which a waiter may compare and nobody reads.
#
# The offsets are those of struct thread in pthread.c, which asserts them.

	.globaltype	__stack_pointer, i32
	.functype	__wasm_init_tls (i32) -> ()
	.functype	shim_thread_run (i32) -> ()

	.section	.text.wasi_thread_start,"",@
	.globl	wasi_thread_start
	.export_name	wasi_thread_start, wasi_thread_start
	.type	wasi_thread_start,@function
wasi_thread_start:
	.functype	wasi_thread_start (i32, i32) -> ()
	# __stack_pointer = thread->stack_top
	local.get	1
	i32.load	0
	global.set	__stack_pointer
	# Copies the initial values into thread->tls and makes it the thread-local storage.
	local.get	1
	i32.load	4
	call	__wasm_init_tls
	local.get	1
	call	shim_thread_run
	# thread->exited = 1, and wake whoever joins.
	local.get	1
	i32.const	1
	i32.atomic.store	16
	local.get	1
	i32.const	-1
	memory.atomic.notify	16
	drop
	end_function
