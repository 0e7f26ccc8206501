// SPDX-License-Identifier: Apache-2.0
//
// Comparison, and the set of digests: what is in it is found, and what differs in one bit is not.

#include "check.h"

#include <errno.h>

#include "pv_ct.h"
#include "pv_pinset.h"
#include "pv_sha256.h"

#define MOST 100000

static uint8_t digests[MOST + 1][32];  // one more, which is in no set

// fill makes |count| digests that look like SHA-256's, because they are.
static void fill(uint32_t count) {
  for (uint32_t i = 0; i < count; i++) pv_sha256((const uint8_t *)&i, sizeof i, digests[i]);
}

static void test_equality(void) {
  uint8_t a[32], b[32];
  memcpy(a, digests[0], 32);
  memcpy(b, a, 32);
  CHECK(pv_ct_equal32(a, b) == 1);
  for (int bit = 0; bit < 256; bit++) {
    b[bit / 8] ^= (uint8_t)(1 << bit % 8);
    CHECK(pv_ct_equal32(a, b) == 0 && pv_ct_equal32(b, a) == 0);
    b[bit / 8] ^= (uint8_t)(1 << bit % 8);
  }
  memset(a, 0, 32);
  memset(b, 0xff, 32);
  CHECK(pv_ct_equal32(a, b) == 0 && pv_ct_equal32(a, a) == 1 && pv_ct_equal32(b, b) == 1);
}

// holds says whether the set finds |digest|, and no digest that differs from it in one bit. It reads 32 bytes
// and no more.
static int holds(const struct pv_pinset *set, const uint8_t digest[32]) {
  uint8_t *near = guarded(digest, 32);
  for (int bit = 0; bit < 256; bit++) {
    near[bit / 8] ^= (uint8_t)(1 << bit % 8);
    CHECK(!pv_pinset_contains(set, near));
    near[bit / 8] ^= (uint8_t)(1 << bit % 8);
  }
  return pv_pinset_contains(set, near);
}

static void test_sizes(void) {
  static const size_t sizes[] = {1, 2, 3, 4, 5, 7, 8, 9, 1000, 1024, MOST};
  static const uint64_t seeds[] = {0, 1, 2, UINT64_MAX, 0x8000000000000000U, 0x0123456789abcdefU};
  for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
    size_t size = sizes[s], step = size / 50 + 1;
    for (size_t k = 0; k < sizeof seeds / sizeof seeds[0]; k++) {
      struct pv_pinset set;
      CHECK(pv_pinset_build(digests[0], size, seeds[k], &set));
      // What the time of a look-up rests on: an odd multiplier, and from one to two buckets for each digest.
      size_t buckets = (size_t)1 << set.bits;
      CHECK((set.key & 1) == 1 && buckets >= size && buckets < 2 * size);
      CHECK(set.count == size && set.starts[buckets] == size);
      for (size_t i = 0; i < size; i += step) CHECK(holds(&set, digests[i]));
      CHECK(pv_pinset_contains(&set, digests[size - 1]));
      CHECK(!pv_pinset_contains(&set, digests[size]));
      pv_pinset_free(&set);
      CHECK(set.count == 0 && set.starts == NULL && set.digests == NULL);
      CHECK(!pv_pinset_contains(&set, digests[0]));
    }
  }
}

static void test_empty(void) {
  struct pv_pinset set;
  memset(&set, 0, sizeof set);
  CHECK(!pv_pinset_contains(&set, digests[0]));
  memset(&set, 0xff, sizeof set);
  CHECK(pv_pinset_build(digests[0], 0, 7, &set));
  CHECK(!pv_pinset_contains(&set, digests[0]));
  pv_pinset_free(&set);
}

// All in one bucket, whatever the key: the digests share the eight bytes that choose it.
static void test_one_bucket(void) {
  static uint8_t alike[500][32];
  struct pv_pinset set;
  for (uint32_t i = 0; i < 500; i++) {
    memset(alike[i], 0x5a, 32);
    memcpy(alike[i] + 28, &i, sizeof i);
  }
  CHECK(pv_pinset_build(alike[0], 499, 12345, &set));
  for (int i = 0; i < 499; i++) CHECK(pv_pinset_contains(&set, alike[i]));
  CHECK(!pv_pinset_contains(&set, alike[499]));
  pv_pinset_free(&set);
}

// Copies of a digest are no hindrance. The set has its own of all of them: what it was built from ends at a
// page that is not mapped, and is overwritten by the look-ups.
static void test_repetitions(void) {
  uint8_t some[7][32];
  struct pv_pinset set;
  for (int i = 0; i < 7; i++) memcpy(some[i], digests[i % 3 == 0], 32);
  CHECK(pv_pinset_build(guarded(some, sizeof some), 7, 99, &set));
  CHECK(holds(&set, digests[0]) && holds(&set, digests[1]) && !pv_pinset_contains(&set, digests[2]));
  pv_pinset_free(&set);
  for (int i = 0; i < 7; i++) memcpy(some[i], digests[0], 32);
  CHECK(pv_pinset_build(guarded(some, sizeof some), 7, 99, &set));
  CHECK(holds(&set, digests[0]) && !pv_pinset_contains(&set, digests[1]));
  pv_pinset_free(&set);
}

// Too many are refused ahead of any look at the digests, and ahead of asking for memory, which would fail
// with ENOMEM.
static void test_too_many(void) {
  static const size_t counts[] = {(size_t)1 << 31, UINT32_MAX, SIZE_MAX};
  for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
    struct pv_pinset set = {.count = 77};
    errno = 0;
    CHECK(!pv_pinset_build(NULL, counts[i], 1, &set));
    CHECK(set.count == 77 && errno == 0);
  }
}

int main(void) {
  fill(MOST + 1);
  test_equality();
  test_sizes();
  test_empty();
  test_one_bucket();
  test_repetitions();
  test_too_many();
  return check_summary();
}
