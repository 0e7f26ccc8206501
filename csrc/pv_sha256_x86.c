// SPDX-License-Identifier: Apache-2.0
//
// SHA-256 with the SHA extensions of x86 (Intel 64 and IA-32 Architectures Software Developer's Manual,
// volume 2, SHA256RNDS2, SHA256MSG1, SHA256MSG2).

#include "pv_sha256_block.h"

#if defined(__x86_64__) || defined(_M_X64)

#include <immintrin.h>

#ifdef _MSC_VER
#include <intrin.h>
#define WITH_SHA
#else
#include <cpuid.h>
#define WITH_SHA __attribute__((target("sha,sse4.1,ssse3")))
#endif

static void cpuid(unsigned leaf, unsigned out_registers[4]) {
#ifdef _MSC_VER
  __cpuidex((int *)out_registers, (int)leaf, 0);
#else
  __cpuid_count(leaf, 0, out_registers[0], out_registers[1], out_registers[2], out_registers[3]);
#endif
}

// The instructions work on the XMM registers, which every x86-64 system saves.
int pv_sha256_x86_available(void) {
  enum { EAX, EBX, ECX };
  unsigned registers[4];
  cpuid(0, registers);
  if (registers[EAX] < 7) return 0;
  cpuid(1, registers);
  int ssse3 = registers[ECX] >> 9 & 1, sse41 = registers[ECX] >> 19 & 1;
  cpuid(7, registers);
  int sha = registers[EBX] >> 29 & 1;
  return ssse3 && sse41 && sha;
}

// four_rounds does rounds t to t + 3 with |w|, the message words, and |k|, the constants for them.
// SHA256RNDS2 does two rounds, on a state that is split into a, b, e, f and c, d, g, h; what was abef is the
// cdgh of two rounds later.
WITH_SHA static inline void four_rounds(__m128i *abef, __m128i *cdgh, __m128i w, const uint32_t *k) {
  __m128i sum = _mm_add_epi32(w, _mm_loadu_si128((const __m128i *)k));
  *cdgh = _mm_sha256rnds2_epu32(*cdgh, *abef, sum);
  *abef = _mm_sha256rnds2_epu32(*abef, *cdgh, _mm_shuffle_epi32(sum, 0x0e));
}

// next_words makes the four message words that follow the sixteen in |w0| to |w3|.
WITH_SHA static inline __m128i next_words(__m128i w0, __m128i w1, __m128i w2, __m128i w3) {
  __m128i sum = _mm_add_epi32(_mm_sha256msg1_epu32(w0, w1), _mm_alignr_epi8(w3, w2, 4));
  return _mm_sha256msg2_epu32(sum, w3);
}

WITH_SHA static inline __m128i load_words(const uint8_t *p) {
  const __m128i big_endian = _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3);
  return _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)p), big_endian);
}

WITH_SHA void pv_sha256_x86_blocks(uint32_t state[8], const uint8_t *blocks, size_t count) {
  // From memory order to the two halves, whose letters go from the highest word to the lowest.
  __m128i cdab = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)state), 0xb1);
  __m128i efgh = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(state + 4)), 0x1b);
  __m128i abef = _mm_alignr_epi8(cdab, efgh, 8);
  __m128i cdgh = _mm_blend_epi16(efgh, cdab, 0xf0);

  for (; count > 0; count--, blocks += PV_SHA256_BLOCK) {
    const __m128i old_abef = abef, old_cdgh = cdgh;
    __m128i w0 = load_words(blocks), w1 = load_words(blocks + 16);
    __m128i w2 = load_words(blocks + 32), w3 = load_words(blocks + 48);
    for (const uint32_t *k = pv_sha256_k;; k += 16) {
      four_rounds(&abef, &cdgh, w0, k);
      four_rounds(&abef, &cdgh, w1, k + 4);
      four_rounds(&abef, &cdgh, w2, k + 8);
      four_rounds(&abef, &cdgh, w3, k + 12);
      if (k == pv_sha256_k + 48) break;
      w0 = next_words(w0, w1, w2, w3);
      w1 = next_words(w1, w2, w3, w0);
      w2 = next_words(w2, w3, w0, w1);
      w3 = next_words(w3, w0, w1, w2);
    }
    abef = _mm_add_epi32(abef, old_abef);
    cdgh = _mm_add_epi32(cdgh, old_cdgh);
  }

  __m128i feba = _mm_shuffle_epi32(abef, 0x1b), dchg = _mm_shuffle_epi32(cdgh, 0xb1);
  _mm_storeu_si128((__m128i *)state, _mm_blend_epi16(feba, dchg, 0xf0));
  _mm_storeu_si128((__m128i *)(state + 4), _mm_alignr_epi8(dchg, feba, 8));
}

#else

int pv_sha256_x86_available(void) { return 0; }

void pv_sha256_x86_blocks(uint32_t state[8], const uint8_t *blocks, size_t count) {
  (void)state, (void)blocks, (void)count;
}

#endif
