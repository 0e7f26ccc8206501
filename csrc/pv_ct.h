// SPDX-License-Identifier: Apache-2.0
//
// Comparison in constant time.
//
// What is promised: in pv_ct_equal32 no branch and no address depends on the bytes compared. It is a fixed
// run of loads, XOR, OR, one subtraction and one shift, so its time does not depend on their values either.
//
// What is not: the result. The caller branches on it, and the handshake goes on or fails for all to see.
// pv_pinset.h says what holds of a look-up in a set. pv_decide stops at the certificate that settles the
// verdict, so its time may show which certificate of the chain that was, and whether the pin is one of a key
// or of a certificate.
//
// Why little depends on it: a pin is no key. It is the hash of a public key, which a server shows to whoever
// connects, and knowing it helps nobody to a key that fits. A pin is private only where the key has not been
// shown yet: a backup, or those of a server's clients. A comparison that stops at the first difference would
// tell a peer how much of such a pin its own hash shares, for each further octet at the price of 256 times as
// many keys. One that does not stop takes no more code, so nobody has to weigh that.
//
// tests/ct shows it of what GCC and Clang make of this, by Valgrind, at several levels of optimisation. Of
// other compilers nothing is shown.

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
