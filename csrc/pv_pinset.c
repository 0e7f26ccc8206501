// SPDX-License-Identifier: Apache-2.0

#include "pv_pinset.h"

#include <stdlib.h>
#include <string.h>

#include "pv_ct.h"

// bucket_of is multiply-shift hashing: with a random odd multiplier two digests meet in one of 2^bits buckets
// with a chance of at most 2 / 2^bits (Dietzfelbinger et al., "A Reliable Randomized Algorithm for the
// Closest-Pair Problem", 1997). The digest's first eight bytes suffice: it comes from SHA-256.
static uint32_t bucket_of(const struct pv_pinset *set, const uint8_t digest[32]) {
  uint64_t word;
  memcpy(&word, digest, sizeof word);
  return (uint32_t)((word * set->key) >> 32 >> (32 - set->bits));
}

static PV_MUST_USE int allocate(struct pv_pinset *set) {
  size_t buckets = (size_t)1 << set->bits;
  set->starts = calloc(buckets + 1, sizeof *set->starts);
  set->digests = malloc((size_t)set->count * sizeof *set->digests);
  if (set->starts != NULL && set->digests != NULL) return 1;
  pv_pinset_free(set);
  return 0;
}

int pv_pinset_build(const uint8_t *digests, size_t count, uint64_t seed, struct pv_pinset *out_set) {
  struct pv_pinset set = {.key = seed | 1, .count = (uint32_t)count};
  if (count == 0) {
    *out_set = set;
    return 1;
  }
  if (count >= (size_t)1 << 31) return 0;
  while ((size_t)1 << set.bits < count) set.bits++;
  if (!allocate(&set)) return 0;

  // A counting sort. |starts| goes through three meanings: the size of each bucket, then its end, and, as the
  // digests are put in from the back of their bucket, its start.
  size_t buckets = (size_t)1 << set.bits;
  for (size_t i = 0; i < count; i++) set.starts[bucket_of(&set, digests + 32 * i)]++;
  for (size_t b = 1; b <= buckets; b++) set.starts[b] += set.starts[b - 1];
  for (size_t i = 0; i < count; i++) {
    const uint8_t *digest = digests + 32 * i;
    memcpy(set.digests[--set.starts[bucket_of(&set, digest)]], digest, 32);
  }
  *out_set = set;
  return 1;
}

int pv_pinset_contains(const struct pv_pinset *set, const uint8_t digest[32]) {
  if (set->count == 0) return 0;
  uint32_t bucket = bucket_of(set, digest), found = 0;
  for (uint32_t i = set->starts[bucket]; i < set->starts[bucket + 1]; i++)
    found |= pv_ct_equal32(set->digests[i], digest);
  return (int)found;
}

void pv_pinset_free(struct pv_pinset *set) {
  free(set->starts);
  free(set->digests);
  memset(set, 0, sizeof *set);
}
