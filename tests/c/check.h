// SPDX-License-Identifier: Apache-2.0
//
// The little that the C tests share. A test program is a main() that returns check_summary().

#ifndef CHECK_H
#define CHECK_H

#define _DEFAULT_SOURCE  // MAP_ANONYMOUS is not in C11 or POSIX; this header goes first

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static unsigned long check_done, check_failed;

// CHECK_NAMED counts a condition, and prints it with the name of the case if it does not hold. The first few
// failures are enough to read.
#define CHECK_NAMED(condition, name)                                                      \
  do {                                                                                    \
    check_done++;                                                                         \
    if (!(condition) && check_failed++ < 20) {                                            \
      fprintf(stderr, "%s:%d: failed: %s: %s\n", __FILE__, __LINE__, (name), #condition); \
    }                                                                                     \
  } while (0)

// CHECK is for lines that are run for one case.
#define CHECK(condition) CHECK_NAMED(condition, "")

// check_summary prints the outcome and returns the exit status of the program.
static inline int check_summary(void) {
  if (check_failed != 0) {
    printf("FAILED %lu of %lu checks\n", check_failed, check_done);
    return 1;
  }
  printf("ok, %lu checks\n", check_done);
  return check_done == 0;
}

// guarded copies |len| bytes to where the byte after the last one is not mapped: whoever reads on crashes.
// The memory is used again by the next call, and is enough for 2 MiB.
static inline uint8_t *guarded(const void *data, size_t len) {
  static uint8_t *end;
  const size_t room = 2 << 20;
  if (end == NULL) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uint8_t *start = mmap(NULL, room + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (start == MAP_FAILED || mprotect(start + room, page, PROT_NONE) != 0) abort();
    end = start + room;
  }
  if (len > room) abort();
  if (len != 0) memcpy(end - len, data, len);
  return end - len;
}

#endif  // CHECK_H
