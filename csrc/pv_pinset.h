// SPDX-License-Identifier: Apache-2.0
//
// A set of 32-byte digests, immutable once built.
//
// The digests lie in buckets chosen by a keyed hash, about one digest a bucket, whoever chose the digests. A
// look-up scans the whole of one bucket.
//
// What is promised of a look-up: no branch and no address depends on the digests of the set. Which digest of
// the bucket matched, whether several did, and where two digests differ, show neither in time nor in memory
// accesses (pv_ct.h says how that is compared, why it matters little, and what shows it).
//
// What may show: that the set is empty; which bucket is read, a function of the set's random key and of the
// presented digest, which the peer knows already; and how many digests are in it. A peer that can measure
// this for many digests of its own learns about how large the set is, and of a pin at most in which bucket it
// lies, which means nothing to whoever does not know the key. The result is the caller's to show.
//
// Building is not in constant time: it puts each digest in its place, once, ahead of any peer.

#ifndef PV_PINSET_H
#define PV_PINSET_H

#include "pv_slice.h"

// pv_pinset owns its two arrays. A zeroed one is the empty set.
struct pv_pinset {
  uint64_t key;            // odd: the multiplier of the hash
  uint32_t count;          // digests
  uint32_t bits;           // there are 2^bits buckets
  uint32_t *starts;        // bucket b is digests starts[b] up to starts[b + 1]
  uint8_t (*digests)[32];  // ordered by bucket
};

// pv_pinset_build makes |*out_set| the set of the |count| digests that lie one behind the other at |digests|;
// they are copied. |seed| should be random. It returns 1, or 0 if memory ran out or there are 2^31 digests or
// more; then |*out_set| is untouched. The caller owes the set a pv_pinset_free.
PV_MUST_USE int pv_pinset_build(const uint8_t *digests, size_t count, uint64_t seed,
                                struct pv_pinset *out_set);

// pv_pinset_contains returns 1 if |digest| is in |*set|, else 0.
PV_MUST_USE int pv_pinset_contains(const struct pv_pinset *set, const uint8_t digest[32]);

// pv_pinset_free gives back what |*set| owns and leaves it empty.
void pv_pinset_free(struct pv_pinset *set);

#endif  // PV_PINSET_H
