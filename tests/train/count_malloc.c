/* Stands before the C library's allocator in a process of a test: counts large allocations while
   counting is on, and follows how many bytes of them are live. */
#define _GNU_SOURCE
#include <errno.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stddef.h>

void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);
void* __libc_memalign(size_t, size_t);
void __libc_free(void*);

static atomic_size_t large = (size_t)-1;
static atomic_long count, live, peak;

static void* made(void* block, size_t size) {
  if (block && size >= large) {
    atomic_fetch_add(&count, 1);
    long now =
        atomic_fetch_add(&live, (long)malloc_usable_size(block)) + (long)malloc_usable_size(block);
    long old = atomic_load(&peak);
    while (now > old && !atomic_compare_exchange_weak(&peak, &old, now)) {
    }
  }
  return block;
}
static void gone(void* block) {
  if (block && malloc_usable_size(block) >= large)
    atomic_fetch_sub(&live, (long)malloc_usable_size(block));
}

/* From now on blocks of `size` bytes and more are large. */
void count_from(size_t size) {
  count = live = peak = 0;
  large = size;
}
long counted(void) {
  return count;
}
void count_again(void) {
  count = 0;
}
long peak_bytes(void) {
  return peak;
}

void* malloc(size_t n) {
  return made(__libc_malloc(n), n);
}
void* calloc(size_t n, size_t size) {
  return made(__libc_calloc(n, size), n * size);
}
void* realloc(void* block, size_t n) {
  gone(block);
  return made(__libc_realloc(block, n), n);
}
void* memalign(size_t alignment, size_t n) {
  return made(__libc_memalign(alignment, n), n);
}
void* aligned_alloc(size_t alignment, size_t n) {
  return memalign(alignment, n);
}
int posix_memalign(void** to, size_t alignment, size_t n) {
  *to = memalign(alignment, n);
  return *to ? 0 : ENOMEM;
}
void free(void* block) {
  gone(block);
  __libc_free(block);
}
