// SPDX-License-Identifier: Apache-2.0

#include "pv_sha256.h"

#include <string.h>

#include "pv_sha256_block.h"

const uint32_t pv_sha256_k[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

// The functions of FIPS 180-4 4.1.2, with its names.
static uint32_t rotr(uint32_t x, int n) { return x >> n | x << (32 - n); }
static uint32_t ch(uint32_t x, uint32_t y, uint32_t z) { return z ^ (x & (y ^ z)); }
static uint32_t maj(uint32_t x, uint32_t y, uint32_t z) { return (x & y) | (z & (x | y)); }
static uint32_t big_sigma0(uint32_t x) { return rotr(x, 2) ^ rotr(x, 13) ^ rotr(x, 22); }
static uint32_t big_sigma1(uint32_t x) { return rotr(x, 6) ^ rotr(x, 11) ^ rotr(x, 25); }
static uint32_t small_sigma0(uint32_t x) { return rotr(x, 7) ^ rotr(x, 18) ^ x >> 3; }
static uint32_t small_sigma1(uint32_t x) { return rotr(x, 17) ^ rotr(x, 19) ^ x >> 10; }

static uint32_t load_be32(const uint8_t *p) {
  return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | (uint32_t)p[3];
}

static void store_be32(uint32_t x, uint8_t *p) {
  for (int i = 0; i < 4; i++) p[i] = (uint8_t)(x >> (24 - 8 * i));
}

static void one_block(uint32_t state[8], const uint8_t *block) {
  uint32_t w[64];
  for (int t = 0; t < 16; t++) w[t] = load_be32(block + 4 * t);
  for (int t = 16; t < 64; t++)
    w[t] = small_sigma1(w[t - 2]) + w[t - 7] + small_sigma0(w[t - 15]) + w[t - 16];

  uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
  uint32_t e = state[4], f = state[5], g = state[6], h = state[7];
  for (int t = 0; t < 64; t++) {
    uint32_t t1 = h + big_sigma1(e) + ch(e, f, g) + pv_sha256_k[t] + w[t];
    uint32_t t2 = big_sigma0(a) + maj(a, b, c);
    h = g, g = f, f = e, e = d + t1;
    d = c, c = b, b = a, a = t1 + t2;
  }
  state[0] += a, state[1] += b, state[2] += c, state[3] += d;
  state[4] += e, state[5] += f, state[6] += g, state[7] += h;
}

static void portable_blocks(uint32_t state[8], const uint8_t *blocks, size_t count) {
  for (size_t i = 0; i < count; i++) one_block(state, blocks + i * PV_SHA256_BLOCK);
}

static int always(void) { return 1; }

// The variants, the fastest first. The last one runs everywhere.
static const struct backend {
  const char *name;
  int (*available)(void);
  pv_sha256_blocks *blocks;
} backends[] = {
    {"x86-sha", pv_sha256_x86_available, pv_sha256_x86_blocks},
    {"armv8-sha2", pv_sha256_arm_available, pv_sha256_arm_blocks},
    {"portable", always, portable_blocks},
};
enum { BACKENDS = sizeof backends / sizeof backends[0] };

static const struct backend *current = &backends[BACKENDS - 1];

void pv_sha256_init(void) {
  current = backends;
  while (!current->available()) current++;
}

const char *pv_sha256_backend(void) { return current->name; }

int pv_sha256_use(const char *backend) {
  for (int i = 0; i < BACKENDS; i++) {
    if (strcmp(backends[i].name, backend) != 0 || !backends[i].available()) continue;
    current = &backends[i];
    return 1;
  }
  return 0;
}

void pv_sha256(const uint8_t *data, size_t len, uint8_t out_digest[PV_SHA256_SIZE]) {
  // FIPS 180-4 5.3.3: the initial hash value.
  uint32_t state[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                       0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  size_t whole = len / PV_SHA256_BLOCK, rest = len % PV_SHA256_BLOCK;
  if (whole != 0) current->blocks(state, data, whole);

  // FIPS 180-4 5.1.1: a 1 bit, zeros, and the length in bits in 8 bytes, which takes one block or two. No
  // buffer is long enough (2^61 bytes) for its length in bits to overflow.
  uint8_t tail[2 * PV_SHA256_BLOCK] = {0};
  size_t blocks = rest < PV_SHA256_BLOCK - 8 ? 1 : 2;
  if (rest != 0) memcpy(tail, data + whole * PV_SHA256_BLOCK, rest);
  tail[rest] = 0x80;
  uint64_t bits = (uint64_t)len << 3;
  store_be32((uint32_t)(bits >> 32), tail + blocks * PV_SHA256_BLOCK - 8);
  store_be32((uint32_t)bits, tail + blocks * PV_SHA256_BLOCK - 4);
  current->blocks(state, tail, blocks);
  for (int i = 0; i < 8; i++) store_be32(state[i], out_digest + 4 * i);
}
