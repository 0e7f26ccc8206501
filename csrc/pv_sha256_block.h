// SPDX-License-Identifier: Apache-2.0
//
// What the parts of SHA-256 share: the constants, and the one function that there is a variant of for each
// instruction set.

#ifndef PV_SHA256_BLOCK_H
#define PV_SHA256_BLOCK_H

#include <stddef.h>
#include <stdint.h>

#define PV_SHA256_BLOCK 64

// pv_sha256_k holds the constants of FIPS 180-4 4.2.2.
extern const uint32_t pv_sha256_k[64];

// A pv_sha256_blocks takes |count| blocks of 64 bytes each into |state|, FIPS 180-4 6.2.2. |blocks| need not
// be aligned.
typedef void pv_sha256_blocks(uint32_t state[8], const uint8_t *blocks, size_t count);

// Each instruction set has a function that says whether this CPU has it, and the code. The code must not be
// called where the answer is 0; on other architectures the answer is always 0.
int pv_sha256_x86_available(void);
pv_sha256_blocks pv_sha256_x86_blocks;
int pv_sha256_arm_available(void);
pv_sha256_blocks pv_sha256_arm_blocks;

#endif  // PV_SHA256_BLOCK_H
