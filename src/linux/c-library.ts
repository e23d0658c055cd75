import koffi from 'koffi';

/**
 * Calls on other threads at a time; the pool has fewer threads. koffi keeps memory for this many (resident_async_pools has
 * no larger value), the smallest that it has: one beyond would cost an allocation, which takes longer than the call.
 */
export const mostCalls = 32;
// To be said before anything is loaded.
koffi.config({ resident_async_pools: mostCalls, async_stack_size: 64 << 10, async_heap_size: 64 << 10 });

/** The C library that this process was linked with. */
export const libc = koffi.load(null);
