// SPDX-License-Identifier: Apache-2.0
//
// SHA-256 with the Cryptographic Extension of ARMv8 (Arm Architecture Reference Manual for A-profile,
// SHA256H, SHA256H2, SHA256SU0, SHA256SU1).

#include "pv_sha256_block.h"

// Clang before 16 declares the intrinsics only where the whole file is compiled for the extension.
#if defined(__aarch64__) && !defined(__AARCH64EB__) && \
    (defined(__ARM_FEATURE_SHA2) || !defined(__clang__) || __clang_major__ >= 16)

#include <arm_neon.h>

#ifdef __linux__
#include <sys/auxv.h>
#define HWCAP_BIT_SHA2 (1UL << 6)  // HWCAP_SHA2, Linux arch/arm64/include/uapi/asm/hwcap.h
#endif

#ifdef __clang__
#define WITH_SHA2 __attribute__((target("sha2")))
#else
#define WITH_SHA2 __attribute__((target("+crypto")))
#endif

int pv_sha256_arm_available(void) {
#if defined(__linux__)
  return (getauxval(AT_HWCAP) & HWCAP_BIT_SHA2) != 0;
#elif defined(__APPLE__)
  return 1;  // every 64-bit ARM of Apple's since the A7
#else
  return 0;
#endif
}

// four_rounds does rounds t to t + 3 with |w|, the message words, and |k|, the constants for them.
WITH_SHA2 static inline void four_rounds(uint32x4_t *abcd, uint32x4_t *efgh, uint32x4_t w,
                                         const uint32_t *k) {
  uint32x4_t sum = vaddq_u32(w, vld1q_u32(k)), old_abcd = *abcd;
  *abcd = vsha256hq_u32(*abcd, *efgh, sum);
  *efgh = vsha256h2q_u32(*efgh, old_abcd, sum);
}

// next_words makes the four message words that follow the sixteen in |w0| to |w3|.
WITH_SHA2 static inline uint32x4_t next_words(uint32x4_t w0, uint32x4_t w1, uint32x4_t w2, uint32x4_t w3) {
  return vsha256su1q_u32(vsha256su0q_u32(w0, w1), w2, w3);
}

WITH_SHA2 static inline uint32x4_t load_words(const uint8_t *p) {
  return vreinterpretq_u32_u8(vrev32q_u8(vld1q_u8(p)));
}

WITH_SHA2 void pv_sha256_arm_blocks(uint32_t state[8], const uint8_t *blocks, size_t count) {
  uint32x4_t abcd = vld1q_u32(state), efgh = vld1q_u32(state + 4);
  for (; count > 0; count--, blocks += PV_SHA256_BLOCK) {
    const uint32x4_t old_abcd = abcd, old_efgh = efgh;
    uint32x4_t w0 = load_words(blocks), w1 = load_words(blocks + 16);
    uint32x4_t w2 = load_words(blocks + 32), w3 = load_words(blocks + 48);
    for (const uint32_t *k = pv_sha256_k;; k += 16) {
      four_rounds(&abcd, &efgh, w0, k);
      four_rounds(&abcd, &efgh, w1, k + 4);
      four_rounds(&abcd, &efgh, w2, k + 8);
      four_rounds(&abcd, &efgh, w3, k + 12);
      if (k == pv_sha256_k + 48) break;
      w0 = next_words(w0, w1, w2, w3);
      w1 = next_words(w1, w2, w3, w0);
      w2 = next_words(w2, w3, w0, w1);
      w3 = next_words(w3, w0, w1, w2);
    }
    abcd = vaddq_u32(abcd, old_abcd);
    efgh = vaddq_u32(efgh, old_efgh);
  }
  vst1q_u32(state, abcd);
  vst1q_u32(state + 4, efgh);
}

#else

int pv_sha256_arm_available(void) { return 0; }

void pv_sha256_arm_blocks(uint32_t state[8], const uint8_t *blocks, size_t count) {
  (void)state, (void)blocks, (void)count;
}

#endif
