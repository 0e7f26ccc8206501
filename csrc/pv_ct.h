// SPDX-License-Identifier: Apache-2.0
//
// Comparison in constant time.
//
// What is promised: the time and the memory accesses of pv_ct_equal32 do not depend on the values of the
// bytes compared. Whether they were equal is no secret: the handshake goes on or fails. Pins are hashes of
// public keys, so little hangs on their secrecy; but a set of client keys can be private, and a comparison
// that tells nobody where two digests part is as simple as one that does.

#ifndef PV_CT_H
#define PV_CT_H

#include <stdint.h>

#include "pv_slice.h"

// pv_ct_barrier hides from the optimiser where |x| came from, so that it cannot turn the mask arithmetic into
// a branch.
static inline uint32_t pv_ct_barrier(uint32_t x) {
#if defined(__GNUC__) || defined(__clang__)
  __asm__("" : "+r"(x));
  return x;
#else
  volatile uint32_t hidden = x;
  return hidden;
#endif
}

// pv_ct_equal32 returns 1 if the 32 bytes at |a| and |b| are the same, else 0.
static inline PV_MUST_USE uint32_t pv_ct_equal32(const uint8_t a[32], const uint8_t b[32]) {
  uint32_t difference = 0;
  for (int i = 0; i < 32; i++) difference |= (uint32_t)(a[i] ^ b[i]);
  return (pv_ct_barrier(difference) - 1) >>
         31;  // |difference| is under 256: only 0 wraps round to the top bit
}

#endif  // PV_CT_H
