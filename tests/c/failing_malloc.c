// SPDX-License-Identifier: Apache-2.0
//
// To be preloaded by tests/test_no_memory.py: an allocator of which one allocation fails, out of those that
// one library asks for in one thread. So OpenSSL runs out of memory in the middle of a handshake, and Python
// does not.

#define _GNU_SOURCE  // RTLD_NEXT
#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>

void arm(uintptr_t start, uintptr_t end, long n);
long disarm(void);

static void *(*real_malloc)(size_t);
static void *(*real_realloc)(void *, size_t);

static _Thread_local uintptr_t library_start, library_end;
static _Thread_local long left = -1;  // allocations until one fails; negative: all succeed
static _Thread_local long asked;

// arm makes the allocation number |n| fail, from 0 on, of those that code from |start| to |end| asks for in
// this thread from now on.
void arm(uintptr_t start, uintptr_t end, long n) {
  library_start = start;
  library_end = end;
  left = n;
  asked = 0;
}

// disarm ends that, and returns how many there were.
long disarm(void) {
  library_end = 0;
  return asked;
}

static int fails(const void *caller) {
  if ((uintptr_t)caller < library_start || (uintptr_t)caller >= library_end) return 0;
  return asked++ == left;
}

void *malloc(size_t size) {
  if (real_malloc == NULL) *(void **)&real_malloc = dlsym(RTLD_NEXT, "malloc");
  return fails(__builtin_return_address(0)) ? NULL : real_malloc(size);
}

void *realloc(void *block, size_t size) {
  if (real_realloc == NULL) *(void **)&real_realloc = dlsym(RTLD_NEXT, "realloc");
  return fails(__builtin_return_address(0)) ? NULL : real_realloc(block, size);
}
